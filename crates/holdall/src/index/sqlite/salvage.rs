//! Reading what can be read of a damaged database of values into a new one.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior};

use super::super::{Kept, Row};
use super::copied::{self, Copied};
use super::read::{self, Counters};
use super::{Fault, SqliteIndex, fault, open, role, room, write};
use crate::error::{Error, ErrorKind, Result};

/// How many rows are read at a time, and how far a damaged place is stepped over.
const BATCH: i64 = 512;

/// So many pages of the log are folded in while values are copied.
const LONG_LOG: i64 = 1_024;

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
        room::check(&new.join(role.name))?;
        let database = open::database(new, role)?;
        // Before it is open here: to close a file drops the locks on it.
        let first = copied::first_page(&database)?;
        // Before the connection, so that it is closed after it.
        let mut mapped = None;
        let mut target = open::connect(&database, role)?;
        let explained = |fault: Fault| fault.at(&database);
        // Nobody else folds it in, and there may not be room for all values twice.
        target
            .pragma_update(None, "wal_autocheckpoint", LONG_LOG)
            .map_err(|error| explained(error.into()))?;
        write::flush(&mut target, role).map_err(explained)?;
        room::take_mapped(&database, &mut mapped)?;
        let old = old.join(role.name);
        let mut expected = None;
        let mut is_whole_read = false;
        if let Some(source) = source(&old, role)? {
            expected = read::counters(&source).ok().map(|counters| counters.entries);
            let mut salvage = Salvage::new(source, &mut target, is_whole, Scope::Old);
            is_whole_read = salvage.listed(expected).map_err(explained)?;
        }
        let count = |target: &Connection| Ok(read::counters(target).map_err(explained)?.entries);
        if !(is_whole_read && expected == Some(count(&target)?))
            && is_file(&old)?
            && let Some(copied) = Copied::make(&old, new, first)?
        {
            salvage_copied(&copied, &mut target, is_whole).map_err(explained)?;
        }
        write::flush(&mut target, role).map_err(explained)?;
        let count = count(&target)?;
        target.close().map_err(|(_, error)| fault::explain(error, &database))?;
        open::sync_folder(new)?;
        Ok(count)
    }
}

/// The database to be read; `None` if nothing lies there that could be one.
fn source(database: &Path, role: &role::Role) -> Result<Option<Connection>> {
    if !is_file(database)? {
        return Ok(None);
    }
    open::connect(database, role).map(Some).or_else(|error| unless_damaged(error, None))
}

fn is_file(path: &Path) -> Result<bool> {
    match std::fs::symlink_metadata(path) {
        Ok(found) => Ok(found.is_file()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io(error, path)),
    }
}

/// Reads what can be read of a copy: with its first page put right, and then each page of rows by
/// itself, to which the upper pages of the tree may not lead any more.
fn salvage_copied(
    copied: &Copied,
    target: &mut Connection,
    is_whole: IsWhole<'_>,
) -> Result<(), Fault> {
    let role = &role::VALUES;
    let Some(source) = source(&copied.path, role)? else { return Ok(()) };
    let expected = read::counters(&source).ok().map(|counters| counters.entries);
    let root = "SELECT rootpage FROM sqlite_schema WHERE name = 'entry'";
    let root = source.query_row(root, [], |row| row.get::<_, u32>(0));
    let mut salvage = Salvage::new(source, target, is_whole, Scope::Copy);
    if salvage.listed(expected)? && expected == Some(read::counters(salvage.target)?.entries) {
        return Ok(());
    }
    let folded = salvage.source.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    drop(salvage);
    let (Ok(root), Ok(())) = (root, folded) else { return Ok(()) };
    for leaf in copied.leaves(root)?.unwrap_or_default() {
        copied.put_at_root(root, leaf)?;
        let source = open::connect(&copied.path, role)?;
        Salvage::new(source, target, is_whole, Scope::Leaf).all()?;
    }
    Ok(())
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
    scope: Scope,
    /// Rows that the index of the keys does not have are taken too.
    takes_unlisted: bool,
    /// Whether any of those was left.
    has_unlisted: Cell<bool>,
    /// All rows that were seen.
    walked: Cell<Numbers>,
}

/// How many rows there are, and which, in any order.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Numbers {
    count: u64,
    sum: u64,
}

impl Numbers {
    fn and(self, id: i64) -> Self {
        let one = xxhash_rust::xxh3::xxh3_64(&id.to_le_bytes());
        Self { count: self.count + 1, sum: self.sum.wrapping_add(one) }
    }
}

/// What is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// The damaged database itself.
    Old,
    /// A copy of it with its first page put right.
    Copy,
    /// One page of rows, to which nothing may lead: only what the index of the keys has too.
    Leaf,
}

/// A value that was read.
struct Found {
    row: Row,
    bytes: Vec<u8>,
    content: Bytes,
}

impl<'a> Salvage<'a> {
    fn new(
        source: Connection,
        target: &'a mut Connection,
        is_whole: IsWhole<'a>,
        scope: Scope,
    ) -> Self {
        let (has_unlisted, walked) = (Cell::default(), Cell::default());
        Self { source, target, is_whole, scope, takes_unlisted: false, has_unlisted, walked }
    }

    /// Copies what the index of the keys has too: a damaged tree may lead to a page that is not used,
    /// on which removed values still lie. The others follow if it is the index that is damaged.
    /// Answers as [`Salvage::all`].
    fn listed(&mut self, expected: Option<u64>) -> Result<bool, Fault> {
        let is_sound = self.all()?;
        if !self.has_unlisted.get() || !self.is_index_wrong(is_sound, expected)? {
            return Ok(is_sound);
        }
        self.takes_unlisted = true;
        self.all()
    }

    /// Whether the index of the keys, where it can be read, is not the one of these rows: it is out of
    /// order, has another number of keys than there are, or has the very rows that were read, under
    /// other keys.
    fn is_index_wrong(&self, is_sound: bool, expected: Option<u64>) -> Result<bool, Fault> {
        let mut listed = Numbers::default();
        let mut read = || -> rusqlite::Result<bool> {
            let sql =
                "SELECT key, id FROM entry INDEXED BY entry_key WHERE key >= x'' ORDER BY key";
            let mut statement = self.source.prepare_cached(sql)?;
            let mut rows = statement.query([])?;
            let mut before: Option<Vec<u8>> = None;
            while let Some(columns) = rows.next()? {
                let key = columns.get_ref(0)?.as_blob().unwrap_or_default();
                if before.as_deref().is_some_and(|before| before >= key) {
                    return Ok(true);
                }
                before = Some(key.to_vec());
                listed = listed.and(columns.get(1)?);
            }
            Ok(expected.is_some_and(|expected| expected != listed.count)
                || (is_sound && listed == self.walked.get()))
        };
        // What cannot be read of it tells nothing of the rest, in which a key was looked up.
        read().or_else(|error| Ok(unless_damaged(fault::explain(error, Path::new("")), false)?))
    }

    /// Copies all that can be read; whether no damage was in the way.
    fn all(&mut self) -> Result<bool, Fault> {
        let Some(last) = self.last()? else { return Ok(false) };
        let mut after = 0;
        let mut is_sound = true;
        loop {
            let (seen, is_damaged) = self.batch(after + 1, i64::MAX)?;
            is_sound &= !is_damaged;
            match (seen, is_damaged) {
                (None, false) => return Ok(is_sound),
                (Some(seen), false) => after = seen,
                (seen, true) => {
                    let begin = seen.unwrap_or(after) + 1;
                    after = begin.saturating_add(BATCH);
                    self.halves(begin, after)?;
                    if after > last {
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// The last row; `None` if that cannot be found out and another way is better than to try all
    /// numbers.
    fn last(&self) -> Result<Option<i64>, Fault> {
        const GUESS: i64 = 1 << 20;
        let asked = |sql| {
            let last = self.source.query_row(sql, [], |row| row.get::<_, Option<i64>>(0));
            last.map(Some)
                .or_else(|error| unless_damaged(fault::explain(error, Path::new("")), None))
        };
        let last = asked("SELECT max(id) FROM entry")?;
        if last.is_some() || self.scope == Scope::Leaf {
            return Ok(last.map(Option::unwrap_or_default));
        }
        // The index of the keys has the numbers too.
        let indexed = "SELECT max(id) FROM (SELECT id, key FROM entry INDEXED BY entry_key \
                       WHERE key >= x'00')";
        let last = asked(indexed)?.flatten();
        Ok(if self.scope == Scope::Copy { last.or(Some(GUESS)) } else { last })
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
            Err(fault) => unless_damaged(fault.at(Path::new("")), true)?,
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
    ) -> Result<(), Fault> {
        let mut statement = self.source.prepare_cached(
            "SELECT id, key, row, content FROM entry WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3",
        )?;
        let mut rows = statement.query((begin, end, BATCH))?;
        while let Some(columns) = rows.next()? {
            let id: i64 = columns.get(0)?;
            *last = Some(id);
            self.walked.set(self.walked.get().and(id));
            let bytes = |at| Ok::<_, rusqlite::Error>(columns.get_ref(at)?.as_blob().ok());
            let (Some(key), Some(row), Some(content)) = (bytes(1)?, bytes(2)?, bytes(3)?) else {
                continue;
            };
            let Ok(decoded) = Row::decode(key, row) else { continue };
            if !self.takes_unlisted && !self.is_listed(key, id)? {
                self.has_unlisted.set(true);
                continue;
            }
            if (self.is_whole)(&decoded.key, row, content) {
                let content = Bytes::copy_from_slice(content);
                found.push(Found { row: decoded, bytes: row.to_vec(), content });
            }
        }
        Ok(())
    }

    /// Whether the index of the keys has a row. Where it cannot be read it may have had it, but no page
    /// to which nothing leads is believed for that.
    fn is_listed(&self, key: &[u8], id: i64) -> Result<bool> {
        let sql = "SELECT id FROM entry INDEXED BY entry_key WHERE key = ?1";
        let listed = self.source.prepare_cached(sql);
        match listed.and_then(|mut sql| sql.query_row([key], |row| row.get(0)).optional()) {
            Ok(listed) => Ok(listed == Some(id)),
            Err(_) if self.scope == Scope::Leaf => Ok(false),
            Err(error) => unless_damaged(fault::explain(error, Path::new("")), true),
        }
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
