//! The memory of a [`super::StorageManager`]: a [`Tier`] of values of any type, its lock, its
//! time, and the loads that are under way.

use std::any::{Any, TypeId};
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use super::tier::{Gone, Seen, Tier};
use crate::blob::{BlobManager, BlobMetadata};
use crate::cache::housekeeping::{Housekeeping, Sweep};
use crate::cache::single_flight::{Flight, Flights, Join};
use crate::cache::{CacheLimits, CacheStats, NewEntry, PolicyKind};
use crate::cancel::CancelToken;
use crate::clock::{Clock, Ttl};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::pool;
use crate::sync::{Mutex, MutexGuard};

/// How the memory of a storage manager behaves.
#[derive(Debug, Clone)]
pub struct MemoryOptions {
    /// The most entries; 0 keeps nothing. Default: 1,000.
    pub max_size: usize,
    /// The most bytes, counted as the size of the files. Default: no limit.
    pub max_bytes: Option<u64>,
    /// How long a copy stays in memory. Default: an hour.
    pub default_ttl: Option<Duration>,
    /// Who goes when there is no room. Default: W-TinyLFU.
    pub policy: PolicyKind,
    /// How long a hit is believed without a look at the file, for edits by other programs.
    /// Default: 1 second.
    pub external_check: Duration,
    /// What tells the time. `None`: the system, and a thread that frees what has expired.
    pub clock: Option<Clock>,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self {
            max_size: 1_000,
            max_bytes: None,
            default_ttl: Some(Duration::from_secs(3_600)),
            policy: PolicyKind::default(),
            external_check: Duration::from_secs(1),
            clock: None,
        }
    }
}

type Shared = Arc<dyn Any + Send + Sync>;
type Loaded = Result<Option<Shared>, Arc<Error>>;

/// What a look into memory brought.
pub(super) enum Found<T> {
    Value(Arc<T>),
    /// There is nothing, or nothing newest, or it has another type.
    Missing,
}

pub(super) struct Memory {
    state: Mutex<State>,
    hasher: RandomState,
    clock: Clock,
    default_ttl: Option<Duration>,
    housekeeping: Option<Housekeeping>,
}

struct State {
    tier: Tier<Key, Shared>,
    flights: Flights<Loaded>,
}

impl Memory {
    pub(super) fn new(options: MemoryOptions) -> Arc<Self> {
        let limits = CacheLimits { max_entries: options.max_size, max_bytes: options.max_bytes };
        let check = u64::try_from(options.external_check.as_millis()).unwrap_or(u64::MAX);
        let tier = Tier::new(limits, options.policy, check);
        let has_thread = options.clock.is_none();
        Arc::new_cyclic(|this: &Weak<Self>| Self {
            state: Mutex::new(State { tier, flights: Flights::new() }),
            hasher: RandomState::new(),
            clock: options.clock.unwrap_or_default(),
            default_ttl: options.default_ttl,
            housekeeping: has_thread.then(|| Housekeeping::new(Weak::clone(this) as _)),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get<T: Send + Sync + 'static>(
        &self,
        key: &Key,
        version: Option<u64>,
        blobs: &BlobManager,
    ) -> Found<T> {
        let hash = self.hasher.hash_one(key);
        let mut gone = Gone::new();
        let (value, look_again) = {
            let now = self.clock.coarse_millis();
            let mut state = self.state();
            match state.tier.get(hash, |held| held == key, now, version, &mut gone) {
                Some(hit) => (Some(Arc::clone(hit.value)), hit.look_again),
                None => (None, None),
            }
        };
        if let Some(generation) = look_again {
            let (backend, key) = (Arc::clone(blobs.backend()), key.clone());
            pool::execute(move || {
                if let Err(error) = backend.revalidate(&key, generation) {
                    tracing::debug!("a file could not be looked at: {error}");
                }
            });
        }
        match value.map(Arc::downcast) {
            Some(Ok(value)) => Found::Value(value),
            _ => Found::Missing,
        }
    }

    fn peek(&self, key: &Key, version: u64) -> Option<Shared> {
        let hash = self.hasher.hash_one(key);
        let now = self.clock.coarse_millis();
        self.state().tier.peek(hash, |held| held == key, now, Some(version)).map(Arc::clone)
    }

    /// Loads a missing value, once for all threads that ask for it as this type while no write
    /// comes between.
    pub(super) fn load<T: Send + Sync + 'static>(
        &self,
        key: &Key,
        version: impl Fn() -> Option<u64>,
        read: impl FnOnce() -> Result<Option<(Arc<T>, BlobMetadata)>>,
    ) -> Result<Option<Arc<T>>> {
        let observed = version();
        let read = || {
            let found = read()?;
            if let (Some((value, metadata)), Some(observed)) = (&found, observed)
                && version() == Some(observed)
            {
                self.admit(key, Arc::clone(value) as Shared, observed, metadata);
            }
            Ok(found.map(|(value, _)| value))
        };
        // A load that began before a write must not answer those who ask after it.
        let Some(observed) = observed else { return read() };
        let name = format!("{observed:x}/{:?}/{}", TypeId::of::<T>(), key.as_str());
        let shared = self.once(&name, |_| {
            // Somebody may have finished between the look and the turn.
            if let Some(value) = self.peek(key, observed).filter(|held| held.is::<T>()) {
                return Ok(Some(value));
            }
            Ok(read()?.map(|value| value as Shared))
        });
        // It has the type that is a part of the flight's name.
        Ok(shared?.and_then(|value| value.downcast().ok()))
    }

    /// Makes a missing value, once for all threads that ask; what `make` is given is cancelled when
    /// the key is deleted meanwhile.
    pub(super) fn make<T: Send + Sync + 'static>(
        &self,
        key: &Key,
        make: impl FnOnce(&CancelToken) -> Result<Arc<T>>,
    ) -> Result<Shared> {
        let name = making(key);
        let made = self.once(&name, |flight| Ok(Some(make(flight.overtaken())? as Shared)))?;
        made.ok_or_else(crate::blob::missing)
    }

    /// Notes that a key will be deleted: what is being made of it is older.
    pub(super) fn overtake(&self, key: &Key) {
        self.state().flights.overtake(&making(key));
    }

    /// Notes that a key was deleted: what has been made of it since [`Memory::overtake`] may have gone
    /// with it.
    pub(super) fn set_apart(&self, key: &Key) {
        self.state().flights.set_apart(&making(key));
    }

    /// As [`Memory::overtake`], of every key.
    pub(super) fn overtake_all(&self) {
        self.state().flights.overtake_all();
    }

    /// As [`Memory::set_apart`], of every key.
    pub(super) fn set_all_apart(&self) {
        self.state().flights.set_all_apart();
    }

    fn once(
        &self,
        name: &str,
        work: impl FnOnce(&Arc<Flight<Loaded>>) -> Result<Option<Shared>>,
    ) -> Result<Option<Shared>> {
        loop {
            let join = self.state().flights.join(name);
            match join {
                Join::Lead(flight) => {
                    let leader = Leader { memory: self, name, flight };
                    let result = work(&leader.flight).map_err(Arc::new);
                    leader.flight.finish(result.clone());
                    drop(leader);
                    return result.map_err(|error| error.again());
                }
                Join::Wait(flight) => {
                    if let Some(result) = flight.wait() {
                        return result.map_err(|error| error.again());
                    }
                }
                Join::Own => {
                    let cause = "its loader asks for the key that it is loading";
                    return Err(Error::new(ErrorKind::InvalidArgument, cause)
                        .remedy("load it without asking the storage"));
                }
            }
        }
    }

    /// Keeps a value that was read from, or written to, the disk.
    pub(super) fn admit(&self, key: &Key, value: Shared, version: u64, metadata: &BlobMetadata) {
        let record = metadata.record();
        let now = self.clock.coarse_millis();
        let left = record.expiry.map(|expiry| expiry.remaining(&self.clock));
        let default = Ttl::Default.millis(self.default_ttl);
        let life = left.into_iter().chain(default).min();
        let seen = Seen { version, generation: record.generation, checked: now };
        self.put(key, value, record.length, life, Some(seen));
    }

    /// Keeps a value for this memory alone.
    pub(super) fn pin(&self, key: &Key, value: Shared, ttl: Ttl) {
        self.put(key, value, size_of::<Shared>() as u64, ttl.millis(self.default_ttl), None);
    }

    fn put(&self, key: &Key, value: Shared, bytes: u64, life: Option<u64>, seen: Option<Seen>) {
        let hash = self.hasher.hash_one(key);
        let now = self.clock.coarse_millis();
        let expires_at = life.map(|life| now.saturating_add(life));
        let entry = NewEntry { hash, key: key.clone(), value, bytes, expires_at };
        let mut gone = Gone::new();
        self.state().tier.put(entry, seen, |held, new| held == new, now, &mut gone);
        if let (Some(housekeeping), Some(at)) = (&self.housekeeping, expires_at) {
            housekeeping.expires(at, now);
        }
    }

    pub(super) fn forget(&self, key: &Key) -> bool {
        let hash = self.hasher.hash_one(key);
        let now = self.clock.coarse_millis();
        let mut gone = Gone::new();
        self.state().tier.cache().remove(hash, |held| held == key, now, &mut gone)
    }

    /// Whether there is a value that belongs to this memory alone.
    pub(super) fn has_own(&self, key: &Key) -> bool {
        let hash = self.hasher.hash_one(key);
        let now = self.clock.coarse_millis();
        let mut state = self.state();
        state.tier.cache().peek(hash, |held| held == key, now).is_some_and(super::Held::is_own)
    }

    pub(super) fn clear(&self) {
        let cleared = self.state().tier.cache().clear();
        drop(cleared);
    }

    pub(super) fn stats(&self) -> CacheStats {
        self.state().tier.stats()
    }

    pub(super) fn sweep_all(&self) {
        while self.sweep(256) {}
    }
}

/// The name of the flight that makes a missing value.
fn making(key: &Key) -> String {
    format!("make/{}", key.as_str())
}

/// The one who loads. Its end is the end of the flight, also when the loader panics.
struct Leader<'a> {
    memory: &'a Memory,
    name: &'a str,
    flight: Arc<Flight<Loaded>>,
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        self.memory.state().flights.land(self.name, &self.flight);
        self.flight.abandon();
    }
}

impl Sweep for Memory {
    fn sweep(&self, max: usize) -> bool {
        let mut gone = Gone::new();
        let now = self.clock.coarse_millis();
        self.state().tier.cache().sweep(now, max, &mut gone)
    }

    fn next_expiry(&self) -> Option<u64> {
        self.state().tier.cache().next_expiry()
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("tier", &self.state().tier).finish_non_exhaustive()
    }
}
