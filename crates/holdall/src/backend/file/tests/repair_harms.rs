//! Harms that come from outside: a lost `store.json`, several damages at once, a lost database of
//! inline values. What can be loaded stays, and one repair is enough.

use std::os::unix::fs::PermissionsExt as _;

use super::inline::{BELOW, on};
use super::repair::{cured, repaired};
use super::verify::*;
use super::*;

const DATABASE: &str = ".holdall/inline/values.sqlite";
const NAMES: [&str; 3] = ["a", "b", "c"];

/// Closes the store, does this to its folder and opens it anew.
fn harmed(it: Fixture, harm: impl FnOnce(&Path)) -> Fixture {
    it.backend.close().expect("closed");
    let Fixture { dir, backend } = it;
    drop(backend);
    harm(dir.path());
    let backend = on(dir.path(), BELOW);
    Fixture { dir, backend }
}

fn loses_its_id(dir: &Path) {
    fs::remove_file(dir.join(".holdall/store.json")).expect("removed");
}

fn assert_all_are_loaded(it: &Fixture, names: &[&str]) {
    for name in names {
        assert_eq!(it.get(name).expect("read").expect("there").content, b"[1, 2, 3]", "{name}");
    }
}

#[test]
fn inline_values_of_another_store_that_can_be_loaded_are_told_and_left() {
    let it = harmed(inline_with(""), loses_its_id);
    assert_all_are_loaded(&it, &NAMES);
    let report = verified(&it.backend);
    assert!(report.is_ok(), "{report:?}");
    assert_eq!(report.checked, 3);
    assert_eq!(kinds(&report), NAMES.map(|name| ("stamp_of_another_store", Some(name))));
    let done = repaired(&it.backend, false);
    assert!(done.quarantined.is_empty(), "{done:?}");
    assert_all_are_loaded(&it, &NAMES);
    assert!(repaired(&it.backend, false).is_unchanged());
    // What is damaged besides is damage as ever, and what is saved anew is the store's own.
    let sql = "UPDATE entry SET content = x'00' WHERE key = CAST('b' AS BLOB)";
    let it = harmed(it, |dir| with_database(&dir.join(DATABASE), sql));
    it.put("a", Format::Json, "[1, 2, 3]");
    let done = repaired(&it.backend, false);
    assert_eq!(done.quarantined.len(), 1, "{done:?}");
    assert_eq!(kinds(&verified(&it.backend)), [("stamp_of_another_store", Some("c"))]);
    assert_all_are_loaded(&it, &["a", "c"]);
}

#[test]
fn a_damaged_database_of_another_store_gives_back_all_that_can_be_loaded() {
    let it = harmed(inline_with("DROP TABLE tag"), loses_its_id);
    let done = repaired(&it.backend, false);
    assert_eq!(done.quarantined.len(), 1, "{done:?}");
    assert_all_are_loaded(&it, &NAMES);
    assert!(verified(&it.backend).is_ok());
}

/// Ways in which one inline value is damaged.
const HARMS: [&str; 6] = [
    "row = x'00'",
    "row = zeroblob(50)",
    "row = substr(row, 1, length(row) - 1)",
    "content = x'00'",
    "content = CAST('[1, 2, 4]' AS BLOB)",
    "expires_at = 5",
];

#[test]
fn any_two_damaged_inline_values_take_one_repair() {
    for first in HARMS {
        for second in HARMS {
            let of = |key: char, harm: &str| {
                format!("UPDATE entry SET {harm} WHERE key = CAST('{key}' AS BLOB);")
            };
            let it = inline_with(&(of('a', first) + &of('b', second)));
            let done = cured(&it.backend);
            let kept = [first, second].iter().filter(|harm| !harm.starts_with("expires")).count();
            assert_eq!(done.quarantined.len(), kept, "{first}, {second}: {done:?}");
            assert_all_are_loaded(&it, &["c"]);
            let left = 3 - kept as u64;
            assert_eq!(it.backend.totals().expect("counted").entries, left, "{first}, {second}");
        }
    }
}

/// Loses the database of inline values in each of these ways: with its folder, or alone, so that its
/// log stays behind.
fn each_loss(mut check: impl FnMut(Fixture, &Path)) {
    for is_whole in [true, false] {
        for is_asked in [true, false] {
            let backup = tempfile::tempdir().expect("a temporary directory");
            let it = inline_with("");
            on(it.dir.path(), 0).put(put("file", Format::Json, "[1, 2, 3]")).expect("put");
            let it = harmed(it, |dir| {
                let folder = dir.join(".holdall/inline");
                if is_whole {
                    fs::rename(folder, backup.path().join("inline")).expect("moved");
                } else {
                    fs::create_dir(backup.path().join("inline")).expect("made");
                    let to = backup.path().join("inline/values.sqlite");
                    fs::rename(folder.join("values.sqlite"), to).expect("moved");
                    let log = folder.join("values.sqlite-wal");
                    fs::write(&log, "an old log").expect("written");
                    fs::set_permissions(log, fs::Permissions::from_mode(0o600)).expect("ours");
                }
            });
            if is_asked {
                assert_eq!(it.get("a").expect_err("lost").kind(), ErrorKind::Corrupt);
                it.put("b", Format::Json, "[1, 2, 3]");
            }
            check(it, &backup.path().join("inline"));
        }
    }
}

#[test]
fn the_loss_of_all_inline_values_is_told_until_it_is_repaired() {
    each_loss(|it, _| {
        assert_eq!(kinds(&verified(&it.backend)), [("inline_database_missing", None)]);
        assert_all_are_loaded(&it, &["file"]);
        let error = it.get("c").expect_err("no miss");
        assert!(error.to_string().contains("restore .holdall/inline from a backup"), "{error}");
        assert_eq!(repaired(&it.backend, true).quarantined.len(), 1);
        assert_eq!(kinds(&verified(&it.backend)), [("inline_database_missing", None)]);
        let done = cured(&it.backend);
        assert_eq!(done.quarantined.len(), 1, "{done:?}");
        assert!(it.get("c").expect("a miss").is_none());
        it.put("c", Format::Json, "[1, 2, 3]");
        assert_all_are_loaded(&it, &["file", "c"]);
        let it = harmed(it, |_| ());
        assert_all_are_loaded(&it, &["file", "c"]);
        assert_eq!(kinds(&verified(&it.backend)), []);
    });
}

#[test]
fn a_lost_database_of_inline_values_that_is_brought_back_is_as_it_was() {
    each_loss(|it, backup| {
        let folder = it.path(".holdall/inline");
        let _ = fs::remove_dir_all(&folder);
        fs::rename(backup, &folder).expect("restored");
        assert_all_are_loaded(&it, &["a", "b", "c", "file"]);
        assert_eq!(it.backend.list("", None, 9).expect("listed").len(), 4);
    });
}

#[test]
fn a_writer_that_died_before_it_made_the_database_has_lost_none() {
    let it = filled();
    it.backend.opened().expect("open").live().expect("writable").clock.note_inline();
    let it = harmed(it, |_| ());
    assert_eq!(kinds(&verified(&it.backend)), []);
    assert!(it.get("new").expect("a miss").is_none());
    assert_eq!(kinds(&verified(&it.backend)), []);
}
