//! The numbers that the managers give out.

use std::path::PathBuf;
use std::time::Duration;

/// What a blob store holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlobStats {
    /// Values, expired ones that were not removed yet included.
    pub entries: u64,
    /// Bytes of all values together.
    pub total_size: u64,
    /// Values that this manager and its clones have evicted, because there were too many.
    pub evictions: u64,
    /// Values that had expired and that they have removed.
    pub expirations: u64,
    /// The base directory; `None` for a store in memory.
    pub folder: Option<PathBuf>,
    /// What the calls of this manager, and of its clones, have cost since it was made.
    pub operations: Vec<OperationStats>,
}

/// What a clean-up has removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CleaningReport {
    /// Values that had expired.
    pub expired: u64,
    /// Values that were evicted, because there were too many.
    pub evicted: u64,
    /// Bytes of the evicted values.
    pub evicted_bytes: u64,
}

/// How many buckets a histogram of latencies has.
pub const LATENCY_BUCKETS: usize = 28;

/// What one kind of call has cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationStats {
    /// `save`, `load`, `look` (is it there, what is known of it), `list`, `delete`, `change`
    /// (touch, rename, copy) or `clean` (expire, clear).
    pub name: &'static str,
    /// Of the calls, how many ended with an error.
    pub errors: u64,
    /// Bytes of the values that were saved or loaded.
    pub bytes: u64,
    /// The time of all calls together.
    pub total: Duration,
    /// How many calls took less than 2^n microseconds, and not less than half of that; the last one
    /// has all that took longer.
    pub buckets: [u64; LATENCY_BUCKETS],
}

impl OperationStats {
    /// How many calls there were; a batch is one.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The time within which this share of the calls (0.5, 0.99) was done, up to a factor of two;
    /// zero if there were none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        let wanted = (self.count() as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (at, calls) in self.buckets.iter().enumerate() {
            seen += calls;
            if seen > 0 && seen >= wanted {
                return bound(at);
            }
        }
        Duration::ZERO
    }
}

/// The upper bound of a bucket.
#[must_use]
pub const fn bound(bucket: usize) -> Duration {
    Duration::from_micros(1 << bucket)
}

/// What a two-level store holds.
#[derive(Debug, Clone, PartialEq)]
pub struct StorageStats {
    /// The disk.
    pub blobs: BlobStats,
    /// The memory.
    pub cache: crate::cache::CacheStats,
}
