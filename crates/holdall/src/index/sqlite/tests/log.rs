//! The log of values: flushed for whoever asks, and folded in while others go on.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bytes::Bytes;

use super::super::super::Kept;
use super::super::*;
use super::row;
use crate::flush::tests_support::fail_flush;

pub(super) fn kept(key: &str, content: &str, old: Option<Row>) -> Change {
    let row = Row { size: content.len() as u64, tags: Vec::new(), ..row(key, 1) };
    let content = Bytes::copy_from_slice(content.as_bytes());
    Change::Keep(Arc::new(Kept { row, content, old, mends: false }))
}

pub(super) fn new_values(folder: &Path) -> SqliteIndex {
    SqliteIndex::values(folder.join("inline"), Clock::system())
}

#[test]
fn a_flush_that_failed_is_not_made_good_by_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let values = new_values(folder.path());
    values.apply(&[kept("a", "1", None)]).unwrap();
    values.apply(&[kept("b", "1", None)]).unwrap();
    fail_flush(0);
    assert!(values.flush().is_err(), "of a");
    // What b wrote may have been lost in the very same flush.
    assert!(values.flush().is_err(), "of b");
    values.apply(&[kept("c", "1", None)]).unwrap();
    assert!(values.flush().is_err(), "of c");
    assert!(values.has_long_log(), "somebody has to fold it in");
    values.checkpoint().unwrap();
    values.flush().unwrap();
    assert!(!values.has_long_log());
}

#[test]
fn a_log_that_somebody_else_has_begun_is_folded_in_before_it_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (new_values(folder.path()), new_values(folder.path()));
    first.apply(&[kept("a", "1", None)]).unwrap();
    fail_flush(0);
    assert!(first.flush().is_err());
    // It is opened after that failure, of which its descriptor is not told.
    second.apply(&[kept("b", "1", None)]).unwrap();
    assert!(second.has_log_in_doubt() && !second.has_long_log());
    assert!(second.flush().is_err());
    second.checkpoint().unwrap();
    assert!(!second.has_log_in_doubt());
    // Or what the disk has of it would count again after a power cut.
    let log = folder.path().join("inline/values.sqlite-wal");
    assert_eq!(fs::metadata(&log).unwrap().len(), 0);
    second.flush().unwrap();
    // All is in the database: the log may be lost.
    drop((first, second));
    fs::remove_file(log).unwrap_or_default();
    let third = new_values(folder.path());
    assert!(!third.has_log_in_doubt());
    assert!(third.value("a").unwrap().is_some() && third.value("b").unwrap().is_some());
}

const NOBODY: u32 = 65_534;

/// Runs on a thread to which the rights of files apply, also where root runs the tests.
#[allow(unsafe_code, reason = "the standard library changes no user of a thread")]
fn bound_by_rights<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let bound = || {
        if rustix::process::geteuid().is_root() {
            // SAFETY: it takes a number and changes this thread alone, which ends after the work.
            unsafe { libc::setfsuid(NOBODY) };
        }
        work()
    };
    thread::scope(|scope| scope.spawn(bound).join().unwrap())
}

#[test]
fn a_log_that_could_only_be_read_is_opened_anew_by_the_next_call() {
    let folder = tempfile::tempdir().unwrap();
    let inline = folder.path().join("inline");
    let (first, second) = (new_values(folder.path()), new_values(folder.path()));
    first.apply(&[kept("a", "1", None)]).unwrap();
    let names = ["", "values.sqlite", "values.sqlite-wal", "values.sqlite-shm", "writers.lock"];
    if rustix::process::geteuid().is_root() {
        for path in names.map(|name| inline.join(name)).iter().chain([&folder.path().into()]) {
            chown(path, Some(NOBODY), None).unwrap();
        }
    }
    let log = inline.join(names[2]);
    let set_mode = |mode| fs::set_permissions(&log, fs::Permissions::from_mode(mode)).unwrap();
    set_mode(0o400);
    let save = || second.apply(&[kept("b", "1", None)]);
    let refused = bound_by_rights(save).unwrap_err();
    assert!(refused.to_string().contains("only be opened for reading"), "{refused}");
    set_mode(0o600);
    bound_by_rights(save).unwrap();
    assert!(first.value("b").unwrap().is_some());
}

#[test]
fn a_log_that_is_never_caught_up_with_stays_short_and_loses_nothing() {
    const SAVES: u64 = 400;
    let folder = tempfile::tempdir().unwrap();
    let values = new_values(folder.path());
    let peer = new_values(folder.path());
    // Before the peer begins a log, which would be in doubt.
    values.open_now().unwrap();
    let done = AtomicBool::new(false);
    let mut folded = 0;
    let content = "x".repeat(9_000);
    thread::scope(|scope| {
        let (values, content, done) = (&values, &content, &done);
        for name in ["one", "two"] {
            scope.spawn(move || {
                for number in 0..SAVES {
                    values.apply(&[kept(&format!("{name}/{number}"), content, None)]).unwrap();
                    values.flush().unwrap();
                }
                done.store(true, Ordering::Release);
            });
        }
        let peer = scope.spawn(move || {
            for number in 0..SAVES {
                peer.apply(&[kept(&format!("peer/{number}"), content, None)]).unwrap();
            }
            peer
        });
        while !done.load(Ordering::Acquire) {
            if values.has_long_log() {
                values.checkpoint().unwrap();
                folded += 1;
            }
            thread::yield_now();
        }
        drop(peer.join().unwrap());
    });
    assert!(folded > 1, "folded {folded} times");
    values.check().unwrap();
    assert_eq!(values.totals().unwrap().entries, 3 * SAVES);
    for name in ["one", "two", "peer"] {
        for number in 0..SAVES {
            let found = values.value(&format!("{name}/{number}")).unwrap().unwrap();
            assert_eq!(found.1, content.as_bytes());
        }
    }
}

#[test]
fn folding_the_log_in_does_not_let_peers_into_a_commit_of_this_process() {
    let folder = tempfile::tempdir().unwrap();
    let values = new_values(folder.path());
    values.apply(&[kept("a", "1", None)]).unwrap();
    fail_flush(0);
    // From now on it waits for those who commit.
    assert!(values.flush().is_err());
    let peer = File::options().write(true).open(folder.path().join("inline/writers.lock")).unwrap();
    thread::scope(|scope| {
        let folding = values
            .with(|handles| {
                let writer = locked(&handles.writer);
                let _turn = values.turn(&handles.queue)?;
                let folding = scope.spawn(|| values.checkpoint());
                for _ in 0..20_000 {
                    assert!(!ofd::try_lock(peer.as_fd(), 0, 1, true)?, "in the midst of a commit");
                    thread::yield_now();
                }
                drop(writer);
                Ok(folding)
            })
            .unwrap();
        folding.join().unwrap().unwrap();
    });
    values.flush().unwrap();
}
