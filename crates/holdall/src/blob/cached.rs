//! What can be had at once, for threads that must not wait: from the kernel's caches, or not at all.

use super::packed::{at_once, plain};
use super::watch::Operation;
use super::{Blob, BlobManager, BlobMetadata, fits};
use crate::format::Format;
use crate::key::Key;
use crate::record::Record;

impl BlobManager {
    /// As [`BlobManager::load_bytes`], but only if it takes some microseconds and cannot block, for
    /// threads that must not wait. `None` says nothing about the value. Never of signed formats.
    #[must_use]
    pub fn load_cached(&self, key: &str, format: Option<Format>) -> Option<Blob> {
        let (key, record, payload) = self.cached(key, format)?;
        Some(Blob { payload, metadata: BlobMetadata::new(key, record) })
    }

    /// As [`BlobManager::load_cached`], of the payload and its format alone.
    #[must_use]
    pub fn payload_cached(&self, key: &str, format: Option<Format>) -> Option<(Vec<u8>, Format)> {
        let (_, record, payload) = self.cached(key, format)?;
        Some((payload, record.format))
    }

    fn cached(&self, key: &str, format: Option<Format>) -> Option<(Key, Record, Vec<u8>)> {
        let begun = self.begin(Operation::Load);
        let key = Key::new(key).ok()?;
        let object = self.backend().get_cached(&key, format)?;
        let record = object.record;
        if record.format.is_signed() || format.is_some_and(|wanted| !fits(wanted, &record)) {
            return None;
        }
        let payload = at_once(&record, object.content)?;
        self.cleaning.loaded(&key, &record);
        self.end(begun, Some(key.as_str()), Some(payload.len() as u64));
        Some((key, record, payload))
    }

    /// As [`BlobManager::locate`], but only if it takes some microseconds and cannot block. `None`
    /// says nothing about the value.
    #[must_use]
    pub fn locate_cached(
        &self,
        key: &str,
        format: Option<Format>,
    ) -> Option<(std::path::PathBuf, BlobMetadata)> {
        let key = Key::new(key).ok()?;
        let (path, record) = self.backend().locate_cached(&key, format)?;
        let is_it = format.is_none_or(|wanted| fits(wanted, &record)) && plain(&record).is_ok();
        self.note_use(&key);
        is_it.then(|| (path, BlobMetadata::new(key, record)))
    }
}
