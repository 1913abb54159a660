//! Looking for an inline value.

use xxhash_rust::xxh3::xxh3_64;

use super::super::open::Opened;
use crate::backend::Object;
use crate::error::{Error, ErrorKind, Result};
use crate::index::SqliteIndex;
use crate::key::Key;
use crate::record::Stamp;

impl Opened {
    /// The inline value of a key, checked. Where the store never had any, that is known without
    /// asking.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if the bytes are not those that were saved; [`ErrorKind::Io`] where
    /// they cannot be read.
    pub(crate) fn inline_value(&self, key: &Key) -> Result<Option<Object>> {
        if !self.may_have_inline() {
            return Ok(None);
        }
        let found = match self.maybe_live() {
            Some(live) => live.inline.ask(|values| values.value(key.as_str())),
            None => self.sealed_value(key),
        };
        let found = found.map_err(reported)?;
        let Some((row, content)) = found else { return Ok(None) };
        let stamp = Stamp::decode(&row.record).filter(|stamp| stamp.key_hash == key.hash());
        let damaged = |cause: &str| damaged(cause).on_key(key.as_str());
        let stamp = stamp.ok_or_else(|| damaged("its record cannot be read"))?;
        let record = stamp.record;
        if content.len() as u64 != record.length {
            let cause = format!("it has {} bytes of {}", content.len(), record.length);
            return Err(damaged(&cause));
        }
        if xxh3_64(&content) != record.checksum {
            return Err(damaged("its checksum is not the one that was saved"));
        }
        Ok(Some(Object { record, content }))
    }

    /// The inline value beside a file of this generation, if there is one and it is newer.
    pub(crate) fn inline_beside(&self, key: &Key, file: Option<u64>) -> Result<Option<Object>> {
        match self.inline_value(key) {
            Ok(found) => {
                let newer = |found: &Object| file.is_none_or(|file| found.record.generation > file);
                Ok(found.filter(newer))
            }
            // Values in files do not suffer from the loss of the others.
            Err(error) if file.is_some() && (is_of_database(&error) || self.inline_is_lost()) => {
                tracing::warn!("looked at files only: {error}");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the database as a whole cannot be used.
    fn inline_is_lost(&self) -> bool {
        let ready = self.live().and_then(|live| live.inline.ready());
        ready.is_err_and(|error| error.kind() != ErrorKind::Busy)
    }

    /// The keys of inline values whose records cannot be read; takes time in proportion to the
    /// number of all.
    pub(crate) fn damaged_inline_keys(&self) -> Result<Vec<Key>> {
        if !self.may_have_inline() {
            return Ok(Vec::new());
        }
        let keys = self.live()?.inline.ask(SqliteIndex::damaged_keys)?;
        Ok(keys.iter().filter_map(|key| Key::new(key).ok()).collect())
    }

    /// Whether the store may have inline values.
    pub(crate) fn may_have_inline(&self) -> bool {
        match self.maybe_live() {
            Some(live) => live.clock.has_inline(),
            None => self.may_have_sealed(),
        }
    }
}

/// Whether it is the database that is damaged, and not the value of one key.
fn is_of_database(error: &Error) -> bool {
    error.kind() == ErrorKind::Corrupt && error.key().is_none()
}

/// What to do about one value that is damaged.
const REMEDY: &str = "save or delete the key, or run repair to keep it aside";

/// What a damaged row is reported as; a database that cannot be opened says its own remedy.
fn reported(error: Error) -> Error {
    if error.kind() == ErrorKind::Corrupt && error.key().is_some() {
        return error.remedy(REMEDY);
    }
    error
}

/// The error for an inline value that is not what was saved.
pub(crate) fn damaged(cause: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the inline value was damaged: {cause}")).remedy(REMEDY)
}
