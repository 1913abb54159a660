//! Which index is the current one, and its replacement.
//!
//! An index belongs to an epoch of the store and lies in a folder of that number. A rebuild makes
//! a new one beside the old one and then raises the epoch in the clock file; whoever finds another
//! epoch there than the one it has open opens the new index. Nothing of an engine survives a
//! `fork`: it is closed before, and no thread can open it again until the fork is over.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::coherence::ClockFile;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::index::{Change, GroupCommit, INDEX_FILE, Index, SqliteIndex};
use crate::sync::{AtomicBool, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The index of a store, opened when it is first needed.
pub(crate) struct Catalog {
    folder: PathBuf,
    /// The store was just made by this process, so that its first index is a complete one.
    is_new: AtomicBool,
    /// A process died with it, so it is read whole before it is first believed.
    doubtful: Mutex<bool>,
    /// Held while another index is filled: a fork waits for that too.
    building: Mutex<()>,
    current: RwLock<Option<Current>>,
}

struct Current {
    epoch: u64,
    index: Arc<SqliteIndex>,
    commits: GroupCommit,
}

/// A damaged index is made anew by the next listing.
fn note_damage(clock: &ClockFile, error: &Error) {
    if error.kind() == ErrorKind::Corrupt {
        clock.set_diverged(true);
    }
}

/// Keeps the index closed while a process is forked.
pub(crate) struct Suspended<'a> {
    _building: MutexGuard<'a, ()>,
    _slot: Slot<'a>,
}

type Slot<'a> = RwLockWriteGuard<'a, Option<Current>>;

impl Catalog {
    pub(crate) fn new(folder: PathBuf, is_new: bool, doubtful: bool) -> Self {
        Self {
            folder,
            is_new: AtomicBool::new(is_new),
            doubtful: Mutex::new(doubtful),
            building: Mutex::new(()),
            current: RwLock::new(None),
        }
    }

    /// Where the indexes of all epochs lie.
    pub(crate) fn folders(&self) -> &std::path::Path {
        &self.folder
    }

    /// The folder of an epoch's index.
    pub(crate) fn folder(&self, epoch: u64) -> PathBuf {
        self.folder.join(epoch.to_string())
    }

    /// The index of an epoch, made by its first call; it is not the current one by that.
    pub(crate) fn index(&self, epoch: u64) -> SqliteIndex {
        SqliteIndex::new(self.folder(epoch), Clock::system())
    }

    /// Whether there is an index, though it may be one that cannot be opened.
    pub(crate) fn has_index(&self, clock: &ClockFile) -> bool {
        let file = self.folder(clock.epoch()).join(INDEX_FILE);
        file.symlink_metadata().is_ok_and(|file| file.len() > 0)
    }

    /// Asks the current index; again if another process has replaced it meanwhile.
    pub(crate) fn ask<T>(
        &self,
        clock: &ClockFile,
        question: impl Fn(&SqliteIndex) -> Result<T>,
    ) -> Result<T> {
        loop {
            let epoch = clock.epoch();
            let answer = self.with(clock, |current| question(&current.index));
            // An index that was replaced and removed before it was opened here is an empty one.
            if clock.epoch() == epoch {
                return answer;
            }
        }
    }

    /// Changes the current index; concurrent callers share one commit. The caller holds the
    /// stripes of the keys, so that no rebuild comes between.
    pub(crate) fn commit(&self, clock: &ClockFile, changes: Vec<Change>) -> Result<()> {
        self.with(clock, |current| {
            clock.set_in_use();
            current.commits.commit(changes)
        })
    }

    /// Reads the whole index if a process died with it, once; damage marks it for a rebuild.
    pub(crate) fn resolve_doubt(&self, clock: &ClockFile) -> Result<()> {
        let mut doubtful = self.doubtful.lock().unwrap_or_else(PoisonError::into_inner);
        if *doubtful {
            match self.ask(clock, |index| index.check()) {
                Err(error) if matches!(error.kind(), ErrorKind::Busy | ErrorKind::Version) => {
                    return Err(error);
                }
                Err(error) => {
                    tracing::warn!("the index did not survive the death of a process: {error}");
                    clock.set_diverged(true);
                }
                Ok(()) => {}
            }
            *doubtful = false;
        }
        Ok(())
    }

    /// Keeps forks waiting while another index is filled.
    pub(crate) fn building(&self) -> MutexGuard<'_, ()> {
        self.building.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, clock: &ClockFile, work: impl FnOnce(&Current) -> Result<T>) -> Result<T> {
        let guard = self.current(clock)?;
        let Some(current) = &*guard else { unreachable!("`current` has just opened it") };
        work(current).inspect_err(|error| note_damage(clock, error))
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
                let into = Arc::clone(&index);
                let commits = GroupCommit::new(move |changes| into.apply(changes));
                let outdated = slot.replace(Current { epoch, index, commits });
                if let Some(outdated) = outdated.map(|current| self.folder(current.epoch)) {
                    // It was removed with its epoch, but may have been opened, and so made, after that.
                    let _ = std::fs::remove_dir_all(outdated);
                }
            }
        }
    }

    fn slot(&self) -> Slot<'_> {
        self.current.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the calls under way, closes the index and keeps it closed.
    pub(crate) fn suspend(&self) -> Suspended<'_> {
        let building = self.building();
        let mut slot = self.slot();
        *slot = None;
        Suspended { _building: building, _slot: slot }
    }

    /// Writes the index through to the disk, if this process has it open, and closes it.
    pub(crate) fn close(&self, clock: &ClockFile) -> Result<()> {
        let Some(current) = self.slot().take() else { return Ok(()) };
        match current.index.close() {
            // Another process has replaced it meanwhile, and removed it.
            Err(_) if current.epoch != clock.epoch() => Ok(()),
            closed => closed.inspect_err(|error| note_damage(clock, error)),
        }
    }

    /// As [`Catalog::close`], for the last user of the store: what others have left unwritten is
    /// written too, unless `is_written` says that nothing was. Before anybody can change it again,
    /// calls `closed`, with whether it can be believed.
    pub(crate) fn close_last(
        &self,
        clock: &ClockFile,
        is_written: bool,
        closed: impl FnOnce(bool),
    ) -> Result<()> {
        let trusted = self.is_trusted();
        if !is_written || self.is_open() {
            // Or what this process has open is one that others have replaced.
            self.with(clock, |current| current.index.open_now())?;
        }
        let mut slot = self.slot();
        if let Some(current) = slot.take() {
            current.index.close().inspect_err(|error| note_damage(clock, error))?;
        }
        closed(trusted);
        Ok(())
    }

    fn is_open(&self) -> bool {
        self.current.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Closes the index without a flush; answers whether it can be believed.
    pub(crate) fn drop_index(&self) -> bool {
        *self.slot() = None;
        self.is_trusted()
    }

    fn is_trusted(&self) -> bool {
        !*self.doubtful.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
