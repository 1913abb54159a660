//! Two mappings of one file stand for two processes.

use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::super::{FileBackend, FileOptions};
use super::*;
use crate::backend::{Backend as _, Part, Put};
use crate::clock::ManualClock;
use crate::format::Format;
use crate::key::Key;

/// 2024-01-01, microseconds since 1970.
const NOW: u64 = 1_704_067_200_000_000;

fn opened(folder: &Path) -> Uses {
    Uses::open(&OwnedFd::from(fs::File::open(folder).expect("there"))).expect("mapped")
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// A store that notes uses, with one value.
fn store(folder: &Path) -> FileBackend {
    let options = FileOptions {
        notes_uses: true,
        clock: ManualClock::new().clock(),
        ..FileOptions::default()
    };
    let store = FileBackend::new(folder, options);
    let parts = vec![Part::from(b"1".to_vec())];
    store.put(Put::new(key(), Format::Json, parts)).expect("put");
    store
}

fn key() -> Key {
    Key::new("k").expect("a key")
}

fn last(store: &FileBackend) -> Option<u64> {
    store.note_use("k");
    store.last_use(&key())
}

#[test]
fn what_one_process_notes_the_others_know_up_to_a_second_later() {
    let folder = folder();
    let (one, other) = (opened(folder.path()), opened(folder.path()));
    let hash = 77 << 40;
    assert_eq!(other.last(hash, NOW), None);
    one.note(hash, NOW + 300_000);
    let noted = other.last(hash, NOW + 300_000).expect("noted");
    assert!(((NOW + 300_000) / 1_000..=NOW / 1_000 + 1_000).contains(&noted));
    assert_eq!(other.last(78 << 40, NOW), None, "another slot");
    drop((one, other));
    assert_eq!(opened(folder.path()).last(hash, NOW + 300_000), Some(noted));
}

#[test]
fn the_file_is_of_its_owner_alone_and_has_all_its_blocks() {
    let folder = folder();
    drop(opened(folder.path()));
    let file = folder.path().join("uses");
    let found = file.metadata().expect("there");
    assert_eq!((found.permissions().mode() & 0o777, found.len()), (0o600, LENGTH as u64));
    assert!(found.blocks() * 512 >= LENGTH as u64);
    // As a copy that leaves out what is zero.
    fs::File::create(&file).and_then(|file| file.set_len(LENGTH as u64)).expect("made");
    drop(opened(folder.path()));
    assert!(file.metadata().expect("there").blocks() * 512 >= LENGTH as u64);
}

#[test]
fn a_file_of_another_length_is_made_anew_and_nonsense_in_it_is_not_believed() {
    let folder = folder();
    let file = folder.path().join("uses");
    for length in [0, 1, LENGTH - 1, LENGTH + 4_096] {
        fs::write(&file, vec![255; length]).expect("written");
        let uses = opened(folder.path());
        assert_eq!(file.metadata().expect("there").len(), LENGTH as u64);
        assert_eq!(uses.last(5 << 40, NOW), None);
    }
    fs::File::options()
        .write(true)
        .open(&file)
        .and_then(|file| file.write_all_at(&vec![255; LENGTH], 0))
        .expect("damaged");
    let uses = opened(folder.path());
    assert_eq!(uses.last(5 << 40, NOW), None, "a time to come");
    uses.note(5 << 40, NOW);
    assert!(uses.last(5 << 40, NOW).is_some());
}

#[test]
fn whoever_cuts_the_file_short_ends_no_process_that_has_it_mapped() {
    let folder = folder();
    let store = store(folder.path());
    assert!(last(&store).is_some());
    let file = folder.path().join(".holdall/uses");
    fs::File::options().write(true).open(&file).and_then(|file| file.set_len(0)).expect("cut");
    assert!(last(&store).is_some(), "this process goes on by itself");
    assert!(store.get(&key(), None).expect("read").is_some());
    drop(store);
    assert!(last(&self::store(folder.path())).is_some());
    assert_eq!(file.metadata().expect("there").len(), LENGTH as u64);
}

#[test]
fn what_somebody_else_has_put_in_its_place_is_not_touched_and_hinders_nobody() {
    let aside = folder();
    let victim = aside.path().join("victim");
    fs::write(&victim, "theirs").expect("written");
    let plants: [fn(&Path, &Path); 2] = [
        |_, place| fs::create_dir(place).expect("made"),
        |victim, place| std::os::unix::fs::symlink(victim, place).expect("made"),
    ];
    for plant in plants {
        let folder = folder();
        FileBackend::new(folder.path(), FileOptions::default()).totals().expect("made");
        plant(&victim, &folder.path().join(".holdall/uses"));
        let store = store(folder.path());
        assert_eq!(last(&store), None);
        assert!(store.get(&key(), None).expect("read").is_some());
        assert_eq!(fs::read_to_string(&victim).expect("there"), "theirs");
    }
}

#[test]
fn without_being_asked_no_uses_are_noted() {
    let folder = folder();
    let store = FileBackend::new(folder.path(), FileOptions::default());
    store.put(Put::new(key(), Format::Json, vec![Part::from(b"1".to_vec())])).expect("put");
    assert_eq!(last(&store), None);
    assert!(!folder.path().join(".holdall/uses").exists());
}
