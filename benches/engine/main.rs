//! What single calls of the engine take, without Python: `make bench`, or
//! `cargo bench -p holdall --bench engine -- FILTER`.
//!
//! Each store has a directory of its own, and all are removed at the end only: on ext4 deleting
//! thousands of files slows later saves for minutes.
#![allow(clippy::disallowed_methods, reason = "the wall clock of the machine is what is measured")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run should stop")]

mod work;

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use divan::Bencher;
use holdall::cache::policy::POLICIES;
use holdall::cache::{CacheOptions, PolicyKind};
use holdall::clock::Ttl;
use holdall::key::{CaseRule, Key, parse_name};
use holdall::{BlobManager, BlobMetadata, CacheManager, Format};
use work::{KEYS, Recipe, keys, recipe, stored};

fn main() {
    divan::main();
    work::remove_folders();
}

/// Counts round and round.
struct Turn(AtomicUsize, usize);

impl Turn {
    fn new(end: usize) -> Self {
        Self(AtomicUsize::new(0), end)
    }

    fn next(&self) -> usize {
        self.0.fetch_add(1, Ordering::Relaxed) % self.1
    }
}

/// A hit among 1,000 entries with a TTL.
#[divan::bench]
fn cache_get_hit(bencher: Bencher<'_, '_>) {
    let (cache, keys) = work::filled_cache(PolicyKind::default(), KEYS);
    let turn = Turn::new(keys.len());
    bencher.bench(|| cache.get(&keys[turn.next()]));
}

#[divan::bench]
fn cache_get_miss(bencher: Bencher<'_, '_>) {
    let (cache, _) = work::filled_cache(PolicyKind::default(), KEYS);
    bencher.bench(|| cache.get(black_box("nothing")));
}

/// A new key into a full cache with a TTL of its own: another entry has to go.
#[divan::bench(args = policies(), sample_size = 200)]
fn cache_set_full(bencher: Bencher<'_, '_>, policy: &str) {
    let (cache, _) = work::filled_cache(PolicyKind::named(policy).unwrap(), KEYS);
    let new: Vec<String> = (0..KEYS * 20).map(|number| format!("new:{number}")).collect();
    let turn = Turn::new(new.len());
    bencher.bench(|| {
        let number = turn.next();
        let ttl = Ttl::After(Duration::from_secs(60 + number as u64 % 60));
        cache.set(&new[number], number, ttl)
    });
}

/// Looking a key up and setting it if it is not there, 9 of 10 times a popular one.
#[divan::bench(args = policies(), sample_size = 200)]
fn cache_mixed(bencher: Bencher<'_, '_>, policy: &str) {
    let cache = CacheManager::with_options(CacheOptions {
        max_size: KEYS / 2,
        policy: PolicyKind::named(policy).unwrap(),
        ..CacheOptions::default()
    })
    .unwrap();
    let keys = keys(KEYS * 20);
    let turn = Turn::new(keys.len());
    bencher.bench(|| {
        let number = turn.next();
        let key = &keys[if number.is_multiple_of(10) { number } else { number % (KEYS / 3) }];
        if cache.get(key).is_none() {
            cache.set(key, number, Ttl::Default).unwrap();
        }
    });
}

fn policies() -> impl Iterator<Item = &'static str> {
    POLICIES.iter().map(|kind| kind.name)
}

/// From text to the name of the file.
#[divan::bench(args = ["recipes/42", "a b/50%/é", "Key.with.dots"])]
fn key_encode(text: &str) -> String {
    Key::new(black_box(text)).unwrap().name(CaseRule::Sensitive)
}

#[divan::bench(sample_size = 200)]
fn key_decode() -> bool {
    parse_name(black_box("a%20b/50%25/%C3%A9"), CaseRule::Sensitive).is_some()
}

/// The record of a value as bytes, as in the stamp of its file.
#[divan::bench]
fn stamp_encode(bencher: Bencher<'_, '_>) {
    let (_folder, store, keys) = stored(1);
    let metadata = store.metadata(&keys[0]).unwrap();
    bencher.bench(|| metadata.to_bytes());
}

#[divan::bench]
fn stamp_decode(bencher: Bencher<'_, '_>) {
    let (_folder, store, keys) = stored(1);
    let bytes = store.metadata(&keys[0]).unwrap().to_bytes();
    bencher.bench(|| BlobMetadata::from_bytes(&keys[0], &bytes));
}

/// A new key in the file backend, about 1 KB of JSON.
#[divan::bench(sample_count = 20, sample_size = 50)]
fn file_save_new(bencher: Bencher<'_, '_>) {
    let folder = work::folder();
    let store = BlobManager::new(folder);
    let turn = Turn::new(usize::MAX);
    let value = recipe(1);
    bencher.bench_local(|| store.save(&format!("new/{}", turn.next()), &value, Format::Json));
}

#[divan::bench(sample_count = 20, sample_size = 50)]
fn file_overwrite(bencher: Bencher<'_, '_>) {
    let (_folder, store, keys) = stored(KEYS);
    let turn = Turn::new(keys.len());
    let value = recipe(2);
    bencher.bench_local(|| store.save(&keys[turn.next()], &value, Format::Json));
}

/// From the page cache, checked and decoded.
#[divan::bench(sample_count = 50, sample_size = 100)]
fn file_load(bencher: Bencher<'_, '_>) {
    let (_folder, store, keys) = stored(KEYS);
    let turn = Turn::new(keys.len());
    bencher.bench_local(|| store.load::<Recipe>(&keys[turn.next()]));
}

/// The same without decoding.
#[divan::bench(sample_count = 50, sample_size = 100)]
fn file_load_bytes(bencher: Bencher<'_, '_>) {
    let (_folder, store, keys) = stored(KEYS);
    let turn = Turn::new(keys.len());
    bencher.bench_local(|| store.load_bytes(&keys[turn.next()], Some(Format::Json)));
}

#[divan::bench(sample_count = 20, sample_size = 50)]
fn file_exists(bencher: Bencher<'_, '_>) {
    let (_folder, store, keys) = stored(KEYS);
    let turn = Turn::new(keys.len());
    bencher.bench_local(|| store.exists(&keys[turn.next()]));
}
