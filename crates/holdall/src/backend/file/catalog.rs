//! Which index is the current one, and its replacement.
//!
//! An index belongs to an epoch of the store and lies in a folder of that number. A rebuild makes
//! a new one beside the old one and then raises the epoch in the clock file; whoever finds another
//! epoch there than the one it has open opens the new index. Nothing of an engine survives a
//! `fork`: it is closed before, and no thread can open it again until the fork is over.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::coherence::ClockFile;
use crate::clock::Clock;
use crate::error::{ErrorKind, Result};
use crate::index::{Change, GroupCommit, Index, SqliteIndex};

/// The index of a store, opened when it is first needed.
pub(crate) struct Catalog {
    folder: PathBuf,
    /// The store was just made by this process, so that its first index is a complete one.
    is_new: AtomicBool,
    current: RwLock<Option<Current>>,
}

struct Current {
    epoch: u64,
    index: Arc<SqliteIndex>,
    commits: GroupCommit,
}

/// Keeps the index closed while a process is forked.
pub(crate) struct Suspended<'a> {
    _slot: Slot<'a>,
}

type Slot<'a> = RwLockWriteGuard<'a, Option<Current>>;

impl Catalog {
    pub(crate) fn new(folder: PathBuf, is_new: bool) -> Self {
        Self { folder, is_new: AtomicBool::new(is_new), current: RwLock::new(None) }
    }

    /// The folder of an epoch's index.
    pub(crate) fn folder(&self, epoch: u64) -> PathBuf {
        self.folder.join(epoch.to_string())
    }

    /// The index of an epoch, made by its first call; it is not the current one by that.
    pub(crate) fn index(&self, epoch: u64) -> SqliteIndex {
        SqliteIndex::new(self.folder(epoch), Clock::system())
    }

    /// Asks the current index.
    pub(crate) fn ask<T>(
        &self,
        clock: &ClockFile,
        question: impl FnOnce(&SqliteIndex) -> Result<T>,
    ) -> Result<T> {
        self.with(clock, |current| question(&current.index))
    }

    /// Changes the current index; concurrent callers share one commit.
    pub(crate) fn commit(&self, clock: &ClockFile, changes: Vec<Change>) -> Result<()> {
        self.with(clock, |current| current.commits.commit(changes))
    }

    fn with<T>(&self, clock: &ClockFile, work: impl FnOnce(&Current) -> Result<T>) -> Result<T> {
        let guard = self.current(clock)?;
        let Some(current) = &*guard else { unreachable!("`current` has just opened it") };
        let result = work(current);
        if matches!(&result, Err(error) if error.kind() == ErrorKind::Corrupt) {
            clock.set_diverged(true);
        }
        result
    }

    fn current(&self, clock: &ClockFile) -> Result<RwLockReadGuard<'_, Option<Current>>> {
        loop {
            let epoch = clock.epoch();
            {
                let guard = self.current.read().unwrap_or_else(PoisonError::into_inner);
                if guard.as_ref().is_some_and(|current| current.epoch == epoch) {
                    return Ok(guard);
                }
            }
            let mut slot = self.slot();
            if slot.as_ref().is_none_or(|current| current.epoch != epoch) {
                let index = Arc::new(self.index(epoch));
                if self.is_new.swap(false, Ordering::Relaxed) && index.totals()?.entries == 0 {
                    index.set_complete(true)?;
                }
                let commits = GroupCommit::new(Arc::clone(&index) as Arc<dyn Index>);
                *slot = Some(Current { epoch, index, commits });
            }
        }
    }

    fn slot(&self) -> Slot<'_> {
        self.current.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the calls under way, closes the index and keeps it closed.
    pub(crate) fn suspend(&self) -> Suspended<'_> {
        let mut slot = self.slot();
        *slot = None;
        Suspended { _slot: slot }
    }

    /// Writes the index through to the disk and closes it.
    pub(crate) fn close(&self) -> Result<()> {
        match self.slot().take() {
            Some(current) => current.index.close(),
            None => Ok(()),
        }
    }
}
