//! `StorageManager`: a store with memory over it, behind one interface.
//!
//! Writes go to the disk first and then into memory: what the disk refused is never in memory.
//! Reads are answered from memory as long as the disk still holds the value, whichever process
//! wrote last; else they read the disk, once for all threads that ask at the same time.

mod memory;
mod tier;

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use memory::MemoryOptions;
pub use tier::{Gone, Held, Hit, Seen, Tier};

use self::memory::{Found, Memory};
use crate::backend::Condition;
use crate::blob::{BlobManager, BlobMetadata, SaveOptions};
use crate::cancel::CancelToken;
use crate::clock::Ttl;
use crate::error::{Error, ErrorKind, Result};
use crate::format::Format;
use crate::key::Key;
use crate::stats::StorageStats;

/// Disk and memory behind one interface. Cheap to clone; clones share everything.
///
/// Values in memory are shared as [`Arc`]: nobody can change what others see. Calls that reach
/// the disk block; move them to [`crate::pool`] in an asynchronous program.
///
/// ```
/// use holdall::{BlobManager, Format, StorageManager};
///
/// # let folder = tempfile::tempdir()?;
/// let storage = StorageManager::new(BlobManager::new(folder.path()));
/// storage.set("limits", vec![1, 2, 3], Format::Json)?;
/// let limits = storage.get::<Vec<u32>>("limits")?;
/// assert_eq!(limits.as_deref(), Some(&vec![1, 2, 3]));
/// assert!(storage.get::<Vec<u32>>("other")?.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct StorageManager {
    blobs: BlobManager,
    memory: Arc<Memory>,
}

impl StorageManager {
    /// Memory of 1,000 entries, each for an hour at most, over a store.
    #[must_use]
    pub fn new(blobs: BlobManager) -> Self {
        Self::with_memory(blobs, MemoryOptions::default())
    }

    /// As [`StorageManager::new`], with another memory.
    #[must_use]
    pub fn with_memory(blobs: BlobManager, options: MemoryOptions) -> Self {
        Self { blobs, memory: Memory::new(options) }
    }

    /// The store below.
    #[must_use]
    pub fn blobs(&self) -> &BlobManager {
        &self.blobs
    }

    /// The value under a key, `None` if there is none. In memory it is found without a system
    /// call; else it is read from the disk and kept in memory.
    ///
    /// # Errors
    /// As for [`BlobManager::load`], but [`crate::ErrorKind::NotFound`].
    pub fn get<T>(&self, key: &str) -> Result<Option<Arc<T>>>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        let checked = Key::new(key).map_err(|error| error.on_key(key).during("get"))?;
        let version = || self.blobs.backend().version(&checked);
        match self.memory.get::<T>(&checked, version(), &self.blobs) {
            Found::Value(value) => {
                self.blobs.note_use(&checked);
                Ok(Some(value))
            }
            Found::Missing => self.memory.load(&checked, version, || {
                let Some(blob) = self.blobs.try_load_bytes(key, None)? else { return Ok(None) };
                let format = blob.metadata.record().format;
                let value = crate::format::decode::<T>(format, &blob.payload)
                    .map_err(|error| error.on_key(key).during("load"))?;
                Ok(Some((Arc::new(value), blob.metadata)))
            }),
        }
    }

    /// Saves a value to the disk and then keeps it in memory.
    ///
    /// # Errors
    /// As for [`BlobManager::save`]. Then the old value stands, on the disk and in memory.
    pub fn set<T>(&self, key: &str, value: T, format: Format) -> Result<BlobMetadata>
    where
        T: Serialize + Send + Sync + 'static,
    {
        self.set_with(key, Arc::new(value), format, SaveOptions::default())
    }

    /// As [`StorageManager::set`], with a lifetime and what else a save can be told. A `ttl`
    /// limits the value everywhere; the memory's own default limits only the copy in memory.
    ///
    /// # Errors
    /// As there.
    pub fn set_with<T>(
        &self,
        key: &str,
        value: Arc<T>,
        format: Format,
        options: SaveOptions,
    ) -> Result<BlobMetadata>
    where
        T: Serialize + Send + Sync + 'static,
    {
        let saved = self.blobs.save_with(key, &*value, format, options)?;
        let checked = Key::new(key)?;
        match saved.version() {
            Some(version) => self.memory.admit(&checked, value, version, &saved),
            None => {
                self.memory.forget(&checked);
            }
        }
        Ok(saved)
    }

    /// The value under a key; if there is none, what `loader` returns, which is then saved.
    /// Threads that ask for one missing key at once cause one load; a failure is not kept. If the key
    /// is saved while the load runs, that is the value; if it is deleted or cleared by this manager,
    /// the loaded value is returned and not saved.
    ///
    /// # Errors
    /// The loader's, and those of [`StorageManager::get`] and [`StorageManager::set`].
    pub fn get_or_set<T>(
        &self,
        key: &str,
        loader: impl FnOnce() -> Result<T>,
        format: Format,
    ) -> Result<Arc<T>>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        if let Some(value) = self.get::<T>(key)? {
            return Ok(value);
        }
        let checked = Key::new(key)?;
        let made = self.memory.make(&checked, |overtaken| {
            // Somebody may have finished between the look and the turn.
            if let Some(value) = self.get::<T>(key)? {
                return Ok(value);
            }
            let value = Arc::new(loader()?);
            self.keep(key, value, format, overtaken)
        })?;
        match made.downcast::<T>() {
            Ok(value) => Ok(value),
            // Another caller loads the key as another type.
            Err(_) => self.get::<T>(key)?.ok_or_else(crate::blob::missing),
        }
    }

    /// Saves a loaded value, unless somebody saved one meanwhile: then that is the value. If the key
    /// is deleted meanwhile, the save comes before that, or never.
    fn keep<T>(
        &self,
        key: &str,
        value: Arc<T>,
        format: Format,
        overtaken: &CancelToken,
    ) -> Result<Arc<T>>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        let absent = SaveOptions { condition: Condition::Absent, ..SaveOptions::default() };
        let set = |options| {
            overtaken.run_within(|| self.set_with(key, Arc::clone(&value), format, options))
        };
        let is_overtaken = || overtaken.check().is_err();
        let is_dropped = |error: &Error| error.kind() == ErrorKind::Cancelled && is_overtaken();
        if is_overtaken() {
            return Ok(value);
        }
        match set(absent) {
            Ok(saved) if is_overtaken() => {
                // Whoever clears has maybe passed by before it was there.
                match self.blobs.delete(key, Some(&saved.etag)) {
                    // The value is as good as ever for those who have loaded it.
                    Err(error) if error.kind() != ErrorKind::Conflict => {
                        tracing::warn!(key, "what a delete has overtaken was not removed: {error}");
                    }
                    _ => {}
                }
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Conflict => {
                if let Some(written) = self.get::<T>(key)? {
                    return Ok(written);
                }
                // What is there counts as missing: damaged, or ended meanwhile.
                match set(SaveOptions::default()) {
                    Err(error) if is_dropped(&error) => {}
                    saved => drop(saved?),
                }
            }
            Err(error) if is_dropped(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(value)
    }

    /// Removes a value from disk and memory; answers whether there was one.
    ///
    /// # Errors
    /// As for [`BlobManager::delete`].
    pub fn delete(&self, key: &str) -> Result<bool> {
        let text = key;
        let key = Key::new(text).map_err(|error| error.on_key(text).during("delete"))?;
        self.memory.overtake(&key);
        let deleted = self.blobs.delete(text, None);
        self.memory.set_apart(&key);
        let deleted = deleted?;
        let was_own = self.memory.has_own(&key);
        self.memory.forget(&key);
        Ok(deleted || was_own)
    }

    /// Whether there is a value, on disk or in memory.
    ///
    /// # Errors
    /// As for [`BlobManager::exists`].
    pub fn exists(&self, key: &str) -> Result<bool> {
        let checked = Key::new(key).map_err(|error| error.on_key(key).during("look for"))?;
        Ok(self.memory.has_own(&checked) || self.blobs.exists(key)?)
    }

    /// The value under a key in memory, if it is there, newest and of this type.
    pub fn cache_get<T: Send + Sync + 'static>(&self, key: &str) -> Option<Arc<T>> {
        let key = Key::new(key).ok()?;
        let version = self.blobs.backend().version(&key);
        match self.memory.get::<T>(&key, version, &self.blobs) {
            Found::Value(value) => {
                self.blobs.note_use(&key);
                Some(value)
            }
            Found::Missing => None,
        }
    }

    /// Keeps a value in memory alone.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidKey`].
    pub fn cache_set<T: Send + Sync + 'static>(&self, key: &str, value: T, ttl: Ttl) -> Result<()> {
        let key = Key::new(key).map_err(|error| error.on_key(key).during("cache"))?;
        self.memory.pin(&key, Arc::new(value), ttl);
        Ok(())
    }

    /// Forgets the value of a key in memory; the disk keeps it.
    pub fn cache_delete(&self, key: &str) -> bool {
        Key::new(key).is_ok_and(|key| self.memory.forget(&key))
    }

    /// The numbers of disk and memory; takes the same time whatever the number of values.
    ///
    /// # Errors
    /// As for [`BlobManager::get_stats`].
    pub fn get_stats(&self) -> Result<StorageStats> {
        Ok(StorageStats { blobs: self.blobs.get_stats()?, cache: self.memory.stats() })
    }

    /// Empties memory and removes every value that holdall placed on the disk.
    ///
    /// # Errors
    /// As for [`BlobManager::clear`].
    pub fn clear(&self) -> Result<u64> {
        self.memory.overtake_all();
        let cleared = self.blobs.clear();
        self.memory.set_all_apart();
        self.memory.clear();
        cleared
    }

    /// Frees what has expired in memory now; the housekeeping thread does so unasked, unless the
    /// memory was given a clock of its own.
    pub fn sweep_expired(&self) {
        self.memory.sweep_all();
    }
}
