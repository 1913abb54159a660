//! Looking for a value among all rows, because what leads to it is damaged.

use std::fs;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _};
use xxhash_rust::xxh3::xxh3_64;

use super::super::Row;
use super::super::row::damaged;
use super::checksums::Damage;
use super::values::found;
use super::{Fault, SqliteIndex, locked, open};
use crate::error::{Error, ErrorKind, Result};

/// No larger database is read from end to end for one value, bytes.
const MOST: u64 = 256 * 1_024 * 1_024;

/// Whether an error is that of a page, which may be one that is not needed to find a value.
pub(super) fn is_of_page(error: &Error) -> bool {
    error.kind() == ErrorKind::Corrupt && error.key().is_none()
}

/// Knows where every row lies, as of one moment.
#[derive(Debug)]
pub(super) struct Searcher {
    /// Compares all pages with their checksums.
    connection: Connection,
    /// As SQLite counts what others commit; `None` before the first look.
    version: Option<i64>,
    /// Sorted: XXH3-64 of each key, and the number of its row.
    rows: Vec<(u64, i64)>,
}

impl SqliteIndex {
    /// As [`SqliteIndex::value`], by reading all rows and none of the indexes; takes time in proportion to
    /// the size of the database, once for all who ask before the next commit. That there is none is
    /// certain: every page that was read is the one that was written.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if a page of the rows is damaged too, or there is more than is read for one
    /// value; else as for any question.
    pub(crate) fn search(&self, key: &str) -> Result<Option<(Row, Vec<u8>)>> {
        let answer = self.with(|handles| {
            check_size(&handles.database)?;
            // Those who come meanwhile would read the same.
            let mut kept = locked(&handles.searcher);
            let mut searcher = match kept.take() {
                Some(searcher) => searcher,
                None => Searcher::on(open::connect(&handles.database, self.role, Damage::Refused)?),
            };
            // After an error it is not used again.
            let answer = searcher.find(key).map_err(|fault| fault.at(&handles.database))?;
            *kept = Some(searcher);
            Ok(answer)
        })?;
        if answer.is_none() && self.lists(key) {
            // A write that was lost has left an older page: it is no miss.
            return Err(Error::new(ErrorKind::Corrupt, "the index has a row that is not there"));
        }
        Ok(answer)
    }

    /// Whether the index of the keys has this one, as far as it can be read.
    fn lists(&self, key: &str) -> bool {
        let listed = self.read(|reader| {
            let sql = "SELECT 1 FROM entry INDEXED BY entry_key WHERE key = ?1";
            Ok(reader.prepare_cached(sql)?.exists([key.as_bytes()])?)
        });
        listed.unwrap_or(false)
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

impl Searcher {
    pub(super) fn on(connection: Connection) -> Self {
        Self { connection, version: None, rows: Vec::new() }
    }

    pub(super) fn find(&mut self, key: &str) -> Result<Option<(Row, Vec<u8>)>, Fault> {
        // One moment: a row may move to another number.
        let moment = self.connection.unchecked_transaction()?;
        let version = moment.query_row("PRAGMA data_version", [], |columns| columns.get(0))?;
        if self.version != Some(version) {
            tracing::warn!("the index of the inline values is damaged: all were read; run repair");
            self.rows = every_row(&moment)?;
            self.version = Some(version);
        }
        let hash = xxh3_64(key.as_bytes());
        let first = self.rows.partition_point(|(other, _)| *other < hash);
        let sql = "SELECT row, content FROM entry NOT INDEXED WHERE id = ?1 AND key = ?2";
        let mut statement = moment.prepare_cached(sql)?;
        for (_, id) in self.rows[first..].iter().take_while(|(other, _)| *other == hash) {
            let row = statement.query_row((id, key.as_bytes()), |columns| found(columns, key));
            if let Some(row) = row.optional()? {
                return Ok(Some(row?));
            }
        }
        Ok(None)
    }
}

fn every_row(connection: &Connection) -> Result<Vec<(u64, i64)>, Fault> {
    let mut statement = connection.prepare_cached("SELECT key, id FROM entry NOT INDEXED")?;
    let mut columns = statement.query([])?;
    let mut rows = Vec::new();
    while let Some(columns) = columns.next()? {
        let key = columns.get_ref(0)?.as_blob().map_err(|_| damaged())?;
        rows.push((xxh3_64(key), columns.get(1)?));
    }
    rows.sort_unstable();
    Ok(rows)
}
