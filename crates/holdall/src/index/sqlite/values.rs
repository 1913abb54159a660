//! What only a database of values is asked: values, and when they are on the disk.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI32, Ordering};

use rusqlite::{Connection, OptionalExtension as _};

use super::super::Row;
use super::super::row::damaged;
use super::{Fault, SqliteIndex, read, role};
use crate::clock::Clock;
use crate::error::Result;

/// Whenever the log has grown by so many pages it is folded in, while others go on committing.
const LONG: i32 = 4_096;
/// A log of so many pages is folded in to its end, for which those who commit wait: it would grow
/// for as long as they never pause.
const TOO_LONG: i32 = 16_384;

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

    /// Opens it, if it is not open.
    pub(crate) fn open_now(&self) -> Result<()> {
        self.with(|_| Ok(()))
    }

    /// The row of `key` and the bytes of its value; those are to be compared with the row's stamp.
    pub(crate) fn value(&self, key: &str) -> Result<Option<(Row, Vec<u8>)>> {
        self.read(|reader| {
            let mut statement =
                reader.prepare_cached("SELECT row, content FROM entry WHERE key = ?1")?;
            let found = statement.query_row([key.as_bytes()], |columns| {
                let blob = |at| Ok::<_, rusqlite::Error>(columns.get_ref(at)?.as_blob().ok());
                let row = blob(0)?.map(|bytes| Row::decode(key.as_bytes(), bytes));
                Ok((row, blob(1)?.map(<[u8]>::to_vec)))
            });
            match found.optional()? {
                None => Ok(None),
                Some((Some(row), Some(content))) => Ok(Some((row?, content))),
                Some(_) => Err(Fault::from(damaged().on_key(key))),
            }
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
                    Err(fault) => return Err(fault),
                });
            }
            Ok(found)
        })
    }

    /// Flushes what was committed before the call, together with what others wait for.
    pub(crate) fn flush(&self) -> Result<()> {
        self.with(|handles| handles.flushes.flush(&handles.database))
    }

    /// Whether the log has grown so long that [`SqliteIndex::checkpoint`] should be called.
    pub(crate) fn has_long_log(&self) -> bool {
        self.log.pages.load(Ordering::Relaxed) >= self.log.due.load(Ordering::Relaxed)
    }

    /// Folds the log into the database and flushes both. Others go on reading and committing
    /// meanwhile, but for a log that was not caught up with for too long.
    pub(crate) fn checkpoint(&self) -> Result<()> {
        let mut pages = self.fold("PASSIVE")?;
        if pages >= TOO_LONG {
            pages = 0;
            self.with(|handles| {
                let _turn = self.turn(&handles.queue)?;
                self.fold("RESTART").map(|_| ())
            })?;
        }
        self.log.due.store(pages.saturating_add(LONG), Ordering::Relaxed);
        Ok(())
    }

    fn fold(&self, mode: &str) -> Result<i32> {
        self.read(|reader| {
            let sql = format!("PRAGMA wal_checkpoint({mode})");
            Ok(reader.query_row(&sql, [], |columns| columns.get::<_, i32>(1))?)
        })
    }
}
