//! The file backend from outside: the rules for all backends, and what files add to them.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::backend::{Part, conformance};
use crate::clock::ManualClock;

mod cached;
mod deleted;
mod doubtful;
mod durable;
mod foreign;
mod formats;
mod index;
mod inline;
mod inline_damage;
mod inline_flips;
mod inline_moves;
mod long_keys;
mod lost_stamps;
mod repair;
mod repair_harms;
mod repair_killed;
mod repair_loads;
mod repair_pages;
mod repair_unasked;
mod repair_whole;
mod rules;
mod stamps;
mod under_way;
mod verify;
mod writing;

struct Fixture {
    dir: tempfile::TempDir,
    backend: FileBackend,
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let backend = FileBackend::new(dir.path(), FileOptions::default());
    Fixture { dir, backend }
}

fn key(text: &str) -> Key {
    Key::new(text).expect("a valid key")
}

fn put(text: &str, format: Format, content: &str) -> Put {
    Put::new(key(text), format, vec![Part::Stable(Bytes::copy_from_slice(content.as_bytes()))])
}

impl Fixture {
    fn put(&self, text: &str, format: Format, content: &str) -> Record {
        self.backend.put(put(text, format, content)).expect("put").record
    }

    fn get(&self, text: &str) -> Result<Option<Object>> {
        self.backend.get(&key(text), None)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The names in the base directory, without the store's own folder.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path()).expect("there");
        let names = entries.map(|entry| entry.expect("read").file_name().into_string());
        let mut names: Vec<String> = names.map(|name| name.expect("text")).collect();
        names.retain(|name| name != ".holdall");
        names.sort_unstable();
        names
    }
}

fn reopened(it: Fixture) -> Fixture {
    let Fixture { dir, backend } = it;
    drop(backend);
    Fixture { backend: FileBackend::new(dir.path(), FileOptions::default()), dir }
}

#[test]
fn it_keeps_to_the_rules_of_backends() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let count = std::sync::atomic::AtomicU32::new(0);
    conformance::check(|clock| {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let options = FileOptions { clock, ..FileOptions::default() };
        FileBackend::new(dir.path().join(number.to_string()), options)
    });
}

#[test]
fn readers_never_go_back_while_files_and_index_may_differ() {
    let it = fixture();
    it.put("seed", Format::Json, "1");
    let opened = it.backend.opened().expect("open");
    opened.live().expect("writable").clock.set_diverged(true);
    // Every look is then a look at all formats, one after the other.
    conformance::readers_never_see_a_mixture(Arc::new(it.backend));
}

#[test]
fn one_key_is_one_plain_file_with_nothing_but_the_value() {
    let it = fixture();
    it.put("recipe", Format::Json, "{}");
    assert_eq!(it.names(), ["recipe.json"]);
    assert_eq!(fs::read(it.path("recipe.json")).expect("there"), b"{}");
    it.put("recipe", Format::Bytes, "raw");
    assert_eq!(it.names(), ["recipe.bin"]);
    it.put("users/42", Format::Json, "1");
    assert!(it.path("users/42.json").is_file());
    it.backend.delete(&key("users/42"), &Condition::Any, Durability::Process).expect("deleted");
    assert_eq!(it.names(), ["recipe.bin"]);
}

#[test]
fn every_backend_of_a_process_and_every_process_sees_the_same() {
    let it = fixture();
    let other = FileBackend::new(it.path("../").join(it.dir.path()), FileOptions::default());
    let before = it.put("k", Format::Json, "1");
    assert_eq!(other.head(&key("k")).expect("read"), Some(before));
    let version = other.version(&key("k"));
    it.put("k", Format::Json, "2");
    assert_ne!(other.version(&key("k")), version);
    // Opened past the registry, as another process would.
    let options = OpenOptions { allow_network_fs: false, lock_timeout: Duration::from_secs(5) };
    let stranger = Opened::open(it.dir.path(), options).expect("opened");
    let found = stranger.read(&key("k"), None, u64::MAX, u64::MAX).expect("read");
    assert!(matches!(found, Some(Found::Whole(object)) if object.content == b"2"));
}

#[test]
fn a_store_opens_while_others_that_open_it_sweep() {
    let it = fixture();
    let opened = it.backend.opened().expect("open");
    let temporary = &opened.live().expect("writable").temporary;
    let options = OpenOptions { allow_network_fs: false, lock_timeout: Duration::from_secs(5) };
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                super::temp::sweep(temporary, &super::stamps::Stamps::Attributes).expect("swept");
            }
        });
        let tries = (0..300).map(|_| Opened::open(it.dir.path(), options).map(drop));
        let outcome = tries.collect::<Result<()>>();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        outcome.expect("opened each time");
    });
}

#[test]
fn a_damaged_file_is_reported_and_the_others_are_fine() {
    let it = fixture();
    it.put("k", Format::Json, "[1, 2, 3]");
    it.put("other", Format::Json, "1");
    for (damage, wanted) in [("[1, 2, 4]", "checksum"), ("[1, 2", "5 bytes of 9")] {
        let path = it.path("k.json");
        let modified = fs::metadata(&path).expect("there").modified().expect("known");
        fs::write(&path, damage).expect("damaged");
        fs::File::open(&path).expect("there").set_modified(modified).expect("set back");
        let error = it.get("k").expect_err("reported");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains(wanted), "{error}");
        assert!(it.get("other").expect("read").is_some());
    }
    it.put("k", Format::Json, "4");
    assert_eq!(it.get("k").expect("read").map(|found| found.content), Some(b"4".to_vec()));
}

#[test]
fn an_edit_by_another_program_is_taken() {
    let it = fixture();
    let placed = it.put("k", Format::Json, "1");
    fs::write(it.path("k.json"), "[\"edited\"]").expect("edited in place");
    let found = it.get("k").expect("read").expect("there");
    assert_eq!(found.content, b"[\"edited\"]");
    assert!(found.record.foreign && found.record.generation > placed.generation);
    assert_eq!(it.backend.head(&key("k")).expect("read").map(|record| record.foreign), Some(true));
    // As editors do that write a new file.
    fs::write(it.path("new"), "2").expect("written");
    fs::rename(it.path("new"), it.path("k.json")).expect("renamed");
    let found = it.get("k").expect("read").expect("there");
    assert_eq!((found.content, found.record.foreign), (b"2".to_vec(), true));
    it.put("k", Format::Json, "3");
    assert_eq!(it.get("k").expect("read").map(|found| found.record.foreign), Some(false));
}

#[test]
fn an_edit_by_another_program_makes_memory_old_once_it_is_noticed() {
    let it = fixture();
    let placed = it.put("k", Format::Json, "1");
    let version = it.backend.version(&key("k"));
    it.backend.revalidate(&key("k"), placed.generation).expect("looked");
    assert_eq!(it.backend.version(&key("k")), version);
    fs::write(it.path("k.json"), "22").expect("edited");
    it.backend.revalidate(&key("k"), placed.generation).expect("looked");
    assert_ne!(it.backend.version(&key("k")), version);
}

#[test]
fn a_file_put_there_by_hand_is_found_listed_and_left_by_clear() {
    let it = fixture();
    it.put("mine", Format::Json, "1");
    fs::write(it.path("found.txt"), "hello").expect("written");
    assert_eq!(it.backend.list("", None, 10).expect("listed").len(), 1);
    let found = it.get("found").expect("read").expect("there");
    assert_eq!((found.record.format, found.record.foreign), (Format::String, true));
    assert_eq!(it.backend.list("", None, 10).expect("listed").len(), 2);
    assert_eq!(it.backend.totals().expect("counted"), Totals { entries: 2, total_size: 6 });
    assert_eq!(it.backend.clear(Durability::Process).expect("cleared"), 1);
    assert_eq!(it.names(), ["found.txt"]);
    // Saved, it becomes ours.
    it.put("found", Format::Json, "2");
    assert_eq!(it.names(), ["found.json"]);
}

#[test]
fn two_files_of_other_programs_for_one_key_are_a_conflict_and_both_stay() {
    let it = fixture();
    fs::write(it.path("k.txt"), "text").expect("written");
    fs::write(it.path("k.json"), "1").expect("written");
    let error = it.get("k").expect_err("reported");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(it.backend.delete(&key("k"), &Condition::Any, Durability::Process).is_err());
    assert_eq!(it.names(), ["k.json", "k.txt"]);
    it.put("k", Format::Bytes, "mine");
    assert_eq!(it.get("k").expect("read").map(|found| found.content), Some(b"mine".to_vec()));
    assert_eq!(it.names(), ["k.bin", "k.json", "k.txt"]);
}

#[test]
fn a_copy_of_a_value_under_another_name_is_a_foreign_file() {
    let it = fixture();
    it.put("a", Format::Json, "1");
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .args([it.path("a.json"), it.path("b.json")])
        .status();
    assert!(copied.expect("cp is everywhere").success());
    let found = it.get("b").expect("read").expect("there");
    assert!(found.record.foreign);
    assert!(!it.get("a").expect("read").expect("there").record.foreign);
}

#[test]
fn what_is_no_file_is_reported_within_a_moment_and_never_followed() {
    let it = fixture();
    it.put("seed", Format::Json, "1");
    let secret = tempfile::NamedTempFile::new().expect("a temporary file");
    fs::write(secret.path(), "{}").expect("written");
    symlink(secret.path(), it.path("link.json")).expect("planted");
    fs::create_dir(it.path("folder.json")).expect("planted");
    let made = std::process::Command::new("mkfifo").arg(it.path("pipe.json")).status();
    assert!(made.expect("mkfifo is everywhere").success());
    for planted in ["link", "folder", "pipe"] {
        let error = it.get(planted).expect_err("reported");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{planted}");
    }
    symlink("/", it.path("out")).expect("planted");
    let error = it.backend.put(put("out/x", Format::Json, "1")).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(!std::path::Path::new("/x.json").exists());
}

#[test]
fn a_save_that_fails_leaves_the_old_value_and_no_file() {
    let it = fixture();
    it.put("k", Format::Json, "old");
    fs::create_dir(it.path("k.bin")).expect("in the way");
    let error = it.backend.put(put("k", Format::Bytes, "new")).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    fs::remove_dir(it.path("k.bin")).expect("empty");
    assert_eq!(it.get("k").expect("read").map(|found| found.content), Some(b"old".to_vec()));
    assert_eq!(fs::read_dir(it.path(".holdall/tmp")).expect("there").count(), 0);
}

#[test]
fn a_lost_index_costs_a_scan_and_no_fact() {
    let it = fixture();
    let mut records = Vec::new();
    for n in 0..50 {
        let tags = vec![format!("t{}", n % 2)];
        let put = Put { tags, ..put(&format!("f/{n:02}"), Format::Json, "1") };
        records.push((key(&format!("f/{n:02}")), self::put_ok(&it, put)));
    }
    let long = "x".repeat(60_000);
    records.push((key(&long), it.put(&long, Format::Json, "long")));
    it.backend.close().expect("closed");
    fs::remove_dir_all(it.path(".holdall/index")).expect("lost");
    fs::create_dir(it.path(".holdall/index")).expect("made");
    let it =
        Fixture { backend: FileBackend::new(it.dir.path(), FileOptions::default()), dir: it.dir };
    assert_eq!(it.backend.list("", None, 100).expect("listed"), records);
    assert_eq!(it.backend.tagged("t1", None, 100).expect("listed").len(), 25);
    assert_eq!(it.backend.totals().expect("counted").entries, 51);
}

fn put_ok(it: &Fixture, put: Put) -> Record {
    it.backend.put(put).expect("put").record
}

#[test]
fn a_writer_that_died_between_file_and_index_is_made_good() {
    let it = fixture();
    it.put("k", Format::Json, "old");
    it.put("calm", Format::Json, "1");
    let opened = it.backend.opened().expect("open");
    let live = opened.live().expect("writable");
    // What a writer does before it dies: clock odd, the new format's file placed.
    live.clock.begin(key("k").stripe());
    let bytes = {
        let mut temp = live.temp().expect("made");
        let (length, checksum) = temp.write(&[Part::from(b"new".to_vec())]).expect("written");
        let now = Clock::system().wall_micros();
        let record = Record {
            generation: live.clock.next_generation(now),
            format: Format::Bytes,
            length,
            checksum,
            updated: now / 1_000,
            ..it.backend.head(&key("k")).expect("read").expect("there")
        };
        temp.set_modified(now / 1_000).expect("set");
        let stamp = opened.stamp_for(live, &key("k"), record, false).expect("made").encode();
        temp.stamp(&opened.stamps, &stamp, false).expect("set");
        temp.place(std::os::fd::AsFd::as_fd(&opened.base), "k.bin").expect("placed");
        stamp
    };
    assert!(!bytes.is_empty());
    assert_eq!(it.names(), ["calm.json", "k.bin", "k.json"]);
    // Whoever reads next sees the later value, again and again, from either backend.
    for _ in 0..3 {
        assert_eq!(it.get("k").expect("read").map(|found| found.content), Some(b"new".to_vec()));
    }
    assert!(live.clock.diverged());
    let listed = it.backend.list("", None, 10).expect("listed");
    assert_eq!(
        listed.iter().map(|(_, record)| record.format).collect::<Vec<_>>(),
        [Format::Json, Format::Bytes]
    );
    assert_eq!(it.names(), ["calm.json", "k.bin"]);
    assert!(!live.clock.diverged());
}

#[test]
fn a_value_larger_than_allowed_is_refused_before_memory_is_taken() {
    let it = fixture();
    it.put("k", Format::Json, "0123456789");
    let options = FileOptions { max_value_bytes: 9, ..FileOptions::default() };
    let strict = FileBackend::new(it.dir.path(), options);
    let error = strict.get(&key("k"), None).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn a_forked_child_opens_the_store_anew_and_the_parent_goes_on() {
    let it = fixture();
    it.put("before", Format::Json, "1");
    let status = crate::fork::tests_support::in_child(|| {
        it.put("child", Format::Json, "2");
        let listed = it.backend.list("", None, 10).expect("listed").len();
        let read = it.get("before").expect("read").is_some();
        listed == 2 && read
    });
    assert!(status, "the child has failed");
    it.put("parent", Format::Json, "3");
    assert_eq!(it.backend.list("", None, 10).expect("listed").len(), 3);
}

#[test]
fn time_within_a_boot_decides_about_the_end_of_a_value() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let hands = ManualClock::new();
    let options = FileOptions { clock: hands.clock(), ..FileOptions::default() };
    let backend = Arc::new(FileBackend::new(dir.path(), options));
    backend.put(Put { ttl: Some(60_000), ..put("k", Format::Json, "1") }).expect("put");
    hands.set_wall_micros(u64::MAX / 4);
    assert!(backend.get(&key("k"), None).expect("read").is_some());
    assert_eq!(backend.expire(Durability::Process).expect("asked"), 0);
}

#[test]
fn values_that_live_on_while_the_wall_clock_is_ahead_do_not_keep_ended_ones() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let hands = ManualClock::new();
    let options = FileOptions { clock: hands.clock(), ..FileOptions::default() };
    let backend = FileBackend::new(dir.path(), options);
    let with = |text: String, ttl| Put { ttl: Some(ttl), ..put(&text, Format::Json, "1") };
    let long = (0..BATCH + 1).map(|n| with(format!("long{n}"), 3_600_000)).collect();
    assert!(backend.put_many(long).iter().all(Result::is_ok));
    let wall = hands.clock().wall_micros();
    hands.set_wall_micros(wall + 7_200_000_000);
    backend.put(with("short".to_owned(), 1_000)).expect("put");
    hands.advance(std::time::Duration::from_secs(2));
    assert_eq!(backend.expire(Durability::Process).expect("removed"), 1);
    assert_eq!(backend.totals().expect("counted").entries, BATCH as u64 + 1);
}
