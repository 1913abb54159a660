//! The cache that Rust programs use.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use super::core::{Cache, NewEntry};
use super::housekeeping::{Housekeeping, Sweep};
use super::options::{CacheLimits, CacheOptions};
use super::removed::{CacheStats, Removed};
use super::single_flight::{Flights, Loaded};
use crate::clock::{Clock, Ttl};
use crate::error::{Error, ErrorKind, Result};
use crate::sync::Mutex;

/// A bounded cache in memory with string keys; clones share it.
///
/// Values are cloned out, under the lock, so let them be cheap to clone: an [`Arc`], numbers,
/// `bytes::Bytes`. Everything that leaves is reported and dropped after the lock is released.
/// Nothing here touches the disk; a call waits for at most the calls of other threads.
///
/// Expiry is exact to the few milliseconds of [`Clock::coarse_millis`].
///
/// ```
/// use std::time::Duration;
/// use holdall::cache::CacheManager;
/// use holdall::clock::Ttl;
///
/// let cache = CacheManager::new();
/// cache.set("recipe", "soup", Duration::from_secs(60).into())?;
/// assert_eq!(cache.get("recipe"), Some("soup"));
/// let loaded = cache.get_or_set("menu", || Ok::<_, holdall::Error>("fish"), Ttl::Default);
/// assert_eq!(loaded.unwrap(), "fish");
/// assert_eq!(cache.get_stats().hit_rate(), 0.5);
/// # Ok::<(), holdall::Error>(())
/// ```
pub struct CacheManager<V: Clone + Send + 'static> {
    pub(super) shared: Arc<Shared<V>>,
}

pub(super) struct Shared<V> {
    pub(super) options: CacheOptions<V>,
    pub(super) hasher: RandomState,
    clock: Clock,
    state: Mutex<State<V>>,
    housekeeping: Option<Housekeeping>,
}

pub(super) struct State<V> {
    pub(super) cache: Cache<Box<str>, V>,
    pub(super) loads: Flights<Loaded<V>>,
}

pub(super) type Out<V> = Vec<Removed<Box<str>, V>>;

impl<V: Clone + Send + 'static> CacheManager<V> {
    /// A cache of 1,000 entries that live for an hour.
    #[must_use]
    pub fn new() -> Self {
        Self::made(CacheOptions::default())
    }

    /// A cache as chosen.
    ///
    /// # Errors
    /// `InvalidArgument` if `default_ttl` is zero.
    pub fn with_options(options: CacheOptions<V>) -> Result<Self> {
        if options.default_ttl == Some(Duration::ZERO) {
            return Err(zero_ttl("default_ttl").during("make the cache"));
        }
        Ok(Self::made(options))
    }

    fn made(options: CacheOptions<V>) -> Self {
        let CacheOptions { max_size: max_entries, max_bytes, policy, .. } = options;
        let cache = Cache::new(CacheLimits { max_entries, max_bytes }, policy);
        let shared = Arc::new_cyclic(|shared| {
            let shared: Weak<Shared<V>> = shared.clone();
            Shared {
                hasher: RandomState::new(),
                housekeeping: options.clock.is_none().then(|| Housekeeping::new(shared)),
                clock: options.clock.clone().unwrap_or_default(),
                state: Mutex::new(State { cache, loads: Flights::new() }),
                options,
            }
        });
        Self { shared }
    }

    /// The value under a key; counts a hit or a miss.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<V> {
        let hash = self.shared.hasher.hash_one(key);
        self.shared.locked(|state, now, out| {
            state.cache.get(hash, |held| **held == *key, now, out).cloned()
        })
    }

    /// Puts a value under a key.
    ///
    /// A value larger than `max_bytes` is not kept, and neither is the older one.
    ///
    /// # Errors
    /// `InvalidKey` for an empty key or one with a NUL, `InvalidArgument` for a TTL of zero;
    /// nothing was touched.
    pub fn set(&self, key: &str, value: V, ttl: Ttl) -> Result<()> {
        let life = self.shared.checked(key, ttl).map_err(|error| error.during("set"))?;
        let entry = self.shared.entry(key, value);
        self.shared.put(life, |state, now, out| {
            state.loads.overtake(key);
            state.write(entry, life, now, out);
        });
        Ok(())
    }

    /// Puts a value under a key if there is none; whether it did.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn add(&self, key: &str, value: V, ttl: Ttl) -> Result<bool> {
        let life = self.shared.checked(key, ttl).map_err(|error| error.during("add"))?;
        let hash = self.shared.hasher.hash_one(key);
        // Taken out only to be written: an unused value is dropped after the lock is released.
        let mut entry = Some(self.shared.entry(key, value));
        Ok(self.shared.put(life, |state, now, out| {
            if state.cache.contains(hash, |held| **held == *key, now) {
                return false;
            }
            state.loads.overtake(key);
            entry.take().into_iter().for_each(|entry| state.write(entry, life, now, out));
            true
        }))
    }

    /// Deletes a key; whether there was a value under it.
    pub fn delete(&self, key: &str) -> bool {
        let hash = self.shared.hasher.hash_one(key);
        self.shared.locked(|state, now, out| {
            state.loads.overtake(key);
            state.cache.remove(hash, |held| **held == *key, now, out)
        })
    }

    /// Whether there is a value under a key; counts neither hit nor miss.
    #[must_use]
    pub fn contains(&self, key: &str) -> bool {
        self.ttl_of(key).is_some()
    }

    /// Gives a value a new time to live, from now on; whether there was one under the key.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn touch(&self, key: &str, ttl: Ttl) -> Result<bool> {
        let life = self.shared.checked(key, ttl).map_err(|error| error.during("touch"))?;
        let hash = self.shared.hasher.hash_one(key);
        Ok(self.shared.put(life, |state, now, _| {
            state.cache.touch(hash, |held| **held == *key, expiry(life, now), now)
        }))
    }

    /// How long the value under a key still lives: `Never` or `After`; `None` without a value.
    #[must_use]
    pub fn ttl_of(&self, key: &str) -> Option<Ttl> {
        let hash = self.shared.hasher.hash_one(key);
        self.shared.locked(|state, now, _| {
            let info = state.cache.entry_info(hash, |held| **held == *key, now)?;
            Some(
                info.expires_at
                    .map_or(Ttl::Never, |at| Ttl::After(Duration::from_millis(at - now))),
            )
        })
    }

    /// Removes everything. The lock is held for a moment only; dropping the values takes as long
    /// as there are values.
    pub fn clear(&self) {
        let cleared = self.shared.locked(|state, _, _| {
            state.loads.overtake_all();
            state.cache.clear()
        });
        cleared.for_each(|removed| self.shared.report(&removed));
    }

    /// All keys with a live value, in no order. Holds the lock while it copies them.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.shared.locked(|state, now, _| {
            state.cache.iter(now).map(|(key, _)| String::from(&**key)).collect()
        })
    }

    /// How many live values there are, exactly; see [`Cache::len`] for what it takes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.locked(|state, now, _| state.cache.len(now))
    }

    /// Whether there is no live value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Counts and sizes, in constant time.
    #[must_use]
    pub fn get_stats(&self) -> CacheStats {
        self.shared.locked(|state, _, _| state.cache.stats())
    }

    /// Frees all that has expired, now and on this thread. Needed only with a clock of one's own.
    pub fn sweep_expired(&self) {
        while self.shared.sweep(256) {}
    }
}

impl CacheManager<i64> {
    /// Adds to the number under a key and returns the sum. A key without one begins at 0 and
    /// lives for `ttl`; a number that is there keeps its time to live.
    ///
    /// # Errors
    /// As [`set`](Self::set), and `InvalidArgument` if the sum is out of range; nothing was
    /// touched.
    pub fn incr(&self, key: &str, by: i64, ttl: Ttl) -> Result<i64> {
        let life = self.shared.checked(key, ttl).map_err(|error| error.during("increment"))?;
        let mut entry = self.shared.entry(key, by);
        self.shared.put(life, |state, now, out| {
            state.loads.overtake(key);
            if let Some(number) = state.cache.get_mut(entry.hash, |held| **held == *key, now) {
                *number = number.checked_add(by).ok_or_else(|| {
                    Error::new(ErrorKind::InvalidArgument, "the sum is not a 64-bit number")
                        .on_key(key)
                        .during("increment")
                })?;
                return Ok(*number);
            }
            entry.value = by;
            state.write(entry, life, now, out);
            Ok(by)
        })
    }
}

impl<V> State<V> {
    pub(super) fn write(
        &mut self,
        entry: NewEntry<Box<str>, V>,
        life: Option<u64>,
        now: u64,
        out: &mut Out<V>,
    ) {
        let entry = NewEntry { expires_at: expiry(life, now), ..entry };
        self.cache.insert(entry, |held, new| held == new, now, out);
    }
}

impl<V> Shared<V> {
    /// Runs `work` under the lock, at one moment of time; reports and drops what left after it.
    pub(super) fn locked<R>(&self, work: impl FnOnce(&mut State<V>, u64, &mut Out<V>) -> R) -> R {
        let mut out = Out::new();
        let result = {
            // A panic under the lock can only come from a user's `clone`, which changes nothing.
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut state, self.clock.coarse_millis(), &mut out)
        };
        out.iter().for_each(|removed| self.report(removed));
        result
    }

    /// As `locked`, for work that may write something that lives for `life` milliseconds.
    pub(super) fn put<R>(
        &self,
        life: Option<u64>,
        work: impl FnOnce(&mut State<V>, u64, &mut Out<V>) -> R,
    ) -> R {
        let mut written = 0;
        let result = self.locked(|state, now, out| {
            written = now;
            work(state, now, out)
        });
        if let (Some(housekeeping), Some(at)) = (&self.housekeeping, expiry(life, written)) {
            housekeeping.expires(at, written);
        }
        result
    }

    pub(super) fn report(&self, removed: &Removed<Box<str>, V>) {
        if let Some(on_evict) = &self.options.on_evict {
            on_evict(&removed.key, &removed.value, removed.cause);
        }
    }

    /// An entry for a key and value, without its expiry.
    pub(super) fn entry(&self, key: &str, value: V) -> NewEntry<Box<str>, V> {
        let bytes = match &self.options.weigher {
            Some(weigh) => weigh(key, &value),
            None => (key.len() + size_of::<V>()) as u64,
        };
        let hash = self.hasher.hash_one(key);
        NewEntry { hash, key: key.into(), value, bytes, expires_at: None }
    }

    /// How long a value will live, in milliseconds, if key and TTL are allowed.
    pub(super) fn checked(&self, key: &str, ttl: Ttl) -> Result<Option<u64>> {
        if key.is_empty() {
            return Err(Error::new(ErrorKind::InvalidKey, "the key is empty").on_key(key));
        }
        if key.contains('\0') {
            return Err(Error::new(ErrorKind::InvalidKey, "the key has a NUL").on_key(key));
        }
        if ttl == Ttl::After(Duration::ZERO) {
            return Err(zero_ttl("the TTL").on_key(key));
        }
        Ok(ttl.millis(self.options.default_ttl))
    }
}

impl<V: Send + 'static> Sweep for Shared<V> {
    fn sweep(&self, max: usize) -> bool {
        self.locked(|state, now, out| state.cache.sweep(now, max, out))
    }

    fn next_expiry(&self) -> Option<u64> {
        self.locked(|state, _, _| state.cache.next_expiry())
    }
}

pub(super) fn expiry(life: Option<u64>, now: u64) -> Option<u64> {
    life.map(|life| now.saturating_add(life))
}

fn zero_ttl(what: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("{what} is zero"))
        .remedy("give a time to live of more than zero, or none for ever")
}

impl<V: Clone + Send + 'static> Clone for CacheManager<V> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<V: Clone + Send + 'static> Default for CacheManager<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V: Clone + Send + 'static> fmt::Debug for CacheManager<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheManager")
            .field("options", &self.shared.options)
            .finish_non_exhaustive()
    }
}
