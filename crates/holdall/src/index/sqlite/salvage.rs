//! Reading what can be read of a damaged database of values into a new one.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior};

use super::super::{Kept, Row};
use super::read::{self, Counters};
use super::{Fault, SqliteIndex, fault, open, role, write};
use crate::error::{Error, ErrorKind, Result};

/// How many rows are read at a time, and how far a damaged place is stepped over.
const BATCH: i64 = 512;

/// A row of a database of values as it lies there.
pub(crate) struct Raw {
    pub(crate) row: Vec<u8>,
    pub(crate) content: Vec<u8>,
    /// What the row says, if it can be read.
    pub(crate) decoded: Option<Row>,
}

/// Judges a value by key, row and content.
type IsWhole<'a> = &'a dyn Fn(&str, &[u8], &[u8]) -> bool;

impl SqliteIndex {
    /// The row of a key and its content, whatever they are.
    pub(crate) fn raw(&self, key: &str) -> Result<Option<Raw>> {
        self.read(|reader| {
            let mut statement =
                reader.prepare_cached("SELECT row, content FROM entry WHERE key = ?1")?;
            let found = statement.query_row([key.as_bytes()], |columns| {
                let bytes = |at| {
                    let bytes = columns.get_ref(at)?.as_bytes_or_null().ok().flatten();
                    Ok::<_, rusqlite::Error>(bytes.unwrap_or_default().to_vec())
                };
                let (row, content) = (bytes(0)?, bytes(1)?);
                let decoded = Row::decode(key.as_bytes(), &row).ok();
                Ok(Raw { row, content, decoded })
            });
            Ok(found.optional()?)
        })
    }

    /// Makes a database of values in the folder `new` from all whole ones that can be read of the
    /// one in `old`, which nobody has open in this process. It is on the disk when this returns.
    /// Answers how many values it has.
    ///
    /// What is damaged is left out. An error that may be another one the next time is none of that.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if one of them cannot be opened, read or written for another reason than
    /// damage; [`ErrorKind::Busy`].
    pub(crate) fn salvage(old: &Path, new: &Path, is_whole: IsWhole<'_>) -> Result<u64> {
        let role = &role::VALUES;
        let database = open::database(new, role)?;
        let mut target = open::connect(&database, role)?;
        let explained = |fault: Fault| fault.at(&database);
        if let Some(source) = source(&old.join(role.name), role)? {
            let mut salvage = Salvage { source, target: &mut target, is_whole };
            salvage.all().map_err(explained)?;
        }
        write::flush(&mut target, role).map_err(explained)?;
        let count = read::counters(&target).map_err(explained)?.entries;
        target.close().map_err(|(_, error)| fault::explain(error, &database))?;
        open::sync_folder(new)?;
        Ok(count)
    }
}

/// The database to be read; `None` if nothing lies there that could be one.
fn source(database: &Path, role: &role::Role) -> Result<Option<Connection>> {
    match std::fs::symlink_metadata(database) {
        Ok(found) if found.is_file() => {}
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(error, database)),
    }
    open::connect(database, role).map(Some).or_else(|error| unless_damaged(error, None))
}

/// What stands for something that cannot be read for its damage; every other error stays one: too
/// many open files, or a process in the way, must not look like an empty database.
fn unless_damaged<T>(error: Error, instead: T) -> Result<T> {
    if error.kind() == ErrorKind::Corrupt { Ok(instead) } else { Err(error) }
}

struct Salvage<'a> {
    source: Connection,
    target: &'a mut Connection,
    is_whole: IsWhole<'a>,
}

/// A value that was read.
struct Found {
    row: Row,
    bytes: Vec<u8>,
    content: Bytes,
}

impl Salvage<'_> {
    fn all(&mut self) -> Result<(), Fault> {
        let last = self.last()?;
        let mut after = 0;
        loop {
            let (seen, is_damaged) = self.batch(after + 1, i64::MAX)?;
            match (seen, is_damaged) {
                (None, false) => return Ok(()),
                (Some(seen), false) => after = seen,
                (seen, true) => {
                    let begin = seen.unwrap_or(after) + 1;
                    after = begin.saturating_add(BATCH);
                    self.halves(begin, after)?;
                    if after > last {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// The last row, as far as that can be found out.
    fn last(&self) -> Result<i64, Fault> {
        const GUESS: i64 = 1 << 20;
        let asked = |sql| {
            let last = self.source.query_row(sql, [], |row| row.get::<_, Option<i64>>(0));
            last.map(Some)
                .or_else(|error| unless_damaged(fault::explain(error, Path::new("")), None))
        };
        if let Some(last) = asked("SELECT max(id) FROM entry")? {
            return Ok(last.unwrap_or(0));
        }
        // The index of the keys has the numbers too.
        let indexed = "SELECT max(id) FROM (SELECT id, key FROM entry INDEXED BY entry_key \
                       WHERE key >= x'00')";
        Ok(asked(indexed)?.flatten().unwrap_or(GUESS))
    }

    /// Reads a range in ever smaller parts, down to single rows that cannot be read.
    fn halves(&mut self, begin: i64, end: i64) -> Result<(), Fault> {
        let mut ranges = vec![(begin, end)];
        while let Some((begin, end)) = ranges.pop() {
            let (_, is_damaged) = self.batch(begin, end)?;
            if is_damaged && begin < end {
                let middle = begin + (end - begin) / 2;
                ranges.push((middle + 1, end));
                ranges.push((begin, middle));
            }
        }
        Ok(())
    }

    /// Copies rows from `begin` to `end`, not too many; answers with the last one that was seen,
    /// and whether damage came next.
    fn batch(&mut self, begin: i64, end: i64) -> Result<(Option<i64>, bool), Fault> {
        crate::cancel::check()?;
        let mut found = Vec::new();
        let mut last = None;
        let read = self.read(begin, end, &mut found, &mut last);
        let is_damaged = match read {
            Ok(()) => false,
            Err(error) => unless_damaged(fault::explain(error, Path::new("")), true)?,
        };
        self.keep(found)?;
        Ok((last, is_damaged))
    }

    fn read(
        &self,
        begin: i64,
        end: i64,
        found: &mut Vec<Found>,
        last: &mut Option<i64>,
    ) -> rusqlite::Result<()> {
        let mut statement = self.source.prepare_cached(
            "SELECT id, key, row, content FROM entry WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3",
        )?;
        let mut rows = statement.query((begin, end, BATCH))?;
        while let Some(columns) = rows.next()? {
            *last = Some(columns.get(0)?);
            let bytes = |at| Ok::<_, rusqlite::Error>(columns.get_ref(at)?.as_blob().ok());
            let (Some(key), Some(row), Some(content)) = (bytes(1)?, bytes(2)?, bytes(3)?) else {
                continue;
            };
            let Ok(decoded) = Row::decode(key, row) else { continue };
            if (self.is_whole)(&decoded.key, row, content) {
                let content = Bytes::copy_from_slice(content);
                found.push(Found { row: decoded, bytes: row.to_vec(), content });
            }
        }
        Ok(())
    }

    fn keep(&mut self, found: Vec<Found>) -> Result<(), Fault> {
        if found.is_empty() {
            return Ok(());
        }
        let transaction = self.target.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut totals: Counters = read::counters(&transaction)?;
        for Found { row, bytes, content } in found {
            // A damaged tree may lead to a row twice.
            let old = read::get(&transaction, &row.key)?;
            if old.as_ref().is_some_and(|old| old.generation >= row.generation) {
                continue;
            }
            let kept = Arc::new(Kept { row, content, old, mends: false });
            write::keep(&transaction, &mut totals, &kept, &bytes)?;
        }
        write::store(&transaction, totals)?;
        Ok(transaction.commit()?)
    }
}
