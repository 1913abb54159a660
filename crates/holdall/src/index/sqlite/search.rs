//! Looking for one value among all rows, because what leads to it is damaged.

use std::fs;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _};

use super::super::Row;
use super::checksums::Compared;
use super::values::found;
use super::{Fault, SqliteIndex, open};
use crate::error::{Error, ErrorKind, Result};

/// No larger database is read from end to end for one value, bytes.
const MOST: u64 = 256 * 1_024 * 1_024;

/// Whether an error is that of a page, which may be one that is not needed to find a value.
pub(super) fn is_of_page(error: &Error) -> bool {
    error.kind() == ErrorKind::Corrupt && error.key().is_none()
}

impl SqliteIndex {
    /// As [`SqliteIndex::value`], by reading all rows and none of the indexes; takes time in proportion to
    /// the size of the database. That there is none is certain: every page that was read is
    /// the one that was written.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if a page of the rows is damaged too, or there is more than is read for one
    /// value; else as for any question.
    pub(crate) fn search(&self, key: &str) -> Result<Option<(Row, Vec<u8>)>> {
        self.with(|handles| {
            check_size(&handles.database)?;
            let connection = open::connect(&handles.database, self.role, Compared::All)?;
            search(&connection, key).map_err(|fault| fault.at(&handles.database))
        })
    }
}

/// Refuses what would take too long.
pub(super) fn check_size(database: &Path) -> Result<()> {
    let size = fs::symlink_metadata(database).map_err(|error| Error::io(error, database))?.len();
    if size <= MOST {
        return Ok(());
    }
    let cause = "the database of inline values is damaged, and too large to be read for one value";
    Err(Error::new(ErrorKind::Corrupt, cause).at(database))
}

/// The connection compares all pages with their checksums.
pub(super) fn search(connection: &Connection, key: &str) -> Result<Option<(Row, Vec<u8>)>, Fault> {
    tracing::warn!(
        "an index of the inline values is damaged: all of them are read for one; run repair"
    );
    let sql = "SELECT row, content FROM entry NOT INDEXED WHERE key = ?1";
    let mut statement = connection.prepare(sql)?;
    let answer = statement.query_row([key.as_bytes()], |columns| found(columns, key));
    Ok(answer.optional()?.transpose()?)
}
