//! Values that go, now or some day.

use super::watch::Operation;
use super::{BlobManager, BlobMetadata, missing, named};
use crate::backend::Condition;
use crate::clock::Ttl;
use crate::error::Result;
use crate::key::Key;

impl BlobManager {
    /// Removes a value; answers whether there was one. With `if_match` only the value with that
    /// ETag goes.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Conflict`] if another value is there; [`crate::ErrorKind::Io`], [`crate::ErrorKind::Busy`].
    pub fn delete(&self, key: &str, if_match: Option<&str>) -> Result<bool> {
        let condition = if_match.map_or(Condition::Any, |etag| Condition::Matches(etag.to_owned()));
        let durability = self.options.durability;
        let deleted = self.watched(
            Operation::Delete,
            Some(key),
            |_| 0,
            || Key::new(key).and_then(|key| self.backend.delete(&key, &condition, durability)),
        );
        named(deleted, "delete", key)
    }

    /// Removes several values at the cost of one commit.
    pub fn delete_many<K: AsRef<str>>(&self, keys: &[K]) -> Vec<Result<bool>> {
        let checked: Vec<Result<Key>> = keys.iter().map(|key| Key::new(key.as_ref())).collect();
        let good: Vec<Key> = checked.iter().flatten().cloned().collect();
        let begun = self.begin(Operation::Delete);
        let mut deleted = self.backend.delete_many(&good, self.options.durability).into_iter();
        self.end(begun, None, Some(0));
        let results =
            checked.into_iter().map(|key| key.and_then(|_| deleted.next().unwrap_or(Ok(false))));
        results.zip(keys).map(|(one, key)| named(one, "delete", key.as_ref())).collect()
    }

    /// Gives a value another length of life, counted from now, without touching its content.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`], [`crate::ErrorKind::Io`], [`crate::ErrorKind::Busy`].
    pub fn touch(&self, key: &str, ttl: Ttl) -> Result<BlobMetadata> {
        let touch = || {
            let key = Key::new(key)?;
            let touched = self.backend.set_ttl(&key, ttl.millis(None), self.options.durability)?;
            let record = touched.ok_or_else(missing)?;
            self.cleaning.loaded(&key, &record);
            Ok(BlobMetadata::new(key, record))
        };
        named(self.watched(Operation::Change, Some(key), |_| 0, touch), "touch", key)
    }

    /// Removes what has expired, with the durability of this manager; answers how many values
    /// that were.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Io`], [`crate::ErrorKind::Busy`].
    pub fn expire(&self) -> Result<u64> {
        let durability = self.options.durability;
        let expired =
            self.watched(Operation::Clean, None, |_| 0, || self.backend.expire(durability));
        expired
            .inspect(|removed| self.cleaning.expired(*removed))
            .map_err(|error| error.during("remove expired values"))
    }

    /// Removes every value that holdall placed, with the durability of this manager; files of other
    /// programs stay.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Io`], [`crate::ErrorKind::Busy`].
    pub fn clear(&self) -> Result<u64> {
        let durability = self.options.durability;
        let cleared =
            self.watched(Operation::Clean, None, |_| 0, || self.backend.clear(durability));
        cleared.map_err(|error| error.during("clear the store"))
    }
}
