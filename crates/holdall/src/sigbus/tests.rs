//! What fails here ends a process, so most of it runs in one of its own: this binary once more. Its
//! threads are those of a Rust program, with 8 KiB or so for signal handlers.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output};
use std::ptr::{null_mut, read_volatile};
use std::sync::Barrier;
use std::thread;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::*;

extern "C" fn mark(page: *mut u8) {
    // SAFETY: a page of memory.
    unsafe { page.write(7) };
}

fn run(helper: &str) -> Output {
    Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "--ignored", "--nocapture", &format!("sigbus::tests::{helper}")])
        .output()
        .expect("it starts")
}

fn in_a_process(helper: &str) {
    let done = run(helper);
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{}: {said}", done.status);
    assert!(said.contains("1 passed"), "{said}");
}

fn mapped(file: &Path, pages: usize) -> (*mut u8, usize) {
    let length = pages * rustix::param::page_size();
    let file =
        File::create_new(file).and_then(|_| File::options().read(true).write(true).open(file));
    let file = file.expect("made");
    file.set_len(length as u64).expect("sized");
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping at an address that the kernel chooses.
    let map = unsafe { mmap(null_mut(), length, access, MapFlags::SHARED, &file, 0) };
    file.set_len(0).expect("cut");
    (map.expect("mapped").cast(), length)
}

/// What each of some threads reads at one address, all at the same time.
fn read_by(threads: usize, address: *const u8) -> Vec<u8> {
    let barrier = Barrier::new(threads);
    let address = address as usize;
    let read = || {
        barrier.wait();
        // SAFETY: in a mapping, or whatever has taken its place.
        unsafe { read_volatile(address as *const u8) }
    };
    thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(read)).collect();
        all.into_iter().map(|one| one.join().expect("no panic")).collect()
    })
}

/// A folder whose path is longer than what is read of a list of mappings at once.
fn deep(dir: &Path) -> std::path::PathBuf {
    let folder = (0..5).fold(dir.to_owned(), |folder, _| folder.join("n".repeat(200)));
    std::fs::create_dir_all(&folder).expect("made");
    folder
}

#[test]
#[ignore = "started by a test"]
fn helper_with_a_cut_clock() {
    for threads in [1].into_iter().chain([8; 300]) {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().join(".holdall");
        std::fs::create_dir(&folder).expect("made");
        guard(mark);
        let (map, length) = mapped(&folder.join("clock"), 9);
        let watched = Watch::new(map, length);
        assert!(!watched.is_cut());
        assert_eq!(read_by(threads, map), vec![7; threads]);
        assert!(watched.is_cut());
        // SAFETY: inside the mapping.
        assert_eq!(read_by(threads, unsafe { map.add(length - 1) }), vec![0; threads]);
        drop(watched);
        // SAFETY: nobody uses it any more.
        unsafe { munmap(map.cast(), length) }.expect("unmapped");
    }
}

#[test]
#[ignore = "started by a test"]
fn helper_with_a_cut_index() {
    guard(mark);
    for threads in [1].into_iter().chain([8; 300]) {
        let dir = tempfile::tempdir().expect("a folder");
        let before = cuts();
        let (map, length) = mapped(&deep(dir.path()).join("index.sqlite-shm"), 1);
        assert_eq!(read_by(threads, map), vec![0; threads]);
        assert_eq!(cuts(), before + 1);
        // SAFETY: nobody uses it any more.
        unsafe { munmap(map.cast(), length) }.expect("unmapped");
    }
}

#[test]
#[ignore = "started by a test"]
fn helper_with_many_cut_pages() {
    guard(mark);
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().join(".holdall");
    std::fs::create_dir(&folder).expect("made");
    let (cut, length) = mapped(&folder.join("clock"), 9);
    let cut = (Watch::new(cut, length), cut);
    read_by(1, cut.1);
    let (map, length) = mapped(&dir.path().join("index.sqlite-shm"), 500);
    for at in (0..length).step_by(rustix::param::page_size()) {
        // SAFETY: inside the mapping.
        assert_eq!(unsafe { read_volatile(map.add(at)) }, 0);
    }
    assert_eq!(cuts(), 501);
    let (whole, length) = mapped(&folder.join("../clock"), 9);
    assert!(!Watch::new(whole, length).is_cut());
    assert!(cut.0.is_cut());
}

#[test]
#[ignore = "started by a test"]
fn helper_with_a_cut_file_of_another() {
    guard(mark);
    let dir = tempfile::tempdir().expect("a folder");
    let (map, _) = mapped(&dir.path().join("other"), 1);
    read_by(1, map);
}

#[test]
fn a_cut_clock_ends_no_thread_however_many_read_it() {
    in_a_process("helper_with_a_cut_clock");
}

#[test]
fn a_cut_index_ends_no_thread_however_many_read_it() {
    in_a_process("helper_with_a_cut_index");
}

#[test]
fn however_many_pages_are_lost_it_is_known_of_each_clock_whether_it_is_cut() {
    in_a_process("helper_with_many_cut_pages");
}

#[test]
fn a_cut_file_of_another_still_ends_the_process() {
    let done = run("helper_with_a_cut_file_of_another");
    assert_eq!(done.status.signal(), Some(libc::SIGBUS));
}
