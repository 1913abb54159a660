//! The same over files and inline values, with the locks, counters and databases that they have,
//! and closing and opening while others work.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::storage::{
    a_batch_with_a_key_twice_leaves_no_older_value, readers_never_see_the_past,
    what_was_made_is_overtaken_by,
};
use super::{Work, together};
use crate::{BlobManager, BlobOptions, Format};

/// A folder that goes away.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let memory = Path::new("/dev/shm");
        let above = if memory.is_dir() { memory.into() } else { std::env::temp_dir() };
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(above.join(format!("holdall-races-{}-{number}", std::process::id())))
    }

    /// A manager of its own, with values of fewer bytes inline.
    fn open(&self, inline_below: u64) -> BlobManager {
        let base_path = self.0.clone();
        BlobManager::with_options(BlobOptions { base_path, inline_below, ..BlobOptions::default() })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const FILES: u64 = 0;
const INLINE: u64 = 100;

pub fn a_slow_read_of_a_file_is_not_admitted_after_a_newer_write() {
    let folder = Folder::new();
    readers_never_see_the_past(&folder.open(FILES), 2);
}

pub fn a_slow_read_of_an_inline_value_is_not_admitted_after_a_newer_write() {
    let folder = Folder::new();
    readers_never_see_the_past(&folder.open(INLINE), 2);
}

pub fn a_file_made_before_a_delete_is_not_kept_after_it() {
    let folder = Folder::new();
    what_was_made_is_overtaken_by(&folder.open(FILES), |storage| storage.delete("k").map(drop));
}

pub fn a_file_made_before_a_clear_is_not_kept_after_it() {
    let folder = Folder::new();
    what_was_made_is_overtaken_by(&folder.open(FILES), |storage| storage.clear().map(drop));
}

pub fn a_batch_with_a_key_twice_leaves_no_older_file_in_memory() {
    let folder = Folder::new();
    a_batch_with_a_key_twice_leaves_no_older_value(&folder.open(FILES));
}

pub fn a_batch_with_a_key_twice_leaves_no_older_inline_value_in_memory() {
    let folder = Folder::new();
    a_batch_with_a_key_twice_leaves_no_older_value(&folder.open(INLINE));
}

/// A store that is closed while others read, write, delete and list is opened again by them: no
/// error, and nothing is lost or comes back.
pub fn closing_while_others_work_loses_nothing() {
    let folder = Folder::new();
    let blobs = folder.open(INLINE);
    blobs.save("first", &vec![0; 100], Format::Json).unwrap();
    blobs.save("gone", &0, Format::Json).unwrap();
    let (closer, lister, deleter) = (blobs.clone(), blobs.clone(), blobs.clone());
    let save = |key: &'static str| {
        let blobs = blobs.clone();
        Box::new(move || {
            blobs.save(key, &1, Format::Json).unwrap();
            assert_eq!(blobs.load::<u64>(key).unwrap(), 1);
        }) as Work
    };
    together(vec![
        save("a"),
        Box::new(move || {
            closer.close().unwrap();
            closer.close().unwrap();
        }),
        Box::new(move || {
            assert!(lister.list_keys("", None, 10).unwrap().iter().any(|key| key == "first"));
            assert_eq!(lister.load::<Vec<u64>>("first").unwrap().len(), 100);
        }),
        Box::new(move || assert!(deleter.delete("gone", None).unwrap())),
    ]);
    let keys = blobs.list_keys("", None, 10).unwrap();
    assert_eq!(keys.iter().collect::<Vec<_>>(), ["a", "first"]);
    assert_eq!(blobs.get_stats().unwrap().entries, 2);
    assert!(!blobs.exists("gone").unwrap());
}

/// Managers that open one new folder at the same time share one store, with one file of locks.
pub fn a_folder_that_is_opened_twice_at_once_is_one_store() {
    let folder = Folder::new();
    let lock_files = || {
        let open = std::fs::read_dir("/proc/self/fd").unwrap();
        let paths = open.filter_map(|one| std::fs::read_link(one.unwrap().path()).ok());
        paths.filter(|path| *path == folder.0.join(".holdall/locks")).count()
    };
    let managers = [folder.open(FILES), folder.open(INLINE)];
    let save = |(blobs, key): (&BlobManager, &'static str)| {
        let blobs = blobs.clone();
        Box::new(move || {
            blobs.save(key, &1, Format::Json).unwrap();
            blobs.close().unwrap();
            assert_eq!(blobs.load::<u64>(key).unwrap(), 1);
        }) as Work
    };
    together(managers.iter().zip(["a", "b"]).map(save).collect());
    assert_eq!(lock_files(), 1);
    assert_eq!(folder.open(FILES).list_keys("", None, 10).unwrap().len(), 2);
}
