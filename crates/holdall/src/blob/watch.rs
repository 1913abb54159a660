//! What the calls of a manager cost: counts and latencies for [`BlobManager::get_stats`], and an
//! event for each call for those who listen at the level debug.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::BlobManager;
use crate::clock::Clock;
use crate::error::Result;
use crate::stats::{LATENCY_BUCKETS, OperationStats};

macro_rules! operations {
    ($($variant:ident = $name:literal;)*) => {
        /// What is counted apart.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(usize)]
        pub(super) enum Operation { $($variant,)* }

        const NAMES: &[&str] = &[$($name,)*];
    };
}

operations! {
    Save = "save";
    Load = "load";
    Look = "look";
    List = "list";
    Delete = "delete";
    Change = "change";
    Clean = "clean";
}

/// Counters of one manager and its clones. Nobody waits for anybody: they are read one after the
/// other, so calls that end meanwhile may be in one and not yet in the next.
#[derive(Debug, Default)]
pub(super) struct Watch([Counters; NAMES.len()]);

#[derive(Debug, Default)]
struct Counters {
    errors: AtomicU64,
    bytes: AtomicU64,
    micros: AtomicU64,
    buckets: [AtomicU64; LATENCY_BUCKETS],
}

/// A call that has begun.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun {
    operation: Operation,
    micros: u64,
}

impl Watch {
    pub(super) fn stats(&self) -> Vec<OperationStats> {
        let read = |(name, counters): (&&'static str, &Counters)| {
            let buckets = std::array::from_fn(|at| counters.buckets[at].load(Ordering::Relaxed));
            OperationStats {
                name,
                errors: counters.errors.load(Ordering::Relaxed),
                bytes: counters.bytes.load(Ordering::Relaxed),
                total: Duration::from_micros(counters.micros.load(Ordering::Relaxed)),
                buckets,
            }
        };
        NAMES.iter().zip(&self.0).map(read).collect()
    }
}

impl BlobManager {
    /// Times a call of the store and counts it; `bytes` are those of what it gave.
    pub(super) fn watched<T>(
        &self,
        operation: Operation,
        key: Option<&str>,
        bytes: impl FnOnce(&T) -> u64,
        call: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let begun = self.begin(operation);
        let result = call();
        self.end(begun, key, result.as_ref().map(bytes).ok());
        result
    }

    pub(super) fn begin(&self, operation: Operation) -> Begun {
        Begun { operation, micros: Clock::system().boot_micros() }
    }

    /// Counts a batch as one call, with the errors of each of its values.
    pub(super) fn end_batch<T>(&self, begun: Begun, all: &[Result<T>], bytes: impl Fn(&T) -> u64) {
        let bytes = all.iter().flatten().map(bytes).sum();
        let failed = all.iter().filter(|one| one.is_err()).count() as u64;
        self.watch.0[begun.operation as usize].errors.fetch_add(failed, Ordering::Relaxed);
        self.end(begun, None, Some(bytes));
    }

    /// Counts a call that is over; without `bytes` it has failed.
    pub(super) fn end(&self, begun: Begun, key: Option<&str>, bytes: Option<u64>) {
        let micros = Clock::system().boot_micros().saturating_sub(begun.micros);
        let counters = &self.watch.0[begun.operation as usize];
        counters.buckets[bucket(micros)].fetch_add(1, Ordering::Relaxed);
        counters.micros.fetch_add(micros, Ordering::Relaxed);
        match bytes {
            Some(bytes) => counters.bytes.fetch_add(bytes, Ordering::Relaxed),
            None => counters.errors.fetch_add(1, Ordering::Relaxed),
        };
        if tracing::event_enabled!(target: "holdall::operations", tracing::Level::DEBUG) {
            let operation = NAMES[begun.operation as usize];
            // Keys may be somebody's secrets; their hashes tell them apart.
            let key = key.map(|key| format!("{:016x}", xxhash_rust::xxh3::xxh3_64(key.as_bytes())));
            tracing::debug!(
                target: "holdall::operations",
                operation,
                key_hash = key.as_deref().unwrap_or("-"),
                bytes = bytes.unwrap_or_default(),
                micros,
                ok = bytes.is_some(),
                "{operation}"
            );
        }
    }
}

/// The first one whose bound, 2^n microseconds, is above.
fn bucket(micros: u64) -> usize {
    ((u64::BITS - micros.leading_zeros()) as usize).min(LATENCY_BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorKind, Format};

    #[test]
    fn a_bucket_takes_what_is_below_its_bound() {
        assert_eq!([0, 1, 2, 3, 4, 1_000_000].map(bucket), [0, 1, 2, 2, 3, 20]);
        assert_eq!(bucket(u64::MAX), LATENCY_BUCKETS - 1);
    }

    #[test]
    fn calls_bytes_and_errors_are_counted() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let store = BlobManager::new(folder.path());
        store.save("a", "text", Format::String).expect("saved");
        store.load::<String>("a").expect("loaded");
        assert_eq!(store.load::<u8>("b").expect_err("missing").kind(), ErrorKind::NotFound);
        assert!(store.clone().delete("a", None).expect("deleted"));
        let stats = store.get_stats().expect("read");
        let of = |name| stats.operations.iter().find(|one| one.name == name).expect("it is one");
        assert_eq!((of("save").count(), of("save").bytes, of("save").errors), (1, 4, 0));
        assert_eq!((of("load").count(), of("load").bytes), (2, 4));
        assert_eq!(of("delete").count(), 1);
        assert!(of("load").quantile(0.99) >= of("load").quantile(0.5));
    }
}
