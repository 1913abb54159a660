//! Memory alone: single flight, loads that a write overtakes, and eviction while loading.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::{Number, Work, together};
use crate::cache::{CacheManager, CacheOptions};
use crate::clock::{ManualClock, Ttl};
use crate::error::{Error, ErrorKind, Result};
use crate::sync::step;

fn cache(max_size: usize) -> CacheManager<u64> {
    let clock = Some(ManualClock::new().clock());
    CacheManager::with_options(CacheOptions { max_size, clock, ..CacheOptions::default() }).unwrap()
}

/// Calls [`CacheManager::get_or_set`] with a loader that takes its time.
fn try_load(
    cache: &CacheManager<u64>,
    key: &str,
    loader: impl FnOnce() -> Result<u64>,
) -> Result<u64, ErrorKind> {
    let loaded = || {
        step();
        let value = loader();
        step();
        value
    };
    cache.get_or_set(key, loaded, Ttl::Never).map_err(|error: std::sync::Arc<Error>| error.kind())
}

fn load(cache: &CacheManager<u64>, key: &str, loader: impl FnOnce() -> u64) -> u64 {
    try_load(cache, key, || Ok(loader())).unwrap()
}

/// Callers of one missing key cause one load, and all have its value.
pub fn concurrent_callers_cause_one_load() {
    let (cache, loads) = (cache(10), Number::default());
    let call = |_| {
        let (cache, loads) = (cache.clone(), loads.clone());
        Box::new(move || assert_eq!(load(&cache, "k", || loads.add()), 1)) as Work
    };
    together((0..3).map(call).collect());
    assert_eq!((loads.get(), cache.get("k")), (1, Some(1)));
}

/// A failure reaches those who waited for it, and nobody who came later: they load anew, once.
pub fn a_failed_load_is_not_kept() {
    let (cache, loads) = (cache(10), Number::default());
    let fails_once = |loads: &Number| match loads.add() {
        1 => Err(Error::new(ErrorKind::Io, "the first load fails")),
        n => Ok(n),
    };
    let call = |_| {
        let (cache, loads) = (cache.clone(), loads.clone());
        Box::new(move || {
            let first = try_load(&cache, "k", || fails_once(&loads));
            assert!(matches!(first, Ok(2) | Err(ErrorKind::Io)), "{first:?}");
            assert_eq!(try_load(&cache, "k", || fails_once(&loads)), Ok(2));
        }) as Work
    };
    together((0..3).map(call).collect());
    assert_eq!((loads.get(), cache.get("k")), (2, Some(2)));
}

/// When the one who loads panics, one of those who wait loads.
pub fn a_panicking_loader_hands_over() {
    let (cache, loads) = (cache(10), Number::default());
    let call = |_| {
        let (cache, loads) = (cache.clone(), loads.clone());
        Box::new(move || {
            let one = || {
                load(&cache, "k", || match loads.add() {
                    1 => resume_unwind(Box::new("a broken loader")),
                    n => n,
                })
            };
            if let Ok(value) = catch_unwind(AssertUnwindSafe(one)) {
                assert_eq!(value, 2);
            }
        }) as Work
    };
    together((0..3).map(call).collect());
    assert_eq!((loads.get(), cache.get("k")), (2, Some(2)));
}

/// What was loaded before a write or a delete is not kept after it, and whoever asks after it does
/// not get it.
fn a_load_is_overtaken_by(write: fn(&CacheManager<u64>)) {
    let (cache, truth, written) = (cache(10), Number::new(1), Number::new(1));
    let read = |_| {
        let (cache, truth, written) = (cache.clone(), truth.clone(), written.clone());
        Box::new(move || {
            let oldest = written.get();
            let value = load(&cache, "k", || truth.get());
            assert!(value >= oldest, "{value} was answered after {oldest} was written");
        }) as Work
    };
    let (writer, newest, told) = (cache.clone(), truth.clone(), written.clone());
    let write = move || {
        newest.set(2);
        write(&writer);
        told.set(2);
        assert_eq!(load(&writer, "k", || newest.get()), 2);
    };
    together(vec![read(0), Box::new(write), read(1)]);
    assert_eq!(cache.get("k"), Some(2));
}

pub fn a_load_that_a_write_overtook_is_not_kept() {
    a_load_is_overtaken_by(|cache| cache.set("k", 2, Ttl::Never).unwrap());
}

pub fn a_load_that_a_delete_overtook_is_not_kept() {
    a_load_is_overtaken_by(|cache| {
        cache.delete("k");
    });
}

pub fn a_load_that_a_clear_overtook_is_not_kept() {
    a_load_is_overtaken_by(CacheManager::clear);
}

/// A full cache in which values leave while others are loaded stays within its bound, and gives
/// each caller its own value.
pub fn eviction_while_loading_keeps_the_bound_and_mixes_nothing_up() {
    let cache = cache(1);
    let call = |n: u64| {
        let cache = cache.clone();
        Box::new(move || {
            let key = ["a", "b", "c"][n as usize % 3];
            assert_eq!(load(&cache, key, || n % 3), n % 3);
            assert!(cache.get(key).is_none_or(|value| value == n % 3));
            assert!(cache.get_stats().entries <= 1);
        }) as Work
    };
    together((0..4).map(call).collect());
    assert_eq!(load(&cache, "a", || 0), 0);
    assert!(cache.len() <= 1);
}
