//! Inline values: small ones that lie in a database of their own instead of files (decision 0010).
//!
//! A key has either a file or an inline value. While one takes the place of the other, and after a
//! writer has died in between, both are there, and the higher generation is the value. `read` looks
//! for them, `write` places and removes them, `merge` lists them together with the files.

mod beside;
mod lost;
mod merge;
mod read;
mod remove;
mod room;
mod sealed;
mod settle;
mod write;

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use rustix::fs::{AtFlags, statat};

use super::coherence::ClockFile;
use super::layout::own_folder;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::flush::flush;
use crate::index::{Change, GroupCommit, Index, SqliteIndex, Standing};
use crate::pool;
use crate::sync::{AtomicBool, AtomicU64, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub(super) use self::merge::{Page, by_end, by_key};
pub(super) use self::read::damaged;
pub(super) use self::remove::Inlines;
pub(super) use self::room::sweep;
pub(super) use self::settle::Settled;
pub(super) use self::write::{is_small, removal, runs};

/// The folder of the database below the store's own.
pub(super) const FOLDER: &str = "inline";

/// The largest value that may be told to be kept inline, bytes: beyond that files are as fast.
pub const MOST_INLINE: u64 = 64 * 1_024;

/// The inline values of one store; opened when they are first needed.
pub(crate) struct Inline {
    path: PathBuf,
    own: OwnedFd,
    /// Locks and mappings between the processes that use it mean something.
    coherent: bool,
    clock: Arc<ClockFile>,
    current: RwLock<Option<Current>>,
    /// The log is being folded in, or will be soon.
    folding: AtomicBool,
    /// The name of its folder is on the disk, which another process may have made.
    is_named: AtomicBool,
    /// Some of the room that is kept for removals was given up.
    is_reserve_short: AtomicBool,
}

struct Current {
    /// The epoch of the store when it was last looked where the database lies.
    epoch: AtomicU64,
    /// Device and inode of its folder.
    folder: (u64, u64),
    values: Arc<SqliteIndex>,
    commits: GroupCommit,
}

/// Keeps the values closed while a process is forked.
pub(crate) struct SuspendedValues<'a> {
    _slot: RwLockWriteGuard<'a, Option<Current>>,
}

impl Inline {
    /// Touches nothing yet. `own` is the store's own folder, and `path` is where it lies.
    pub(crate) fn new(
        own: &OwnedFd,
        path: &Path,
        coherent: bool,
        clock: Arc<ClockFile>,
    ) -> Result<Self> {
        let own = own.try_clone().map_err(|error| Error::io(error, path))?;
        Ok(Self {
            path: path.join(FOLDER),
            own,
            coherent,
            clock,
            current: RwLock::new(None),
            folding: AtomicBool::new(false),
            is_named: AtomicBool::new(false),
            is_reserve_short: AtomicBool::new(false),
        })
    }

    /// Opens the database, made if it is missing.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] where it cannot be used, [`ErrorKind::Corrupt`] if it is no database of
    /// ours any more: values in files are as well as ever.
    pub(crate) fn ready(&self) -> Result<()> {
        self.current().map(|_| ())
    }

    /// Asks the database.
    pub(crate) fn ask<T>(&self, question: impl FnOnce(&SqliteIndex) -> Result<T>) -> Result<T> {
        let guard = self.current()?;
        let Some(current) = &*guard else { unreachable!("`current` has just opened it") };
        question(&current.values).map_err(lost)
    }

    /// Changes values; concurrent callers share one commit. The caller holds the stripes of the
    /// keys.
    pub(crate) fn commit(self: &Arc<Self>, changes: Vec<Change>) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let guard = self.current()?;
        let Some(current) = &*guard else { unreachable!("`current` has just opened it") };
        current.commits.commit(changes).map_err(lost)?;
        if current.values.has_long_log() && !self.folding.swap(true, Ordering::AcqRel) {
            let this = Arc::downgrade(self);
            // It takes two flushes, for which nobody has to wait.
            pool::execute(move || {
                if let Some(this) = this.upgrade() {
                    this.fold();
                }
            });
        }
        Ok(())
    }

    /// What there is under each of several keys, which the caller has locked.
    pub(crate) fn standing(&self, keys: &[&str]) -> Result<Vec<Standing>> {
        match self.ask(|values| values.standing(keys)) {
            // Files do not suffer from it, and each key is judged by itself.
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                tracing::warn!("the inline values cannot be read: {error}");
                Ok(vec![Standing::Lost; keys.len()])
            }
            standing => standing,
        }
    }

    /// Makes what was committed before the call survive a power cut. After a flush that failed, the
    /// log is folded in first: the next save need not suffer from it.
    pub(crate) fn flush(&self) -> Result<()> {
        self.ask(|values| {
            if values.has_log_in_doubt() {
                values.checkpoint()?;
            }
            values.flush()
        })?;
        if !self.is_named.load(Ordering::Acquire) {
            flush(self.own.as_fd()).map_err(|error| Error::io(error.into(), &self.path))?;
            self.is_named.store(true, Ordering::Release);
        }
        Ok(())
    }

    fn fold(&self) {
        let guard = self.current.read().unwrap_or_else(PoisonError::into_inner);
        // Not opened for this: a fork or the end of the store came first.
        if let Some(current) = &*guard
            && let Err(error) = current.values.checkpoint()
        {
            tracing::warn!("the log of the inline values was not folded in: {error}");
        }
        drop(guard);
        self.folding.store(false, Ordering::Release);
    }

    fn current(&self) -> Result<RwLockReadGuard<'_, Option<Current>>> {
        loop {
            let guard = self.current.read().unwrap_or_else(PoisonError::into_inner);
            let epoch = self.clock.epoch();
            match &*guard {
                // A repair that died after it had exchanged the databases has left a mark alone.
                Some(current)
                    if current.epoch.load(Ordering::Acquire) == epoch
                        && !self.clock.needs_scan() =>
                {
                    return Ok(guard);
                }
                // A repair may have put another database in its place.
                Some(current) if self.folder() == Some(current.folder) => {
                    current.epoch.store(epoch, Ordering::Release);
                    return Ok(guard);
                }
                _ => {}
            }
            drop(guard);
            if !self.coherent {
                return Err(unusable("on a network file system"));
            }
            let mut slot = self.current.write().unwrap_or_else(PoisonError::into_inner);
            let epoch = self.clock.epoch();
            if slot.as_ref().is_some_and(|current| self.folder() != Some(current.folder)) {
                // SQLite sees that its file was moved, and leaves the log of the new one alone.
                *slot = None;
            }
            if slot.is_none() {
                self.refuse_gone()?;
                // Refuses a link in its place.
                let folder = own_folder(&self.own, FOLDER)?;
                let values = Arc::new(SqliteIndex::values(&self.path, Clock::system()));
                room::open(&values, || room::give_up(&folder)).map_err(lost)?;
                // A process may have been killed while it made one, and somebody is always here.
                room::sweep(&folder);
                self.is_reserve_short.store(!room::keep(&folder), Ordering::Release);
                let into = Arc::clone(&values);
                let commits = GroupCommit::new(move |changes| into.apply(changes));
                let stat = rustix::fs::fstat(&folder)
                    .map_err(|error| Error::io(error.into(), &self.path))?;
                let folder = (stat.st_dev, stat.st_ino);
                self.clock.note_database();
                *slot = Some(Current { epoch: AtomicU64::new(epoch), folder, values, commits });
            }
        }
    }

    /// Which folder lies where the database is.
    fn folder(&self) -> Option<(u64, u64)> {
        let stat = statat(&self.own, FOLDER, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some((stat.st_dev, stat.st_ino))
    }

    /// Waits for the calls under way, closes the database and keeps it closed.
    pub(crate) fn suspend(&self) -> SuspendedValues<'_> {
        let mut slot = self.current.write().unwrap_or_else(PoisonError::into_inner);
        *slot = None;
        self.keep_reserve();
        SuspendedValues { _slot: slot }
    }

    /// Folds the log in, flushes everything and closes the database, if it is open.
    pub(crate) fn close(&self) -> Result<()> {
        let mut slot = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let Some(current) = slot.take() else { return Ok(()) };
        let closed = room::close(&current.values, || self.give_up_reserve());
        drop(current);
        // From the room of the log, before somebody else has it.
        self.keep_reserve();
        closed.map_err(lost)
    }
}

impl Drop for Inline {
    fn drop(&mut self) {
        *self.current.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
        // As when it is closed.
        self.keep_reserve();
    }
}

/// The error for a store whose inline values cannot be used.
pub(super) fn unusable(place: &str) -> Error {
    Error::new(ErrorKind::Io, format!("the store has inline values, which cannot be used {place}"))
        .remedy("save them again with inline_below=0 where the store is on a local disk")
}

/// A damaged database is never thrown away; one damaged value can be replaced.
fn lost(error: Error) -> Error {
    if error.kind() != ErrorKind::Corrupt || error.key().is_some() {
        return error;
    }
    error.remedy(
        "run repair, which keeps what can be read, or restore .holdall/inline from a backup",
    )
}

/// The error for a key of which nobody knows whether it has an inline value.
pub(super) fn unknown() -> Error {
    lost(Error::new(
        ErrorKind::Corrupt,
        "the database of inline values is damaged where this key would lie",
    ))
}
