//! The mechanism of the cache, without lock and clock.

use hashbrown::HashTable;

use super::list::Slot;
use super::options::CacheLimits;
use super::policy::{Policy, PolicyKind};
use super::removed::{CacheStats, Cause, Cleared, InsertOutcome, Removed};
use super::slab::{NEVER, Place, Slab};
use super::wheel::{Step, Wheel};

/// Slot numbers are 32 bits; the wheel needs some numbers for itself.
const MOST_ENTRIES: usize = 4_294_966_000;
/// Steps that a write at the limit spends on freeing what expired before it evicts what lives.
const STEPS_BEFORE_EVICTION: usize = 16;

/// A bounded map whose entries expire and are evicted by a policy.
///
/// The caller hashes and compares keys, so `K` needs no traits; all lookups take the key's hash
/// and a closure that tells whether a key is the one. It also says what time it is, in
/// milliseconds on one scale of its own that never goes back. Whatever leaves is pushed to `out`:
/// nothing of the caller's is dropped in here.
///
/// All calls take constant time, except where they say otherwise, and except for growing: a write
/// that enlarges the index takes up to 10 ms if the limit is a million entries.
pub struct Cache<K, V> {
    slab: Slab<K, V>,
    index: HashTable<Slot>,
    wheel: Wheel,
    policy: Box<dyn Policy>,
    limits: CacheLimits,
    /// Of these, `entries` is not kept but counted by the slab.
    counts: CacheStats,
}

/// An entry to be written.
#[derive(Debug)]
pub struct NewEntry<K, V> {
    /// The hash of the key, always the same for the same key.
    pub hash: u64,
    /// The key.
    pub key: K,
    /// The value.
    pub value: V,
    /// What key and value count for under `max_bytes`.
    pub bytes: u64,
    /// When it expires, in milliseconds on the caller's clock; `None` is never.
    pub expires_at: Option<u64>,
}

/// What is known about an entry beside its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryInfo {
    /// What it counts for under `max_bytes`.
    pub bytes: u64,
    /// When it expires, in milliseconds on the caller's clock; `None` is never.
    pub expires_at: Option<u64>,
}

impl<K, V> Cache<K, V> {
    /// An empty cache; it takes memory as it fills.
    #[must_use]
    pub fn new(limits: CacheLimits, policy: PolicyKind) -> Self {
        let limits = CacheLimits { max_entries: limits.max_entries.min(MOST_ENTRIES), ..limits };
        Self {
            slab: Slab::new(limits.max_entries),
            index: HashTable::new(),
            wheel: Wheel::new(),
            policy: (policy.build)(),
            limits,
            counts: CacheStats::default(),
        }
    }

    /// The value under a key. Counts a hit or a miss; one that expired is a miss, and leaves.
    #[inline]
    pub fn get(
        &mut self,
        hash: u64,
        is_key: impl Fn(&K) -> bool,
        now: u64,
        out: &mut Vec<Removed<K, V>>,
    ) -> Option<&V> {
        self.get_if(hash, is_key, now, out, |_| true)
    }

    /// As [`get`](Self::get), of a value that the caller finds good; one that it does not is a miss,
    /// and leaves as if it had been deleted. The caller may change the value; it keeps its bytes.
    #[inline]
    pub fn get_if(
        &mut self,
        hash: u64,
        is_key: impl Fn(&K) -> bool,
        now: u64,
        out: &mut Vec<Removed<K, V>>,
        is_good: impl FnOnce(&mut V) -> bool,
    ) -> Option<&V> {
        let Some(slot) = self.find(hash, is_key) else {
            self.counts.misses += 1;
            return None;
        };
        let place = self.slab.get_mut(slot)?;
        let cause = if place.expires_at <= now {
            Cause::Expired
        } else if place.pair.as_mut().is_some_and(|(_, value)| is_good(value)) {
            self.counts.hits += 1;
            self.policy.hit(slot);
            return self.slab.get(slot)?.pair.as_ref().map(|(_, value)| value);
        } else {
            Cause::Deleted
        };
        self.counts.misses += 1;
        self.detach(slot, cause, out);
        None
    }

    /// The value under a key, to be changed in place. The policy sees a use; no hit or miss is
    /// counted, and the entry keeps its bytes and expiry.
    pub fn get_mut(&mut self, hash: u64, is_key: impl Fn(&K) -> bool, now: u64) -> Option<&mut V> {
        let slot = self.find_live(hash, is_key, now)?;
        self.policy.hit(slot);
        self.slab.get_mut(slot)?.pair.as_mut().map(|(_, value)| value)
    }

    /// The value under a key, without anything being counted or noticed.
    pub fn peek(&self, hash: u64, is_key: impl Fn(&K) -> bool, now: u64) -> Option<&V> {
        let slot = self.find_live(hash, is_key, now)?;
        self.slab.get(slot)?.pair.as_ref().map(|(_, value)| value)
    }

    /// Whether there is a value under a key, without anything being counted or noticed.
    pub fn contains(&self, hash: u64, is_key: impl Fn(&K) -> bool, now: u64) -> bool {
        self.find_live(hash, is_key, now).is_some()
    }

    /// Size and expiry of an entry, without anything being counted or noticed.
    pub fn entry_info(
        &self,
        hash: u64,
        is_key: impl Fn(&K) -> bool,
        now: u64,
    ) -> Option<EntryInfo> {
        let place = self.slab.get(self.find_live(hash, is_key, now)?)?;
        let expires_at = (place.expires_at != NEVER).then_some(place.expires_at);
        Some(EntryInfo { bytes: place.bytes, expires_at })
    }

    /// Writes a value under a key, evicting others until it fits.
    ///
    /// `same` compares a key held with the new one. A value that is larger than `max_bytes` by
    /// itself is refused, and an older one under its key leaves as well.
    pub fn insert(
        &mut self,
        entry: NewEntry<K, V>,
        same: impl Fn(&K, &K) -> bool,
        now: u64,
        out: &mut Vec<Removed<K, V>>,
    ) -> InsertOutcome {
        let mut outcome = InsertOutcome::Inserted;
        if let Some(slot) = self.find(entry.hash, |key| same(key, &entry.key)) {
            if self.slab.get(slot).is_some_and(|place| place.expires_at <= now) {
                self.detach(slot, Cause::Expired, out);
            } else {
                self.policy.hit(slot);
                if self.make_room(entry.bytes, Some(slot), now, out) {
                    self.overwrite(slot, entry, out);
                    return InsertOutcome::Replaced;
                }
                self.detach(slot, Cause::Replaced, out);
                outcome = InsertOutcome::Replaced;
            }
        }
        if !self.make_room(entry.bytes, None, now, out) {
            let NewEntry { key, value, .. } = entry;
            out.push(Removed { key, value, cause: Cause::Refused });
            return InsertOutcome::Refused;
        }
        let NewEntry { hash, key, value, bytes, expires_at } = entry;
        let expires_at = expires_at.unwrap_or(NEVER);
        let slot = self.slab.insert(Place { hash, expires_at, bytes, pair: Some((key, value)) });
        self.grow_index();
        let slab = &self.slab;
        self.index.insert_unique(hash, slot, |slot| slab.get(*slot).map_or(0, |place| place.hash));
        self.wheel.set(slot, expires_at);
        self.policy.inserted(slot, hash);
        // Without a limit the sum may wrap round; it comes back as entries go.
        self.counts.bytes = self.counts.bytes.wrapping_add(bytes);
        outcome
    }

    /// Removes a key; whether there was a live value under it.
    pub fn remove(
        &mut self,
        hash: u64,
        is_key: impl Fn(&K) -> bool,
        now: u64,
        out: &mut Vec<Removed<K, V>>,
    ) -> bool {
        let Some(slot) = self.find(hash, is_key) else {
            return false;
        };
        let live = self.slab.get(slot).is_some_and(|place| place.expires_at > now);
        self.detach(slot, if live { Cause::Deleted } else { Cause::Expired }, out);
        live
    }

    /// Gives a value a new expiry (`None` is never); whether there was a live one.
    pub fn touch(
        &mut self,
        hash: u64,
        is_key: impl Fn(&K) -> bool,
        expires_at: Option<u64>,
        now: u64,
    ) -> bool {
        let slot = self.find_live(hash, is_key, now);
        let Some((slot, place)) = slot.and_then(|slot| Some((slot, self.slab.get_mut(slot)?)))
        else {
            return false;
        };
        place.expires_at = expires_at.unwrap_or(NEVER);
        self.wheel.set(slot, place.expires_at);
        true
    }

    /// Removes everything, in constant time: keys and values go with the iterator that is
    /// returned, to be dropped outside the caller's lock. The counts of hits and the like stay.
    #[must_use = "keys and values are dropped with this: do it outside the lock"]
    pub fn clear(&mut self) -> Cleared<K, V> {
        self.index = HashTable::new();
        self.wheel.clear();
        self.policy.clear();
        self.counts.bytes = 0;
        Cleared(self.slab.take().into_iter())
    }

    /// All live keys and values, in no order.
    pub fn iter(&self, now: u64) -> impl Iterator<Item = (&K, &V)> {
        let live = self.slab.iter().filter(move |(expires_at, ..)| *expires_at > now);
        live.map(|(_, key, value)| (key, value))
    }

    /// How many live entries there are, exactly. Constant time when all that expired is freed;
    /// else it takes a few nanoseconds for each that is not.
    #[must_use]
    pub fn len(&self, now: u64) -> usize {
        match self.wheel.next() {
            Some(next) if next <= now => {
                let due = self.wheel.count_due(now, |slot| expiry(&self.slab, slot));
                self.slab.len() - due
            }
            _ => self.slab.len(),
        }
    }

    /// Whether there is no live entry; takes as long as [`len`](Self::len).
    #[must_use]
    pub fn is_empty(&self, now: u64) -> bool {
        self.len(now) == 0
    }

    /// The bytes held, as weighed by whoever wrote them.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.counts.bytes
    }

    /// Counts and sizes, in constant time. `entries` includes what expired and is not freed yet.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        CacheStats { entries: self.slab.len(), ..self.counts }
    }

    /// Frees what has expired, in at most `max` steps; whether there is more to do.
    ///
    /// A step frees one entry or moves one closer to its time, and takes about 50 ns, so the
    /// caller decides how long its lock is held, however many entries expire at once.
    pub fn sweep(&mut self, now: u64, max: usize, out: &mut Vec<Removed<K, V>>) -> bool {
        for _ in 0..max {
            let slab = &self.slab;
            match self.wheel.step(now, |slot| expiry(slab, slot)) {
                Step::Due(slot) => self.detach(slot, Cause::Expired, out),
                Step::Moved => {}
                Step::Idle => return false,
            }
        }
        self.wheel.next().is_some_and(|next| next <= now)
    }

    /// When [`sweep`](Self::sweep) has something to do next: at the next expiry or before it,
    /// in milliseconds on the caller's clock. `None`: nothing here expires.
    #[must_use]
    pub fn next_expiry(&self) -> Option<u64> {
        self.wheel.next()
    }

    #[inline]
    fn find(&self, hash: u64, is_key: impl Fn(&K) -> bool) -> Option<Slot> {
        let is_entry = |slot: &Slot| match self.slab.get(*slot) {
            Some(Place { hash: held, pair: Some((key, _)), .. }) => *held == hash && is_key(key),
            _ => false,
        };
        self.index.find(hash, is_entry).copied()
    }

    fn find_live(&self, hash: u64, is_key: impl Fn(&K) -> bool, now: u64) -> Option<Slot> {
        self.find(hash, is_key).filter(|slot| expiry(&self.slab, *slot) > now)
    }

    /// Evicts until an entry of `bytes` fits, one more or the one in the slot `beside` anew;
    /// false if it cannot, or if that one would have to go itself.
    fn make_room(
        &mut self,
        bytes: u64,
        beside: Option<Slot>,
        now: u64,
        out: &mut Vec<Removed<K, V>>,
    ) -> bool {
        let CacheLimits { max_entries, max_bytes } = self.limits;
        if max_entries == 0 || max_bytes.is_some_and(|most| bytes > most) {
            return false;
        }
        let before = beside.and_then(|slot| self.slab.get(slot)).map_or(0, |place| place.bytes);
        let is_full = |cache: &Self| {
            beside.is_none() && cache.slab.len() >= max_entries
                || max_bytes.is_some_and(|most| cache.counts.bytes - before > most - bytes)
        };
        if is_full(self) {
            self.sweep(now, STEPS_BEFORE_EVICTION, out);
        }
        while is_full(self) {
            match self.policy.victim() {
                Some(slot) if Some(slot) != beside && self.slab.get(slot).is_some() => {
                    self.evict(slot, now, out);
                }
                _ => return false,
            }
        }
        true
    }

    fn overwrite(&mut self, slot: Slot, entry: NewEntry<K, V>, out: &mut Vec<Removed<K, V>>) {
        let NewEntry { key, value, bytes, expires_at, .. } = entry;
        let Some(place) = self.slab.get_mut(slot) else { return };
        self.counts.bytes = self.counts.bytes.wrapping_sub(place.bytes).wrapping_add(bytes);
        place.bytes = bytes;
        place.expires_at = expires_at.unwrap_or(NEVER);
        if let Some((key, value)) = place.pair.replace((key, value)) {
            out.push(Removed { key, value, cause: Cause::Replaced });
        }
        self.wheel.set(slot, expires_at.unwrap_or(NEVER));
    }

    fn evict(&mut self, slot: Slot, now: u64, out: &mut Vec<Removed<K, V>>) {
        let live = expiry(&self.slab, slot) > now;
        self.detach(slot, if live { Cause::Evicted } else { Cause::Expired }, out);
    }

    /// Makes room in the index: doubles it until it is a sixteenth of its full size, which is
    /// the next. So the last doublings, which would take long, are never made.
    fn grow_index(&mut self) {
        const SHARE: usize = 16;
        let held = self.index.len();
        if held == self.index.capacity() {
            let most = self.limits.max_entries;
            let more = if held >= most / SHARE { most.saturating_sub(held) } else { held };
            let slab = &self.slab;
            self.index.reserve(more.max(1), |slot| slab.get(*slot).map_or(0, |place| place.hash));
        }
    }

    /// Takes an entry out of everything that knows it.
    fn detach(&mut self, slot: Slot, cause: Cause, out: &mut Vec<Removed<K, V>>) {
        let Some(place) = self.slab.remove(slot) else { return };
        if let Ok(held) = self.index.find_entry(place.hash, |held| *held == slot) {
            held.remove();
        }
        self.wheel.cancel(slot);
        self.policy.removed(slot, place.hash, cause == Cause::Evicted);
        self.counts.bytes = self.counts.bytes.wrapping_sub(place.bytes);
        match cause {
            Cause::Evicted => self.counts.evictions += 1,
            Cause::Expired => self.counts.expirations += 1,
            _ => {}
        }
        out.extend(place.pair.map(|(key, value)| Removed { key, value, cause }));
    }
}

fn expiry<K, V>(slab: &Slab<K, V>, slot: Slot) -> u64 {
    slab.get(slot).map_or(NEVER, |place| place.expires_at)
}
