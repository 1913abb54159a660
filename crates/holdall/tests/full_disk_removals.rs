//! The promises about removing and listing values on a full disk: all of it works, again and again.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use holdall::clock::ManualClock;
use holdall::{BlobManager, BlobOptions, Error, Format, Problem, SaveOptions, Ttl};

#[path = "common/helper.rs"]
mod helper;
#[path = "common/mounts.rs"]
mod mounts;

use helper::{Helper, end_with_parent, given, listen, say};
use mounts::{own_mounts, run_in_shell};

const HOUR: Duration = Duration::from_secs(3_600);

fn bytes(store: &BlobManager, key: &str, length: usize) -> Result<(), Error> {
    let payload = vec![key.as_bytes()[0]; length];
    let options = SaveOptions { ttl: Ttl::After(HOUR), ..SaveOptions::default() };
    store.save_parts(key, Format::Bytes, vec![payload.into()], options).map(drop)
}

/// Saves inline values until there is no room; what their keys are.
fn fill(store: &BlobManager) -> Vec<String> {
    let mut keys = Vec::new();
    loop {
        let key = format!("v{:06}", keys.len() * 7_919 % 100_003);
        match bytes(store, &key, 3_000 + keys.len() * 37 % 1_500) {
            Ok(()) => keys.push(key),
            Err(error) if error.os_error() == Some(libc::ENOSPC) => return keys,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Leaves not a byte to anybody; what it has taken is given back with the file.
fn take_the_rest(disk: &Path) -> std::path::PathBuf {
    let ballast = disk.join("ballast");
    let mut filled = fs::File::create(&ballast).expect("made");
    while std::io::Write::write(&mut filled, &[1; 512]).is_ok_and(|written| written > 0) {}
    ballast
}

#[test]
#[ignore = "run by the test below, in its own process"]
fn helper_that_removes_all_inline_values_on_a_full_disk() {
    let (disk, _) = given();
    end_with_parent();
    let hands = ManualClock::new();
    let options = || BlobOptions {
        base_path: disk.join("store"),
        inline_below: 50_000,
        clock: hands.clock(),
        ..BlobOptions::default()
    };
    let mut store = BlobManager::with_options(options());
    // More often than the room suffices for that is kept for removals.
    for round in [0, 1, 2, 3, 4, 2, 3, 4, 2, 3, 4] {
        let keys = fill(&store);
        assert!(keys.len() > 200, "round {round}: {}", keys.len());
        let ballast = take_the_rest(&disk);
        match round {
            0 => {}
            1 => {
                drop(store);
                store = BlobManager::with_options(options());
            }
            // The log goes, and what it has given back is somebody else's before it is begun anew.
            _ => {
                store.close().expect("closed");
                fs::remove_file(&ballast).expect("there");
                take_the_rest(&disk);
                store = BlobManager::with_options(options());
            }
        }
        match round {
            0 | 2 => {
                for (number, key) in keys.iter().enumerate() {
                    let removed = store.delete(key, None);
                    removed.unwrap_or_else(|error| panic!("{round}, {number}: {error}"));
                }
            }
            3 => assert_eq!(store.clear().expect("cleared"), keys.len() as u64),
            4 => {
                hands.advance(HOUR);
                assert_eq!(store.expire().expect("removed"), keys.len() as u64);
            }
            _ => {
                let mut removed = store.delete_many(&keys).into_iter();
                assert!(removed.all(|one| one.expect("removed")));
            }
        }
        // The room is used again, however full the disk is.
        bytes(&store, "new", 3_000).expect("there is room in the database");
        assert!(store.delete("new", None).expect("removed"));
        fs::remove_file(ballast).expect("there");
        assert_eq!(store.get_stats().expect("counted").entries, 0);
    }
    // And so it is where a process was killed, whose log is all that there is of some values.
    store.close().expect("closed");
    drop(store);
    let mut killed = Helper::start("helper_that_fills_a_disk_and_waits", &disk, 0);
    assert_eq!(killed.hear().as_deref(), Some("full"));
    take_the_rest(&disk);
    killed.kill();
    killed.finish();
    store = BlobManager::with_options(options());
    let count = store.get_stats().expect("counted").entries;
    assert!(count > 200, "{count}");
    assert_eq!(store.clear().expect("cleared"), count);
    store.close().expect("closed");
}

#[test]
#[ignore = "run by the helper above, in its own process"]
fn helper_that_fills_a_disk_and_waits() {
    let (disk, _) = given();
    let base_path = disk.join("store");
    let options = BlobOptions { base_path, inline_below: 50_000, ..BlobOptions::default() };
    let store = BlobManager::with_options(options);
    fill(&store);
    say("full");
    listen();
}

#[test]
fn on_a_full_disk_every_inline_value_can_be_removed_one_by_one_and_all_at_once() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let Some(around) = own_mounts(folder.path()) else { return };
    let line = "mount -t tmpfs -o size=8m,mode=700 tmpfs \"$FOLDER\"";
    let helper = "helper_that_removes_all_inline_values_on_a_full_disk";
    assert!(run_in_shell(around, line, helper, folder.path()).finish());
}

#[test]
fn where_the_blocks_of_a_full_disk_are_small_no_mapping_ends_the_process() {
    on_small_blocks(0, "helper_that_removes_all_inline_values_on_a_full_disk");
}

#[test]
#[ignore = "run by the test below, in its own process"]
fn helper_that_has_what_is_left_to_root() {
    let (disk, _) = given();
    end_with_parent();
    let base_path = disk.join("store");
    let options = BlobOptions { base_path, inline_below: 1_000, ..BlobOptions::default() };
    let store = BlobManager::with_options(options.clone());
    for number in 0..200 {
        bytes(&store, &format!("k{number}"), 10).expect("saved");
    }
    store.close().expect("closed");
    drop(store);
    let mut ballast = fs::File::create(disk.join("ballast")).expect("made");
    while rustix::fs::statvfs(&disk).expect("asked").f_bavail > 0 {
        std::io::Write::write_all(&mut ballast, &[1; 16_384]).expect("written");
        ballast.sync_all().expect("written");
    }
    // Deep in what is left to root: a reserve that is given up changes nothing for others.
    std::io::Write::write_all(&mut ballast, &[1; 1 << 20]).expect("written");
    ballast.sync_all().expect("written");
    let store = BlobManager::with_options(options);
    assert_eq!(store.get_stats().expect("counted").entries, 200);
    assert!(store.try_load_bytes("k7", None).expect("loaded").is_some());
    bytes(&store, "new", 10).expect("saved");
    assert!(store.delete("k7", None).expect("deleted"));
    let reserve = fs::metadata(disk.join("store/.holdall/inline/reserve")).expect("there");
    assert_eq!(reserve.len(), 512 * 1_024, "it was not given up");
}

#[test]
fn on_a_disk_that_is_full_for_others_only_root_can_do_everything() {
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: only root has what is left to root");
    }
    on_small_blocks(30, "helper_that_has_what_is_left_to_root");
}

/// Runs a helper on a file system with blocks of 1 KiB, of which so many percent are left to root.
fn on_small_blocks(percent: u32, helper: &str) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let Some(around) = own_mounts(folder.path()) else { return };
    // In memory, where a flush takes no time.
    let line = &format!(
        "mount -t tmpfs -o size=20m tmpfs \"$FOLDER\" && truncate -s 12M \"$FOLDER/image\" && \
         mkfs.ext4 -q -b 1024 -m {percent} \"$FOLDER/image\" && \
         mount -o loop \"$FOLDER/image\" \"$FOLDER\" && chmod 700 \"$FOLDER\""
    );
    let probe = [around, &["sh", "-c", line]].concat();
    let mut command = std::process::Command::new(probe[0]);
    command.args(&probe[1..]).env("FOLDER", folder.path());
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    if !command.status().is_ok_and(|status| status.success()) {
        return println!("skipped: no file system of ext4 can be made and mounted here");
    }
    assert!(run_in_shell(around, line, helper, folder.path()).finish());
}

/// A database of a store that was opened in this process, seen with its checksums.
fn changeable(path: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open_with_flags_and_vfs(path, Default::default(), c"holdall-given")
        .expect("opened")
}

/// Something that makes a value of a closed store another one, or the database of all of them.
fn harm(folder: &Path, is_database: bool) {
    let path = folder.join(".holdall/inline/values.sqlite");
    let database = changeable(&path);
    if is_database {
        let sql = "SELECT rootpage FROM sqlite_schema WHERE name = 'entry_key'";
        let page: u32 = database.query_row(sql, [], |row| row.get(0)).expect("there");
        drop(database);
        let file = fs::File::options().write(true).open(path).expect("there");
        return file.write_all_at(&[0; 4_096], u64::from(page - 1) * 4_096).expect("zeroed");
    }
    let sql = "UPDATE entry SET content = zeroblob(length(content)) WHERE key = x'696e6c696e6530'";
    database.execute_batch(sql).expect("changed");
    let file = fs::File::options().write(true).open(folder.join("file0.bin")).expect("there");
    let modified = file.metadata().and_then(|file| file.modified()).expect("known");
    file.write_all_at(b"other", 0).expect("changed");
    // As a failing disk would.
    file.set_modified(modified).expect("set");
}

#[test]
#[ignore = "run by the test below, in its own process"]
fn helper_that_repairs_on_a_full_disk() {
    let (disk, _) = given();
    end_with_parent();
    let folder = disk.join("store");
    let open = |inline_below| {
        let base_path = folder.clone();
        BlobManager::with_options(BlobOptions { base_path, inline_below, ..BlobOptions::default() })
    };
    let length = |store: &BlobManager, key: &str| {
        store.try_load_bytes(key, None).map(|found| found.map(|blob| blob.payload.len()))
    };
    for is_database in [false, true] {
        let store = open(5_000);
        for number in 0..200 {
            bytes(&store, &format!("inline{number}"), 3_000).expect("room");
        }
        for number in 0..3 {
            bytes(&store, &format!("file{number}"), 20_000).expect("room");
        }
        store.close().expect("closed");
        drop(store);
        harm(&folder, is_database);
        let ballast = take_the_rest(&disk);
        let database = folder.join(".holdall/inline/values.sqlite");
        let before = fs::read(&database).expect("there");
        let store = open(5_000);
        let found = store.verify(|_| ()).expect("verified").problems;
        assert!(!found.is_empty());
        for _ in 0..3 {
            match store.repair(false, |_| ()) {
                Ok(report) => {
                    assert!(!is_database && report.is_unchanged(), "{report:?}");
                    let told = |one: &&Problem| {
                        one.key.is_some() && one.what.ends_with("not set right: the disk is full")
                    };
                    assert_eq!(report.kept.iter().filter(told).count(), 2, "{report:?}");
                }
                Err(error) => {
                    assert!(is_database, "{error}");
                    assert_eq!(error.os_error(), Some(libc::ENOSPC), "{error}");
                    assert!(error.to_string().contains("free about 10 MiB"), "{error}");
                }
            }
            assert_eq!(store.verify(|_| ()).expect("verified").problems.len(), found.len());
            // Not one attempt has left anything, or changed what is damaged.
            let aside = folder.join(".holdall/quarantine");
            assert!(fs::read_dir(aside).is_ok_and(|mut aside| aside.next().is_none()));
        }
        assert_eq!(length(&store, "file1").expect("read"), Some(20_000));
        if !is_database {
            assert_eq!(length(&store, "inline1").expect("read"), Some(3_000));
        }
        drop(store);
        assert!(fs::read(&database).expect("there") == before);
        fs::remove_file(ballast).expect("there");
        let store = open(5_000);
        let report = store.repair(false, |_| ()).expect("repaired");
        assert_eq!(report.quarantined.len(), if is_database { 1 } else { 2 }, "{report:?}");
        assert_eq!(length(&store, "file1").expect("read"), Some(20_000));
        assert_eq!(store.verify(|_| ()).expect("verified").problems, []);
        store.clear().expect("cleared");
        store.close().expect("closed");
        fs::remove_dir_all(&folder).expect("ours");
    }
}

#[test]
fn on_a_full_disk_a_repair_changes_nothing_and_says_what_it_needs() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let Some(around) = own_mounts(folder.path()) else { return };
    let line = "mount -t tmpfs -o size=12m,mode=700 tmpfs \"$FOLDER\"";
    let helper = "helper_that_repairs_on_a_full_disk";
    assert!(run_in_shell(around, line, helper, folder.path()).finish());
}

#[test]
#[ignore = "run by the test below, in its own process"]
fn helper_that_lists_on_a_full_disk() {
    let (disk, _) = given();
    end_with_parent();
    let open = |inline_below| {
        let base_path = disk.join("store");
        BlobManager::with_options(BlobOptions { base_path, inline_below, ..BlobOptions::default() })
    };
    let mut store = open(0);
    bytes(&store, "inline", 10).expect("room");
    store.close().expect("closed");
    // Kept in the database, and so not in files.
    store = open(50_000);
    bytes(&store, "inline/too", 10).expect("room");
    store.close().expect("closed");
    for round in 0..3 {
        store = open(0);
        let mut keys = fill(&store);
        keys.extend(["inline".to_owned(), "inline/too".to_owned()]);
        keys.sort();
        assert!(keys.len() > 200, "round {round}: {}", keys.len());
        if round > 0 {
            store.close().expect("closed");
        }
        let ballast = take_the_rest(&disk);
        store = open(0);
        let listed = |store: &BlobManager| {
            let stats = store.get_stats().expect("counted");
            let keys: Vec<_> = store.keys("").collect::<Result<_, _>>().expect("listed");
            assert_eq!(stats.entries, keys.len() as u64, "round {round}");
            keys
        };
        assert_eq!(listed(&store), keys);
        assert_eq!(store.expire().expect("nothing"), 0);
        let goes = keys.iter().filter(|key| key.starts_with('v'));
        match round {
            0 | 1 => {
                for key in goes {
                    assert!(store.delete(key, None).expect("removed"));
                }
            }
            _ => assert_eq!(store.clear().expect("cleared"), keys.len() as u64),
        }
        assert_eq!(listed(&store).len(), if round == 2 { 0 } else { 2 });
        // What was freed is there for values: a save that fails has the log of the index cut.
        let mut saved = 0;
        let save = |number: usize| bytes(&store, &format!("w{number}"), 3_000);
        while saved < keys.len() && (save(saved).is_ok() || save(saved).is_ok()) {
            saved += 1;
        }
        assert!(saved > keys.len() * 3 / 4, "round {round}: {saved} of {}", keys.len());
        assert_eq!(listed(&store).len(), saved + if round == 2 { 0 } else { 2 });
        for number in 0..saved {
            assert!(store.delete(&format!("w{number}"), None).expect("removed"));
        }
        fs::remove_file(&ballast).expect("there");
        take_the_rest(&disk);
        assert_eq!(listed(&store).len(), if round == 2 { 0 } else { 2 });
        store.close().expect("closed");
        fs::remove_file(ballast).expect("there");
    }
}

#[test]
fn on_a_full_disk_listings_are_true_and_the_index_takes_no_room_that_values_gave_back() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let Some(around) = own_mounts(folder.path()) else { return };
    let line = "mount -t tmpfs -o size=6m,mode=700 tmpfs \"$FOLDER\"";
    let helper = "helper_that_lists_on_a_full_disk";
    assert!(run_in_shell(around, line, helper, folder.path()).finish());
}

#[test]
#[ignore = "run by the test below, in its own process"]
fn helper_that_knows_a_foreign_file_on_a_full_disk() {
    let (disk, _) = given();
    end_with_parent();
    let open = || BlobManager::new(disk.join("store"));
    let listed = |store: &BlobManager| {
        let keys = store.keys("").collect::<Result<Vec<_>, _>>().expect("listed");
        keys.iter().any(|key| key == "foreign")
    };
    let mut store = open();
    bytes(&store, "ours", 10).expect("room");
    fs::write(disk.join("store/foreign.json"), "1").expect("room");
    assert!(store.try_load_bytes("foreign", None).expect("read").is_some());
    assert!(listed(&store));
    for round in 0..2 {
        if round > 0 {
            store.close().expect("closed");
        }
        let ballast = take_the_rest(&disk);
        drop(store);
        store = open();
        // It may be missing here, for the index cannot be opened.
        listed(&store);
        bytes(&store, "more", 500_000).expect_err("it is full");
        listed(&store);
        store.clear().expect("cleared");
        fs::remove_file(ballast).expect("there");
        assert!(listed(&store), "round {round}");
        bytes(&store, "ours", 10).expect("room");
    }
}

#[test]
fn what_the_index_alone_knows_of_foreign_files_outlives_a_full_disk() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let Some(around) = own_mounts(folder.path()) else { return };
    let line = "mount -t tmpfs -o size=2m,mode=700 tmpfs \"$FOLDER\"";
    let helper = "helper_that_knows_a_foreign_file_on_a_full_disk";
    assert!(run_in_shell(around, line, helper, folder.path()).finish());
}
