//! How large a cache may be, and what else can be chosen about it.

use std::fmt;
use std::time::Duration;

use super::policy::PolicyKind;
use super::removed::Cause;
use crate::clock::Clock;

/// How much a cache may hold. Both limits hold after every call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheLimits {
    /// Entries at most; 0 is a cache that is always empty. At most 4,294,966,000 count.
    pub max_entries: usize,
    /// Bytes at most, as weighed by whoever writes; `None` is no limit.
    pub max_bytes: Option<u64>,
}

/// Called with every key and value that leaves, whatever the cause.
pub type OnEvict<V> = Box<dyn Fn(&str, &V, Cause) + Send + Sync>;

/// Tells the bytes that a key and its value take.
pub type Weigher<V> = Box<dyn Fn(&str, &V) -> u64 + Send + Sync>;

/// What can be chosen about a [`CacheManager`](super::CacheManager).
///
/// ```
/// use std::time::Duration;
/// use holdall::cache::{CacheManager, CacheOptions};
///
/// let cache = CacheManager::with_options(CacheOptions {
///     max_size: 50,
///     default_ttl: Some(Duration::from_secs(60)),
///     ..CacheOptions::default()
/// })?;
/// # cache.set("a", 1, holdall::clock::Ttl::Never)?;
/// # Ok::<(), holdall::Error>(())
/// ```
pub struct CacheOptions<V> {
    /// Entries at most (1,000); 0 switches the cache off: it is always empty.
    pub max_size: usize,
    /// How long a value lives when nothing else is said (an hour); `None` is for ever.
    pub default_ttl: Option<Duration>,
    /// Bytes at most, as told by `weigher`; `None`, the default, is no limit.
    pub max_bytes: Option<u64>,
    /// Who has to go when there is no room (W-TinyLFU).
    pub policy: PolicyKind,
    /// The time to go by. `None`, the default, is the system's, and a shared thread frees what
    /// has expired. With a clock of your own, such as a
    /// [`ManualClock`](crate::clock::ManualClock)'s, no thread runs: expired values are never
    /// returned, but they are freed when somebody comes across them or calls
    /// [`sweep_expired`](super::CacheManager::sweep_expired).
    pub clock: Option<Clock>,
    /// Called with everything that leaves, after the lock is released: on the thread whose call
    /// made it leave, or on the housekeeping thread. It may use the cache.
    pub on_evict: Option<OnEvict<V>>,
    /// Weighs each value as it is written. `None` counts the key's length and the size of `V`
    /// itself, without what it points to.
    pub weigher: Option<Weigher<V>>,
}

impl<V> Default for CacheOptions<V> {
    fn default() -> Self {
        Self {
            max_size: 1_000,
            default_ttl: Some(Duration::from_secs(3_600)),
            max_bytes: None,
            policy: PolicyKind::default(),
            clock: None,
            on_evict: None,
            weigher: None,
        }
    }
}

impl<V> fmt::Debug for CacheOptions<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheOptions")
            .field("max_size", &self.max_size)
            .field("default_ttl", &self.default_ttl)
            .field("max_bytes", &self.max_bytes)
            .field("policy", &self.policy)
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}
