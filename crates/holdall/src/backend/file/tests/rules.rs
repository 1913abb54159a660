//! Rules of the disk that no other test would miss; docs/disk-rules.md has all of them.

use super::super::find::set_booted;
use super::super::registry;
use super::super::remove::Doomed;
use super::*;
use crate::flush::tests_support::FlushLog;

fn copied(it: &Fixture, from: &str, to: &std::path::Path, preserve: &str) {
    let mut copying = std::process::Command::new("cp");
    copying.arg(format!("--preserve={preserve}")).arg(it.path(from)).arg(to);
    assert!(copying.status().expect("copied").success());
}

#[test]
fn a_value_of_another_store_is_a_foreign_file() {
    let (one, two) = (fixture(), fixture());
    one.put("k", Format::Json, "1");
    two.put("seed", Format::Json, "1");
    copied(&one, "k.json", &two.path("k.json"), "all");
    assert!(two.get("k").expect("read").expect("there").record.foreign);
}

#[test]
fn a_restored_file_keeps_its_record() {
    for preserve in ["all", "xattr"] {
        let it = fixture();
        let record = it.put("k", Format::Json, "1");
        copied(&it, "k.json", &it.path("backup"), preserve);
        fs::rename(it.path("backup"), it.path("k.json")).expect("restored");
        assert_eq!(it.get("k").expect("read").expect("there").record, record);
        assert_eq!(it.backend.head(&key("k")).expect("read"), Some(record));
    }
}

#[test]
fn what_was_changed_before_this_boot_is_damage_and_no_edit() {
    let it = fixture();
    it.put("k", Format::Json, "[1, 2]");
    fs::write(it.path("k.json"), "[1, ").expect("torn");
    assert!(it.get("k").expect("an edit").expect("there").record.foreign);
    set_booted(Some(u64::MAX));
    let error = it.get("k").expect_err("as a power cut leaves it");
    set_booted(None);
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[test]
fn of_two_formats_that_a_dead_writer_has_left_the_newer_is_the_value() {
    for scanned in [false, true] {
        let it = fixture();
        it.put("k", Format::Json, "1");
        copied(&it, "k.json", &it.path("kept"), "all");
        it.put("k", Format::Bytes, "2");
        fs::rename(it.path("kept"), it.path("k.json")).expect("placed");
        it.backend.opened().expect("open").live().expect("writable").clock.set_diverged(true);
        // So that nothing in memory says where to look first.
        let it = reopened(it);
        if scanned {
            assert_eq!(it.backend.totals().expect("filled anew").entries, 1);
            assert_eq!(it.names(), ["k.bin"]);
        }
        for first in [Format::Json, Format::Bytes] {
            let found = it.backend.get(&key("k"), Some(first)).expect("read").expect("there");
            assert_eq!(found.content, b"2");
        }
    }
}

#[test]
fn a_removal_leaves_what_was_saved_meanwhile() {
    let it = fixture();
    let earlier = it.put("k", Format::Json, "1").generation;
    it.put("k", Format::Json, "2");
    let opened = it.backend.opened().expect("open");
    for doomed in [Doomed::Expired(earlier), Doomed::NotAfter(earlier)] {
        let doomed = [(key("k"), doomed)];
        let removed = opened.remove(&doomed, Durability::Process, it.backend.terms());
        let removed = removed.expect("done").remove(0).expect("looked at");
        assert!(!removed.removed);
    }
    assert_eq!(it.names(), ["k.json"]);
}

#[test]
fn a_durable_save_that_another_one_overtakes_has_the_higher_generation() {
    let it = fixture();
    it.put("seed", Format::Json, "1");
    let overtaking = std::rc::Rc::new(std::cell::Cell::new(None));
    let (noted, other) = (overtaking.clone(), it.dir.path().to_path_buf());
    let mut is_first = true;
    let log = FlushLog::looking(move |path| {
        // Its bytes are being flushed with the generation that it would have had.
        let is_file = path.parent().is_some_and(|folder| folder.ends_with(".holdall/tmp"));
        if is_file && std::mem::take(&mut is_first) {
            let other = FileBackend::new(&other, FileOptions::default());
            noted.set(Some(other.put(put("k", Format::Json, "overtaking")).expect("put").record));
        }
    });
    let late = Put { durability: Durability::Disk, ..put("k", Format::Json, "late") };
    let late = it.backend.put(late).expect("put").record;
    let temporary = |path: &PathBuf| path.to_string_lossy().contains(".holdall/tmp");
    assert_eq!(log.end().iter().filter(|path| temporary(path)).count(), 2, "flushed anew");
    assert!(late.generation > overtaking.take().expect("saved").generation);
    assert_eq!(it.get("k").expect("read").expect("there").record, late);
}

#[test]
fn a_new_index_is_made_while_nobody_writes() {
    let it = fixture();
    it.put("k", Format::Json, "1");
    let opened = it.backend.opened().expect("open");
    let live = opened.live().expect("writable");
    let writing = live.locks.lock(vec![7], Duration::from_secs(5)).expect("nobody has it");
    live.clock.set_diverged(true);
    let terms = Terms { lock_timeout: Duration::from_millis(20), ..it.backend.terms() };
    assert_eq!(opened.ensure_index(terms).err().expect("it waits").kind(), ErrorKind::Busy);
    drop(writing);
    opened.ensure_index(terms).expect("filled");
}

#[test]
fn whoever_sees_another_epoch_asks_the_new_index() {
    let it = fixture();
    it.put("k", Format::Json, "1");
    let options = OpenOptions { allow_network_fs: false, lock_timeout: Duration::from_secs(5) };
    let stranger = Opened::open(it.dir.path(), options).expect("opened");
    let live = stranger.live().expect("writable");
    let entries = || live.catalog.ask(&live.clock, crate::index::Index::totals);
    assert_eq!(entries().expect("counted").entries, 1);
    it.backend.opened().expect("open").live().expect("writable").clock.set_diverged(true);
    assert_eq!(it.backend.totals().expect("filled anew").entries, 1);
    it.put("other", Format::Json, "1");
    assert_eq!(entries().expect("counted").entries, 2);
    // And so does who comes later.
    let later = Opened::open(it.dir.path(), options).expect("opened");
    let live = later.live().expect("writable");
    let entries = live.catalog.ask(&live.clock, crate::index::Index::totals);
    assert_eq!(entries.expect("counted").entries, 2);
}

#[test]
fn one_directory_is_opened_once_in_a_process_whatever_its_path() {
    let it = fixture();
    let options = OpenOptions { allow_network_fs: false, lock_timeout: Duration::from_secs(5) };
    let one = registry::open(it.dir.path(), options).expect("opened");
    let two = registry::open(&it.path("../").join(it.dir.path()), options).expect("opened");
    std::os::unix::fs::symlink(it.dir.path(), it.path("link")).expect("made");
    let three = registry::open(&it.path("link"), options).expect("opened");
    assert!(Arc::ptr_eq(&one, &two) && Arc::ptr_eq(&one, &three));
}

#[test]
fn a_key_whose_name_is_a_hash_is_listed_after_a_scan() {
    let it = fixture();
    let keys = [format!("a/{}", "x".repeat(300)), "long ".repeat(400)];
    for text in &keys {
        it.put(text, Format::Json, "1");
    }
    it.backend.opened().expect("open").live().expect("writable").clock.set_diverged(true);
    let listed = it.backend.list("", None, 10).expect("filled anew");
    let listed: Vec<&str> = listed.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(listed, keys);
}

/// The database of the index.
fn index_file(it: &Fixture) -> PathBuf {
    let folder = fs::read_dir(it.path(".holdall/index")).expect("there").next();
    folder.expect("one").expect("read").path().join("index.sqlite")
}

#[test]
fn a_damaged_index_is_filled_from_the_files() {
    let it = fixture();
    for text in ["a", "b", "c"] {
        it.put(text, Format::Json, "1");
    }
    let it = reopened(it);
    fs::write(index_file(&it), "no database".repeat(1_000)).expect("damaged");
    assert_eq!(it.backend.list("", None, 10).expect("filled anew").len(), 3);
}

#[test]
fn a_damaged_index_makes_no_close_fail_after_values_were_saved() {
    for texts in [&["a"][..], &["a", "b", "c"]] {
        let it = fixture();
        for text in texts {
            it.put(text, Format::Json, "1");
        }
        let it = reopened(it);
        fs::write(index_file(&it), "no database".repeat(1_000)).expect("damaged");
        it.put("new", Format::Json, "1");
        it.backend.close().expect("the values are there, and the index is but a copy");
        let it = reopened(it);
        assert_eq!(it.backend.list("", None, 10).expect("filled anew").len(), texts.len() + 1);
    }
}

#[test]
fn whoever_meets_a_damaged_row_has_the_index_filled_anew() {
    let it = fixture();
    for text in ["a", "b", "c"] {
        it.put(text, Format::Json, "1");
    }
    let it = reopened(it);
    let index = crate::index::open_to_change(index_file(&it)).expect("opened");
    index.execute("UPDATE entry SET row = x'00' WHERE key = x'62'", []).expect("damaged");
    drop(index);
    // Whether the one who meets it is told or has it mended at once.
    let _ = it.backend.list("", None, 10);
    assert_eq!(it.backend.list("", None, 10).expect("filled anew").len(), 3);
}

#[test]
fn a_value_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let it = fixture();
    it.put("a/k", Format::Json, "1");
    let mode = |name| fs::metadata(it.path(name)).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode("a"), mode("a/k.json")), (0o700, 0o600));
}

#[test]
fn the_counter_is_odd_before_a_value_has_its_name_and_no_flush_of_names_is_under_the_lock() {
    let it = fixture();
    it.put("seed", Format::Json, "1");
    let opened = it.backend.opened().expect("open");
    let stripe = key("k").stripe();
    let base = it.dir.path().canonicalize().expect("there");
    let seen = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let noted = seen.clone();
    let log = FlushLog::looking(move |path| {
        let live = opened.live().expect("writable");
        let is_free = live.locks.try_lock(stripe).expect("asked").is_some();
        if path.starts_with(base.join(".holdall/tmp")) {
            noted.borrow_mut().push(("file", live.clock.is_odd(stripe), is_free));
            if is_free {
                // As a writer does that is killed before its value has a name: the one that is
                // being saved gets another generation, under the lock.
                live.clock.begin(stripe);
            }
        } else if *path == *base {
            noted.borrow_mut().push(("name", live.clock.is_odd(stripe), is_free));
        }
    });
    let durable = Put { durability: Durability::Disk, ..put("k", Format::Json, "1") };
    it.backend.put(durable).expect("put");
    drop(log.end());
    let mut seen = seen.take();
    seen.dedup();
    assert_eq!(seen, [("file", false, true), ("file", true, false), ("name", false, true)]);
}

#[test]
fn readers_wait_for_no_writer() {
    let it = fixture();
    it.put("k", Format::Json, "1");
    let opened = it.backend.opened().expect("open");
    let live = opened.live().expect("writable");
    let _writing = live.locks.lock(vec![key("k").stripe()], Duration::from_secs(5)).expect("free");
    assert_eq!(it.get("k").expect("read").expect("there").content, b"1");
    live.clock.begin(key("k").stripe());
    assert_eq!(it.get("k").expect("read").expect("there").content, b"1");
    assert_eq!(it.backend.head(&key("k")).expect("read").expect("there").length, 1);
}

#[test]
fn what_the_index_refuses_is_listed_all_the_same() {
    let it = fixture();
    it.put("k", Format::Json, "1");
    let it = reopened(it);
    let folder = fs::read_dir(it.path(".holdall/index")).expect("there").next();
    let folder = folder.expect("one").expect("read").path();
    fs::rename(&folder, it.path("away")).expect("taken away");
    fs::write(&folder, "in the way").expect("written");
    it.put("other", Format::Json, "2");
    fs::remove_file(&folder).expect("removed");
    fs::rename(it.path("away"), &folder).expect("brought back");
    assert_eq!(it.backend.list("", None, 10).expect("filled anew").len(), 2);
}

#[test]
fn clearing_takes_what_was_there_when_it_began() {
    let it = fixture();
    let many = (0..=BATCH).map(|n| put(&format!("{n:04}"), Format::Json, "1"));
    assert!(it.backend.put_many(many.collect()).iter().all(Result::is_ok));
    let folder = it.dir.path().to_path_buf();
    let log = FlushLog::looking(move |_| {
        // Between two batches another one saves what the next batch will meet.
        let other = FileBackend::new(&folder, FileOptions::default());
        other.put(put("later", Format::Json, "1")).expect("put");
    });
    assert_eq!(it.backend.clear(Durability::Disk).expect("cleared"), BATCH as u64 + 1);
    drop(log.end());
    assert_eq!(it.names(), ["later.json"]);
}

#[test]
fn an_edit_that_came_before_the_clearing_stays() {
    let it = fixture();
    it.put("k", Format::Json, "1");
    fs::write(it.path("k.json"), "theirs").expect("edited");
    it.put("other", Format::Json, "1");
    // Nobody has read the edit, so the index takes it for a value of ours.
    assert_eq!(it.backend.clear(Durability::Process).expect("cleared"), 1);
    assert_eq!(it.names(), ["k.json"]);
}
