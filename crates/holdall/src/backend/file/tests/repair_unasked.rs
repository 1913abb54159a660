//! Records that are damaged, and the index that may know them: it is asked no more than it has to be, and
//! while it cannot be asked no file is taken out of the store.

use std::os::unix::fs::PermissionsExt as _;

use super::repair::{cured, long_and_damaged, repaired};
use super::verify::*;
use super::*;
use crate::backend::file::verify::names::tests_support::pages;
use crate::backend::health::{RepairReport, VerifyReport};
use crate::index::Index as _;

/// Two values whose records are damaged and known to the index: under a short key, and under one that
/// only the record held.
fn damaged_records() -> (Fixture, [PathBuf; 2]) {
    let it = filled();
    let (_, long, _) = long_and_damaged(&it, 500);
    let short = it.path("a.json");
    let mut stamp = stamp_of(&short);
    stamp[9] ^= 1;
    set_stamp(&short, &stamp);
    (it, [short, long])
}

/// Does this while the database of the index cannot be opened, which is no damage of it.
fn unasked<T>(it: &Fixture, act: impl FnOnce() -> T) -> T {
    let opened = it.backend.opened().expect("open");
    let live = opened.live().expect("writable");
    let folder = live.catalog.folder(live.clock.epoch());
    let queue = folder.join("writers.lock");
    live.catalog.drop_index();
    fs::remove_file(&queue).expect("removed");
    fs::create_dir(&queue).expect("made");
    fs::set_permissions(&queue, fs::Permissions::from_mode(0o700)).expect("ours");
    let ask = live.catalog.ask(&live.clock, |index| index.get("a"));
    assert_eq!(ask.expect_err("a folder").kind(), ErrorKind::Io);
    let done = act();
    fs::remove_dir(&queue).expect("removed");
    done
}

fn mended(it: &Fixture, found: &VerifyReport) -> RepairReport {
    let inspect = |_: &Key, _: &Record, _: &dyn Reading| Ok(None);
    it.backend.mend(found, &inspect, false).expect("repaired")
}

fn assert_all_come_back(it: &Fixture, files: &[PathBuf]) {
    assert!(files.iter().all(|file| file.exists()));
    let done = cured(&it.backend);
    assert_eq!((done.mended.len(), done.quarantined.len()), (2, 0), "{done:?}");
}

#[test]
fn a_damaged_record_is_not_said_to_be_lost_while_the_index_cannot_be_asked() {
    let (it, files) = damaged_records();
    let found = unasked(&it, || {
        let found = verified(&it.backend);
        let done = mended(&it, &found);
        assert_eq!((done.quarantined.len(), done.mended.len()), (0, 0), "{done:?}");
        found
    });
    let kinds = kinds(&found);
    assert!(kinds.iter().all(|(kind, _)| *kind != "stamp_damaged"), "{kinds:?}");
    assert!(kinds.contains(&("unreadable", Some("a"))), "{kinds:?}");
    assert_all_come_back(&it, &files);
}

#[test]
fn a_file_stays_if_the_index_cannot_be_asked_any_more_when_it_is_to_be_repaired() {
    let (it, files) = damaged_records();
    let found = verified(&it.backend);
    let done = unasked(&it, || mended(&it, &found));
    assert_eq!((done.quarantined.len(), done.kept.len()), (0, 2), "{done:?}");
    assert!(done.kept.iter().all(|one| one.what.contains("not set right")), "{done:?}");
    assert_all_come_back(&it, &files);
}

#[test]
fn a_file_whose_record_was_known_stays_if_it_is_not_known_any_more() {
    let (it, [file, _]) = damaged_records();
    let found = verified(&it.backend);
    let opened = it.backend.opened().expect("open");
    let live = opened.live().expect("writable");
    live.catalog.drop_index();
    let database = live.catalog.folder(live.clock.epoch()).join(crate::index::INDEX_FILE);
    with_database(&database, "UPDATE entry SET row = x'00' WHERE key = CAST('a' AS BLOB)");
    let done = mended(&it, &found);
    assert_eq!(done.quarantined.len(), 0, "{done:?}");
    let is_kept = |one: &crate::backend::health::Problem| one.key.as_deref() == Some("a");
    assert!(done.kept.iter().any(is_kept) && file.exists(), "{done:?}");
    assert_eq!(cured(&it.backend).quarantined.len(), 1, "nobody knows it");
}

/// Damages the records of this many values, whose long keys were only there, beside sound ones.
fn many_damaged(count: usize) -> Fixture {
    let it = filled();
    for number in 0..200 {
        it.put(&format!("sound/{number:03}"), Format::Json, "1");
    }
    for number in 0..count {
        it.put(&format!("long/{}/{number}", "x".repeat(500)), Format::String, "text");
    }
    it.backend.list("", None, 1).expect("listed");
    let files = fs::read_dir(it.path("long")).into_iter().flatten();
    for file in files.map(|file| file.expect("read").path()) {
        let mut stamp = stamp_of(&file);
        stamp[12] ^= 1;
        set_stamp(&file, &stamp);
    }
    it
}

#[test]
fn the_keys_of_all_damaged_records_are_looked_for_once() {
    let pages_for = |count| {
        let it = many_damaged(count);
        let before = pages();
        assert_eq!(kinds(&verified(&it.backend)).len(), count);
        let verified = pages() - before;
        let done = repaired(&it.backend, false);
        assert_eq!((done.mended.len(), done.quarantined.len()), (count, 0));
        (verified, pages() - before)
    };
    assert_eq!(pages_for(0), (0, 0));
    let (verified, repaired) = pages_for(1);
    assert_eq!(repaired, 2 * verified, "the repair verifies, and asks no more");
    assert_eq!(pages_for(20), (verified, repaired));
}

#[test]
fn a_damaged_record_whose_key_is_known_is_mended_while_others_write() {
    let Fixture { dir, backend } = many_damaged(3);
    drop(backend);
    let lock_timeout = std::time::Duration::from_millis(1);
    let options = FileOptions { lock_timeout, ..FileOptions::default() };
    let it = Fixture { backend: FileBackend::new(dir.path(), options), dir };
    let found = verified(&it.backend);
    let keys: Vec<_> = found.problems.iter().filter_map(|one| one.key.as_deref()).collect();
    assert_eq!(keys.len(), 3);
    let opened = it.backend.opened().expect("open");
    let live = opened.live().expect("writable");
    let stripes: Vec<usize> = keys.iter().map(|text| key(text).stripe()).collect();
    let other = (0..).find(|stripe| !stripes.contains(stripe)).expect("there are 4,096");
    let _writer = live.locks.lock(vec![other], lock_timeout).expect("free");
    let done = mended(&it, &found);
    assert_eq!((done.mended.len(), done.quarantined.len()), (3, 0), "{done:?}");
}
