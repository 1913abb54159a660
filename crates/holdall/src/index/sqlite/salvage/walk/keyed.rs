//! The way of a load: from the index of the keys to the row.

use rusqlite::OptionalExtension as _;

use super::super::super::Fault;
use super::{BATCH, Found, ROWS_OF_A_PAGE, Salvage, keep, readable, whole};
use crate::error::Result;

pub(super) const FORWARD: &str = "SELECT key, id FROM entry INDEXED BY entry_key WHERE key >= x'' \
                                  ORDER BY key LIMIT ?1";
const BACKWARD: &str = "SELECT key, id FROM entry INDEXED BY entry_key WHERE key >= x'' \
                        ORDER BY key DESC LIMIT ?1";

/// A limit as SQLite takes it.
pub(super) fn most_of(rows: u64) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

impl Salvage<'_> {
    /// Copies what a load would find, whatever the tree of the rows says of their order. Answers whether
    /// all keys could be read, and each had a whole value.
    pub(super) fn by_key(&mut self) -> Result<bool, Fault> {
        let (is_read, is_each_whole) = self.keys(FORWARD)?;
        if !is_read {
            self.keys(BACKWARD)?;
        }
        Ok(is_read && is_each_whole)
    }

    /// Goes through the keys to their end, or to damage.
    fn keys(&mut self, sql: &str) -> Result<(bool, bool), Fault> {
        let (mut found, mut is_read, mut is_each_whole) = (Vec::new(), false, true);
        let most = self.rows_left / 4;
        if let Some(mut statement) = readable(self.source.prepare_cached(sql))?
            && let Some(mut rows) = readable(statement.query([most_of(most)]))?
        {
            let mut count = 0_u64;
            while let Some(next) = readable(rows.next())? {
                let Some(columns) = next else {
                    is_read = count < most;
                    break;
                };
                count += 1;
                if count.is_multiple_of(ROWS_OF_A_PAGE) {
                    crate::cancel::check()?;
                }
                let key = columns.get_ref(0).ok().and_then(|key| key.as_blob().ok());
                self.highest = self.highest.max(columns.get(1).ok());
                match key.map(|key| self.loaded(key)).transpose()?.flatten() {
                    Some(one) => found.push(one),
                    None => is_each_whole = false,
                }
                if found.len() >= BATCH {
                    keep(self.target, std::mem::take(&mut found))?;
                }
            }
        }
        keep(self.target, found)?;
        Ok((is_read, is_each_whole))
    }

    /// The value that a load of this key finds, if it is whole.
    fn loaded(&self, key: &[u8]) -> Result<Option<Found>> {
        let sql = "SELECT row, content FROM entry WHERE key = ?1";
        let asked = self.source.prepare_cached(sql).and_then(|mut sql| {
            let read = sql.query_row([key], |columns| {
                let bytes = |at| Ok::<_, rusqlite::Error>(columns.get_ref(at)?.as_blob().ok());
                let (row, content) = (bytes(0)?, bytes(1)?);
                Ok(row
                    .zip(content)
                    .and_then(|(row, content)| whole(self.is_whole, key, row, content)))
            });
            read.optional()
        });
        Ok(readable(asked)?.flatten().flatten())
    }
}
