//! Where values lie: the seam for other kinds of storage.
//!
//! A [`Backend`] does only what it alone can do: place bytes with their record, find them again,
//! list, remove. Formats, signatures, default lifetimes, what to do with damage, and everything
//! that is convenient is built on top once, in [`crate::BlobManager`]. The suite in `conformance` says
//! what every backend must keep to; a backend made elsewhere runs it with the feature
//! `conformance`.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod file;
pub mod health;
pub mod memory;
mod put;
mod stream;

use std::any::Any;
use std::fmt;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::format::Format;
use crate::key::{Key, KeyPage};
use crate::record::Record;

use health::{Problem, RepairReport, VerifyReport, Verifying};
pub use put::{Part, Put};
pub use stream::{Reading, Writing};

/// What a save or delete asks of the value that is there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Condition {
    /// Nothing.
    #[default]
    Any,
    /// There is none, or it has expired.
    Absent,
    /// It is the one with this ETag.
    Matches(String),
}

impl Condition {
    /// Whether the value that is there, expired ones left out, is as asked.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] that says what is there instead.
    pub fn check(&self, current: Option<&Record>) -> Result<()> {
        let cause = match (self, current) {
            (Self::Any, _) | (Self::Absent, None) => return Ok(()),
            (Self::Absent, Some(_)) => "there is a value under this key already".into(),
            (Self::Matches(etag), Some(record)) if record.etag() == *etag => return Ok(()),
            (Self::Matches(etag), Some(record)) => {
                format!("the value was changed: its ETag is {}, not {etag}", record.etag())
            }
            (Self::Matches(_), None) => "the value is gone".into(),
        };
        Err(Error::new(ErrorKind::Conflict, cause).remedy("load it again and decide anew"))
    }
}

/// What a write survives once it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The death of the process.
    #[default]
    Process,
    /// A power cut.
    Disk,
}

impl Durability {
    /// The level with this name.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] naming the levels.
    pub fn from_name(name: &str) -> Result<Self> {
        match name {
            "process" => Ok(Self::Process),
            "disk" => Ok(Self::Disk),
            _ => Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("durability is {name:?}, allowed are \"process\" and \"disk\""),
            )),
        }
    }
}

/// A value that was placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// What the store knows of it.
    pub record: Record,
    /// The version of the key right after this write: as long as [`Backend::version`] answers
    /// with it, this is the newest value. `None`: do not keep it in memory.
    pub version: Option<u64>,
}

/// A value as it was found, whole: length and checksum are those of its record.
#[derive(Debug, Clone)]
pub struct Object {
    /// What the store knows of it.
    pub record: Record,
    /// The content of its file.
    pub content: Vec<u8>,
}

/// A value as it was found: small ones as a whole, large ones open.
#[derive(Debug)]
pub enum Found {
    /// Checked.
    Whole(Object),
    /// Not checked yet: whoever reads it compares length and checksum with those of the record.
    Open(Record, Box<dyn Reading>),
}

/// How much there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Values.
    pub entries: u64,
    /// Bytes of all values together.
    pub total_size: u64,
}

/// One kind of storage. Calls may block; all are safe from several threads and processes. Those
/// that write ask [`Put::check`] or [`crate::cancel::check`] under the lock of their key.
///
/// A value that has expired is not there for any of them but [`Backend::expire`],
/// [`Backend::every`] and [`Backend::get_expired`].
pub trait Backend: Send + Sync + fmt::Debug {
    /// Places a value, whole or not at all.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if the condition does not hold; [`ErrorKind::Untrusted`] if it is
    /// signed with another key than the one that is noted as signing in the store, unless it
    /// [continues](Put::continues) a value; [`ErrorKind::Io`], [`ErrorKind::Busy`]. After an error the
    /// old value stands.
    fn put(&self, put: Put) -> Result<Placed>;

    /// Places several values, each for itself, at the cost of one commit. A backend that can do
    /// no better places one after the other.
    fn put_many(&self, puts: Vec<Put>) -> Vec<Result<Placed>> {
        puts.into_iter().map(|put| self.put(put)).collect()
    }

    /// Reads a value; `None` if there is none. `wanted` is where to look first.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if the bytes are not the ones that were saved;
    /// [`ErrorKind::Conflict`] if two files claim the key; [`ErrorKind::Io`].
    fn get(&self, key: &Key, wanted: Option<Format>) -> Result<Option<Object>>;

    /// Reads a value as [`Backend::get`] does, but only if that takes some microseconds and cannot
    /// block. `None` says nothing: ask [`Backend::get`] where blocking does no harm.
    fn get_cached(&self, _key: &Key, _wanted: Option<Format>) -> Option<Object> {
        None
    }

    /// As [`Backend::get`], but a value of `large` bytes or more may be left open, for those who
    /// have a place for it.
    ///
    /// # Errors
    /// As for [`Backend::get`].
    fn get_or_open(&self, key: &Key, wanted: Option<Format>, _large: u64) -> Result<Option<Found>> {
        Ok(self.get(key, wanted)?.map(Found::Whole))
    }

    /// Opens a value to be read piece by piece, as it is now; its content is not checked. A
    /// backend that can do no better reads it as a whole.
    ///
    /// # Errors
    /// As for [`Backend::get`], though damage inside the content is not noticed.
    fn reader(&self, key: &Key) -> Result<Option<(Record, Box<dyn Reading>)>> {
        let found = self.get(key, None)?;
        Ok(found.map(|found| (found.record, Box::new(found.content) as _)))
    }

    /// Whether a large value may come with [`Put::seal`] in place of its signature.
    fn signs_while_writing(&self) -> bool {
        false
    }

    /// Begins a value that is written piece by piece; `None` if this backend takes values as a
    /// whole only.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    fn writer(&self) -> Result<Option<Box<dyn Writing>>> {
        Ok(None)
    }

    /// Reads the record of a value without its content.
    ///
    /// # Errors
    /// As for [`Backend::get`], though damage inside the content is not noticed.
    fn head(&self, key: &Key) -> Result<Option<Record>>;

    /// Gives a value another length of life, in milliseconds, without touching its content.
    ///
    /// # Errors
    /// As for [`Backend::put`].
    fn set_ttl(
        &self,
        key: &Key,
        ttl: Option<u64>,
        durability: Durability,
    ) -> Result<Option<Record>>;

    /// Removes a value; answers whether there was one.
    ///
    /// # Errors
    /// As for [`Backend::put`].
    fn delete(&self, key: &Key, condition: &Condition, durability: Durability) -> Result<bool>;

    /// Removes several values, at the cost of one commit where the backend can.
    fn delete_many(&self, keys: &[Key], durability: Durability) -> Vec<Result<bool>> {
        keys.iter().map(|key| self.delete(key, &Condition::Any, durability)).collect()
    }

    /// A page of what is there: keys that start with `prefix` and come after `after`, in the
    /// order of their UTF-8 bytes, at most `limit`. A page shorter than `limit` is the last.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, Record)>>;

    /// As [`Backend::list`], the keys alone, for less.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    fn keys(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<KeyPage> {
        let page = self.list(prefix, after, limit)?;
        Ok(page.iter().map(|(key, _)| key.as_str()).collect())
    }

    /// As [`Backend::list`], of the values with a tag.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    fn tagged(&self, tag: &str, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, Record)>>;

    /// Removes what has expired; answers how many values that were.
    ///
    /// # Errors
    /// [`ErrorKind::Io`], [`ErrorKind::Busy`].
    fn expire(&self, durability: Durability) -> Result<u64>;

    /// As [`Backend::expire`], but ends after about `most` values: fewer say that there are no more. A
    /// backend that can do no better removes all of them.
    ///
    /// # Errors
    /// As there.
    fn expire_some(&self, _most: u64, durability: Durability) -> Result<u64> {
        self.expire(durability)
    }

    /// Removes those of several values that are still the ones which were seen, known by their
    /// generations; answers for each whether it went. At the cost of one commit where the backend can.
    fn remove_seen(&self, seen: &[(Key, u64)], durability: Durability) -> Vec<Result<bool>> {
        let remove = |(key, generation): &(Key, u64)| {
            let condition = Condition::Matches(Record::etag_of(*generation));
            left_if_changed(self.delete(key, &condition, durability))
        };
        seen.iter().map(remove).collect()
    }

    /// What is to be held while the store is cleaned up, so that of several processes one does it;
    /// `None` if somebody else has it. With `wait`, not before others have had it for some time.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] if waiting for it was in vain; [`ErrorKind::Io`].
    fn begin_cleaning(&self, _wait: bool) -> Result<Option<Box<dyn Any + Send>>> {
        Ok(Some(Box::new(())))
    }

    /// What is to be held while values are brought to another format or compression: two that do so
    /// at once would leave a mixture. Never waits.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] if somebody else has it; [`ErrorKind::Io`].
    fn begin_migrating(&self) -> Result<Box<dyn Any + Send>> {
        Ok(Box::new(()))
    }

    /// Removes every value that this store placed and that was there when the call began; leaves
    /// what other programs put there.
    ///
    /// # Errors
    /// [`ErrorKind::Io`], [`ErrorKind::Busy`].
    fn clear(&self, durability: Durability) -> Result<u64>;

    /// How much there is, at the same cost whatever the number of values.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    fn totals(&self) -> Result<Totals>;

    /// A number that changes with every write to the key, in whatever process; read before the
    /// value and compared later it tells whether the value is still the newest. `None`: do not
    /// keep the value in memory now. Never blocks.
    fn version(&self, key: &Key) -> Option<u64>;

    /// As [`Backend::version`], of the key with this text; `None` if it is none. A backend that
    /// needs no [`Key`] for it spares a hit in memory the making of one.
    fn version_of(&self, key: &str) -> Option<u64> {
        self.version(&Key::new(key).ok()?)
    }

    /// Notes that the value of the key with this text is used now, for those who evict what was not
    /// used for long. Never blocks; a backend may forget it.
    fn note_use(&self, _key: &str) {}

    /// When the value was last used, milliseconds since 1970: maybe later than it was, never earlier.
    /// `None` if nobody knows.
    fn last_use(&self, _key: &Key) -> Option<u64> {
        None
    }

    /// Looks whether the value is still the one with this generation, and makes every memory
    /// entry of the key old if another program has changed it.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    fn revalidate(&self, key: &Key, generation: u64) -> Result<()>;

    /// The file behind a value, for programs that map or open it themselves.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] where values are no files.
    fn locate(&self, key: &Key) -> Result<Option<(std::path::PathBuf, Record)>>;

    /// As [`Backend::locate`], but only if that takes some microseconds and cannot block, and if
    /// the beginning of the file can be read without waiting, too. `None` says nothing.
    fn locate_cached(
        &self,
        _key: &Key,
        _wanted: Option<Format>,
    ) -> Option<(std::path::PathBuf, Record)> {
        None
    }

    /// Which store this is; part of every signature.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if it cannot be opened.
    fn store_id(&self) -> Result<[u8; 16]>;

    /// The fingerprint of the key that signs in this store, once one has.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    fn signer(&self) -> Result<Option<String>> {
        Ok(None)
    }

    /// Notes which key signs in this store, unless one is noted already. A backend that keeps such
    /// notes refuses a put with a signature while there is none, see [`Backend::put`].
    ///
    /// # Errors
    /// [`ErrorKind::Io`], [`ErrorKind::Busy`]; nothing is noted then.
    fn note_signer(&self, _fingerprint: &str) -> Result<()> {
        Ok(())
    }

    /// Notes which key signs from now on, in place of the one that did, after everything that was
    /// placed so far has reached the disk. Waits for the writes that are under way; a put with the
    /// signature of another key is refused afterwards, see [`Backend::put`].
    ///
    /// # Errors
    /// [`ErrorKind::Io`], [`ErrorKind::Busy`]. The old key stands then, unless the error says that
    /// the new one signs already: then only the last flush has failed.
    fn replace_signer(&self, _fingerprint: &str) -> Result<()> {
        Ok(())
    }

    /// As [`Backend::list`] of all keys, values that have expired included; without a record where
    /// only the value itself has one that can be read.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    fn every(&self, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, Option<Record>)>> {
        let page = self.list("", after, limit)?;
        Ok(page.into_iter().map(|(key, record)| (key, Some(record))).collect())
    }

    /// As [`Backend::get`], of a value that may have expired.
    ///
    /// # Errors
    /// As for [`Backend::get`].
    fn get_expired(&self, key: &Key) -> Result<Option<Object>> {
        self.get(key, None)
    }

    /// Has listings show, from now on, what other programs put there in formats that need a
    /// signature. Looks at the name of every file.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    fn list_unlisted(&self) -> Result<()> {
        Ok(())
    }

    /// Begins a verification, which changes nothing but that files of other programs are listed
    /// from then on. A backend that can do no better loads every value that it lists.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if the store cannot be opened, [`ErrorKind::Version`].
    fn verification(&self) -> Result<Box<dyn Verifying>> {
        Ok(Box::new(health::Loading::default()))
    }

    /// Sets right what a verification has just found, as far as that is still there; with
    /// `dry_run` says only what it would do. What is damaged is kept aside and never deleted. A
    /// backend that can do no better leaves everything to somebody who decides.
    ///
    /// # Errors
    /// [`ErrorKind::Io`], [`ErrorKind::Busy`]; what was done before is done, and the rest can be
    /// done by another call.
    fn mend(
        &self,
        found: &VerifyReport,
        _inspect: &health::Inspect<'_>,
        dry_run: bool,
    ) -> Result<RepairReport> {
        let kept: Vec<Problem> = found.problems.clone();
        Ok(RepairReport { dry_run, kept, ..RepairReport::default() })
    }

    /// The folder of the store, if it has one.
    fn folder(&self) -> Option<&Path>;

    /// Writes down what is needed for a fast start. Afterwards the backend may be used again.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    fn close(&self) -> Result<()>;
}

/// A removal of a value that was seen; one that was saved anew meanwhile stays.
fn left_if_changed(removed: Result<bool>) -> Result<bool> {
    match removed {
        Err(error) if error.kind() == ErrorKind::Conflict => Ok(false),
        removed => removed,
    }
}
