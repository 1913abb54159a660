//! What is known of a value, without reading it.

use super::packed::plain;
use super::watch::Operation;
use super::{BlobManager, BlobMetadata, fits, missing, named, wrong_format};
use crate::error::Result;
use crate::format::Format;
use crate::key::Key;

impl BlobManager {
    /// Whether there is a value under the key. Reads its record only.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidKey`], [`crate::ErrorKind::Io`].
    pub fn exists(&self, key: &str) -> Result<bool> {
        let look = || Key::new(key).and_then(|key| self.backend.head(&key));
        let found = self.watched(Operation::Look, Some(key), |_| 0, look);
        named(found, "look for", key).map(|found| found.is_some())
    }

    /// What the store knows of a value, without reading it.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`], [`crate::ErrorKind::Io`].
    pub fn metadata(&self, key: &str) -> Result<BlobMetadata> {
        let look = || {
            let key = Key::new(key)?;
            let record = self.backend.head(&key)?.ok_or_else(missing)?;
            Ok(BlobMetadata::new(key, record))
        };
        let found = self.watched(Operation::Look, Some(key), |_| 0, look);
        named(found, "read the metadata of", key)
    }

    /// The path of the file behind a value and its metadata; content and signature are unchecked.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`], [`crate::ErrorKind::WrongFormat`]; [`crate::ErrorKind::InvalidArgument`] on a
    /// backend without files.
    pub fn locate(
        &self,
        key: &str,
        format: Option<Format>,
    ) -> Result<(std::path::PathBuf, BlobMetadata)> {
        let found = Key::new(key).and_then(|key| {
            let (path, record) = self.backend.locate(&key)?.ok_or_else(missing)?;
            plain(&record)?;
            self.note_use(&key);
            match format {
                Some(wanted) if !fits(wanted, &record) => Err(wrong_format(wanted, &record)),
                _ => Ok((path, BlobMetadata::new(key, record))),
            }
        });
        named(found, "locate", key)
    }
}
