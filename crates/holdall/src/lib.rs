//! holdall keeps objects: on disk as plain files, in memory as a bounded cache, in both at once.
//!
//! ```
//! use holdall::{BlobManager, Format, StorageManager};
//!
//! # let folder = tempfile::tempdir()?;
//! let storage = StorageManager::new(BlobManager::new(folder.path()));
//! storage.set("users/42", vec!["Ann".to_owned(), "Bo".to_owned()], Format::Json)?;
//! let names = storage.get::<Vec<String>>("users/42")?.expect("just set");
//! assert_eq!(*names, ["Ann", "Bo"]);
//! assert!(folder.path().join("users/42.json").is_file());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - [`BlobManager`] keeps values as plain files, with lifetimes, tags, conditions and signatures.
//! - [`CacheManager`] keeps values in memory, bounded in entries and bytes, each with its own TTL.
//! - [`StorageManager`] puts memory over a store; memory never answers with an outdated value,
//!   whichever process on the machine wrote last.
//!
//! Calls block on the disk. [`pool`] moves them to threads and gives futures that need no
//! particular asynchronous runtime.
//!
//! # The house
//! Imports point one way:
//! `storage` -> `blob`, `cache` -> `backend`, `index`, `format` -> `key`, `record` -> `error`,
//! `clock`. The cache knows nothing of blobs, a format knows bytes and values only, and backends do
//! not know each other.

pub mod backend;
mod blob;
pub(crate) mod blocks;
pub mod cache;
pub mod cancel;
pub mod clock;
pub mod config;
pub mod error;
pub(crate) mod flush;
pub(crate) mod fork;
pub mod format;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub(crate) mod index;
pub mod key;
pub(crate) mod lock;
pub mod pool;
#[cfg(shuttle)]
#[path = "../../holdall-races/src/properties/mod.rs"]
pub mod properties;
pub mod record;
pub(crate) mod sigbus;
pub mod signing;
pub mod stats;
pub mod storage;
pub(crate) mod sync;

pub use backend::health::{
    Problem, ProblemKind, Progress, Quarantined, RepairReport, VerifyReport,
};
pub use backend::{Condition, Durability, Part};
pub use blob::{
    Blob, BlobManager, BlobMetadata, BlobOptions, BlobReader, BlobWriter, Eviction, KeyRotation,
    Limits, Loaded, Migrate, Migration, MigrationReport, OnCorrupt, Rotation, Save, SaveOptions,
    Trust, Verification, stop_cleaning,
};
pub use cache::CacheManager;
pub use cancel::CancelToken;
pub use clock::Ttl;
pub use error::{Error, ErrorKind, Result};
pub use format::Format;
pub use stats::{BlobStats, CleaningReport, OperationStats, StorageStats};
pub use storage::StorageManager;
