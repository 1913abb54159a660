//! What leaves a cache and why, and the counts of it.

use super::slab::Place;

/// Why an entry left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// There was no room for it; the policy chose it.
    Evicted,
    /// Its time to live was over.
    Expired,
    /// Another value was written under its key.
    Replaced,
    /// Its key was deleted.
    Deleted,
    /// The cache was cleared.
    Cleared,
    /// It never came in: by itself it is larger than the cache may be.
    Refused,
}

/// Key and value that left, for the caller to report and to drop once its lock is released.
#[derive(Debug)]
pub struct Removed<K, V> {
    /// The key, as it was handed in.
    pub key: K,
    /// The value, as it was handed in.
    pub value: V,
    /// Why it left.
    pub cause: Cause,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InsertOutcome {
    /// The key was not there before.
    Inserted,
    /// The key had another value, which is in the list of what was removed.
    Replaced,
    /// The value does not fit. Nothing is under the key now; an older value has left too.
    Refused,
}

/// Everything that was in a cache when it was cleared, [`Cause::Cleared`] all.
#[derive(Debug)]
pub struct Cleared<K, V>(pub(super) std::vec::IntoIter<Place<K, V>>);

impl<K, V> Iterator for Cleared<K, V> {
    type Item = Removed<K, V>;

    fn next(&mut self) -> Option<Self::Item> {
        let (key, value) = self.0.find_map(|place| place.pair)?;
        Some(Removed { key, value, cause: Cause::Cleared })
    }
}

/// Counts since the cache was made; clearing it does not reset them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheStats {
    /// Entries held now, with those that expired and are not freed yet.
    pub entries: usize,
    /// Lookups that found a value.
    pub hits: u64,
    /// Lookups that found none, or one that had expired.
    pub misses: u64,
    /// Entries that had to go for lack of room.
    pub evictions: u64,
    /// Entries whose time to live was over.
    pub expirations: u64,
    /// Bytes held now, as weighed when they were written.
    pub bytes: u64,
}

impl CacheStats {
    /// The share of lookups that found a value, from 0.0 to 1.0; 0.0 without lookups.
    #[must_use]
    pub fn hit_rate(&self) -> f64 {
        match self.hits + self.misses {
            0 => 0.0,
            lookups => self.hits as f64 / lookups as f64,
        }
    }
}
