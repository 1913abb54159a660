//! What goes through a whole store on a disk that is full: a verification, and a migration.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use holdall::{BlobManager, ErrorKind, Format, Migrate, ProblemKind};

#[path = "common/helper.rs"]
mod helper;
#[path = "common/mounts.rs"]
mod mounts;

use helper::{end_with_parent, given};
use mounts::{own_mounts, run_in_shell};

const VALUES: u64 = 300;

fn filled(folder: &Path) -> BlobManager {
    let store = BlobManager::new(folder);
    let save = |number: u64| BlobManager::encoded(&number.to_string(), &text(), Format::String);
    let saves = (0..VALUES).map(|number| save(number).expect("it is text")).collect();
    assert!(store.save_many(saves).iter().all(Result::is_ok));
    store.close().expect("closed");
    store
}

fn text() -> String {
    "x".repeat(2_000)
}

/// Takes every byte that is left.
fn fill(file: &Path) {
    let mut filled = fs::File::create(file).expect("made");
    while filled.write(&[1; 512]).is_ok_and(|written| written > 0) {}
}

#[test]
#[ignore = "run by the test below, in its own process"]
fn helper_verifies_and_migrates() {
    let (disk, _) = given();
    end_with_parent();
    let store = filled(&disk.join("store"));
    fill(&disk.join("ballast"));
    let found = store.verify(|_| ()).expect("it needs no room");
    assert!(found.is_ok(), "nothing is damaged: {:?}", found.problems);
    assert_eq!(found.checked, VALUES);
    let noticed: Vec<_> = found.notices.iter().map(|one| one.kind).collect();
    assert_eq!(noticed, [ProblemKind::IndexBehind], "{:?}", found.notices);
    assert_eq!(found.notices[0].remedy, "free some space");
    let plan = store.mend(&found, true).expect("planned");
    assert!(plan.kept.is_empty() && plan.quarantined.is_empty(), "{plan:?}");

    let to_json = Migrate { format: Some(Format::Json), ..Migrate::default() };
    let mut migration = store.migration(to_json.clone());
    let stopped = loop {
        match migration.step() {
            Ok(is_more) => assert!(is_more, "there was room for all"),
            Err(error) => break error,
        }
    };
    assert_eq!(stopped.kind(), ErrorKind::Io);
    assert!(stopped.stops_all(), "{stopped}");
    let told = stopped.to_string();
    assert!(told.starts_with("could not migrate the store: the disk is full"), "{told}");
    let (so_far, left) = (migration.so_far(), migration.left().expect("listed"));
    assert!(so_far.failed.is_empty(), "values failed that only found no room: {so_far:?}");
    assert_eq!(so_far.converted + left, VALUES);
    assert!(left > 0);

    fs::remove_file(disk.join("ballast")).expect("there");
    let other = store.migrate(to_json, |_| ()).expect("another run goes on");
    assert_eq!((other.checked, other.converted), (VALUES, left));
    while migration.step().expect("there is room") {}
    let done = migration.finish();
    assert_eq!((done.checked, done.converted + done.unchanged), (VALUES, VALUES));
    assert!(store.verify(|_| ()).expect("verified").is_ok());
    assert_eq!(store.load::<String>("7").expect("it is there"), text());
}

#[test]
fn a_full_disk_is_no_damage_and_stops_a_migration_until_there_is_room() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let Some(around) = own_mounts(folder.path()) else { return };
    let line = "mount -t tmpfs -o size=4m,mode=700 tmpfs \"$FOLDER\"";
    assert!(run_in_shell(around, line, "helper_verifies_and_migrates", folder.path()).finish());
}

#[test]
#[ignore = "run by the test below, in its own process"]
fn helper_verifies_inline_values() {
    let (disk, _) = given();
    end_with_parent();
    let folder = disk.join("store");
    let options = holdall::BlobOptions { base_path: folder.clone(), ..<_>::default() };
    let options = holdall::BlobOptions { inline_below: 50_000, ..options };
    let store = BlobManager::with_options(options);
    for number in 0..20 {
        store.save(&number.to_string(), &text(), Format::String).expect("saved");
    }
    store.close().expect("closed");
    fill(&disk.join("ballast"));
    match store.verify(|_| ()) {
        Ok(found) => assert!(found.is_ok(), "nothing is damaged: {:?}", found.problems),
        Err(error) => assert!(error.stops_all(), "{error}"),
    }
    fs::remove_file(disk.join("ballast")).expect("there");
    let found = store.verify(|_| ()).expect("there is room");
    assert!(found.is_ok() && found.checked == 20, "{found:?}");
}

#[test]
fn a_full_disk_is_no_damage_to_inline_values() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let Some(around) = own_mounts(folder.path()) else { return };
    let line = "mount -t tmpfs -o size=4m,mode=700 tmpfs \"$FOLDER\"";
    assert!(run_in_shell(around, line, "helper_verifies_inline_values", folder.path()).finish());
}
