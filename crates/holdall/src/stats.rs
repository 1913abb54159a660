//! The numbers that the managers give out.

use std::path::PathBuf;

/// What a blob store holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobStats {
    /// Values, expired ones that were not removed yet included.
    pub entries: u64,
    /// Bytes of all values together.
    pub total_size: u64,
    /// The base directory; `None` for a store in memory.
    pub folder: Option<PathBuf>,
}

/// What a two-level store holds.
#[derive(Debug, Clone, PartialEq)]
pub struct StorageStats {
    /// The disk.
    pub blobs: BlobStats,
    /// The memory.
    pub cache: crate::cache::CacheStats,
}
