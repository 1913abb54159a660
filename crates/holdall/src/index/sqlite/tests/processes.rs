//! Several processes, killed processes, forked processes. Each helper is a test of its own that
//! only its parent runs, in a new process of this test binary.

use std::env;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use super::super::super::GroupCommit;
use super::super::*;
use super::{every_row, new_index, put, row};

const FOLDER: &str = "HOLDALL_TEST_FOLDER";
const NAME: &str = "HOLDALL_TEST_NAME";

/// Starts `helper` of this crate's tests in a process of its own.
pub(super) fn start(helper: &str, folder: &Path, name: &str) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", helper, "--ignored", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .env(NAME, name)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

pub(super) fn finish(child: Child) {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{}: {text}", output.status);
}

/// The folder and the name that the parent gave; ends the process if it gets stuck.
#[allow(unsafe_code, reason = "alarm has no safe wrapper here")]
pub(super) fn arguments() -> (PathBuf, String) {
    // SAFETY: arms a timer whose signal ends the process; no handler, no memory.
    unsafe { libc::alarm(120) };
    (PathBuf::from(env::var_os(FOLDER).unwrap()), env::var(NAME).unwrap())
}

const WRITER: &str = "index::sqlite::tests::processes::helper_that_puts_a_thousand_rows";

#[test]
#[ignore = "run by the test below, in its own process"]
fn helper_that_puts_a_thousand_rows() {
    let (folder, name) = arguments();
    let index = new_index(&folder);
    for i in (0..1_000).step_by(4) {
        let group: Vec<_> = (i..i + 4).map(|i| put(&format!("{name}/{i:04}"), 1)).collect();
        index.apply(&group).unwrap();
        // Both processes count on the same row.
        index.apply(&[put("shared", i)]).unwrap();
    }
    assert_eq!(index.get(&format!("{name}/0999")).unwrap(), Some(row(&format!("{name}/0999"), 1)));
}

#[test]
fn two_processes_that_put_at_once_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let writers = ["left", "right"].map(|name| start(WRITER, folder.path(), name));
    writers.into_iter().for_each(finish);
    let index = new_index(folder.path());
    assert_eq!(index.totals().unwrap().entries, 2_001);
    for name in ["left", "right"] {
        let rows = index.page(&format!("{name}/"), None, 2_000).unwrap();
        let expected: Vec<_> = (0..1_000).map(|i| row(&format!("{name}/{i:04}"), 1)).collect();
        assert_eq!(rows, expected);
    }
    index.check().unwrap();
}

const VICTIM: &str = "index::sqlite::tests::processes::helper_that_puts_until_it_is_killed";

#[test]
#[ignore = "run by the test below, in its own process"]
fn helper_that_puts_until_it_is_killed() {
    let (folder, name) = arguments();
    let index = new_index(&folder);
    let mut out = std::io::stdout();
    for i in 0..10_000_000 {
        index.apply(&[put(&format!("{name}/{i}"), 1), put("last", i)]).unwrap();
        writeln!(out, "acknowledged {i}").unwrap();
    }
    assert!(index.totals().is_err(), "nobody killed this process");
}

#[test]
fn a_killed_writer_loses_nothing_acknowledged_and_blocks_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let survivor = new_index(folder.path());
    for round in 0..6_u64 {
        let name = format!("victim{round}");
        let mut victim = start(VICTIM, folder.path(), &name);
        let mut acknowledged = 0;
        for line in BufReader::new(victim.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let Some((_, number)) = line.rsplit_once("acknowledged ") else { continue };
            acknowledged = number.parse().unwrap();
            if acknowledged >= 40 + round {
                break;
            }
        }
        victim.kill().unwrap();
        survivor.apply(&[put("survivor", round)]).unwrap();
        victim.wait().unwrap();
        for i in 0..=acknowledged {
            let key = format!("{name}/{i}");
            assert_eq!(survivor.get(&key).unwrap(), Some(row(&key, 1)));
        }
        survivor.check().unwrap();
        new_index(folder.path()).check().unwrap();
    }
}

const FORKER: &str = "index::sqlite::tests::processes::helper_that_forks";

/// Forks; the child runs `work` and ends without any clean-up of the parent's.
#[allow(unsafe_code, reason = "this is the test of fork")]
fn fork(work: impl FnOnce() -> bool) -> libc::pid_t {
    // SAFETY: the child calls nothing but `work` and `_exit`. `work` allocates, which glibc allows
    // after a fork, and takes locks that the test has made free or that it holds itself.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        arguments();
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or(false);
        // SAFETY: ends the process.
        unsafe { libc::_exit(if done { 0 } else { 1 }) };
    }
    child
}

#[allow(unsafe_code, reason = "this is the test of fork")]
fn exit_status(child: libc::pid_t) -> i32 {
    let mut status = -1;
    // SAFETY: `child` is ours and not yet waited for; the status is a live local.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    status
}

#[test]
#[ignore = "run by the test below, in its own process"]
fn helper_that_forks() {
    let (folder, _) = arguments();
    let many = |name: &str| {
        let index = Arc::new(new_index(&folder));
        let into = index.clone();
        let group = GroupCommit::new(move |changes| into.apply(changes));
        (0..100).all(|i| group.commit(vec![put(&format!("{name}/{i}"), 1)]).is_ok())
            && index.get(&format!("{name}/0")).is_ok_and(|row| row.is_some())
    };
    for round in 0..5 {
        // What was open is dropped before the fork, on both sides another one is opened after it.
        assert!(many(&format!("before{round}")));
        let child = fork(|| many(&format!("child{round}")));
        assert!(many(&format!("parent{round}")));
        assert_eq!(exit_status(child), 0);
    }
    let index = new_index(&folder);
    assert_eq!(every_row(&index).unwrap().len(), 5 * 3 * 100);
    index.check().unwrap();

    let still_open = fork(|| {
        let closed = |result: Result<()>| result.is_err_and(|e| e.kind() == ErrorKind::Closed);
        closed(index.get("x").map(drop)) && closed(index.apply(&[put("x", 1)]))
    });
    assert_eq!(exit_status(still_open), 0);
    index.check().unwrap();
}

#[test]
fn an_index_dropped_before_a_fork_works_on_both_sides_and_one_left_open_refuses() {
    let folder = tempfile::tempdir().unwrap();
    finish(start(FORKER, folder.path(), ""));
    assert_eq!(new_index(folder.path()).totals().unwrap().entries, 1_500);
}
