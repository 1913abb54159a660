//! Inline values and power cuts: what is flushed, when, and what stands when that fails.

use std::cell::RefCell;
use std::rc::Rc;

use super::inline::{BELOW, half_moved, inline_fixture, on};
use super::inline_damage::{root, zero_page};
use super::*;
use crate::flush::tests_support::{FlushLog, fail_flush};
use crate::index::SqliteIndex;

fn durable(text: &str, content: &str) -> Put {
    Put { durability: Durability::Disk, ..put(text, Format::Json, content) }
}

/// The last parts of the paths that this thread flushes meanwhile; the folder of the store is "".
fn flushed(it: &Fixture, work: impl FnOnce()) -> Vec<String> {
    let log = FlushLog::begin();
    work();
    let base = it.dir.path().canonicalize().expect("there");
    let last = |path: &Path| {
        if path == base {
            return String::new();
        }
        path.file_name().expect("a name").to_string_lossy().into_owned()
    };
    log.end().iter().map(|path| last(path)).collect()
}

const LOG: &str = "values.sqlite-wal";

/// Folds the log in to its end, as the pool does.
fn fold(it: &Fixture) {
    let opened = it.backend.opened().expect("open");
    opened.live().expect("writable").inline.ask(SqliteIndex::checkpoint).expect("folded in");
}

#[test]
fn what_is_durable_is_flushed_before_it_is_acknowledged_and_without_a_lock() {
    let it = inline_fixture();
    it.put("k", Format::Json, "0");
    let save = |text: &'static str| {
        move |it: &Fixture| {
            it.backend.put(durable("k", text)).expect("put");
        }
    };
    let delete = |it: &Fixture| {
        it.backend.delete(&key("k"), &Condition::Any, Durability::Disk).expect("deleted");
    };
    let end = |it: &Fixture| {
        it.backend.set_ttl(&key("k"), Some(60_000), Durability::Disk).expect("set");
    };
    let works: [&dyn Fn(&Fixture); 4] = [&save("1"), &save("2"), &end, &delete];
    for work in works {
        let opened = it.backend.opened().expect("open");
        let free = Rc::new(RefCell::new(Vec::new()));
        let seen = Rc::clone(&free);
        let log = FlushLog::looking(move |path| {
            if path.ends_with(LOG) {
                let locks = &opened.live().expect("writable").locks;
                seen.borrow_mut().push(locks.try_lock(key("k").stripe()).expect("asked").is_some());
            }
        });
        work(&it);
        drop(log.end());
        assert_eq!(*free.borrow(), [true], "flushed once, and nobody was kept waiting");
    }
    assert_eq!(flushed(&it, || drop(it.put("k", Format::Json, "3"))), [""; 0]);
}

#[test]
fn a_log_that_could_not_be_flushed_fails_the_save_and_is_folded_in_before_the_next() {
    let it = inline_fixture();
    it.put("k", Format::Json, "0");
    it.put("other", Format::Json, "0");
    fail_flush(0);
    let error = it.backend.put(durable("k", "1")).expect_err("not on the disk");
    assert_eq!((error.kind(), error.os_error()), (ErrorKind::Io, Some(libc::EIO)));
    assert!(error.to_string().contains(LOG), "{error}");
    let has_lost = || {
        let opened = it.backend.opened().expect("open");
        let inline = &opened.live().expect("writable").inline;
        inline.ask(|values| Ok(values.has_log_in_doubt())).expect("asked")
    };
    assert!(has_lost());
    it.backend.put(durable("k", "2")).expect("put");
    assert!(!has_lost());
    it.backend.delete(&key("other"), &Condition::Any, Durability::Disk).expect("deleted");
}

#[test]
fn a_log_that_could_not_be_flushed_stays_so_when_the_database_is_closed_for_a_fork() {
    let it = inline_fixture();
    it.put("k", Format::Json, "0");
    // As another process, it keeps the log from being folded in by whoever closes last.
    let peer = SqliteIndex::values(it.path(".holdall/inline"), crate::clock::Clock::system());
    peer.open_now().expect("open");
    fail_flush(0);
    it.backend.put(durable("k", "1")).expect_err("not on the disk");
    let opened = it.backend.opened().expect("open");
    let inline = &opened.live().expect("writable").inline;
    drop(inline.suspend());
    let has_lost = || inline.ask(|values| Ok(values.has_log_in_doubt())).expect("asked");
    assert!(has_lost(), "nothing has made that good");
    inline.flush().expect("folded in, and flushed");
    assert!(!has_lost());
}

#[test]
fn a_file_is_flushed_before_the_inline_value_that_it_replaces_goes() {
    let it = inline_fixture();
    it.put("f/k", Format::Json, "1");
    let plain = on(it.dir.path(), 0);
    let names = flushed(&it, || drop(plain.put(put("f/k", Format::Json, "2")).expect("put")));
    // The file, its folder, the base; then the removal.
    assert_eq!(names[1..4], ["f", "", LOG], "{names:?}");
    // A flush that fails leaves both, and the newer one counts.
    it.put("f/k", Format::Json, "3");
    fail_flush(1);
    assert_eq!(
        plain.put(put("f/k", Format::Json, "4")).expect_err("refused").kind(),
        ErrorKind::Io
    );
    let content = it.get("f/k").expect("read").expect("there").content;
    assert!(content == b"3" || content == b"4");
    assert_eq!(plain.totals().expect("counted").entries, 1);
    assert_eq!(it.get("f/k").expect("read").expect("there").content, content);
}

#[test]
fn the_log_is_flushed_before_the_file_that_an_inline_value_replaces_goes() {
    let it = inline_fixture();
    let plain = on(it.dir.path(), 0);
    plain.put(put("k", Format::Json, "1")).expect("put");
    let file = it.path("k.json");
    let there = Rc::new(RefCell::new(Vec::new()));
    let (seen, path) = (Rc::clone(&there), file.clone());
    let log = FlushLog::looking(move |flushed| {
        if flushed.ends_with(LOG) {
            seen.borrow_mut().push(path.exists());
        }
    });
    it.put("k", Format::Json, "2");
    let last = log.end().pop().expect("flushed");
    assert_eq!(*there.borrow(), [true]);
    assert!(!file.exists());
    assert_eq!(last, it.dir.path().canonicalize().expect("there"), "the removal");
    // A flush that fails leaves the file, and it is the value.
    plain.put(put("k", Format::Json, "3")).expect("put");
    fail_flush(0);
    let refused = it.backend.put(put("k", Format::Json, "4")).expect_err("refused");
    assert_eq!(refused.kind(), ErrorKind::Io);
    assert_eq!(it.get("k").expect("read").expect("there").content, b"3");
    assert_eq!(it.backend.totals().expect("counted"), Totals { entries: 1, total_size: 1 });
}

#[test]
fn a_save_over_two_places_that_cannot_be_flushed_brings_back_no_older_value() {
    // An older file beside the inline value, and a third one that cannot be flushed.
    let it = half_moved(false);
    fail_flush(0);
    let refused = it.backend.put(put("k", Format::Json, "333")).expect_err("refused");
    assert_eq!(refused.kind(), ErrorKind::Io);
    assert_ne!(it.get("k").expect("read").expect("there").content, b"1");
    fold(&it);
    assert_eq!(it.backend.totals().expect("counted").entries, 1);
    assert_ne!(it.get("k").expect("read").expect("there").content, b"1");
}

#[test]
fn a_delete_that_cannot_remove_the_older_inline_value_leaves_the_newer_file() {
    let it = half_moved(true);
    it.backend.close().expect("closed");
    let Fixture { dir, backend } = it;
    drop(backend);
    // The value can be read, but no commit succeeds.
    let database = dir.path().join(".holdall/inline/values.sqlite");
    zero_page(&database, root(&database, "meta"));
    let it = Fixture { backend: on(dir.path(), BELOW), dir };
    let opened = it.backend.opened().expect("open");
    opened.live().expect("writable").clock.set_diverged(true);
    let keys = [key("k")];
    let removed = it.backend.delete_many(&keys, Durability::Process).pop().expect("one");
    assert!(removed.is_err(), "the older value would come back");
    assert_eq!(it.get("k").expect("read").expect("there").content, b"22");
}

#[test]
fn of_two_places_the_older_is_removed_for_good_before_the_newer_goes() {
    // The file is the value.
    let it = half_moved(true);
    let there = Rc::new(RefCell::new(Vec::new()));
    let (seen, file) = (Rc::clone(&there), it.path("k.json"));
    let log = FlushLog::looking(move |flushed| {
        if flushed.ends_with(LOG) {
            seen.borrow_mut().push(file.exists());
        }
    });
    assert!(it.backend.delete(&key("k"), &Condition::Any, Durability::Disk).expect("deleted"));
    drop(log.end());
    assert_eq!(there.borrow().first(), Some(&true), "a power cut must not bring it back");
    assert!(it.get("k").expect("read").is_none());
    // So is the flush that fails.
    let it = half_moved(true);
    fail_flush(0);
    assert!(it.backend.delete(&key("k"), &Condition::Any, Durability::Process).is_err());
    assert_eq!(it.get("k").expect("read").expect("there").content, b"22");
    // The inline value is the value.
    let it = half_moved(false);
    let delete = || it.backend.delete(&key("k"), &Condition::Any, Durability::Disk);
    // Those of this process are the first to be durable, so the store's own names are too.
    let names = flushed(&it, || assert!(delete().expect("deleted")));
    assert_eq!(names[..4], ["", LOG, "inline", ".holdall"], "{names:?}");
    let it = half_moved(false);
    fail_flush(0);
    assert!(it.backend.delete(&key("k"), &Condition::Any, Durability::Process).is_err());
    assert_eq!(it.get("k").expect("read").expect("there").content, b"22");
}

#[test]
fn a_durable_delete_leaves_nothing_anywhere() {
    let it = inline_fixture();
    let plain = on(it.dir.path(), 0);
    let delete = || {
        flushed(&it, || {
            it.backend.delete(&key("f/k"), &Condition::Any, Durability::Disk).expect("done");
        })
    };
    plain.put(durable("f/seed", "1")).expect("put");
    it.backend.put(durable("seed", "1")).expect("put");
    // A writer that died may have removed an inline value, or a file, without a flush.
    it.backend.put(durable("f/k", "1")).expect("put");
    plain.put(durable("f/k", "2")).expect("put");
    assert_eq!(delete(), [LOG, "f"]);
    plain.put(durable("f/k", "1")).expect("put");
    it.backend.put(durable("f/k", "2")).expect("put");
    assert_eq!(delete(), [LOG, "f"]);
    // So may that of what a delete did not find.
    assert_eq!(delete(), [LOG, "f"]);
    // Nobody else waits for the log.
    let process = |text| {
        it.backend.delete(&key(text), &Condition::Any, Durability::Process).expect("deleted");
    };
    assert_eq!(flushed(&it, || process("f/seed")), [""; 0]);
}

#[test]
fn a_scan_flushes_what_a_dead_writer_has_placed_before_it_removes_the_other() {
    for file_wins in [true, false] {
        let it = half_moved(file_wins);
        let there = Rc::new(RefCell::new(Vec::new()));
        let (seen, file) = (Rc::clone(&there), it.path("k.json"));
        let log = FlushLog::looking(move |flushed| {
            if flushed.ends_with(LOG) {
                seen.borrow_mut().push(file.exists());
            }
        });
        it.backend.list("", None, 9).expect("listed");
        let base = it.dir.path().canonicalize().expect("there");
        let paths: Vec<_> = log
            .end()
            .iter()
            .filter_map(|path| Some(path.strip_prefix(&base).ok()?.to_owned()))
            .collect();
        if file_wins {
            assert_eq!(paths[..2], [Path::new("k.json"), Path::new("")], "{paths:?}");
        } else {
            assert_eq!(*there.borrow(), [true]);
        }
        assert_eq!(it.path("k.json").exists(), file_wins);
        assert_eq!(it.get("k").expect("read").expect("there").content, b"22");
        // Where that fails, both stay, and the newer one counts, listed and loaded.
        let it = half_moved(file_wins);
        fail_flush(0);
        assert_eq!(it.backend.list("", None, 9).expect("listed").len(), 1);
        assert!(it.path("k.json").exists());
        assert_eq!(it.get("k").expect("read").expect("there").content, b"22");
        let opened = it.backend.opened().expect("open");
        let inline = opened.inline_record(&key("k")).expect("asked");
        assert!(inline.is_there);
    }
}

#[test]
fn a_value_that_is_being_moved_is_not_counted_twice() {
    for becomes_inline in [true, false] {
        let it = inline_fixture();
        let plain = on(it.dir.path(), 0);
        let (before, after) =
            if becomes_inline { (&plain, &it.backend) } else { (&it.backend, &plain) };
        before.put(put("k", Format::Json, "1")).expect("put");
        let options = FileOptions { lock_timeout: Duration::ZERO, ..FileOptions::default() };
        let hasty = FileBackend::new(it.dir.path(), options);
        assert_eq!(hasty.totals().expect("counted").entries, 1);
        let looked = Rc::new(RefCell::new(Vec::new()));
        let seen = Rc::clone(&looked);
        let log = FlushLog::looking(move |_| {
            // It may have to wait, for which it has no patience.
            seen.borrow_mut().push(hasty.totals().map_or(1, |totals| totals.entries));
        });
        after.put(put("k", Format::Json, "2")).expect("put");
        drop(log.end());
        let looked = looked.borrow();
        assert!(!looked.is_empty() && looked.iter().all(|entries| *entries == 1), "{looked:?}");
        assert_eq!(it.backend.totals().expect("counted").entries, 1);
    }
}
