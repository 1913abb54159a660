//! Saving and loading Rust values through serde.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{BlobManager, BlobMetadata, Save, SaveOptions, named};
use crate::error::Result;
use crate::format::{Format, decode, encode};

impl BlobManager {
    /// Saves a value in a format.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Encode`] if the format cannot hold the value; else as
    /// [`BlobManager::save_parts`]. After an error the old value stands.
    pub fn save<T: Serialize + ?Sized>(
        &self,
        key: &str,
        value: &T,
        format: Format,
    ) -> Result<BlobMetadata> {
        self.save_with(key, value, format, SaveOptions::default())
    }

    /// As [`BlobManager::save`], with lifetime, tags, conditions or another durability.
    ///
    /// # Errors
    /// As there.
    pub fn save_with<T: Serialize + ?Sized>(
        &self,
        key: &str,
        value: &T,
        format: Format,
        options: SaveOptions,
    ) -> Result<BlobMetadata> {
        let bytes = named(encode(format, value), "save", key)?;
        self.save_parts(key, format, vec![bytes.into()], options)
    }

    /// Loads a value in the format in which it was saved.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Decode`] if the bytes are no `T`; else as [`BlobManager::load_bytes`].
    pub fn load<T: DeserializeOwned>(&self, key: &str) -> Result<T> {
        let blob = self.load_bytes(key, None)?;
        named(decode(blob.metadata.record().format, &blob.payload), "load", key)
    }

    /// Loads a value that must have been saved in this format.
    ///
    /// # Errors
    /// [`crate::ErrorKind::WrongFormat`] if it was not; else as [`BlobManager::load`].
    pub fn load_as<T: DeserializeOwned>(&self, key: &str, format: Format) -> Result<T> {
        let blob = self.load_bytes(key, Some(format))?;
        named(decode(format, &blob.payload), "load", key)
    }

    /// Loads several values; a key that is missing has `None`.
    pub fn load_many<T: DeserializeOwned, K: AsRef<str>>(
        &self,
        keys: &[K],
    ) -> Vec<Result<Option<T>>> {
        let load = |key: &str| {
            let Some(blob) = self.try_load_bytes(key, None)? else { return Ok(None) };
            named(decode(blob.metadata.record().format, &blob.payload), "load", key).map(Some)
        };
        keys.iter().map(|key| load(key.as_ref())).collect()
    }

    /// One of the values for [`BlobManager::save_many`].
    ///
    /// # Errors
    /// [`crate::ErrorKind::Encode`] if the format cannot hold the value.
    pub fn encoded<T: Serialize + ?Sized>(key: &str, value: &T, format: Format) -> Result<Save> {
        let bytes = named(encode(format, value), "save", key)?;
        let options = SaveOptions::default();
        Ok(Save { key: key.to_owned(), format, parts: vec![bytes.into()], options })
    }
}
