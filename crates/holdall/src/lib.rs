//! holdall keeps objects: on disk as plain files, in memory as a bounded cache, in both at once.

pub mod backend;
mod blob;
pub mod cache;
pub mod clock;
pub mod config;
pub mod error;
pub(crate) mod fork;
pub mod format;
pub(crate) mod index;
pub mod key;
pub(crate) mod lock;
pub mod pool;
pub mod record;
pub mod signing;
mod stats;
pub mod storage;

pub use backend::{Condition, Durability, Part};
pub use blob::{Blob, BlobManager, BlobMetadata, BlobOptions, OnCorrupt, Save, SaveOptions, Trust};
pub use cache::CacheManager;
pub use clock::Ttl;
pub use error::{Error, ErrorKind, Result};
pub use format::Format;
pub use stats::{BlobStats, StorageStats};
pub use storage::StorageManager;
