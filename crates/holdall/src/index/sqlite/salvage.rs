//! Reading what can be read of a damaged database of values into a new one.

mod walk;

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _};

use self::walk::{Salvage, Scope};
use super::super::Row;
use super::checksums::Damage;
use super::copied::{self, Copied};
use super::{Fault, SqliteIndex, fault, open, page, read, role, room, write};
use crate::error::{Error, ErrorKind, Result};

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

    /// Writes pages of the database in a folder that have one flipped bit as they were; whether all of its
    /// pages are right now. If another one cannot be put right, nothing is written. Nobody has it open in
    /// this process.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if it cannot be read or written.
    pub(crate) fn put_right(folder: &Path) -> Result<bool> {
        let database = folder.join(role::VALUES.name);
        let log = folder.join(format!("{}-wal", role::VALUES.name));
        if std::fs::symlink_metadata(log).is_ok_and(|log| log.len() > 0) {
            // Another process may fold newer pages in at this moment.
            return Ok(false);
        }
        let put_right = page::put_all_right(&database);
        put_right.map(|pages| pages > 0).map_err(|error| Error::io(error, database))
    }

    /// Makes a database of values in the folder `new` from all whole ones that can be read of the
    /// one in `old`, which nobody has open in this process. It is on the disk when this returns.
    /// Answers how many values it has.
    ///
    /// What is damaged is left out. An error that may be another one the next time is none of that.
    /// Takes time in proportion to the size of the old one, whatever lies there.
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
        let mut target = open::connect(&database, role, Damage::Refused)?;
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
            let salvage = Salvage::new(source, &mut target, is_whole, Scope::Tree);
            let mut salvage = salvage.map_err(explained)?;
            let judge = open::connect(&old, role, Damage::Refused);
            salvage.judge = judge.map(Some).or_else(|error| unless_damaged(error, None))?;
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
    open::connect(database, role, Damage::Given)
        .map(Some)
        .or_else(|error| unless_damaged(error, None))
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
    let mut salvage = Salvage::new(source, target, is_whole, Scope::Tree)?;
    if salvage.listed(expected)? && expected == Some(read::counters(salvage.target)?.entries) {
        return Ok(());
    }
    let folded = salvage.source.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    drop(salvage);
    let (Ok(root), Ok(())) = (root, folded) else { return Ok(()) };
    for leaf in copied.leaves(root)?.unwrap_or_default() {
        copied.put_at_root(root, leaf)?;
        let source = open::connect(&copied.path, role, Damage::Given)?;
        Salvage::new(source, target, is_whole, Scope::Leaf)?.all()?;
    }
    Ok(())
}

/// What stands for something that cannot be read for its damage; every other error stays one: too
/// many open files, or a process in the way, must not look like an empty database.
fn unless_damaged<T>(error: Error, instead: T) -> Result<T> {
    if error.kind() == ErrorKind::Corrupt { Ok(instead) } else { Err(error) }
}
