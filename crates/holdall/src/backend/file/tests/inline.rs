//! Values in the database instead of files of their own.

use super::*;

pub(super) const BELOW: u64 = 100;

pub(super) fn on(path: &Path, inline_below: u64) -> FileBackend {
    FileBackend::new(path, FileOptions { inline_below, ..FileOptions::default() })
}

pub(super) fn inline_fixture() -> Fixture {
    let dir = tempfile::tempdir().expect("a temporary directory");
    Fixture { backend: on(dir.path(), BELOW), dir }
}

#[test]
fn inline_values_keep_to_the_rules_of_backends() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let count = std::sync::atomic::AtomicU32::new(0);
    for inline_below in [4, 1_000, u64::MAX] {
        conformance::check(|clock| {
            let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let options = FileOptions { clock, inline_below, ..FileOptions::default() };
            FileBackend::new(dir.path().join(number.to_string()), options)
        });
    }
}

#[test]
fn readers_never_see_a_mixture_of_inline_values_and_files() {
    let it = inline_fixture();
    conformance::readers_never_see_a_mixture(Arc::new(it.backend));
}

#[test]
fn a_value_below_the_threshold_makes_no_file_and_is_read_by_every_manager() {
    let it = inline_fixture();
    it.put("small", Format::Json, "1");
    it.put("large", Format::String, &"x".repeat(BELOW as usize));
    assert_eq!(it.names(), ["large.txt"]);
    let plain = on(it.dir.path(), 0);
    let read = |key: &str| plain.get(&super::key(key), None).expect("read").expect("there");
    assert_eq!(read("small").content, b"1");
    assert_eq!(read("large").content.len() as u64, BELOW);
    // It replaces them as it is told itself.
    plain.put(put("small", Format::Json, "2")).expect("put");
    it.put("large", Format::String, "short");
    assert_eq!(it.names(), ["small.json"]);
    assert_eq!(it.get("small").expect("read").expect("there").content, b"2");
    assert_eq!(read("large").content, b"short");
    let listed = plain.list("", None, 10).expect("listed");
    let listed: Vec<_> = listed.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(listed, ["large", "small"]);
    assert_eq!(plain.totals().expect("counted"), Totals { entries: 2, total_size: 6 });
}

#[test]
fn a_value_keeps_its_creation_when_it_moves_between_file_and_database() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let hands = ManualClock::new();
    let open = |inline_below| {
        let clock = hands.clock();
        FileBackend::new(dir.path(), FileOptions { clock, inline_below, ..FileOptions::default() })
    };
    let (inline, plain) = (open(BELOW), open(0));
    let first = inline.put(put("k", Format::Json, "1")).expect("put").record;
    for backend in [&plain, &inline, &plain] {
        hands.advance(std::time::Duration::from_secs(1));
        let etag = inline.head(&key("k")).expect("read").expect("there").etag();
        let saved = Put { condition: Condition::Matches(etag), ..put("k", Format::Json, "2") };
        let next = backend.put(saved).expect("it is the one").record;
        assert_eq!(next.created, first.created);
        let absent = Put { condition: Condition::Absent, ..put("k", Format::Json, "3") };
        assert_eq!(backend.put(absent).expect_err("there").kind(), ErrorKind::Conflict);
    }
}

#[test]
fn an_inline_value_has_no_file_to_be_located_and_the_error_says_what_to_do() {
    let it = inline_fixture();
    it.put("k", Format::Npy, "1");
    let error = it.backend.locate(&key("k")).expect_err("no file");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("inline_below=0"), "{error}");
}

#[test]
fn a_damaged_inline_value_is_reported_and_can_be_replaced_or_deleted() {
    let it = inline_fixture();
    for text in ["a", "b", "c"] {
        it.put(text, Format::Json, text);
    }
    it.backend.close().expect("closed");
    let path = it.dir.path().join(".holdall/inline/values.sqlite");
    let damage = |sql: &str| {
        // In a process that has the store open only after it was closed.
        let connection = crate::index::open_to_change(&path).expect("opened");
        connection.execute(sql, []).expect("damaged");
    };
    damage("UPDATE entry SET row = X'00' || substr(row, 2) WHERE key = CAST('a' AS BLOB)");
    damage("UPDATE entry SET content = X'00' WHERE key = CAST('b' AS BLOB)");
    for text in ["a", "b"] {
        assert_eq!(it.get(text).expect_err("reported").kind(), ErrorKind::Corrupt, "{text}");
    }
    assert_eq!(it.get("c").expect("read").expect("there").content, b"c");
    let absent = Put { condition: Condition::Absent, ..put("a", Format::Json, "2") };
    assert_eq!(it.backend.put(absent).expect_err("damaged").kind(), ErrorKind::Corrupt);
    it.put("a", Format::Json, "new");
    assert!(it.backend.delete(&key("b"), &Condition::Any, Durability::Process).expect("deleted"));
    assert_eq!(it.get("a").expect("read").expect("there").content, b"new");
    assert!(it.get("b").expect("read").is_none());
    assert_eq!(it.backend.totals().expect("counted"), Totals { entries: 2, total_size: 4 });
    it.backend.close().expect("closed");
    damage("UPDATE entry SET row = X'00' || substr(row, 2) WHERE key = CAST('c' AS BLOB)");
    assert!(it.backend.delete(&key("c"), &Condition::Any, Durability::Process).expect("deleted"));
    assert_eq!(it.backend.totals().expect("counted"), Totals { entries: 1, total_size: 3 });
}

#[test]
fn a_database_that_is_lost_is_never_thrown_away_and_files_go_on_working() {
    let it = inline_fixture();
    it.put("inline", Format::Json, "1");
    on(it.dir.path(), 0).put(put("file", Format::Json, "2")).expect("put");
    let it = reopened(it);
    let path = it.dir.path().join(".holdall/inline/values.sqlite");
    for garbage in [&b"not a database "[..], b""] {
        let garbage = garbage.repeat(1_000);
        fs::write(&path, &garbage).expect("overwritten");
        let it =
            Fixture { backend: on(it.dir.path(), BELOW), dir: tempfile::tempdir().expect("any") };
        let error = it.get("inline").expect_err("lost");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("restore .holdall/inline from a backup"), "{error}");
        assert_eq!(it.get("file").expect("read").expect("there").content, b"2");
        it.put("another", Format::Json, "3");
        assert_eq!(it.get("another").expect("read").expect("there").content, b"3");
        // Somebody still has to see that there is something that they do not see.
        assert_eq!(it.backend.list("", None, 9).expect_err("reported").kind(), ErrorKind::Corrupt);
        assert_eq!(fs::read(&path).expect("there"), garbage);
    }
}

#[test]
fn nobody_else_can_read_the_database_and_no_link_is_followed_to_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let it = inline_fixture();
    it.put("k", Format::Json, "1");
    let folder = it.dir.path().join(".holdall/inline");
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o7777;
    assert_eq!(mode(&folder), 0o700);
    for entry in fs::read_dir(&folder).expect("there") {
        let path = entry.expect("read").path();
        assert_eq!(mode(&path), 0o600, "{path:?}");
    }
    let it = inline_fixture();
    it.put("file", Format::Json, &"1".repeat(200));
    let elsewhere = tempfile::tempdir().expect("a temporary directory");
    symlink(elsewhere.path(), it.dir.path().join(".holdall/inline")).expect("linked");
    // It becomes a file.
    it.put("k", Format::Json, "1");
    assert_eq!(it.names(), ["file.json", "k.json"]);
    assert_eq!(fs::read_dir(elsewhere.path()).expect("there").count(), 0);
}

#[test]
fn a_file_that_was_removed_by_hand_is_not_counted_beside_the_inline_value() {
    let it = inline_fixture();
    let plain = on(it.dir.path(), 0);
    plain.put(put("k", Format::Json, "22")).expect("put");
    plain.put(put("other", Format::Json, "1")).expect("put");
    fs::remove_file(it.path("k.json")).expect("removed");
    it.put("k", Format::Json, "1");
    assert_eq!(it.backend.totals().expect("counted"), Totals { entries: 2, total_size: 2 });
    assert_eq!(it.backend.list("", None, 9).expect("listed").len(), 2);
}

#[test]
fn a_listing_never_leaves_out_a_value_that_moves_meanwhile() {
    let it = inline_fixture();
    let plain = on(it.dir.path(), 0);
    for number in 0..6 {
        it.put(&format!("k{number}"), Format::Json, "1");
    }
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (it, plain, done) = (&it, &plain, &done);
        scope.spawn(move || {
            for number in 0..60 {
                let backend = if number % 2 == 0 { plain } else { &it.backend };
                let key = format!("k{}", number % 6);
                backend.put(put(&key, Format::Json, "2")).expect("put");
            }
            done.store(true, std::sync::atomic::Ordering::Release);
        });
        while !done.load(std::sync::atomic::Ordering::Acquire) {
            for limit in [2, 100] {
                let mut listed: Vec<Key> = Vec::new();
                loop {
                    let page = plain.list("", listed.last(), limit).expect("listed");
                    listed.extend(page.iter().map(|(key, _)| key.clone()));
                    if page.len() < limit {
                        break;
                    }
                }
                let listed: Vec<_> = listed.iter().map(Key::as_str).collect();
                assert_eq!(listed, ["k0", "k1", "k2", "k3", "k4", "k5"]);
                let first = plain.keys("", None, limit).expect("listed");
                assert!(first.iter().eq(listed.iter().copied().take(limit)));
            }
        }
    });
}

#[test]
fn a_store_without_inline_values_has_no_database() {
    let it = fixture();
    it.put("k", Format::Json, "1");
    it.get("k").expect("read");
    assert!(it.get("missing").expect("read").is_none());
    it.backend.list("", None, 9).expect("listed");
    it.backend.close().expect("closed");
    assert!(!it.dir.path().join(".holdall/inline").exists());
}

#[test]
fn what_a_process_left_that_was_killed_while_it_made_the_database_goes() {
    let it = inline_fixture();
    it.put("k", Format::Json, "1");
    let folder = it.path(".holdall/inline");
    let left = ["", "-wal", "-shm"].map(|end| format!("values.sqlite.0123456789abcdef{end}"));
    for name in left.iter().map(String::as_str).chain(["values.sqlite.backup"]) {
        fs::write(folder.join(name), "").expect("written");
    }
    let Fixture { dir, backend } = it;
    drop(backend);
    let it = Fixture { backend: on(dir.path(), BELOW), dir };
    assert_eq!(it.get("k").expect("read").expect("there").content, b"1");
    assert!(left.iter().all(|name| !folder.join(name).exists()));
    assert!(folder.join("values.sqlite.backup").exists());
}

#[test]
fn what_was_left_of_a_database_in_the_making_goes_though_the_store_is_in_use() {
    let it = inline_fixture();
    it.put("k", Format::Json, "1");
    let folder = it.path(".holdall/inline");
    let left = ["", "-wal", "-shm"].map(|end| format!("values.sqlite.0123456789abcdef{end}"));
    for name in &left {
        fs::write(folder.join(name), "").expect("written");
    }
    // Beside the fixture's, as another process would.
    let options =
        OpenOptions { allow_network_fs: false, lock_timeout: std::time::Duration::from_secs(5) };
    let other = Opened::open(it.dir.path(), options).expect("opened");
    other.live().expect("open").inline.ready().expect("opened");
    assert!(left.iter().all(|name| !folder.join(name).exists()));
    assert_eq!(it.get("k").expect("read").expect("there").content, b"1");
}

#[test]
fn a_clock_that_was_lost_hides_no_inline_value() {
    let it = inline_fixture();
    it.put("k", Format::Json, "1");
    let Fixture { dir, backend } = it;
    drop(backend);
    fs::remove_file(dir.path().join(".holdall/clock")).expect("removed");
    let it = Fixture { backend: on(dir.path(), 0), dir };
    assert_eq!(it.get("k").expect("read").expect("there").content, b"1");
    let before = it.backend.head(&key("k")).expect("read").expect("there");
    let after = it.put("k", Format::Json, "2");
    assert!(after.generation > before.generation);
    assert_eq!(it.backend.totals().expect("counted").entries, 1);
}

#[test]
fn a_forked_child_reads_and_writes_inline_values_and_so_does_its_parent() {
    let it = inline_fixture();
    it.put("before", Format::Json, "1");
    let reads = |it: &Fixture, text: &str| {
        it.get(text).is_ok_and(|found| found.is_some_and(|found| found.content == b"1"))
    };
    assert!(crate::fork::tests_support::in_child(|| {
        let written = it.backend.put(put("child", Format::Json, "1")).is_ok();
        written && reads(&it, "before") && reads(&it, "child")
    }));
    it.put("after", Format::Json, "1");
    for text in ["before", "child", "after"] {
        assert!(reads(&it, text), "{text}");
    }
}

/// What a writer leaves that dies after it has placed `newer` and before it has removed the other:
/// with `file_wins` a file over an inline value, else an inline value over a file.
pub(super) fn half_moved(file_wins: bool) -> Fixture {
    let it = inline_fixture();
    let plain = on(it.dir.path(), 0);
    let save = |newer: bool| {
        let backend = if newer == file_wins { &plain } else { &it.backend };
        backend.put(put("k", Format::Json, if newer { "22" } else { "1" })).expect("put");
        it.backend.close().expect("closed");
    };
    let (file, database) = (it.path("k.json"), it.path(".holdall/inline/values.sqlite"));
    let (kept, other) = (it.path("kept"), if file_wins { &database } else { &file });
    // A hard link keeps the file with its stamp; the database is written to, so it is copied.
    save(false);
    if file_wins {
        fs::copy(other, &kept).expect("copied");
    } else {
        fs::hard_link(other, &kept).expect("linked");
    }
    save(true);
    let Fixture { dir, backend } = it;
    drop((backend, plain));
    fs::rename(&kept, other).expect("put back");
    let it = Fixture { backend: on(dir.path(), BELOW), dir };
    let live = it.backend.opened().expect("open");
    live.live().expect("writable").clock.set_diverged(true);
    it
}

#[test]
fn of_a_file_and_an_inline_value_that_a_dead_writer_has_left_the_newer_is_the_value() {
    for file_wins in [true, false] {
        for other in [false, true] {
            let it = half_moved(file_wins);
            let backend = on(it.dir.path(), if other { 0 } else { BELOW });
            let record = backend.head(&key("k")).expect("read").expect("there");
            assert_eq!(record.length, 2);
            let content = || it.get("k").expect("read").expect("there").content;
            assert_eq!(content(), b"22");
            let mut whole = [0; 9];
            let (_, reading) = backend.reader(&key("k")).expect("open").expect("there");
            assert_eq!(reading.read_at(&mut whole, 0).expect("read"), 2);
            // The scan removes the older one.
            assert_eq!(backend.list("", None, 9).expect("listed").len(), 1);
            assert_eq!(backend.totals().expect("counted"), Totals { entries: 1, total_size: 2 });
            assert_eq!(it.path("k.json").exists(), file_wins);
            assert_eq!(content(), b"22");
        }
    }
}

#[test]
fn what_a_dead_writer_has_left_in_two_places_is_replaced_and_removed_as_one_value() {
    for file_wins in [true, false] {
        for inline_below in [0, BELOW] {
            let it = half_moved(file_wins);
            let backend = on(it.dir.path(), inline_below);
            let absent = Put { condition: Condition::Absent, ..put("k", Format::Json, "333") };
            assert_eq!(backend.put(absent).expect_err("there").kind(), ErrorKind::Conflict);
            backend.put(put("k", Format::Json, "333")).expect("put");
            assert_eq!(it.path("k.json").exists(), inline_below == 0);
            assert_eq!(it.get("k").expect("read").expect("there").content, b"333");
            assert_eq!(backend.totals().expect("counted"), Totals { entries: 1, total_size: 3 });
        }
        let it = half_moved(file_wins);
        assert!(it.backend.set_ttl(&key("k"), Some(60_000), Durability::Disk).is_ok());
        assert_eq!(it.get("k").expect("read").expect("there").content, b"22");
        let deleted = it.backend.delete(&key("k"), &Condition::Any, Durability::Process);
        assert!(deleted.expect("deleted"));
        assert!(it.get("k").expect("read").is_none());
        assert_eq!(it.backend.totals().expect("counted"), Totals::default());
    }
}

#[test]
fn any_damage_to_the_database_is_an_error_or_the_right_value_never_another() {
    let it = inline_fixture();
    let content = |number: usize| format!("\"value {number} {}\"", "x".repeat(number));
    for number in 0..20 {
        it.put(&format!("k{number}"), Format::Json, &content(number));
    }
    it.put("file", Format::Json, &"1".repeat(BELOW as usize));
    it.backend.close().expect("closed");
    let path = it.path(".holdall/inline/values.sqlite");
    let Fixture { dir, backend } = it;
    drop(backend);
    let whole = fs::read(&path).expect("there");
    let (mut right, mut errors) = (0, 0);
    let used: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != 0).collect();
    // Every byte, but only some keys for each, so that it takes seconds.
    for (round, at) in used.iter().enumerate() {
        let mut damaged = whole.clone();
        damaged[*at] ^= 1 << (round % 8);
        let is_alone = round.is_multiple_of(2);
        if !is_alone {
            damaged[*at / 4_096 * 4_096 + (at + 2_000) % 4_096] ^= 8;
        }
        fs::write(&path, &damaged).expect("damaged");
        let backend = on(dir.path(), 0);
        for number in [round % 20, (round + 7) % 20] {
            match backend.get(&key(&format!("k{number}")), None) {
                Ok(Some(found)) => {
                    assert_eq!(found.content, content(number).as_bytes(), "byte {at}");
                    right += 1;
                }
                Ok(None) => panic!("bits of byte {at}: k{number} looks missing"),
                Err(error) => {
                    assert!(!is_alone, "one bit of byte {at}: {error}");
                    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                    errors += 1;
                }
            }
        }
        assert!(backend.get(&key("file"), None).expect("read").is_some());
    }
    assert!(errors > 50 && right > 50, "{right} right, {errors} errors");
}

#[test]
fn a_value_that_moves_between_two_looks_of_a_listing_is_listed_and_counted_once() {
    for becomes_inline in [true, false] {
        let it = inline_fixture();
        let plain = on(it.dir.path(), 0);
        let (before, after) =
            if becomes_inline { (&plain, &it.backend) } else { (&it.backend, &plain) };
        it.put("other", Format::Json, "1");
        before.put(put("k", Format::Json, "1")).expect("put");
        let opened = it.backend.opened().expect("open");
        let moved = std::cell::Cell::new(false);
        let page = |index: &dyn Index| {
            let rows = index.page("", None, 9)?;
            if !moved.replace(true) {
                after.put(put("k", Format::Json, "2"))?;
            }
            Ok(rows)
        };
        let page =
            opened.page(it.backend.terms(), 9, super::super::inline::by_key, page).expect("listed");
        let keys: Vec<_> = page.rows.iter().map(|row| row.key.as_str()).collect();
        assert_eq!(keys, ["k", "other"]);
        assert_eq!(it.backend.totals().expect("counted").entries, 2);
    }
}
