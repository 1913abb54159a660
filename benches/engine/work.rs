//! What is saved, and where: shared by the times and by the counts of instructions.

use std::path::PathBuf;

use holdall::cache::{CacheOptions, PolicyKind};
use holdall::clock::Ttl;
use holdall::{BlobManager, CacheManager, Format};
use serde::{Deserialize, Serialize};

pub(crate) const KEYS: usize = 1_000;

/// About 1 KB of JSON.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
pub(crate) struct Recipe {
    title: String,
    servings: u32,
    steps: Vec<String>,
}

pub(crate) fn recipe(number: usize) -> Recipe {
    Recipe {
        title: format!("Recipe {number}"),
        servings: 4,
        steps: (0..18)
            .map(|step| format!("step {step}: stir, and wait a while, then taste, {number}"))
            .collect(),
    }
}

pub(crate) fn keys(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("recipes/{number}")).collect()
}

pub(crate) fn filled_cache(policy: PolicyKind, count: usize) -> (CacheManager<usize>, Vec<String>) {
    let options = CacheOptions { max_size: count, policy, ..CacheOptions::default() };
    let cache = CacheManager::with_options(options).unwrap();
    let keys = keys(count);
    for (number, key) in keys.iter().enumerate() {
        cache.set(key, number, Ttl::Default).unwrap();
    }
    (cache, keys)
}

/// A new directory beside the build, so on the disk that is measured and not on a tmpfs.
pub(crate) fn folder() -> PathBuf {
    std::fs::create_dir_all(base()).unwrap();
    tempfile::tempdir_in(base()).unwrap().keep()
}

/// Removes all of them, at the end.
pub(crate) fn remove_folders() {
    drop(std::fs::remove_dir_all(base()));
}

fn base() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{}", std::process::id()))
}

/// A store with so many values.
pub(crate) fn stored(count: usize) -> (PathBuf, BlobManager, Vec<String>) {
    let path = folder();
    let store = BlobManager::new(&path);
    let keys = keys(count);
    for (number, key) in keys.iter().enumerate() {
        store.save(key, &recipe(number), Format::Json).unwrap();
    }
    (path, store, keys)
}
