//! The memory over a store: entries that count only while the disk still holds them.
//!
//! An entry remembers the store's version of its key, taken before the value was read or written;
//! a hit compares it with the version now, so a write in any process makes it a miss. An entry
//! without a version belongs to this memory alone. There is no lock and no clock in here, and
//! what leaves is handed to the caller, as in [`Cache`].

use crate::cache::{Cache, CacheLimits, CacheStats, InsertOutcome, NewEntry, PolicyKind, Removed};

/// A value in memory, with what tells whether it is still the newest.
#[derive(Debug)]
pub struct Held<V> {
    /// The value.
    pub value: V,
    seen: Option<Seen>,
}

impl<V> Held<V> {
    /// Whether the value belongs to this memory alone.
    pub fn is_own(&self) -> bool {
        self.seen.is_none()
    }
}

/// What was known of the disk when a value was taken into memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The version of the key, from before the value was read.
    pub version: u64,
    /// The generation of the value, to be compared with its file.
    pub generation: u64,
    /// When the file was last looked at, milliseconds on the caller's clock.
    pub checked: u64,
}

/// A hit.
#[derive(Debug)]
pub struct Hit<'a, V> {
    /// The value.
    pub value: &'a V,
    /// The file should be looked at again, in the background: it was last seen with this
    /// generation.
    pub look_again: Option<u64>,
}

/// A bounded memory over a store.
pub struct Tier<K, V> {
    cache: Cache<K, Held<V>>,
    /// How long a hit is believed without a look at the file, milliseconds.
    external_check: u64,
}

/// What was removed from a [`Tier`].
pub type Gone<K, V> = Vec<Removed<K, Held<V>>>;

impl<K, V> Tier<K, V> {
    /// An empty one.
    #[must_use]
    pub fn new(limits: CacheLimits, policy: PolicyKind, external_check: u64) -> Self {
        Self { cache: Cache::new(limits, policy), external_check }
    }

    /// The value under a key, if it is still the newest; `version` is the store's version of the
    /// key now.
    pub fn get(
        &mut self,
        hash: u64,
        is_key: impl Fn(&K) -> bool,
        now: u64,
        version: Option<u64>,
        out: &mut Gone<K, V>,
    ) -> Option<Hit<'_, V>> {
        let mut look_again = None;
        let is_newest = |held: &mut Held<V>| {
            let Some(seen) = &mut held.seen else { return true };
            if version != Some(seen.version) {
                return false;
            }
            if now.saturating_sub(seen.checked) >= self.external_check {
                seen.checked = now;
                look_again = Some(seen.generation);
            }
            true
        };
        let held = self.cache.get_if(hash, is_key, now, out, is_newest)?;
        Some(Hit { value: &held.value, look_again })
    }

    /// Whether there is a value that is still the newest, without anything being counted.
    pub fn contains(
        &self,
        hash: u64,
        is_key: impl Fn(&K) -> bool,
        now: u64,
        version: Option<u64>,
    ) -> bool {
        self.peek(hash, is_key, now, version).is_some()
    }

    /// As [`Tier::get`], without anything being counted or removed.
    pub fn peek(
        &self,
        hash: u64,
        is_key: impl Fn(&K) -> bool,
        now: u64,
        version: Option<u64>,
    ) -> Option<&V> {
        let held = self.cache.peek(hash, is_key, now)?;
        held.seen.is_none_or(|seen| version == Some(seen.version)).then_some(&held.value)
    }

    /// Takes a value into memory. Without `seen` it belongs to this memory alone.
    pub fn put(
        &mut self,
        entry: NewEntry<K, V>,
        seen: Option<Seen>,
        same: impl Fn(&K, &K) -> bool,
        now: u64,
        out: &mut Gone<K, V>,
    ) -> InsertOutcome {
        let NewEntry { hash, key, value, bytes, expires_at } = entry;
        let value = Held { value, seen };
        self.cache.insert(NewEntry { hash, key, value, bytes, expires_at }, same, now, out)
    }

    /// The cache below, for everything that has nothing to do with the disk.
    pub fn cache(&mut self) -> &mut Cache<K, Held<V>> {
        &mut self.cache
    }

    /// The numbers of the cache.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        self.cache.stats()
    }
}

impl<K, V> std::fmt::Debug for Tier<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tier").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
