//! Inline values where nothing can be written: each is read, and what is not there is a miss.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use holdall::signing::KeySource;
use holdall::{BlobManager, BlobOptions, ErrorKind, Format, SaveOptions};

#[path = "common/helper.rs"]
mod helper;
#[path = "common/mounts.rs"]
mod mounts;

use helper::{Helper, arguments, given, listen, say};
use mounts::{own_mounts, run_in_shell};

fn store(path: &Path) -> BlobManager {
    let base_path = path.to_path_buf();
    BlobManager::with_options(BlobOptions {
        base_path,
        inline_below: 100,
        ..BlobOptions::default()
    })
}

fn save(store: &BlobManager, key: &str, length: usize) {
    let payload = vec![key.as_bytes()[0]; length];
    let saved = store.save_parts(key, Format::Bytes, vec![payload.into()], SaveOptions::default());
    saved.expect("saved");
}

/// Fills a store with inline values and a file, and leaves it open.
fn filled(folder: &Path) -> BlobManager {
    let store = store(&folder.join("store"));
    for number in 0..50 {
        save(&store, &format!("k{number}"), 10);
    }
    save(&store, "file", 1_000);
    store
}

/// Not a test: asks for each key that it is told, and says how long its value is.
#[test]
#[ignore = "run by the tests below, in its own process"]
fn helper_that_reads() {
    let (folder, _) = given();
    let store = store(&folder.join("store"));
    while let Some(key) = listen() {
        let answer = store.try_load_bytes(&key, None).map(|found| {
            let length = found.as_ref().map_or(0, |blob| blob.payload.len());
            assert_eq!(store.exists(&key).expect("asked"), found.is_some());
            length.to_string()
        });
        say(&answer.unwrap_or_else(|error| error.to_string()));
    }
    let refused = store.save("k0", &1, Format::Json).expect_err("nothing can be written");
    assert_eq!(refused.kind(), ErrorKind::Io, "{refused}");
    assert!(!store.verify(|_| ()).expect("verified").notices.is_empty());
}

/// Not a test: loads a signed value with a file for its keys.
#[test]
#[ignore = "run by the tests below, in its own process"]
fn helper_that_lacks_the_key() {
    let (folder, _) = given();
    let base_path = folder.join("store");
    let signing_key = KeySource::file(folder.join("signing.key"));
    let options = BlobOptions { base_path, signing_key, ..BlobOptions::default() };
    let store = BlobManager::with_options(options);
    let answer = store.try_load_bytes("signed", None);
    say(&answer.map_or_else(|error| format!("{:?}: {error}", error.kind()), |_| "loaded".into()));
}

fn ask(reader: &mut Helper, key: &str) -> String {
    reader.tell(key);
    reader.hear().expect("it answers")
}

/// A reader to which the folder is mounted read-only.
fn reader(around: &[&str], folder: &Path) -> Helper {
    let line = "mount --bind \"$FOLDER\" \"$FOLDER\" && mount -o remount,bind,ro \"$FOLDER\"";
    run_in_shell(around, line, "helper_that_reads", folder)
}

#[test]
fn no_signing_key_is_made_for_a_store_that_names_one_where_it_can_only_be_read() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let Some(around) = own_mounts(folder.path()) else { return };
    let base_path = folder.path().join("store");
    let signing_key = KeySource::text("a secret that is long enough").expect("a key");
    let options = BlobOptions { base_path, signing_key, ..BlobOptions::default() };
    let store = BlobManager::with_options(options);
    let parts = vec![b"\x80\x04K\x01.".to_vec().into()];
    store.save_parts("signed", Format::Pickle, parts, SaveOptions::default()).expect("saved");
    store.close().expect("closed");
    // Only the store: a key could be made beside it.
    let line = "mount --bind \"$FOLDER/store\" \"$FOLDER/store\" && \
                mount -o remount,bind,ro \"$FOLDER/store\"";
    let mut reader = run_in_shell(around, line, "helper_that_lacks_the_key", folder.path());
    let answer = reader.hear().expect("it answers");
    assert!(answer.starts_with("Untrusted") && answer.contains("is not here"), "{answer}");
    reader.close();
    assert!(reader.finish());
    assert!(!folder.path().join("signing.key").exists(), "a key was made");
}

fn check(mut reader: Helper) {
    for (key, length) in [("k7", "10"), ("missing", "0"), ("file", "1000"), ("k49", "10")] {
        assert_eq!(ask(&mut reader, key), length, "{key}");
    }
    reader.close();
    assert!(reader.finish());
}

#[test]
fn a_store_that_was_closed_has_its_inline_values_where_it_can_only_be_read() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let Some(around) = own_mounts(folder.path()) else { return };
    filled(folder.path()).close().expect("closed");
    check(reader(around, folder.path()));
}

#[test]
fn a_store_whose_user_was_killed_has_them_too() {
    let (folder, copy) = (tempfile::tempdir(), tempfile::tempdir());
    let (folder, copy) = (folder.expect("a folder"), copy.expect("a folder"));
    let Some(around) = own_mounts(folder.path()) else { return };
    let store = filled(folder.path());
    let mut command = Command::new("cp");
    command.arg("-a").arg(folder.path().join("store")).arg(copy.path());
    assert!(command.status().expect("run").success());
    let log = copy.path().join("store/.holdall/inline/values.sqlite-wal");
    assert!(fs::metadata(&log).expect("there").len() > 0, "the log has values");
    check(reader(around, copy.path()));
    // Without what SQLite has beside it, and cannot make, nobody knows what the log says.
    fs::remove_file(log.with_extension("sqlite-shm")).expect("there");
    let mut other = reader(around, copy.path());
    assert_eq!(ask(&mut other, "file"), "1000");
    let refused = ask(&mut other, "k7");
    assert!(refused.contains("inline values") && refused.contains("writ"), "{refused}");
    other.close();
    assert!(other.finish());
    drop(store);
}

#[test]
fn what_another_process_saves_meanwhile_is_read_where_nothing_can_be_written() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let Some(around) = own_mounts(folder.path()) else { return };
    let store = filled(folder.path());
    let mut reader = reader(around, folder.path());
    assert_eq!(ask(&mut reader, "k7"), "10");
    for length in [20, 200, 30, 0] {
        if length == 0 {
            store.delete("k8", None).expect("deleted");
        } else {
            save(&store, "k8", length);
        }
        assert_eq!(ask(&mut reader, "k8"), length.to_string());
    }
    save(&store, "k8", 40);
    store.close().expect("closed");
    assert_eq!(ask(&mut reader, "k8"), "40");
    check(reader);
}

#[test]
fn the_first_inline_value_of_a_store_is_no_miss_for_a_reader_that_was_there_before() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let Some(around) = own_mounts(folder.path()) else { return };
    let store = store(&folder.path().join("store"));
    save(&store, "file", 1_000);
    let mut reader = reader(around, folder.path());
    assert_eq!(ask(&mut reader, "file"), "1000");
    assert_eq!(ask(&mut reader, "missing"), "0");
    save(&store, "first", 20);
    save(&store, "file", 30);
    store.close().expect("closed");
    assert_eq!(ask(&mut reader, "first"), "20");
    assert_eq!(ask(&mut reader, "file"), "30");
    assert_eq!(ask(&mut reader, "missing"), "0");
    reader.close();
    assert!(reader.finish());
}

#[test]
fn what_was_never_there_is_a_miss_where_the_database_could_not_be_made_and_no_miss_where_it_is_gone()
 {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let Some(around) = own_mounts(folder.path()) else { return };
    let plain = store(&folder.path().join("store"));
    save(&plain, "file", 1_000);
    plain.close().expect("closed");
    drop(plain);
    let inline = folder.path().join("store/.holdall/inline");
    fs::create_dir(&inline).expect("as an opening that found the disk full");
    let mut before = reader(around, folder.path());
    assert_eq!(ask(&mut before, "missing"), "0");
    assert_eq!(ask(&mut before, "file"), "1000");
    let store = store(&folder.path().join("store"));
    save(&store, "k7", 10);
    store.close().expect("closed");
    drop(store);
    assert_eq!(ask(&mut before, "k7"), "10");
    for lost in [inline.join("values.sqlite"), inline] {
        fs::rename(&lost, folder.path().join("lost")).expect("there");
        let refused = ask(&mut before, "k7");
        assert!(refused.contains("is gone"), "{refused}");
        assert_eq!(ask(&mut before, "file"), "1000");
        fs::rename(folder.path().join("lost"), &lost).expect("there");
        assert_eq!(ask(&mut before, "k7"), "10");
    }
    before.close();
    assert!(before.finish());
}

#[test]
fn a_user_without_the_right_to_write_has_inline_values() {
    const NOBODY: u32 = 65_534;
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: only root can be another user");
    }
    let folder = tempfile::tempdir().expect("a temporary directory");
    filled(folder.path()).close().expect("closed");
    let given = Command::new("chmod").arg("-R").arg("a+rX").arg(folder.path()).status();
    assert!(given.expect("run").success());
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("ours");
    let mut command = Command::new(std::env::current_exe().expect("it has a path"));
    let mut probe = Command::new(std::env::current_exe().expect("it has a path"));
    probe.arg("--list").uid(NOBODY).gid(NOBODY).stdout(Stdio::null());
    if !probe.status().is_ok_and(|status| status.success()) {
        return println!("skipped: another user may not run this binary");
    }
    command.args(arguments("helper_that_reads")).uid(NOBODY).gid(NOBODY);
    check(Helper::run(command, folder.path(), 0));
    // As it is made: then the files are read, and nothing is known of the rest.
    let own = folder.path().join("store/.holdall");
    fs::set_permissions(own, Permissions::from_mode(0o700)).expect("ours");
    let mut command = Command::new(std::env::current_exe().expect("it has a path"));
    command.args(arguments("helper_that_reads")).uid(NOBODY).gid(NOBODY);
    let mut reader = Helper::run(command, folder.path(), 1);
    for (key, length) in [("file", "1000"), ("missing", "0")] {
        assert_eq!(ask(&mut reader, key), length, "{key}");
    }
}
