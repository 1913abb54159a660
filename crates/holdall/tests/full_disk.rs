//! The promises about disks that refuse: full, limited, read-only, or not there at all. The old
//! value stands, nothing half done stays, the error says what to do, and work goes on afterwards.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use holdall::{
    BlobManager, BlobOptions, Durability, Error, ErrorKind, Format, Problem, ProblemKind,
    SaveOptions, StorageManager,
};

#[path = "common/folder.rs"]
mod folder;
#[path = "common/helper.rs"]
mod helper;
#[path = "common/mounts.rs"]
mod mounts;

use folder::{files, temporary_files};
use helper::{Helper, arguments, end_with_parent, given, listen};
use mounts::{own_mounts, run_in_shell};

fn bytes(store: &BlobManager, key: &str, length: usize) -> Result<(), Error> {
    let payload = vec![key.as_bytes()[0]; length];
    store.save_parts(key, Format::Bytes, vec![payload.into()], SaveOptions::default()).map(drop)
}

fn loaded(store: &BlobManager, key: &str) -> Option<usize> {
    let blob = store.try_load_bytes(key, None).expect("it can be read")?;
    assert!(blob.payload.iter().all(|byte| *byte == key.as_bytes()[0]));
    Some(blob.payload.len())
}

/// An error of the system that names the place and the next step.
fn check_error(error: &Error, numbers: &[i32], folder: &Path) {
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
    let number = error.os_error().expect("the system has refused");
    assert!(numbers.contains(&number), "{error}");
    let path = error.path().expect("it says where");
    assert!(path.starts_with(folder) || path.starts_with(".holdall"), "{error}");
    assert!(error.to_string().contains("; "), "no next step: {error}");
}

/// What listings and statistics say is what lies there.
fn check_index(store: &BlobManager, folder: &Path) {
    let listed = store.keys("").collect::<Result<Vec<_>, _>>().expect("listed");
    let files = files(folder);
    let size: u64 = files.iter().map(|path| path.metadata().expect("there").len()).sum();
    let stats = store.get_stats().expect("counted");
    assert_eq!((listed.len(), stats.entries as usize), (files.len(), files.len()));
    assert_eq!(stats.total_size, size);
    assert_eq!(temporary_files(folder), [""; 0]);
}

#[test]
#[ignore = "run by the test below, in its own process"]
fn helper_with_a_limit_of_file_sizes() {
    let (folder, _) = given();
    end_with_parent();
    const LARGE: usize = 10_000_000;
    let store = BlobManager::new(&folder);
    bytes(&store, "k", 10).expect("small enough");
    for durability in [Durability::Process, Durability::Disk] {
        let options = SaveOptions { durability: Some(durability), ..SaveOptions::default() };
        let parts = vec![vec![b'k'; LARGE].into()];
        let error = store.save_parts("k", Format::Json, parts, options).expect_err("too large");
        check_error(&error, &[libc::EFBIG], &folder);
        assert_eq!(loaded(&store, "k"), Some(10));
        check_index(&store, &folder);
    }
    let save = |key: &str, length: usize| {
        let mut save = BlobManager::encoded(key, &"", Format::String).expect("text");
        save.parts = vec![vec![key.as_bytes()[0]; length].into()];
        save
    };
    let many = store.save_many(vec![save("a", 5), save("k", LARGE), save("b", 5)]);
    assert_eq!(many.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(["a", "k", "b"].map(|key| loaded(&store, key)), [Some(5), Some(10), Some(5)]);
    let error = store.save_parts("new", Format::Bytes, save("n", LARGE).parts, <_>::default());
    check_error(&error.expect_err("too large"), &[libc::EFBIG], &folder);
    assert_eq!(loaded(&store, "new"), None);
    bytes(&store, "k", 20).expect("small enough");
    assert_eq!(loaded(&store, "k"), Some(20));
    check_index(&store, &folder);
}

#[test]
fn a_value_that_the_system_cuts_leaves_the_old_one_and_no_file() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    // Some shells count in 512 bytes, some in 1,024.
    let line = "trap '' XFSZ && ulimit -f 4096";
    let helper = "helper_with_a_limit_of_file_sizes";
    assert!(run_in_shell(&[], line, helper, folder.path()).finish());
}

#[test]
#[ignore = "run by the test below, in its own process"]
fn helper_on_a_full_disk() {
    let (disk, _) = given();
    end_with_parent();
    let folder = disk.join("store");
    let store = BlobManager::new(&folder);
    let mut lengths = Vec::new();
    let full = loop {
        let length = 40_000 + lengths.len();
        match bytes(&store, &format!("v{}", lengths.len()), length) {
            Ok(()) => lengths.push(length),
            Err(error) => break error,
        }
    };
    assert!(lengths.len() > 10);
    check_error(&full, &[libc::ENOSPC], &folder);
    assert!(full.to_string().contains("free some space"), "{full}");
    let all = |lengths: &[usize]| {
        for (number, length) in lengths.iter().enumerate() {
            assert_eq!(loaded(&store, &format!("v{number}")), Some(*length));
        }
    };
    assert_eq!(loaded(&store, &format!("v{}", lengths.len())), None);
    let error = bytes(&store, "v0", 2_000_000).expect_err("it is full");
    check_error(&error, &[libc::ENOSPC], &folder);
    all(&lengths);
    assert_eq!(temporary_files(&folder), [""; 0]);
    // Not a byte is left for anybody.
    let ballast = disk.join("ballast");
    let mut left = 1 << 20;
    let mut filled = Vec::new();
    while left > 0 {
        filled.resize(filled.len() + left, 1);
        if fs::write(&ballast, &filled).is_err() {
            filled.truncate(filled.len() - left);
            left /= 2;
        }
    }
    for number in 0..5 {
        // More than the index can give back.
        let error = bytes(&store, &format!("v{number}"), 2_000_000).expect_err("it is full");
        check_error(&error, &[libc::ENOSPC], &folder);
    }
    all(&lengths);
    // Values can be removed however full it is, and then there is room.
    for number in 0..5 {
        assert!(store.delete(&format!("v{number}"), None).expect("deleted"));
        assert!(!store.exists(&format!("v{number}")).expect("asked"));
    }
    fs::remove_file(ballast).expect("there");
    check_index(&store, &folder);
    for (number, length) in lengths.iter().enumerate().take(3) {
        bytes(&store, &format!("v{number}"), *length).expect("there is room");
    }
    all(&lengths[..3]);
    check_index(&store, &folder);
    store.close().expect("closed");
    drop(store);
    check_index(&BlobManager::new(&folder), &folder);
}

#[test]
fn a_full_disk_leaves_every_value_and_removing_some_makes_room() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let Some(around) = own_mounts(folder.path()) else { return };
    let line = "mount -t tmpfs -o size=4m,mode=700 tmpfs \"$FOLDER\"";
    assert!(run_in_shell(around, line, "helper_on_a_full_disk", folder.path()).finish());
}

#[test]
#[ignore = "run by the test below, in its own process"]
fn helper_with_inline_values_on_a_full_disk() {
    let (disk, _) = given();
    end_with_parent();
    let folder = disk.join("store");
    let options = BlobOptions { base_path: folder.clone(), ..BlobOptions::default() };
    let store = BlobManager::with_options(BlobOptions { inline_below: 50_000, ..options });
    let mut count = 0;
    let full = loop {
        match bytes(&store, &format!("v{count}"), 20_000 + count) {
            Ok(()) => count += 1,
            Err(error) => break error,
        }
    };
    assert!(count > 20);
    check_error(&full, &[libc::ENOSPC], &folder);
    // Not a byte is left for anybody.
    let ballast = disk.join("ballast");
    let mut filled = fs::File::create(&ballast).expect("made");
    while std::io::Write::write(&mut filled, &[1; 512]).is_ok_and(|written| written > 0) {}
    let all = |from: usize| {
        for number in from..count {
            assert_eq!(loaded(&store, &format!("v{number}")), Some(20_000 + number));
        }
        assert_eq!(loaded(&store, &format!("v{count}")), None);
        let stats = store.get_stats().expect("counted");
        assert_eq!(stats.entries as usize, count - from);
    };
    all(0);
    for number in 0..3 {
        let error = bytes(&store, &format!("v{number}"), 30_000).expect_err("it is full");
        check_error(&error, &[libc::ENOSPC], &folder);
    }
    all(0);
    for number in 0..3 {
        assert!(store.delete(&format!("v{number}"), None).expect("deleted"));
    }
    all(3);
    drop(filled);
    fs::remove_file(ballast).expect("there");
    bytes(&store, "new", 10).expect("there is room");
    assert_eq!(loaded(&store, "new"), Some(10));
}

#[test]
fn a_full_disk_leaves_every_inline_value_and_they_can_be_removed() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let Some(around) = own_mounts(folder.path()) else { return };
    let line = "mount -t tmpfs -o size=4m,mode=700 tmpfs \"$FOLDER\"";
    let helper = "helper_with_inline_values_on_a_full_disk";
    assert!(run_in_shell(around, line, helper, folder.path()).finish());
}

#[test]
#[ignore = "run by the test below, in its own process"]
fn helper_that_clears_inline_values_on_a_full_disk() {
    let (disk, _) = given();
    end_with_parent();
    let folder = disk.join("store");
    let options = BlobOptions { base_path: folder, ..BlobOptions::default() };
    let store = BlobManager::with_options(BlobOptions { inline_below: 50_000, ..options });
    const COUNT: usize = 300;
    for round in 0..2 {
        // As keys are that say nothing: each lies on another page.
        for number in 0..COUNT {
            bytes(&store, &format!("v{:05}", number * 7_919 % 10_007), 7_000).expect("room");
        }
        // There is no log whose room could be used.
        store.close().expect("closed");
        let ballast = disk.join("ballast");
        loaded(&store, "v00000").expect("there");
        assert_eq!(store.get_stats().expect("counted").entries, COUNT as u64);
        let mut filled = fs::File::create(&ballast).expect("made");
        while std::io::Write::write(&mut filled, &[1; 512]).is_ok_and(|written| written > 0) {}
        assert_eq!(store.clear().expect("cleared"), COUNT as u64, "round {round}");
        assert_eq!(store.get_stats().expect("counted").entries, 0);
        fs::remove_file(ballast).expect("there");
    }
}

#[test]
fn clearing_inline_values_succeeds_on_a_full_disk_again_and_again() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let Some(around) = own_mounts(folder.path()) else { return };
    let line = "mount -t tmpfs -o size=24m,mode=700 tmpfs \"$FOLDER\"";
    let helper = "helper_that_clears_inline_values_on_a_full_disk";
    assert!(run_in_shell(around, line, helper, folder.path()).finish());
}

#[test]
fn a_file_in_the_place_of_the_store_is_reported_and_once_it_is_gone_all_is_well() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    for place in ["store", "store/below/it"] {
        let file = folder.path().join("store");
        fs::write(&file, "mine").expect("written");
        let store = BlobManager::new(folder.path().join(place));
        let error = bytes(&store, "k", 1).expect_err("a file is there");
        check_error(&error, &[libc::ENOTDIR], &file);
        assert!(error.to_string().contains("choose another base_path"));
        assert!(store.try_load_bytes("k", None).is_err());
        assert_eq!(fs::read(&file).expect("there"), b"mine");
        fs::remove_file(&file).expect("there");
        bytes(&store, "k", 1).expect("nothing is in the way");
        assert_eq!(loaded(&store, "k"), Some(1));
        drop(store);
        fs::remove_dir_all(&file).expect("there");
    }
}

#[test]
#[ignore = "run by the tests below, in its own process"]
fn helper_that_can_only_read() {
    let (folder, _) = given();
    // The parent says how the system refuses.
    let refusals = match listen().expect("the parent says so").as_str() {
        "read-only" => [libc::EROFS; 2],
        _ => [libc::EACCES, libc::EPERM],
    };
    end_with_parent();
    let folder = folder.join("store");
    let store = BlobManager::new(&folder);
    assert_eq!(loaded(&store, "k"), Some(10));
    assert_eq!(loaded(&store, "below/it"), Some(20));
    assert_eq!(loaded(&store, "missing"), None);
    assert!(store.exists("k").expect("asked") && !store.exists("missing").expect("asked"));
    let metadata = store.metadata("k").expect("there");
    assert_eq!((metadata.size, metadata.format), (10, "bytes"));
    assert_eq!(metadata.record().tags, ["tag"]);
    check_error(&bytes(&store, "k", 30).expect_err("read only"), &refusals, &folder);
    check_error(&store.delete("k", None).expect_err("read only"), &refusals, &folder);
    let report = store.verify(|_| ()).expect("verified");
    assert_eq!(report.checked, 3);
    // A folder that was given to everybody to read is no damage to what is in it.
    let is_expected = |one: &Problem| one.kind == ProblemKind::Permissions;
    assert!(report.problems.iter().all(is_expected), "{report:?}");
    assert!(store.repair(true, |_| ()).expect("planned").quarantined.is_empty());
    check_error(&store.repair(false, |_| ()).expect_err("read only"), &refusals, &folder);
    let storage = StorageManager::new(store);
    let value = storage.get::<serde_json::Value>("list").expect("read").expect("there");
    assert_eq!(value[1], 2);
    // Nobody would tell this process of another's writes.
    assert!(storage.cache_get::<serde_json::Value>("list").is_none());
    assert_eq!(loaded(storage.blobs(), "k"), Some(10));
}

/// A store in a folder of its own below `folder`.
fn store_to_be_read(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("store");
    let store = BlobManager::new(&path);
    let options = SaveOptions { tags: vec!["tag".into()], ..SaveOptions::default() };
    store.save_parts("k", Format::Bytes, vec![vec![b'k'; 10].into()], options).expect("saved");
    bytes(&store, "below/it", 20).expect("saved");
    store.save("list", &[1, 2], Format::Json).expect("saved");
    store.close().expect("closed");
    path
}

#[test]
fn a_store_on_a_read_only_mount_can_be_read_and_says_why_it_cannot_be_written() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let Some(around) = own_mounts(folder.path()) else { return };
    store_to_be_read(folder.path());
    let line = "mount --bind \"$FOLDER\" \"$FOLDER\" && mount -o remount,bind,ro \"$FOLDER\"";
    let mut reader = run_in_shell(around, line, "helper_that_can_only_read", folder.path());
    reader.tell("read-only");
    assert!(reader.finish());
}

/// Gives everything below a folder these rights, folders the right to enter too.
fn set_rights(path: &Path, mode: u32) {
    let enter = if path.is_dir() { 0o111 } else { 0 };
    // Before, or else it cannot be entered; and after, or else nothing in it can be changed.
    fs::set_permissions(path, Permissions::from_mode(0o700)).expect("ours");
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("there") {
            set_rights(&entry.expect("read").path(), mode);
        }
    }
    fs::set_permissions(path, Permissions::from_mode(mode | enter)).expect("ours");
}

#[test]
fn a_user_without_the_right_to_write_can_read() {
    const NOBODY: u32 = 65_534;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let store = store_to_be_read(folder.path());
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("ours");
    set_rights(&store, 0o444);
    let mut command = Command::new(std::env::current_exe().expect("it has a path"));
    command.args(arguments("helper_that_can_only_read"));
    if rustix::process::geteuid().is_root() {
        // Rights do not bind this user, so it has to be another one.
        command.uid(NOBODY).gid(NOBODY);
        let mut probe = Command::new(std::env::current_exe().expect("it has a path"));
        probe.arg("--list").uid(NOBODY).gid(NOBODY).stdout(Stdio::null());
        if !probe.status().is_ok_and(|status| status.success()) {
            return println!("skipped: another user may not run this binary");
        }
    }
    let mut reader = Helper::run(command, folder.path(), 0);
    reader.tell("rights");
    assert!(reader.finish());
    // Removing it needs the right to write.
    set_rights(&store, 0o600);
}
