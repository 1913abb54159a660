//! Room on a disk that is nearly full: what the log will need in the database is taken while a commit
//! can still be refused, and what it does not need is given back.
//!
//! A log is folded into the database before its own room is used again. On a disk that the log has
//! filled, a database that had to grow for that could not: nothing could be saved or removed any more.

use rusqlite::Connection;

use super::{Fault, SqliteIndex, system};
use crate::error::Result as Answer;

/// A log that is shorter is no help to anybody, bytes.
const LONG_LOG: u64 = 256 * 1_024;

impl SqliteIndex {
    /// Folds the log in and cuts it off, if it is long; does not wait for the disk.
    pub(crate) fn give_back_log(&self) -> Answer<()> {
        let log = self.folder.join(format!("{}-wal", self.role.name));
        if std::fs::symlink_metadata(log).is_ok_and(|log| log.len() < LONG_LOG) {
            return Ok(());
        }
        self.write(
            |writer| Ok(writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?),
        )
    }
}

/// Has the database file grow to the size that it has after this transaction, which is open and
/// about to be committed; what is added is really there, no hole.
///
/// # Errors
/// What the system has said, above all that the disk is full: then the transaction must not be
/// committed.
pub(super) fn take(transaction: &Connection) -> Result<(), Fault> {
    let ask = |pragma: &str| {
        transaction.prepare_cached(pragma)?.query_row([], |columns| columns.get::<_, i64>(0))
    };
    let (pages, page) = (ask("PRAGMA page_count")?, ask("PRAGMA page_size")?);
    system::grow(transaction, pages.saturating_mul(page), page)
}
