//! The cache against a plain map, under every policy.

use std::collections::HashMap;

use proptest::prelude::*;

use super::policy::POLICIES;
use super::{Cache, CacheLimits, Cause, InsertOutcome, NewEntry, PolicyKind, Removed};

#[derive(Clone, Debug)]
enum Op {
    Insert { key: u8, bytes: u64, ttl: Option<u64> },
    Get(u8),
    GetMut(u8),
    Peek(u8),
    Remove(u8),
    Touch(u8, Option<u64>),
    Sweep(usize),
    Advance(u64),
    Clear,
}

fn ttl() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![Just(None), (1..20_u64).prop_map(Some), (1..10_000_u64).prop_map(Some)]
}

fn op() -> impl Strategy<Value = Op> {
    let key = || 0..20_u8;
    prop_oneof![
        10 => (key(), 0..45_u64, ttl()).prop_map(|(key, bytes, ttl)| Op::Insert { key, bytes, ttl }),
        6 => key().prop_map(Op::Get),
        1 => key().prop_map(Op::GetMut),
        2 => key().prop_map(Op::Peek),
        2 => key().prop_map(Op::Remove),
        2 => (key(), ttl()).prop_map(|(key, ttl)| Op::Touch(key, ttl)),
        2 => (0..6_usize).prop_map(Op::Sweep),
        3 => prop_oneof![0..15_u64, 0..8_000_u64].prop_map(Op::Advance),
        1 => Just(Op::Clear),
    ]
}

#[derive(Clone, Copy)]
struct Expected {
    value: u32,
    bytes: u64,
    expires_at: Option<u64>,
}

struct Model {
    map: HashMap<u8, Expected>,
    now: u64,
    hits: u64,
    misses: u64,
    evictions: u64,
    expirations: u64,
}

impl Model {
    fn live(&self, key: u8) -> Option<u32> {
        let live = |e: &&Expected| e.expires_at.is_none_or(|at| at > self.now);
        self.map.get(&key).filter(live).map(|expected| expected.value)
    }

    /// What left had reason to, and was what the map has.
    fn left(&mut self, removed: &Removed<u8, u32>) -> Result<(), TestCaseError> {
        let Removed { key, value, cause } = *removed;
        let live = self.live(key).is_some();
        match cause {
            Cause::Refused => return Ok(()),
            Cause::Expired => {
                prop_assert!(!live, "{} left as expired, but lives", key);
                self.expirations += 1;
            }
            Cause::Evicted => {
                prop_assert!(live, "{} was evicted, but had expired", key);
                self.evictions += 1;
            }
            Cause::Replaced | Cause::Deleted => prop_assert!(live),
            Cause::Cleared => {}
        }
        prop_assert_eq!(self.map.remove(&key).map(|expected| expected.value), Some(value));
        Ok(())
    }

    fn agrees(&self, cache: &Cache<u8, u32>, limits: CacheLimits) -> Result<(), TestCaseError> {
        let stats = cache.stats();
        prop_assert!(stats.entries <= limits.max_entries);
        prop_assert!(limits.max_bytes.is_none_or(|most| stats.bytes <= most));
        prop_assert_eq!(stats.entries, self.map.len());
        prop_assert_eq!(stats.bytes, self.map.values().map(|expected| expected.bytes).sum::<u64>());
        prop_assert_eq!((stats.hits, stats.misses), (self.hits, self.misses));
        prop_assert_eq!((stats.evictions, stats.expirations), (self.evictions, self.expirations));
        let mut live: Vec<_> = cache.iter(self.now).map(|(key, value)| (*key, *value)).collect();
        live.sort_unstable();
        let expected: Vec<_> =
            (0..=u8::MAX).filter_map(|key| Some((key, self.live(key)?))).collect();
        prop_assert_eq!(cache.len(self.now), expected.len());
        prop_assert_eq!(live, expected);
        Ok(())
    }
}

/// Poor on purpose, so that different keys share hashes.
fn hash(key: u8) -> u64 {
    u64::from(key % 5) << 57 | u64::from(key % 3)
}

fn write(
    cache: &mut Cache<u8, u32>,
    key: u8,
    expected: Expected,
    now: u64,
    out: &mut Vec<Removed<u8, u32>>,
) -> InsertOutcome {
    let Expected { value, bytes, expires_at } = expected;
    let entry = NewEntry { hash: hash(key), key, value, bytes, expires_at };
    cache.insert(entry, |held, new| held == new, now, out)
}

fn run(kind: PolicyKind, limits: CacheLimits, ops: &[Op]) -> Result<(), TestCaseError> {
    let mut cache = Cache::new(limits, kind);
    let (hits, misses, evictions, expirations) = (0, 0, 0, 0);
    let mut model = Model { map: HashMap::new(), now: 5_000, hits, misses, evictions, expirations };
    for (number, op) in ops.iter().enumerate() {
        let (mut out, now, value) = (Vec::new(), model.now, number as u32);
        let expires_at = |ttl: Option<u64>| ttl.map(|ttl| now + ttl);
        let mut written = None;
        match *op {
            Op::Insert { key, bytes, ttl } => {
                let expected = Expected { value, bytes, expires_at: expires_at(ttl) };
                let before = model.live(key).is_some();
                let outcome = write(&mut cache, key, expected, now, &mut out);
                let fits = limits.max_entries > 0 && limits.max_bytes.is_none_or(|m| bytes <= m);
                prop_assert_eq!(outcome == InsertOutcome::Refused, !fits);
                if fits {
                    // In the one rare case where the key's own entry is evicted for its successor
                    // it still leaves as replaced.
                    prop_assert_eq!(outcome == InsertOutcome::Replaced, before);
                    written = Some((key, expected));
                } else {
                    let refused = out.pop();
                    prop_assert!(refused.is_some_and(
                        |r| r.cause == Cause::Refused && (r.key, r.value) == (key, value)
                    ));
                }
            }
            Op::Get(key) => {
                let found = cache.get(hash(key), |held| *held == key, now, &mut out).copied();
                prop_assert_eq!(found, model.live(key));
                *(if found.is_some() { &mut model.hits } else { &mut model.misses }) += 1;
            }
            Op::GetMut(key) => {
                let found = cache.get_mut(hash(key), |held| *held == key, now);
                prop_assert_eq!(found.as_deref().copied(), model.live(key));
                if let (Some(found), Some(expected)) = (found, model.map.get_mut(&key)) {
                    *found = value;
                    expected.value = value;
                }
            }
            Op::Peek(key) => {
                let found = cache.peek(hash(key), |held| *held == key, now).copied();
                prop_assert_eq!(found, model.live(key));
                prop_assert_eq!(
                    cache.contains(hash(key), |held| *held == key, now),
                    found.is_some()
                );
                let info = cache.entry_info(hash(key), |held| *held == key, now);
                let expected = found.and_then(|_| model.map.get(&key));
                prop_assert_eq!(
                    info.map(|info| (info.bytes, info.expires_at)),
                    expected.map(|expected| (expected.bytes, expected.expires_at))
                );
            }
            Op::Remove(key) => {
                let removed = cache.remove(hash(key), |held| *held == key, now, &mut out);
                prop_assert_eq!(removed, model.live(key).is_some());
            }
            Op::Touch(key, ttl) => {
                let at = expires_at(ttl);
                let touched = cache.touch(hash(key), |held| *held == key, at, now);
                prop_assert_eq!(touched, model.live(key).is_some());
                if let Some(expected) = model.map.get_mut(&key).filter(|_| touched) {
                    expected.expires_at = at;
                }
            }
            Op::Sweep(max) => {
                let more = cache.sweep(now, max, &mut out);
                prop_assert!(out.len() <= max);
                prop_assert!(out.iter().all(|removed| removed.cause == Cause::Expired));
                let due = model.map.len() - out.len() - cache.len(now);
                prop_assert!(more || due == 0, "{} expired and nobody says so", due);
            }
            Op::Advance(by) => model.now += by,
            Op::Clear => out.extend(cache.clear()),
        }
        for removed in &out {
            model.left(removed)?;
        }
        if let Some((key, expected)) = written {
            prop_assert!(model.map.insert(key, expected).is_none());
        }
        model.agrees(&cache, limits)?;
        let next = model.map.values().filter_map(|expected| expected.expires_at).min();
        prop_assert_eq!(cache.next_expiry().is_some(), next.is_some());
        prop_assert!(cache.next_expiry() <= next);
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_cache_is_a_map_that_forgets_only_with_cause(
        max_entries in 0..12_usize,
        max_bytes in prop_oneof![Just(None), (0..150_u64).prop_map(Some)],
        ops in prop::collection::vec(op(), 1..150),
    ) {
        for kind in POLICIES {
            run(*kind, CacheLimits { max_entries, max_bytes }, &ops)?;
        }
    }
}

fn filled(entries: u32, expires_at: impl Fn(u32) -> u64) -> Cache<u32, u32> {
    let limits = CacheLimits { max_entries: entries as usize, max_bytes: None };
    let mut cache = Cache::new(limits, PolicyKind::default());
    let mut out = Vec::new();
    for key in 0..entries {
        let hash = u64::from(key).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let at = Some(expires_at(key));
        let entry = NewEntry { hash, key, value: key, bytes: 1, expires_at: at };
        cache.insert(entry, |held, new| held == new, 0, &mut out);
    }
    assert!(out.is_empty());
    cache
}

#[test]
fn very_many_that_expire_at_once_are_freed_in_slices() {
    let mut cache = filled(50_000, |_| 3_600_000);
    let (mut freed, mut more) = (0, true);
    while more {
        let mut out = Vec::new();
        more = cache.sweep(3_600_000, 256, &mut out);
        assert!(out.len() <= 256);
        freed += out.len();
        assert_eq!(cache.len(3_600_000), 0, "expired entries count as live");
        assert_eq!(cache.stats().entries, 50_000 - freed);
    }
    assert_eq!(freed, 50_000);
    assert_eq!(cache.next_expiry(), None);
}

#[test]
fn a_write_at_the_limit_frees_what_expired_before_it_evicts_what_lives() {
    let mut cache = filled(100, |key| if key == 99 { 10 } else { 1_000 });
    let mut out = Vec::new();
    let entry = NewEntry { hash: 7, key: 1_000, value: 0, bytes: 1, expires_at: None };
    cache.insert(entry, |held, new| held == new, 10, &mut out);
    assert_eq!(out.len(), 1);
    assert_eq!((out[0].key, out[0].cause), (99, Cause::Expired));
    assert_eq!((cache.stats().evictions, cache.stats().expirations), (0, 1));
}

#[test]
fn weights_without_a_limit_never_overflow() {
    let limits = CacheLimits { max_entries: 10, max_bytes: None };
    let mut cache = Cache::new(limits, PolicyKind::LRU);
    let mut out = Vec::new();
    for key in 0..20 {
        let expected = Expected { value: 0, bytes: u64::MAX, expires_at: None };
        write(&mut cache, key, expected, 0, &mut out);
    }
    for key in 0..20 {
        cache.remove(hash(key), |held| *held == key, 0, &mut out);
    }
    assert_eq!(cache.bytes(), 0);
}
