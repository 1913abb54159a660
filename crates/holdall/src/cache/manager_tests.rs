//! The manager's promises, at hand-moved time; and against a plain map.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use proptest::prelude::*;

use super::{CacheManager, CacheOptions, Cause, PolicyKind};
use crate::clock::{ManualClock, Ttl};
use crate::error::{Error, ErrorKind};

fn options<V>(hands: &ManualClock) -> CacheOptions<V> {
    CacheOptions { clock: Some(hands.clock()), ..CacheOptions::default() }
}

fn cache<V: Clone + Send>(hands: &ManualClock) -> CacheManager<V> {
    CacheManager::with_options(options(hands)).unwrap()
}

fn after(millis: u64) -> Ttl {
    Ttl::After(Duration::from_millis(millis))
}

#[test]
fn a_value_lives_an_hour_unless_told_otherwise() {
    let hands = ManualClock::new();
    let cache = cache(&hands);
    cache.set("hour", 1, Ttl::Default).unwrap();
    cache.set("short", 2, after(10)).unwrap();
    cache.set("ever", 3, Ttl::Never).unwrap();
    assert_eq!(cache.ttl_of("hour"), Some(after(3_600_000)));
    assert_eq!(cache.ttl_of("ever"), Some(Ttl::Never));
    hands.advance(Duration::from_millis(10));
    assert_eq!((cache.get("short"), cache.get("hour")), (None, Some(1)));
    assert!(cache.touch("hour", Ttl::Default).unwrap());
    hands.advance(Duration::from_secs(3_599));
    assert_eq!(cache.get("hour"), Some(1));
    hands.advance(Duration::from_secs(1));
    assert_eq!(cache.len(), 1);
    assert_eq!(cache.keys(), ["ever"]);
    assert!(!cache.contains("hour") && !cache.touch("hour", Ttl::Default).unwrap());
    let stats = cache.get_stats();
    assert_eq!((stats.hits, stats.misses, stats.entries), (2, 1, 2));
    cache.sweep_expired();
    assert_eq!((cache.get_stats().entries, cache.get_stats().expirations), (1, 2));
}

#[test]
fn bad_arguments_are_errors_and_touch_nothing() {
    let hands = ManualClock::new();
    let cache = cache(&hands);
    cache.set("a", 1, Ttl::Never).unwrap();
    let kind = |result: crate::Result<()>| result.unwrap_err().kind();
    assert_eq!(kind(cache.set("a", 2, Ttl::After(Duration::ZERO))), ErrorKind::InvalidArgument);
    assert_eq!(kind(cache.set("", 2, Ttl::Never)), ErrorKind::InvalidKey);
    assert_eq!(kind(cache.set("a\0", 2, Ttl::Never)), ErrorKind::InvalidKey);
    assert_eq!(kind(cache.set_many([("a", 2), ("", 3)], Ttl::Never)), ErrorKind::InvalidKey);
    assert_eq!((cache.get("a"), cache.len()), (Some(1), 1));
    let options = CacheOptions::<u8> { default_ttl: Some(Duration::ZERO), ..options(&hands) };
    let error = CacheManager::with_options(options).unwrap_err();
    assert_eq!(
        error.to_string(),
        "could not make the cache: default_ttl is zero; \
         give a time to live of more than zero, or none for ever"
    );
}

#[test]
fn a_cache_of_size_zero_is_always_empty() {
    let hands = ManualClock::new();
    let cache =
        CacheManager::with_options(CacheOptions { max_size: 0, ..options(&hands) }).unwrap();
    cache.set("a", 1, Ttl::Never).unwrap();
    assert_eq!((cache.get("a"), cache.len(), cache.get_stats().evictions), (None, 0, 0));
    assert_eq!(cache.get_or_set("a", || Ok::<_, Error>(2), Ttl::Never).unwrap(), 2);
    assert_eq!(cache.get("a"), None);
}

#[test]
fn everything_that_leaves_is_reported_outside_the_lock() {
    let hands = ManualClock::new();
    let left = Arc::new(Mutex::new(Vec::new()));
    let whole: Arc<Mutex<Option<CacheManager<u32>>>> = Arc::default();
    let (seen, inner) = (Arc::clone(&left), Arc::clone(&whole));
    let cache = CacheManager::with_options(CacheOptions {
        max_size: 2,
        policy: PolicyKind::LRU,
        max_bytes: Some(100),
        weigher: Some(Box::new(|_, value| u64::from(*value))),
        on_evict: Some(Box::new(move |key, value, cause| {
            // Would never return if the lock were held.
            let size = inner.lock().unwrap().as_ref().map_or(0, CacheManager::len);
            assert!(size <= 2);
            seen.lock().unwrap().push((key.to_owned(), *value, cause));
        })),
        ..options(&hands)
    })
    .unwrap();
    *whole.lock().unwrap() = Some(cache.clone());
    let set = |key: &str, value| cache.set(key, value, after(50)).unwrap();
    set("a", 1);
    set("a", 2);
    set("b", 3);
    set("c", 4);
    assert!(cache.delete("b") && !cache.delete("b"));
    set("c", 101);
    set("d", 5);
    hands.advance(Duration::from_secs(1));
    assert_eq!(cache.get("d"), None);
    set("e", 6);
    cache.clear();
    let left: Vec<_> = std::mem::take(&mut *left.lock().unwrap());
    let expected = [
        ("a", 1, Cause::Replaced),
        ("a", 2, Cause::Evicted),
        ("b", 3, Cause::Deleted),
        ("c", 4, Cause::Replaced),
        ("c", 101, Cause::Refused),
        ("d", 5, Cause::Expired),
        ("e", 6, Cause::Cleared),
    ];
    assert_eq!(left, expected.map(|(key, value, cause)| (key.to_owned(), value, cause)));
    whole.lock().unwrap().take();
}

#[test]
fn many_keys_are_answered_in_the_order_asked() {
    let hands = ManualClock::new();
    let cache = cache(&hands);
    cache.set_many([("a", 1), ("b", 2), ("c", 3)], Ttl::Default).unwrap();
    let found = cache.get_many(["c", "nothing", "a"]);
    assert_eq!(found, [("c".to_owned(), 3), ("a".to_owned(), 1)]);
    assert_eq!(cache.delete_many(["a", "b", "nothing"]), 2);
    assert!((cache.get_stats().hit_rate() - 2.0 / 3.0).abs() < 1e-9);
    assert_eq!(super::CacheStats::default().hit_rate().to_bits(), 0.0_f64.to_bits());
}

#[test]
fn add_writes_only_what_is_absent_or_expired() {
    let hands = ManualClock::new();
    let cache = cache(&hands);
    assert!(cache.add("a", 1, after(5)).unwrap());
    assert!(!cache.add("a", 2, after(5)).unwrap());
    hands.advance(Duration::from_millis(5));
    assert!(cache.add("a", 3, after(5)).unwrap());
    assert_eq!(cache.get("a"), Some(3));
}

#[test]
fn a_counter_keeps_its_time_to_live_and_never_wraps() {
    let hands = ManualClock::new();
    let cache = cache::<i64>(&hands);
    assert_eq!(cache.incr("n", 5, after(10)).unwrap(), 5);
    hands.advance(Duration::from_millis(6));
    assert_eq!(cache.incr("n", -7, after(10)).unwrap(), -2);
    let error = cache.incr("n", i64::MIN, after(10)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(cache.get("n"), Some(-2));
    hands.advance(Duration::from_millis(4));
    assert_eq!(cache.incr("n", 1, after(10)).unwrap(), 1);
}

#[test]
fn many_who_miss_one_key_cause_one_load() {
    let hands = ManualClock::new();
    let (cache, loads) = (cache(&hands), AtomicUsize::new(0));
    let barrier = Barrier::new(8);
    let all: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    let load = || Ok::<_, Error>(loads.fetch_add(1, Ordering::SeqCst) + 10);
                    cache.get_or_set("key", load, Ttl::Default).unwrap()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(loads.into_inner(), 1);
    assert_eq!(all, [10; 8]);
    let stats = cache.get_stats();
    assert_eq!(stats.hits + stats.misses, 8);
}

/// Runs `get_or_set` on another thread and returns once it waits for a load under way or is over.
fn joined<R: Send + 'static>(
    cache: &CacheManager<u32>,
    ask: impl FnOnce(&CacheManager<u32>) -> R + Send + 'static,
) -> thread::JoinHandle<R> {
    let misses = cache.get_stats().misses;
    let asking = cache.clone();
    let thread = thread::spawn(move || ask(&asking));
    // A miss is counted in the step that joins the load.
    while cache.get_stats().misses == misses {
        thread::yield_now();
    }
    thread
}

#[test]
fn a_failure_is_shared_by_all_who_wait_and_not_kept() {
    let cache = cache::<u32>(&ManualClock::new());
    let inside = cache.clone();
    let mut waiting = Vec::new();
    let first = cache.get_or_set(
        "key",
        || {
            for _ in 0..3 {
                let load = || panic!("loaded twice");
                waiting.push(joined(&inside, move |cache| {
                    cache.get_or_set::<Error>("key", load, Ttl::Default).unwrap_err().to_string()
                }));
            }
            Err(Error::new(ErrorKind::Io, "the source is down"))
        },
        Ttl::Default,
    );
    assert_eq!(first.unwrap_err().to_string(), "the source is down");
    for thread in waiting {
        assert_eq!(thread.join().unwrap(), "the source is down");
    }
    assert_eq!(cache.get_or_set("key", || Ok::<_, Error>(1), Ttl::Default).unwrap(), 1);
}

#[test]
fn when_a_loader_panics_one_of_those_who_wait_loads() {
    let cache = cache::<u32>(&ManualClock::new());
    let (send, receive) = mpsc::channel();
    let inside = cache.clone();
    let leader = thread::spawn(move || {
        let asking = inside.clone();
        let load = || -> Result<u32, Error> {
            let waiting = joined(&asking, |cache| {
                cache.get_or_set("key", || Ok::<_, Error>(2), Ttl::Default).unwrap()
            });
            send.send(waiting).unwrap();
            std::panic::resume_unwind(Box::new("the loader broke"))
        };
        inside.get_or_set("key", load, Ttl::Default)
    });
    assert!(leader.join().is_err());
    assert_eq!(receive.recv().unwrap().join().unwrap(), 2);
    assert_eq!(cache.get("key"), Some(2));
}

#[test]
fn a_write_during_a_load_stands_and_a_delete_is_not_undone() {
    let cache = cache(&ManualClock::new());
    let load_while = |work: &dyn Fn()| {
        let load = || {
            work();
            Ok::<_, Error>(1)
        };
        cache.get_or_set("key", load, Ttl::Default).unwrap()
    };
    assert_eq!(load_while(&|| cache.set("key", 2, Ttl::Default).unwrap()), 1);
    assert_eq!(cache.get("key"), Some(2));
    cache.delete("key");
    load_while(&|| assert!(!cache.delete("key")));
    assert_eq!(cache.get("key"), None);
    load_while(&|| cache.clear());
    assert_eq!(cache.get("key"), None);
    load_while(&|| assert!(cache.set("another", 3, Ttl::Default).is_ok()));
    assert_eq!(cache.get("key"), Some(1));
}

#[test]
fn a_loader_that_asks_for_its_own_key_is_an_error_and_not_a_standstill() {
    let cache = cache::<u32>(&ManualClock::new());
    let inner = || cache.get_or_set("key", || Ok::<_, Error>(1), Ttl::Default);
    let result = cache.get_or_set(
        "key",
        || inner().map_err(|error| Error::new(error.kind(), error.cause().to_owned())),
        Ttl::Default,
    );
    assert_eq!(result.unwrap_err().kind(), ErrorKind::InvalidArgument);
}

proptest! {
    #[test]
    fn a_manager_with_room_is_a_map_with_expiry(
        ops in prop::collection::vec((0..9_u8, 0..6_u8, 1..40_u64), 1..120),
    ) {
        let hands = ManualClock::new();
        let cache = cache::<i64>(&hands);
        let mut model: HashMap<String, (i64, u64)> = HashMap::new();
        let mut now = 0;
        for (number, (op, key, millis)) in ops.into_iter().enumerate() {
            let (key, value) = (format!("k{key}"), number as i64);
            model.retain(|_, (_, at)| *at > now);
            let old = model.get(&key).copied();
            match op {
                0 | 1 => {
                    cache.set(&key, value, after(millis)).unwrap();
                    model.insert(key, (value, now + millis));
                }
                2 => {
                    prop_assert_eq!(cache.add(&key, value, after(millis)).unwrap(), old.is_none());
                    model.entry(key).or_insert((value, now + millis));
                }
                3 => prop_assert_eq!(cache.delete(&key), model.remove(&key).is_some()),
                4 => {
                    prop_assert_eq!(cache.touch(&key, after(millis)).unwrap(), old.is_some());
                    model.entry(key).and_modify(|(_, at)| *at = now + millis);
                }
                5 => {
                    let sum = cache.incr(&key, 3, after(millis)).unwrap();
                    let kept = model.entry(key).or_insert((0, now + millis));
                    kept.0 += 3;
                    prop_assert_eq!(sum, kept.0);
                }
                6 => {
                    let load = || Ok::<_, Error>(value);
                    let got = cache.get_or_set(&key, load, after(millis)).unwrap();
                    prop_assert_eq!(got, model.entry(key).or_insert((value, now + millis)).0);
                }
                7 => {
                    now += millis;
                    hands.advance(Duration::from_millis(millis));
                }
                _ => {
                    prop_assert_eq!(cache.get(&key), old.map(|(value, _)| value));
                    let left = old.map(|(_, at)| after(at - now));
                    prop_assert_eq!(cache.ttl_of(&key), left);
                }
            }
            model.retain(|_, (_, at)| *at > now);
            let mut keys = cache.keys();
            keys.sort_unstable();
            let mut expected: Vec<_> = model.keys().cloned().collect();
            expected.sort_unstable();
            prop_assert_eq!(cache.len(), keys.len());
            prop_assert_eq!(keys, expected);
            prop_assert_eq!(cache.get_stats().evictions, 0);
        }
    }
}
