//! A copy of every file's record, for listing, statistics, tags and expiry.
//!
//! The stamp on the file is the truth. Nothing here is needed to answer a load: an index that is
//! damaged, of an earlier version or behind is thrown away and filled again by a scan; one of a
//! later version is refused (decision 0017). That decides the trade-offs: commits are not flushed,
//! errors are plain, and doubt is reported as `Corrupt`.

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod group;
mod listing;
mod row;
mod sqlite;

pub(crate) use self::group::GroupCommit;
pub(crate) use self::listing::Listing;
pub(crate) use self::row::Row;
#[cfg(test)]
pub(crate) use self::sqlite::open_to_change;
pub(crate) use self::sqlite::{
    Flaw, HEAD, INDEX_FILE, SqliteIndex, Standing, VALUES_FILE, VERSION, later_version,
};

use std::sync::Arc;

use bytes::Bytes;

use crate::error::Result;
use crate::key::KeyPage;

/// The record that the bytes of a row hold, if they are whole and of this key.
pub(crate) fn record_of(key: &str, row: &[u8]) -> Option<Vec<u8>> {
    Row::decode(key.as_bytes(), row).ok().map(|row| row.record)
}

/// One change to the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// Records a file; ignored if a row with a higher generation is there.
    Put(Row),
    /// Keeps a value together with its row, whatever was there.
    Keep(Arc<Kept>),
    /// Forgets a file; with a generation only if the row is not newer than that.
    Remove { key: String, generation: Option<u64> },
}

/// A value that lies in the database, and what it replaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    /// What is known of it.
    pub row: Row,
    /// The value.
    pub content: Bytes,
    /// The row that is there, as the caller, who holds the lock of the key, has seen it.
    pub old: Option<Row>,
    /// The row that is there is damaged, so that nobody knows what it counted for.
    pub mends: bool,
}

/// What the store holds, counted in the transactions that change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Totals {
    /// Number of keys.
    pub entries: u64,
    /// Sum of the sizes in bytes; stops at `u64::MAX`.
    pub total_size: u64,
    /// How many of the keys holdall did not place.
    pub foreign: u64,
}

/// A place for rows. Every call may wait for a disk or a peer, so it belongs on a pool thread; no
/// transaction outlives a call. Lists are in the order of the keys' UTF-8 bytes.
///
/// # Errors
/// `Corrupt` means: throw the index away and rebuild it. `Busy`: a peer held the index for longer
/// than the deadline. `Io`: full disk and the like. `Closed`: the process was forked meanwhile.
pub(crate) trait Index: Send + Sync {
    /// Makes all changes, in their order, or none; when it returns, every process sees them.
    /// They survive the death of the process, not a power cut.
    fn apply(&self, changes: &[Change]) -> Result<()>;

    /// The row of `key`.
    fn get(&self, key: &str) -> Result<Option<Row>>;

    /// At most `limit` rows whose key begins with `prefix` and comes after `after`.
    fn page(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Row>>;

    /// The keys alone, of rows that are not `expired` by their stamp; those without an expiry are
    /// not asked about. Every row is checked as a whole.
    fn keys(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        expired: &dyn Fn(&[u8]) -> bool,
    ) -> Result<KeyPage>;

    /// At most `limit` rows that expire at or before `now` (wall milliseconds), the oldest first,
    /// after the one with this expiry and key.
    fn expired(&self, now: u64, after: Option<(u64, &str)>, limit: usize) -> Result<Vec<Row>>;

    /// At most `limit` rows with `tag` whose key comes after `after`.
    fn tagged(&self, tag: &str, after: Option<&str>, limit: usize) -> Result<Vec<Row>>;

    /// The counters, in constant time.
    fn totals(&self) -> Result<Totals>;

    /// Whether a scan has filled the index, so that a key without a row has no file.
    fn is_complete(&self) -> Result<bool>;

    /// Records whether a scan has filled the index.
    fn set_complete(&self, complete: bool) -> Result<()>;

    /// Reads everything and compares it with the checksums and counters; takes time in proportion
    /// to the size. Only this finds rows that damage has made invisible.
    fn check(&self) -> Result<()>;

    /// Writes everything through to the disk and closes; the next call would open anew.
    fn close(&self) -> Result<()>;
}
