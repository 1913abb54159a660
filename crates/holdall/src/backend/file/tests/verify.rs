//! Verification of a directory: each kind of damage by its name, and nothing of the healthy.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;

use rustix::fs::{XattrFlags, setxattr};

use super::inline::{BELOW, inline_fixture};
use super::*;
use crate::backend::file::verify::FileVerifying;
use crate::backend::health::{Examiner, ProblemKind, VerifyReport};

const ATTRIBUTE: &str = "user.holdall";

pub(super) fn verified(backend: &FileBackend) -> VerifyReport {
    let inspect = |_: &Key, _: &Record, _: &dyn Reading| Ok(None);
    let mut work = backend.verification().expect("begun");
    let examiner = Examiner { backend, inspect: &inspect };
    while work.step(examiner).expect("a step").is_some() {}
    work.report()
}

/// The kinds that were found, with the keys.
pub(super) fn kinds(report: &VerifyReport) -> Vec<(&'static str, Option<&str>)> {
    let all = report.problems.iter().chain(&report.notices);
    all.map(|one| (one.kind.name(), one.key.as_deref())).collect()
}

pub(super) fn stamp_of(path: &Path) -> Vec<u8> {
    let mut bytes = vec![0; 4_096];
    let length = rustix::fs::getxattr(path, ATTRIBUTE, &mut bytes[..]).expect("stamped");
    bytes.truncate(length);
    bytes
}

pub(super) fn set_stamp(path: &Path, bytes: &[u8]) {
    setxattr(path, ATTRIBUTE, bytes, XattrFlags::empty()).expect("set");
}

/// Writes into a file in place and gives it back its time of change, as a failing disk would.
pub(super) fn damage(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let modified = fs::metadata(path).expect("there").modified().expect("known");
    let mut content = fs::read(path).expect("there");
    change(&mut content);
    let mut file = fs::File::options().write(true).truncate(true).open(path).expect("opened");
    std::io::Write::write_all(&mut file, &content).expect("written");
    file.set_modified(modified).expect("set");
}

/// A store with some values and an index that knows them.
pub(super) fn filled() -> Fixture {
    let it = fixture();
    for name in ["a", "f/b", "f/g/c"] {
        it.put(name, Format::Json, "[1, 2, 3]");
    }
    it.backend.list("", None, 9).expect("listed");
    it
}

#[test]
fn a_healthy_store_has_no_problems_and_every_byte_is_read() {
    let it = filled();
    let report = verified(&it.backend);
    assert_eq!(kinds(&report), []);
    assert_eq!((report.checked, report.bytes, report.foreign), (3, 27, 0));
    assert_eq!(kinds(&verified(&fixture().backend)), []);
}

#[test]
fn flipped_and_cut_content_is_told_apart() {
    let it = filled();
    damage(&it.path("a.json"), |content| content[1] ^= 1);
    damage(&it.path("f/b.json"), |content| content.truncate(2));
    let report = verified(&it.backend);
    assert_eq!(
        kinds(&report),
        [("content_damaged", Some("a")), ("content_truncated", Some("f/b"))]
    );
    assert_eq!(report.problems[0].path.as_deref(), Some(&*it.path("a.json")));
    assert!(!report.is_ok());
}

#[test]
fn an_edit_of_another_program_is_no_damage_and_is_listed_from_then_on() {
    let it = filled();
    fs::write(it.path("new.txt"), "theirs").expect("written");
    fs::write(it.path("new2.json"), "no json").expect("written");
    fs::write(it.path("a.json"), "edited by hand").expect("written");
    fs::write(it.path("f/other"), "theirs").expect("written");
    let report = verified(&it.backend);
    assert_eq!(kinds(&report), []);
    assert_eq!(report.foreign, 4);
    let listed = it.backend.list("", None, 9).expect("listed");
    let foreign: Vec<_> =
        listed.iter().filter(|(_, record)| record.foreign).map(|(key, _)| key.as_str()).collect();
    assert_eq!(foreign, ["a", "new", "new2"]);
    assert_eq!(kinds(&verified(&it.backend)), []);
}

#[test]
fn a_stamp_that_is_lost_damaged_newer_or_not_its_own_is_told_by_name() {
    let it = filled();
    rustix::fs::removexattr(it.path("a.json"), ATTRIBUTE).expect("removed");
    let mut stamp = stamp_of(&it.path("f/b.json"));
    stamp[9] ^= 1;
    set_stamp(&it.path("f/b.json"), &stamp);
    let mut newer = stamp_of(&it.path("f/g/c.json"));
    newer[0] = 2;
    let end = newer.len() - 4;
    let check = (xxhash_rust::xxh3::xxh3_64(&newer[..end]) as u32).to_le_bytes();
    newer[end..].copy_from_slice(&check);
    set_stamp(&it.path("f/g/c.json"), &newer);
    let report = verified(&it.backend);
    assert_eq!(
        kinds(&report),
        [
            ("stamp_missing", Some("a")),
            ("stamp_damaged", Some("f/b")),
            ("stamp_newer", Some("f/g/c"))
        ]
    );
}

#[test]
fn stamps_of_other_keys_and_stores_make_files_foreign_and_are_told() {
    let it = filled();
    fs::copy(it.path("a.json"), it.path("copy.json")).expect("copied");
    set_stamp(&it.path("copy.json"), &stamp_of(&it.path("a.json")));
    let other = filled();
    fs::write(it.path("theirs.json"), "[1, 2, 3]").expect("written");
    set_stamp(&it.path("theirs.json"), &stamp_of(&other.path("a.json")));
    let report = verified(&it.backend);
    assert!(report.is_ok());
    assert_eq!(
        kinds(&report),
        [("stamp_of_another_key", Some("copy")), ("stamp_of_another_store", Some("theirs"))]
    );
}

#[test]
fn two_files_of_a_key_are_an_outdated_one_or_a_conflict() {
    let it = filled();
    let (old, stamp) = (fs::read(it.path("a.json")).expect("there"), stamp_of(&it.path("a.json")));
    it.put("a", Format::String, "newer");
    fs::write(it.path("a.json"), old).expect("written");
    fs::set_permissions(it.path("a.json"), fs::Permissions::from_mode(0o600)).expect("ours");
    set_stamp(&it.path("a.json"), &stamp);
    fs::write(it.path("two.json"), "1").expect("written");
    fs::write(it.path("two.txt"), "2").expect("written");
    let report = verified(&it.backend);
    assert_eq!(kinds(&report), [("outdated_file", Some("a")), ("conflict", Some("two"))]);
}

#[test]
fn what_has_the_name_of_a_value_and_is_no_file_is_told() {
    let it = filled();
    symlink("a.json", it.path("link.json")).expect("planted");
    symlink("f", it.path("folder")).expect("planted");
    fs::create_dir(it.path("dir.json")).expect("planted");
    let fifo = it.path("pipe.txt");
    let mode = rustix::fs::Mode::RUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0)
        .expect("planted");
    let _socket = UnixListener::bind(it.path("socket.bin")).expect("planted");
    let report = verified(&it.backend);
    let mut found = kinds(&report);
    found.sort_unstable();
    assert_eq!(
        found,
        [
            ("blocked_key", None),
            ("blocked_key", Some("dir")),
            ("blocked_key", Some("link")),
            ("blocked_key", Some("pipe")),
            ("blocked_key", Some("socket")),
        ]
    );
}

#[test]
fn rows_that_are_missing_too_many_or_different_are_told() {
    let it = filled();
    fs::remove_file(it.path("f/b.json")).expect("removed by hand");
    let opened = it.backend.opened().expect("open");
    let live = opened.live().expect("writable");
    let row = live.catalog.ask(&live.clock, |index| index.get("a")).expect("read").expect("there");
    let changed = Row { size: 5, ..row };
    let gone = crate::index::Change::Remove { key: "f/g/c".into(), generation: None };
    let changes = vec![crate::index::Change::Put(changed), gone];
    live.catalog.commit(&live.clock, changes).expect("committed");
    let report = verified(&it.backend);
    assert_eq!(
        kinds(&report),
        [
            ("index_row_differs", Some("a")),
            ("index_row_missing", Some("f/g/c")),
            ("index_row_without_file", Some("f/b")),
        ]
    );
}

/// Changes a database that nobody has open.
pub(super) fn with_database(path: &Path, sql: &str) {
    crate::index::open_to_change(path).expect("opened").execute_batch(sql).expect("changed");
}

/// Closes the store, changes the current index and opens it anew.
pub(super) fn reopened_with(it: Fixture, sql: &str) -> Fixture {
    let epoch = it.backend.opened().expect("open").live().expect("writable").clock.epoch();
    it.backend.close().expect("closed");
    let Fixture { dir, backend } = it;
    drop(backend);
    with_database(&dir.path().join(format!(".holdall/index/{epoch}/index.sqlite")), sql);
    let backend = FileBackend::new(dir.path(), FileOptions::default());
    Fixture { dir, backend }
}

#[test]
fn a_damaged_row_wrong_counters_and_a_damaged_database_are_told() {
    let it = reopened_with(
        filled(),
        "UPDATE entry SET row = zeroblob(60) WHERE key = CAST('a' AS BLOB)",
    );
    assert_eq!(kinds(&verified(&it.backend)), [("index_row_damaged", Some("a"))]);
    let it = reopened_with(filled(), "UPDATE meta SET value = zeroblob(48)");
    assert!(kinds(&verified(&it.backend)).contains(&("index_damaged", None)));
    let it = reopened_with(filled(), "DELETE FROM entry WHERE key = CAST('a' AS BLOB)");
    let report = verified(&it.backend);
    assert_eq!(kinds(&report), [("counters_wrong", None), ("index_row_missing", Some("a"))]);
    let it = reopened_with(filled(), "DROP TABLE tag");
    assert_eq!(kinds(&verified(&it.backend)), [("index_damaged", None)]);
}

/// Gives a value, a folder of values and two parts of the store rights that are too wide.
pub(super) fn open_to_others(it: &Fixture) {
    for (path, mode) in
        [("a.json", 0o644), ("f/g", 0o775), (".holdall/tmp", 0o755), (".holdall/clock", 0o640)]
    {
        fs::set_permissions(it.path(path), fs::Permissions::from_mode(mode)).expect("ours");
    }
}

#[test]
fn rights_that_are_too_wide_are_told_of_store_folders_and_values() {
    let it = filled();
    open_to_others(&it);
    let report = verified(&it.backend);
    let mut paths: Vec<_> = report
        .problems
        .iter()
        .map(|one| {
            assert_eq!(one.kind, ProblemKind::Permissions);
            let path = one.path.as_deref().expect("named");
            path.strip_prefix(fs::canonicalize(it.dir.path()).expect("there"))
                .expect("below")
                .to_owned()
        })
        .collect();
    paths.sort();
    let expected = [".holdall/clock", ".holdall/tmp", "a.json", "f/g"].map(PathBuf::from);
    assert_eq!(paths, expected);
}

#[test]
fn leftovers_are_told_and_what_is_being_written_is_not() {
    let it = filled();
    let opened = it.backend.opened().expect("open");
    let live = opened.live().expect("writable");
    let temp = live.temp().expect("made");
    for name in ["tmp/dead", "store.0123.new", "keys", "index/99"] {
        let path = it.path(".holdall").join(name);
        match name {
            "keys" | "index/99" => fs::create_dir(&path).expect("made"),
            _ => fs::write(&path, "x").expect("written"),
        }
        let mode = if path.is_dir() { 0o700 } else { 0o600 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("ours");
    }
    let long = "k".repeat(1_500);
    let name = key(&long).name(crate::key::CaseRule::Sensitive);
    live.keep_long_key(&key(&long), &name, None).expect("kept");
    let report = verified(&it.backend);
    assert!(report.problems.iter().all(|one| one.kind == ProblemKind::Leftover), "{report:?}");
    assert_eq!(report.problems.len(), 4, "{report:?}");
    it.put(&long, Format::Json, "1");
    assert_eq!(verified(&it.backend).problems.len(), 3);
    drop(temp);
}

#[test]
fn the_clock_and_the_note_of_who_signs_are_looked_at() {
    let it = filled();
    let opened = it.backend.opened().expect("open");
    let live = opened.live().expect("writable");
    live.clock.begin(7);
    fs::write(it.path(".holdall/signer"), "no fingerprint").expect("written");
    fs::set_permissions(it.path(".holdall/signer"), fs::Permissions::from_mode(0o600))
        .expect("ours");
    fs::rename(it.path(".holdall/clock"), it.path(".holdall/old")).expect("moved");
    fs::copy(it.path(".holdall/old"), it.path(".holdall/clock")).expect("copied");
    let report = verified(&it.backend);
    assert_eq!(
        kinds(&report),
        [("clock_replaced", None), ("signer_damaged", None), ("dead_writer", None)]
    );
}

#[test]
fn a_damaged_clock_and_a_forgotten_generation_are_told() {
    let it = filled();
    it.backend.close().expect("closed");
    let Fixture { dir, backend } = it;
    drop(backend);
    let clock = dir.path().join(".holdall/clock");
    let ahead = stamp_of(&dir.path().join("a.json"));
    let mut stamp = Stamp::decode(&ahead).expect("whole");
    stamp.record.generation += 1 << 50;
    stamp.record.updated = stamp.record.generation / 1_000;
    set_stamp(&dir.path().join("a.json"), &stamp.encode());
    fs::File::options().write(true).open(&clock).expect("there").set_len(100).expect("cut");
    let backend = FileBackend::new(dir.path(), FileOptions::default());
    let report = verified(&backend);
    let found = kinds(&report);
    for name in ["clock_behind", "clock_remade", "index_behind"] {
        assert!(found.contains(&(name, None)), "{name}: {found:?}");
    }
}

#[test]
fn a_store_file_that_cannot_be_understood_is_told_and_not_raised() {
    let it = filled();
    let Fixture { dir, backend } = it;
    drop(backend);
    fs::write(dir.path().join(".holdall/store.json"), "{").expect("written");
    let backend = FileBackend::new(dir.path(), FileOptions::default());
    assert_eq!(kinds(&verified(&backend)), [("store_file_damaged", None)]);
}

/// A closed store with inline values, changed by this, and opened anew.
pub(super) fn inline_with(sql: &str) -> Fixture {
    let it = inline_fixture();
    for name in ["a", "b", "c"] {
        it.put(name, Format::Json, "[1, 2, 3]");
    }
    it.backend.list("", None, 9).expect("listed");
    it.backend.close().expect("closed");
    let Fixture { dir, backend } = it;
    drop(backend);
    with_database(&dir.path().join(".holdall/inline/values.sqlite"), sql);
    let backend = super::inline::on(dir.path(), BELOW);
    Fixture { dir, backend }
}

#[test]
fn damaged_inline_values_are_told_each_by_its_kind() {
    let of_b = |sql: &str| format!("{sql} WHERE key = CAST('b' AS BLOB)");
    let cases = [
        (of_b("UPDATE entry SET content = CAST('[1, 2, 4]' AS BLOB)"), "content_damaged", true),
        (of_b("UPDATE entry SET content = CAST('[1' AS BLOB)"), "content_truncated", true),
        (of_b("UPDATE entry SET row = zeroblob(50)"), "inline_record_damaged", true),
        (of_b("DELETE FROM entry"), "counters_wrong", false),
        ("DROP TABLE tag".into(), "inline_database_damaged", false),
    ];
    for (sql, kind, is_of_key) in cases {
        let it = inline_with(&sql);
        let key = is_of_key.then_some("b");
        assert_eq!(kinds(&verified(&it.backend)), [(kind, key)], "{sql}");
    }
    assert_eq!(kinds(&verified(&inline_with("").backend)), []);
}

#[test]
fn a_key_in_two_places_is_told() {
    let it = inline_fixture();
    it.put("a", Format::Json, "1");
    it.backend.list("", None, 9).expect("listed");
    let Fixture { dir, backend } = it;
    let opened = backend.opened().expect("open");
    let (row, content) = opened
        .live()
        .expect("writable")
        .inline
        .ask(|values| values.value("a"))
        .expect("read")
        .expect("there");
    let plain = super::inline::on(dir.path(), 0);
    plain.put(put("a", Format::Json, "2")).expect("put");
    let kept = crate::index::Kept { row, content: content.into(), old: None, mends: false };
    let change = crate::index::Change::Keep(std::sync::Arc::new(kept));
    opened.live().expect("writable").inline.commit(vec![change]).expect("kept");
    let report = verified(&plain);
    assert_eq!(kinds(&report), [("in_two_places", Some("a"))]);
}

#[test]
fn writers_that_go_on_meanwhile_are_no_damage() {
    let it = filled();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for writer in 0..2 {
            let (it, stop) = (&it, &stop);
            scope.spawn(move || {
                let mut round = 0_usize;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let text = format!(
                        "{}k{}",
                        if round.is_multiple_of(3) { "f/" } else { "" },
                        round % 7
                    );
                    let formats = [Format::Json, Format::String, Format::Bytes];
                    match (round + writer) % 5 {
                        0 => drop(it.backend.delete(
                            &key(&text),
                            &Condition::Any,
                            Durability::Process,
                        )),
                        n => drop(it.put(&text, formats[n % 3], "[1, 2, 3, 4]")),
                    }
                    round += 1;
                }
            });
        }
        for _ in 0..60 {
            let report = verified(&it.backend);
            if !(report.is_ok() && report.notices.is_empty()) {
                stop.store(true, std::sync::atomic::Ordering::Relaxed);
                panic!("{report:?}");
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn on_a_network_file_system_files_are_verified_and_nothing_is_repaired() {
    let it = filled();
    it.backend.close().expect("closed");
    let Fixture { dir, backend } = it;
    drop(backend);
    let options = super::super::open::OpenOptions {
        allow_network_fs: true,
        lock_timeout: Duration::from_secs(5),
    };
    let opened = Opened::open_on(dir.path(), options, |_| Ok(Some("NFS"))).expect("opened");
    damage(&dir.path().join("a.json"), |content| content[1] ^= 1);
    let inspect = |_: &Key, _: &Record, _: &dyn Reading| Ok(None);
    let unused = FileBackend::new(dir.path(), FileOptions::default());
    let mut work: Box<dyn Verifying> = Box::new(FileVerifying::new(Arc::clone(&opened)));
    let examiner = Examiner { backend: &unused, inspect: &inspect };
    while work.step(examiner).expect("a step").is_some() {}
    let report = work.report();
    assert_eq!(kinds(&report), [("content_damaged", Some("a"))]);
    let plan = opened.mend(&report, &inspect, true, unused.terms()).expect("planned");
    assert_eq!(plan.quarantined.len(), 1);
    let error = opened.mend(&report, &inspect, false, unused.terms()).expect_err("refused");
    assert!(error.to_string().contains("network file system"), "{error}");
}

#[test]
fn stamps_in_files_of_their_own_are_told_when_their_files_are_gone() {
    super::super::stamps::force_folder(true);
    let it = filled();
    fs::remove_file(it.path("f/b.json")).expect("removed by hand");
    let report = verified(&it.backend);
    assert_eq!(kinds(&report), [("index_row_without_file", Some("f/b")), ("leftover", None)]);
    let done = super::repair::cured(&it.backend);
    assert_eq!(done.swept.len(), 1, "{done:?}");
    damage(&it.path("a.json"), |content| content[1] ^= 1);
    let done = super::repair::cured(&it.backend);
    super::super::stamps::force_folder(false);
    assert_eq!(done.quarantined.len(), 1);
    assert_eq!(it.get("f/g/c").expect("read").expect("there").content, b"[1, 2, 3]");
}
