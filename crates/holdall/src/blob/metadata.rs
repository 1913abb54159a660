//! What callers are told of a value.

use std::time::Duration;

use super::SaveOptions;
use crate::backend::Placed;
use crate::clock::{Clock, Ttl};
use crate::key::Key;
use crate::record::{Record, Stamp, StoreMark};

/// What the store knows of one value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlobMetadata {
    /// The key.
    pub key: String,
    /// The name of the format.
    pub format: &'static str,
    /// The length of the file, bytes.
    pub size: u64,
    /// When the key was first saved, milliseconds since 1970.
    pub created_at: u64,
    /// When this value was saved, milliseconds since 1970.
    pub updated_at: u64,
    /// When the value ends, milliseconds since 1970; `None` is never.
    pub expires_at: Option<u64>,
    /// Changes with every save; for `if_match`.
    pub etag: String,
    record: Record,
    version: Option<u64>,
}

impl BlobMetadata {
    /// Of a value that was just placed.
    pub(crate) fn placed(key: Key, placed: Placed) -> Self {
        Self { version: placed.version, ..Self::new(key, placed.record) }
    }

    pub(crate) fn new(key: Key, record: Record) -> Self {
        Self {
            key: key.as_str().to_owned(),
            format: record.format.name(),
            size: record.length,
            created_at: record.created,
            updated_at: record.updated,
            expires_at: record.expiry.map(|expiry| expiry.wall),
            etag: record.etag(),
            record,
            version: None,
        }
    }

    /// Everything but the key and the version as bytes, for another process of this release.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let record = self.record.clone();
        Stamp { store: StoreMark(0), key_hash: 0, key: None, record }.encode()
    }

    /// From the key and what [`BlobMetadata::to_bytes`] gave; `None` if the bytes are others.
    #[must_use]
    pub fn from_bytes(key: &str, bytes: &[u8]) -> Option<Self> {
        Some(Self::new(Key::new(key).ok()?, Stamp::decode(bytes)?.record))
    }

    /// The version of the key right after the save that this comes from: what
    /// [`crate::backend::Backend::version`] answers as long as nobody has written since.
    #[must_use]
    pub fn version(&self) -> Option<u64> {
        self.version
    }

    /// Has another save under this or another key keep the tags, the metadata, and of the life what
    /// is left of it now.
    #[must_use]
    pub fn save_options(&self, clock: &Clock) -> SaveOptions {
        let left = self.record.expiry.map(|expiry| expiry.remaining(clock).max(1));
        SaveOptions {
            ttl: left.map_or(Ttl::Never, |left| Duration::from_millis(left).into()),
            tags: self.record.tags.clone(),
            metadata: self.record.metadata.clone(),
            ..SaveOptions::default()
        }
    }

    /// Everything that is recorded.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }
}

/// A value as bytes, checked, with its metadata.
#[derive(Debug, Clone)]
pub struct Blob {
    /// The bytes in the recorded format, without a signature.
    pub payload: Vec<u8>,
    /// What the store knows of it.
    pub metadata: BlobMetadata,
}
