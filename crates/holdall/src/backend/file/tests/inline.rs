//! Values in the database instead of files of their own.

use super::*;

const BELOW: u64 = 100;

fn on(path: &Path, inline_below: u64) -> FileBackend {
    FileBackend::new(path, FileOptions { inline_below, ..FileOptions::default() })
}

fn inline_fixture() -> Fixture {
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
        let connection = rusqlite::Connection::open(&path).expect("opened");
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
fn what_is_durable_is_flushed_before_it_is_acknowledged_and_without_a_lock() {
    let it = inline_fixture();
    let durable = |text: &str| Put { durability: Durability::Disk, ..put("k", Format::Json, text) };
    for text in ["1", "2"] {
        it.backend.put(durable(text)).expect("put");
        assert_eq!(it.get("k").expect("read").expect("there").content, text.as_bytes());
    }
    assert!(it.backend.delete(&key("k"), &Condition::Any, Durability::Disk).expect("deleted"));
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
