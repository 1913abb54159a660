//! Repairs: what is damaged is kept aside, what can be known comes back, and nothing else changes.

use std::os::unix::fs::PermissionsExt as _;

use super::inline::{inline_fixture, on};
use super::inline_damage::zero_page;
use super::verify::*;
use super::*;
use crate::backend::health::RepairReport;
use crate::index::Index as _;

pub(super) fn repaired(backend: &FileBackend, dry_run: bool) -> RepairReport {
    let inspect = |_: &Key, _: &Record, _: &dyn Reading| Ok(None);
    backend.mend(&verified(backend), &inspect, dry_run).expect("repaired")
}

/// Repairs, and sees to it that nothing is left to be done.
pub(super) fn cured(backend: &FileBackend) -> RepairReport {
    let done = repaired(backend, false);
    let after = verified(backend);
    assert_eq!(kinds(&after), [], "{done:?}");
    let again = repaired(backend, false);
    assert!(again.is_unchanged(), "{again:?}");
    done
}

fn note_of(done: &RepairReport, at: usize) -> serde_json::Value {
    let note = fs::read(done.quarantined[at].folder.join("note.json")).expect("written");
    serde_json::from_slice(&note).expect("JSON")
}

#[test]
fn a_damaged_file_is_kept_aside_with_its_record_and_the_others_stay() {
    let it = filled();
    damage(&it.path("f/g/c.json"), |content| content[1] ^= 1);
    let (content, stamp) =
        (fs::read(it.path("f/g/c.json")).expect("there"), stamp_of(&it.path("f/g/c.json")));
    let plan = repaired(&it.backend, true);
    assert!(plan.dry_run && it.path("f/g/c.json").exists());
    assert_eq!(plan.quarantined.len(), 1);
    let done = cured(&it.backend);
    assert_eq!(done.quarantined.len(), 1);
    let aside = &done.quarantined[0].folder;
    assert_eq!(fs::read(aside.join("value.json")).expect("kept"), content);
    assert_eq!(stamp_of(&aside.join("value.json")), stamp);
    let note = note_of(&done, 0);
    assert_eq!((&note["key"], &note["path"]), (&"f/g/c".into(), &"f/g/c.json".into()));
    assert_eq!(note["kind"], "content_damaged");
    assert_eq!(note["stamp"].as_str().expect("text").len(), stamp.len() * 2);
    assert!(it.get("f/g/c").expect("a miss").is_none());
    assert!(!it.path("f/g").exists(), "an empty folder is left");
    assert_eq!(it.get("a").expect("read").expect("there").content, b"[1, 2, 3]");
    assert_eq!(it.backend.list("", None, 9).expect("listed").len(), 2);
}

#[test]
fn no_process_answers_from_memory_with_what_was_kept_aside() {
    let it = filled();
    let before = it.backend.version(&key("a")).expect("calm");
    damage(&it.path("a.json"), |content| content[1] ^= 1);
    cured(&it.backend);
    assert_ne!(it.backend.version(&key("a")), Some(before));
}

#[test]
fn records_that_the_index_has_come_back() {
    let it = filled();
    let mut tagged = put("tagged", Format::Json, "[4]");
    tagged.tags = vec!["t".into()];
    let record = it.backend.put(tagged).expect("put").record;
    rustix::fs::removexattr(it.path("tagged.json"), "user.holdall").expect("removed");
    let mut stamp = stamp_of(&it.path("a.json"));
    let before = stamp.clone();
    stamp[9] ^= 1;
    set_stamp(&it.path("a.json"), &stamp);
    let done = cured(&it.backend);
    assert_eq!((done.mended.len(), done.quarantined.len()), (2, 0));
    assert_eq!(it.get("tagged").expect("read").expect("there").record, record);
    assert_eq!(stamp_of(&it.path("a.json")), before);
}

/// A value under a key that no file name can hold, whose record is damaged; its file, and the record.
pub(super) fn long_and_damaged(it: &Fixture, length: usize) -> (String, PathBuf, Record) {
    let text = format!("long/{}", "x".repeat(length));
    let mut tagged = put(&text, Format::String, "text");
    tagged.tags = vec!["t".into()];
    let record = it.backend.put(tagged).expect("put").record;
    let file = fs::read_dir(it.path("long")).expect("there").next().expect("one").expect("read");
    let mut stamp = stamp_of(&file.path());
    stamp[12] ^= 1;
    set_stamp(&file.path(), &stamp);
    (text, file.path(), record)
}

#[test]
fn records_of_long_keys_that_the_index_has_come_back() {
    for length in [500, 1_500] {
        let it = filled();
        let (text, _, record) = long_and_damaged(&it, length);
        assert_eq!(kinds(&verified(&it.backend)), [("stamp_damaged", Some(&*text))], "{length}");
        let done = cured(&it.backend);
        assert_eq!((done.mended.len(), done.quarantined.len()), (1, 0), "{length}");
        assert_eq!(it.get(&text).expect("read").expect("there").record, record, "{length}");
    }
}

#[test]
fn a_long_key_whose_record_nobody_knows_costs_the_file_its_place() {
    for length in [500, 1_500] {
        let it = filled();
        let (text, file, _) = long_and_damaged(&it, length);
        let opened = it.backend.opened().expect("open");
        let live = opened.live().expect("writable");
        live.catalog.drop_index();
        fs::remove_dir_all(live.catalog.folder(live.clock.epoch())).expect("removed");
        live.clock.set_diverged(true);
        assert_eq!(it.get(&text).expect_err("damaged").kind(), ErrorKind::Corrupt);
        // A rebuilt index makes all memory old, which is not to be what this one goes by.
        it.backend.list("", None, 9).expect("filled anew");
        let before = it.backend.version(&key(&text)).expect("calm");
        let done = repaired(&it.backend, false);
        assert!(!done.rebuilt, "{done:?}");
        assert_ne!(it.backend.version(&key(&text)), Some(before), "a memory may have the value");
        assert_eq!(kinds(&verified(&it.backend)), []);
        assert_eq!(done.quarantined.len(), 1, "{length}");
        assert!(done.quarantined[0].folder.join("value.txt").exists() && !file.exists());
        assert!(it.get(&text).expect("a miss").is_none());
    }
}

#[test]
fn a_record_that_nobody_knows_costs_the_file_its_place() {
    let it = filled();
    let mut stamp = stamp_of(&it.path("a.json"));
    stamp[9] ^= 1;
    set_stamp(&it.path("a.json"), &stamp);
    damage(&it.path("a.json"), |content| content[1] ^= 1);
    let done = cured(&it.backend);
    assert_eq!(done.quarantined.len(), 1);
    assert_eq!(note_of(&done, 0)["kind"], "stamp_damaged");
}

#[test]
fn of_two_files_the_older_goes_but_never_comes_back_for_a_damaged_one() {
    for is_damaged in [false, true] {
        let it = filled();
        let (old, stamp) =
            (fs::read(it.path("a.json")).expect("there"), stamp_of(&it.path("a.json")));
        it.put("a", Format::String, "newer");
        fs::write(it.path("a.json"), old).expect("written");
        fs::set_permissions(it.path("a.json"), fs::Permissions::from_mode(0o600)).expect("ours");
        set_stamp(&it.path("a.json"), &stamp);
        if is_damaged {
            damage(&it.path("a.txt"), |content| content[0] ^= 1);
        }
        let done = cured(&it.backend);
        let found = it.get("a").expect("read").map(|found| found.content);
        if is_damaged {
            assert_eq!((found, done.quarantined.len()), (None, 2));
        } else {
            assert_eq!((found.as_deref(), done.quarantined.len()), (Some(&b"newer"[..]), 0));
        }
        assert!(!it.path("a.json").exists());
    }
}

#[test]
fn what_somebody_has_to_decide_is_left_as_it_is() {
    let it = filled();
    fs::write(it.path("two.json"), "1").expect("written");
    fs::write(it.path("two.txt"), "2").expect("written");
    symlink("a.json", it.path("link.json")).expect("planted");
    fs::write(it.path("foreign.txt"), "theirs").expect("written");
    let done = repaired(&it.backend, false);
    assert_eq!(done.kept.len(), 2);
    assert!(done.is_unchanged());
    for name in ["two.json", "two.txt", "foreign.txt"] {
        assert!(it.path(name).exists());
    }
    assert!(fs::symlink_metadata(it.path("link.json")).expect("there").is_symlink());
}

#[test]
fn a_wrong_index_is_made_anew_and_foreign_files_stay_listed() {
    let it = filled();
    fs::write(it.path("theirs.txt"), "x").expect("written");
    assert!(it.get("theirs").expect("read").is_some());
    for sql in [
        "DELETE FROM entry WHERE key = CAST('a' AS BLOB)",
        "UPDATE entry SET row = zeroblob(60)",
        "UPDATE meta SET value = zeroblob(48)",
        "DROP TABLE tag",
    ] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let copied = std::process::Command::new("cp")
            .arg("-a")
            .arg(it.dir.path().join("."))
            .arg(dir.path())
            .status()
            .expect("run");
        assert!(copied.success());
        let backend = FileBackend::new(dir.path(), FileOptions::default());
        let it = reopened_with(Fixture { dir, backend }, sql);
        let done = cured(&it.backend);
        assert!(done.rebuilt, "{sql}");
        let listed = it.backend.list("", None, 9).expect("listed");
        assert_eq!(listed.len(), 4, "{sql}");
    }
}

#[test]
fn rights_and_leftovers_are_set_right() {
    let it = filled();
    open_to_others(&it);
    fs::write(it.path(".holdall/tmp/dead"), "x").expect("written");
    fs::create_dir(it.path(".holdall/index/99")).expect("made");
    fs::write(it.path(".holdall/index/99/index.sqlite"), "x").expect("written");
    fs::write(it.path(".holdall/signer"), "nonsense").expect("written");
    let done = cured(&it.backend);
    assert_eq!(done.swept.len(), 2, "{done:?}");
    let mode =
        |path: &str| fs::metadata(it.path(path)).expect("there").permissions().mode() & 0o777;
    assert_eq!([mode("a.json"), mode("f/g"), mode(".holdall/tmp")], [0o600, 0o755, 0o700]);
    assert!(!it.path(".holdall/tmp/dead").exists() && !it.path(".holdall/index/99").exists());
    assert!(!it.path(".holdall/signer").exists());
}

#[test]
fn a_damaged_inline_value_is_copied_aside_and_removed() {
    const AT: &str = "WHERE key = CAST('b' AS BLOB)";
    for (sql, kept) in [
        ("UPDATE entry SET content = CAST('[1, 2, 4]' AS BLOB)", &b"[1, 2, 4]"[..]),
        ("UPDATE entry SET row = zeroblob(50)", &b"[1, 2, 3]"[..]),
    ] {
        let it = inline_with(&format!("{sql} {AT}"));
        let done = cured(&it.backend);
        assert_eq!(done.quarantined.len(), 1, "{sql}");
        let aside = &done.quarantined[0].folder;
        let value = fs::read(aside.join("value.json")).or_else(|_| fs::read(aside.join("value")));
        assert_eq!(value.expect("kept"), kept);
        assert!(it.get("b").expect("a miss").is_none());
        assert_eq!(it.backend.totals().expect("counted").entries, 2);
        for name in ["a", "c"] {
            assert!(it.get(name).expect("read").is_some());
        }
    }
    let it = inline_with(&format!("DELETE FROM entry {AT}"));
    let done = cured(&it.backend);
    assert_eq!((done.mended.len(), done.quarantined.len()), (1, 0));
    assert_eq!(it.backend.totals().expect("counted").entries, 2);
}

#[test]
fn whatever_page_of_the_inline_values_is_damaged_all_that_can_be_read_comes_back() {
    const VALUES: usize = 300;
    let it = inline_fixture();
    let name = |number| format!("inline/{number:03}/{}", "k".repeat(40));
    let puts = (0..VALUES).map(|number| put(&name(number), Format::Json, "1"));
    it.backend.put_many(puts.collect()).into_iter().for_each(|placed| drop(placed.expect("put")));
    on(it.dir.path(), 0).put(put("file", Format::Json, "2")).expect("put");
    it.backend.list("", None, 9).expect("listed");
    it.backend.close().expect("closed");
    let Fixture { dir, backend } = it;
    drop(backend);
    let database = dir.path().join(".holdall/inline/values.sqlite");
    let whole = fs::read(&database).expect("there");
    let mut most = 0;
    for page in 1..=whole.len() as u64 / 4_096 {
        fs::write(&database, &whole).expect("restored");
        for end in ["-wal", "-shm"] {
            let _ = fs::remove_file(dir.path().join(format!(".holdall/inline/values.sqlite{end}")));
        }
        zero_page(&database, page);
        let backend = on(dir.path(), 100);
        let damage = verified(&backend);
        assert!(!damage.is_ok(), "page {page}");
        let done = repaired(&backend, false);
        assert_eq!(kinds(&verified(&backend)), [], "page {page}: {done:?}");
        let found = (0..VALUES)
            .filter(|number| backend.get(&key(&name(*number)), None).expect("read").is_some())
            .count();
        // A page of the table has some forty values.
        assert!(found >= VALUES - 64, "page {page}: {found}");
        most = most.max(found);
        assert!(backend.get(&key("file"), None).expect("read").is_some());
        let saved = backend.put(put("new", Format::Json, "3"));
        saved.expect("the new database takes values");
        backend.delete(&key("new"), &Condition::Any, Durability::Process).expect("deleted");
        backend.close().expect("closed");
    }
    assert_eq!(most, VALUES, "a damaged index costs no value");
}

#[test]
fn the_text_of_a_long_key_comes_back_from_the_index() {
    let it = filled();
    let long = "k".repeat(1_500);
    it.put(&long, Format::Json, "1");
    fs::remove_dir_all(it.path(".holdall/keys")).expect("removed");
    let done = cured(&it.backend);
    assert_eq!(done.mended.len(), 1, "{done:?}");
    let opened = it.backend.opened().expect("open");
    let live = opened.live().expect("writable");
    live.clock.set_diverged(true);
    assert_eq!(it.backend.list("k", None, 9).expect("listed").len(), 1);
    assert!(live.catalog.ask(&live.clock, |index| index.get(&long)).expect("read").is_some());
}

#[test]
fn a_note_of_who_signs_is_one_fingerprint_on_one_line() {
    let it = fixture();
    let note = it.path(".holdall/signer");
    let one = crate::signing::fingerprint(&[0xaf; 8]);
    it.backend.note_signer(&one).expect("noted");
    for text in [fs::read_to_string(&note).expect("read"), one.clone()] {
        fs::write(&note, text).expect("written");
        assert_eq!(it.backend.signer().expect("read").as_deref(), Some(one.as_str()));
        assert_eq!(kinds(&verified(&it.backend)), []);
    }
    let damaged = [
        format!("{one}\n{one}\n"),
        format!("{}\n", one.to_uppercase()),
        format!(" {one}\n"),
        format!("{one}\n\n"),
        format!("{one}0\n"),
        String::new(),
        "\n".to_owned(),
        format!("{one}\n{}", " ".repeat(99)),
    ];
    for text in damaged {
        fs::write(&note, &text).expect("written");
        let error = it.backend.signer().expect_err(&text);
        assert_eq!(error.kind(), ErrorKind::Untrusted, "{text:?}: {error}");
        assert_eq!(kinds(&verified(&it.backend)), [("signer_damaged", None)], "{text:?}");
    }
}
