//! The promises about removing and listing values on a full disk: all of it works, again and again.

use std::fs;
use std::path::Path;

use holdall::{BlobManager, BlobOptions, Error, Format, SaveOptions};

#[path = "common/helper.rs"]
mod helper;
#[path = "common/mounts.rs"]
mod mounts;

use helper::{end_with_parent, given};
use mounts::{own_mounts, run_in_shell};

fn bytes(store: &BlobManager, key: &str, length: usize) -> Result<(), Error> {
    let payload = vec![key.as_bytes()[0]; length];
    store.save_parts(key, Format::Bytes, vec![payload.into()], SaveOptions::default()).map(drop)
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
    let options = || BlobOptions {
        base_path: disk.join("store"),
        inline_below: 50_000,
        ..BlobOptions::default()
    };
    let mut store = BlobManager::with_options(options());
    for round in 0..3 {
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
    store.close().expect("closed");
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
