//! What only a database of values is asked: values, and when they are on the disk.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI32, Ordering};

use rusqlite::{Connection, OptionalExtension as _};

use super::super::Row;
use super::super::row::damaged;
use super::flush::SharedFlush;
use super::search::is_of_page;
use super::{Fault, Handles, PATIENCE_MILLIS, SqliteIndex, locked, open, read, role, system};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::lock::wait;

/// Whenever the log has grown by so many pages it is folded in, while others go on committing.
const LONG: i32 = if cfg!(test) { 64 } else { 4_096 };
/// A log of so many pages is folded in to its end, for which those who commit wait: it would grow
/// for as long as they never pause.
const TOO_LONG: i32 = if cfg!(test) { 256 } else { 16_384 };

thread_local! {
    /// The pages in the log after the last commit of this thread.
    static PAGES: Cell<i32> = const { Cell::new(0) };
}

/// What is known of a key before it is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    Absent,
    There(Box<Row>),
    /// There is a row that cannot be read.
    Damaged,
    /// The database is damaged on the way to it, so nobody knows.
    Lost,
}

/// How long the log is, as far as this process knows.
#[derive(Debug)]
pub(super) struct Log {
    pages: AtomicI32,
    /// The length at which it should be folded in.
    due: AtomicI32,
}

impl Default for Log {
    fn default() -> Self {
        Self { pages: AtomicI32::new(0), due: AtomicI32::new(LONG) }
    }
}

impl Log {
    /// Takes note of a commit that this thread has just made.
    pub(super) fn has_grown(&self) {
        let pages = PAGES.get();
        self.pages.store(pages, Ordering::Relaxed);
        if pages < LONG {
            // It was begun anew.
            self.due.store(LONG, Ordering::Relaxed);
        }
    }
}

/// Has the pages of the log counted at each commit.
pub(super) fn count_pages(writer: &Connection) {
    writer.wal_hook(Some(|_, pages| {
        PAGES.set(pages);
        Ok(())
    }));
}

impl SqliteIndex {
    /// A database of values in `folder`; else as [`SqliteIndex::new`].
    pub(crate) fn values(folder: impl Into<PathBuf>, clock: Clock) -> Self {
        Self::of(&role::VALUES, folder.into(), clock)
    }

    /// Whether a file in its folder is a database in the making, or belongs to one.
    pub(crate) fn is_draft(name: &str) -> bool {
        open::is_draft(name, &role::VALUES)
    }

    /// Opens it, if it is not open.
    pub(crate) fn open_now(&self) -> Result<()> {
        self.with(|_| Ok(()))
    }

    /// The row of `key` and the bytes of its value; those are to be compared with the row's stamp.
    pub(crate) fn value(&self, key: &str) -> Result<Option<(Row, Vec<u8>)>> {
        match self.read(|reader| value(reader, key)) {
            // What leads to the rows may be damaged, and they may be whole.
            Err(error) if is_of_page(&error) => self.search(key).map_err(|_| error),
            answer => answer,
        }
    }

    /// The keys of rows that cannot be read.
    pub(crate) fn damaged_keys(&self) -> Result<Vec<String>> {
        self.read(|reader| {
            let mut statement = reader.prepare_cached("SELECT key, row FROM entry")?;
            let mut rows = statement.query([])?;
            let mut damaged = Vec::new();
            while let Some(columns) = rows.next()? {
                let bytes = |at| Ok::<_, rusqlite::Error>(columns.get_ref(at)?.as_blob().ok());
                let (Some(key), row) = (bytes(0)?, bytes(1)?) else { continue };
                let is_sound = row.is_some_and(|row| Row::decode(key, row).is_ok());
                if !is_sound && let Ok(key) = std::str::from_utf8(key) {
                    damaged.push(key.to_owned());
                }
            }
            Ok(damaged)
        })
    }

    /// What there is under each of several keys, at one moment.
    pub(crate) fn standing(&self, keys: &[&str]) -> Result<Vec<Standing>> {
        self.read(|reader| {
            let transaction = reader.unchecked_transaction()?;
            let mut found = Vec::with_capacity(keys.len());
            for key in keys {
                found.push(match read::get(&transaction, key) {
                    Ok(row) => row.map_or(Standing::Absent, |row| Standing::There(Box::new(row))),
                    Err(fault) if fault.is_damage() => Standing::Damaged,
                    Err(fault) => match system::explain(fault, &transaction, &self.folder) {
                        error if error.kind() == ErrorKind::Corrupt => Standing::Lost,
                        error => return Err(error.into()),
                    },
                });
            }
            Ok(found)
        })
    }

    /// Flushes what was committed before the call, together with what others wait for. After a
    /// failure all flushes fail until [`SqliteIndex::checkpoint`] has succeeded.
    pub(crate) fn flush(&self) -> Result<()> {
        self.with(|handles| handles.log.as_ref().map_or(Ok(()), SharedFlush::flush))
    }

    /// Whether the log has grown so long, or is in such a state, that [`SqliteIndex::checkpoint`]
    /// should be called.
    pub(crate) fn has_long_log(&self) -> bool {
        let is_long =
            self.log.pages.load(Ordering::Relaxed) >= self.log.due.load(Ordering::Relaxed);
        is_long || self.with(|handles| Ok(handles.has_failed())).unwrap_or(false)
    }

    /// Whether [`SqliteIndex::checkpoint`] has to be called before anything can be flushed: a flush has
    /// failed, or the log was begun by others, who alone know whether theirs did.
    pub(crate) fn has_log_in_doubt(&self) -> bool {
        self.with(|handles| Ok(handles.is_in_doubt())).unwrap_or(false)
    }

    /// Folds the log into the database and flushes both. Others go on reading and committing
    /// meanwhile, but for a log that was not caught up with for too long or could not be flushed.
    pub(crate) fn checkpoint(&self) -> Result<()> {
        self.with(|handles| {
            let passed = handles.read(self.role, |reader| handles.fold(reader, "PASSIVE"))?;
            if passed.pages >= TOO_LONG || handles.is_in_doubt() {
                return self.fold_to_the_end(handles);
            }
            self.log.due.store(passed.pages.saturating_add(LONG), Ordering::Relaxed);
            Ok(())
        })
    }

    /// As [`SqliteIndex::checkpoint`], and has the room of the log used anew; nobody commits
    /// meanwhile.
    pub(crate) fn begin_log_anew(&self) -> Result<()> {
        self.with(|handles| self.fold_to_the_end(handles))
    }

    fn fold_to_the_end(&self, handles: &Handles) -> Result<()> {
        // Both, as for a commit: the lock of the file does not keep threads apart.
        let writer = locked(&handles.writer);
        let _turn = self.turn(&handles.queue)?;
        // What the disk has of a log in doubt may end in the middle, and its beginning would count
        // again after a power cut: it has to go. Else its room is kept for the next commits.
        let mode = if handles.is_in_doubt() { "TRUNCATE" } else { "RESTART" };
        let deadline = self.clock.boot_millis() + PATIENCE_MILLIS;
        let mut folded = handles.fold(&writer, mode)?;
        // Another process may fold the log in at this moment, for which SQLite does not wait.
        wait::until(&self.clock, deadline, || {
            let is_enough = folded.is_whole || !handles.is_in_doubt();
            if !is_enough {
                folded = handles.fold(&writer, mode)?;
            }
            Ok(is_enough)
        })?;
        let mut left = folded.pages;
        if folded.is_whole {
            left = 0;
            self.log.pages.store(0, Ordering::Relaxed);
            if let Some(log) = &handles.log {
                log.heal();
            }
        }
        self.log.due.store(left.saturating_add(LONG), Ordering::Relaxed);
        Ok(())
    }
}

pub(super) fn value(reader: &Connection, key: &str) -> Result<Option<(Row, Vec<u8>)>, Fault> {
    let mut statement = reader.prepare_cached("SELECT row, content FROM entry WHERE key = ?1")?;
    let answer = statement.query_row([key.as_bytes()], |columns| found(columns, key));
    Ok(answer.optional()?.transpose()?)
}

/// What there is under a key, from columns that are its row and its content.
pub(super) fn found(
    columns: &rusqlite::Row<'_>,
    key: &str,
) -> rusqlite::Result<Result<(Row, Vec<u8>)>> {
    let blob = |at| Ok::<_, rusqlite::Error>(columns.get_ref(at)?.as_blob().ok());
    let (Some(row), Some(content)) = (blob(0)?, blob(1)?) else {
        return Ok(Err(damaged().on_key(key)));
    };
    Ok(Row::decode(key.as_bytes(), row).map(|row| (row, content.to_vec())))
}

/// What a checkpoint has done.
struct Folded {
    /// The pages in the log.
    pages: i32,
    /// All of them are in the database, and the log is begun anew.
    is_whole: bool,
}

impl Handles {
    fn has_failed(&self) -> bool {
        self.log.as_ref().is_some_and(SharedFlush::has_failed)
    }

    fn is_in_doubt(&self) -> bool {
        self.log.as_ref().is_some_and(SharedFlush::is_in_doubt)
    }

    fn fold(&self, connection: &Connection, mode: &str) -> Result<Folded> {
        let sql = format!("PRAGMA wal_checkpoint({mode})");
        let _turn = self.log.as_ref().map(SharedFlush::fold);
        let folded = connection.query_row(&sql, [], |columns| {
            let (busy, pages, moved): (i32, i32, i32) =
                (columns.get(0)?, columns.get(1)?, columns.get(2)?);
            Ok(Folded { pages, is_whole: busy == 0 && pages == moved })
        });
        folded.map_err(|error| {
            let error = system::explain(error.into(), connection, &self.database);
            // Nobody is told twice that the log could not be flushed.
            if let Some(log) = self.log.as_ref().filter(|_| loses_flush(&error)) {
                log.fail(&error);
            }
            error
        })
    }
}

/// Whether a checkpoint that failed so may have failed to flush the log.
fn loses_flush(error: &Error) -> bool {
    error.kind() == ErrorKind::Io && !error.is_disk_full()
}
