mod damage;
mod left_log;
mod log;
mod model;
mod processes;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Barrier;
use std::thread;

use super::super::row::MAX_RECORD;
use super::*;

/// A row whose every field follows from the key and the generation.
fn row(key: &str, generation: u64) -> Row {
    let seed = checksum_of(key) ^ generation;
    Row {
        key: key.into(),
        generation,
        size: seed % 10_000,
        expires_at: seed.is_multiple_of(3).then_some(seed % 500),
        format: "json".into(),
        foreign: seed.is_multiple_of(5),
        tags: (0..seed % 3).map(|i| format!("tag{}", (seed / 7 + i) % 4)).collect(),
        record: vec![seed as u8; 60 + (seed % 80) as usize],
    }
}

fn checksum_of(key: &str) -> u64 {
    super::super::row::checksum(key.as_bytes(), b"") >> 8
}

fn put(key: &str, generation: u64) -> Change {
    Change::Put(row(key, generation))
}

fn new_index(folder: &Path) -> SqliteIndex {
    SqliteIndex::new(folder.join("index"), Clock::system())
}

fn every_row(index: &SqliteIndex) -> Result<Vec<Row>> {
    index.page("", None, usize::MAX)
}

#[test]
fn a_clean_close_keeps_everything_and_the_next_call_opens_again() {
    let folder = tempfile::tempdir().unwrap();
    let index = new_index(folder.path());
    index.apply(&[put("a", 1), put("b", 2)]).unwrap();
    index.set_complete(true).unwrap();
    index.close().unwrap();
    let names = fs::read_dir(folder.path().join("index")).unwrap();
    let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["index.sqlite", "writers.lock"]);
    assert_eq!(index.totals().unwrap().entries, 2);
    assert!(new_index(folder.path()).is_complete().unwrap());
    index.check().unwrap();
}

#[test]
fn all_who_make_a_database_at_once_have_it_though_the_first_removes_the_drafts_of_the_others() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let names = || fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let begin = Barrier::new(3);
        let make = || {
            begin.wait();
            open::database(folder.path(), &role::VALUES).unwrap();
            let is_draft = |path: &PathBuf| path.file_name() != Some("values.sqlite".as_ref());
            names().filter(is_draft).for_each(|path| drop(fs::remove_file(path)));
        };
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(make);
            }
        });
        assert_eq!(names().collect::<Vec<_>>(), [folder.path().join("values.sqlite")]);
        SqliteIndex::values(folder.path(), Clock::system()).totals().unwrap();
    }
}

#[test]
fn another_handle_sees_a_commit_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (new_index(folder.path()), new_index(folder.path()));
    for generation in 1..20 {
        one.apply(&[put("a", generation)]).unwrap();
        assert_eq!(two.get("a").unwrap(), Some(row("a", generation)));
        two.apply(&[Change::Remove { key: "a".into(), generation: None }]).unwrap();
        assert_eq!(one.get("a").unwrap(), None);
    }
}

const MODES: &str = "index::sqlite::tests::helper_that_looks_at_modes";

#[test]
#[ignore = "run by the test below, in its own process"]
fn helper_that_looks_at_modes() {
    let (folder, umask) = processes::arguments();
    let umask = u32::from_str_radix(&umask, 8).unwrap();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(umask));
    let index = new_index(&folder);
    index.apply(&[put("a", 1)]).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&folder.join("index")), 0o700);
    for name in ["index.sqlite", "index.sqlite-wal", "index.sqlite-shm", "writers.lock"] {
        assert_eq!(mode(&folder.join("index").join(name)), 0o600, "{name}");
    }
}

#[test]
fn files_are_for_their_owner_only_whatever_the_umask() {
    for umask in ["000", "022", "777"] {
        let folder = tempfile::tempdir().unwrap();
        processes::finish(processes::start(MODES, folder.path(), umask));
    }
}

#[test]
fn a_symbolic_link_in_place_of_the_database_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let victim = folder.path().join("victim");
    fs::write(&victim, "").unwrap();
    fs::set_permissions(&victim, fs::Permissions::from_mode(0o644)).unwrap();
    fs::create_dir(folder.path().join("index")).unwrap();
    std::os::unix::fs::symlink(&victim, folder.path().join("index/index.sqlite")).unwrap();
    assert!(new_index(folder.path()).apply(&[put("a", 1)]).is_err());
    assert_eq!(fs::read(&victim).unwrap(), b"");
    assert_eq!(fs::metadata(&victim).unwrap().permissions().mode() & 0o777, 0o644);
}

/// An index with one row that was closed, and what somebody else has done to it then.
fn changed_by(sql: &str) -> (tempfile::TempDir, SqliteIndex) {
    let folder = tempfile::tempdir().unwrap();
    let index = new_index(folder.path());
    index.apply(&[put("a", 1)]).unwrap();
    index.close().unwrap();
    let other = open_to_change(folder.path().join("index/index.sqlite")).unwrap();
    other.execute_batch(sql).unwrap();
    (folder, index)
}

#[test]
fn another_version_another_schema_or_no_database_at_all_is_corrupt() {
    let changes = [
        "PRAGMA user_version = 0",
        // One bit of the version, and nothing else that tells of a later release.
        "PRAGMA user_version = 3",
        "CREATE TABLE more(a)",
        "DROP TABLE tag",
        "CREATE TRIGGER t AFTER INSERT ON entry BEGIN DELETE FROM meta; END",
        "DELETE FROM meta",
        "UPDATE meta SET value = 'x'",
        "UPDATE entry SET row = 7",
        "UPDATE entry SET key = 'text'",
        "UPDATE entry SET expires_at = 12345",
        "PRAGMA journal_mode = DELETE",
    ];
    for sql in changes {
        let (_folder, index) = changed_by(sql);
        let error = index.check().expect_err(sql);
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{sql}: {error}");
    }
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("index")).unwrap();
    fs::write(folder.path().join("index/index.sqlite"), "not a database ".repeat(1_000)).unwrap();
    let error = new_index(folder.path()).get("a").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[test]
fn the_second_witness_of_the_version_is_asked_of_later_versions_only() {
    let (_folder, index) = changed_by("PRAGMA application_id = 0");
    assert_eq!(index.get("a").unwrap().unwrap(), row("a", 1));
}

#[test]
fn a_header_that_forbids_to_write_is_damage_at_once() {
    let (folder, index) = changed_by("");
    let path = folder.path().join("index/index.sqlite");
    let mut bytes = fs::read(&path).unwrap();
    // The version of the format that is needed to write.
    bytes[18] ^= 1;
    // Another one, for one alone is put right.
    bytes[4_095] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert_eq!(index.get("a").unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn a_later_version_is_told_from_damage() {
    let (folder, index) = changed_by("PRAGMA user_version = 3; PRAGMA application_id = 0x686f6c03");
    let path = folder.path().join("index/index.sqlite");
    let error = index.get("a").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Version, "{error}");
    let head: Vec<u8> = fs::read(&path).unwrap().into_iter().take(HEAD).collect();
    assert_eq!(later_version(&head.try_into().unwrap()), Some(3));
}

#[test]
fn a_full_disk_is_an_error_of_the_system_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let index = new_index(folder.path());
    index.apply(&[put("a", 1)]).unwrap();
    let limit = |pages: i64| {
        index.with(|handles| {
            locked(&handles.writer).pragma_update(None, "max_page_count", pages).unwrap();
            Ok(())
        })
    };
    limit(8).unwrap();
    let many: Vec<Change> = (0..1_000).map(|i| put(&format!("key{i}"), 1)).collect();
    let error = index.apply(&many).unwrap_err();
    assert_eq!((error.kind(), error.os_error()), (ErrorKind::Io, Some(libc::ENOSPC)));
    assert_eq!(every_row(&index).unwrap(), [row("a", 1)]);
    limit(100_000).unwrap();
    index.apply(&many).unwrap();
    assert_eq!(index.totals().unwrap().entries, 1_001);
}

#[test]
fn a_change_that_is_refused_undoes_the_others_of_its_call() {
    let folder = tempfile::tempdir().unwrap();
    let index = new_index(folder.path());
    let long = Row { record: vec![0; MAX_RECORD + 1], ..row("b", 1) };
    let error = index.apply(&[put("a", 1), Change::Put(long)]).unwrap_err();
    assert_eq!((error.kind(), error.key()), (ErrorKind::InvalidArgument, Some("b")));
    assert_eq!(every_row(&index).unwrap(), []);
}

#[test]
fn absurdly_long_questions_are_answered_and_do_not_look_like_damage() {
    let folder = tempfile::tempdir().unwrap();
    let index = new_index(folder.path());
    index.apply(&[put("a", 1), put("y", 1)]).unwrap();
    let long = "x".repeat(3 << 20);
    assert_eq!(index.get(&long).unwrap(), None);
    assert_eq!(index.page(&long, None, 10).unwrap(), []);
    assert_eq!(index.page("", Some(&long), 10).unwrap(), [row("y", 1)]);
    assert_eq!(index.tagged(&long, Some(&long), 10).unwrap(), []);
    index.apply(&[Change::Remove { key: long, generation: None }]).unwrap();
    assert_eq!(index.totals().unwrap().entries, 2);
}

#[test]
fn sizes_beyond_a_u64_are_counted_and_shown_as_the_largest() {
    let folder = tempfile::tempdir().unwrap();
    let index = new_index(folder.path());
    let huge = |key: &str| Change::Put(Row { size: u64::MAX, ..row(key, 1) });
    index.apply(&[huge("a"), huge("b")]).unwrap();
    assert_eq!(index.totals().unwrap().total_size, u64::MAX);
    index.apply(&[Change::Remove { key: "a".into(), generation: None }]).unwrap();
    index.apply(&[Change::Put(Row { size: 5, ..row("b", 1) })]).unwrap();
    assert_eq!(index.totals().unwrap().total_size, 5);
}

#[test]
fn a_peer_that_never_lets_go_makes_a_write_busy_and_holds_up_no_read() {
    let folder = tempfile::tempdir().unwrap();
    let hands = crate::clock::ManualClock::new();
    let index = SqliteIndex::new(folder.path().join("index"), hands.clock());
    index.apply(&[put("a", 1)]).unwrap();
    let queue = open::queue(&folder.path().join("index")).unwrap();
    assert!(ofd::try_lock(queue.as_fd(), 0, 1, true).unwrap());
    let error = std::thread::scope(|scope| {
        let writer = scope.spawn(|| index.apply(&[put("b", 1)]));
        assert_eq!(index.get("a").unwrap(), Some(row("a", 1)));
        while !writer.is_finished() {
            hands.advance(std::time::Duration::from_secs(1));
            std::thread::yield_now();
        }
        writer.join().unwrap().unwrap_err()
    });
    assert_eq!(error.kind(), ErrorKind::Busy);
    drop(queue);
    index.apply(&[put("b", 1)]).unwrap();
    assert_eq!(index.totals().unwrap().entries, 2);
}

#[test]
fn the_page_on_the_layout_has_the_tables_of_inline_values_word_for_word() {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let page = words(include_str!("../../../../../../docs/disk-layout.md"));
    for (name, sql) in role::VALUES.schema {
        assert!(page.contains(&words(sql)), "{name}");
    }
}
