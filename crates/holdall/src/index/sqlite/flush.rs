//! Making commits survive a power cut: one flush of the log for all that wait.
//!
//! A commit is in the log when it returns, and nobody holds a lock while the log is flushed. A
//! checkpoint that comes between does no harm: it flushes the log and then the database before
//! the log is written anew.
//!
//! The kernel tells each descriptor once that something could not be written, and holds the lost
//! pages for clean from then on: the next flush would succeed without them. So there is one
//! descriptor, older than every commit, and after a failure nothing is flushed any more until all of
//! the log was written once more, into the database. The same holds for a log that somebody else has
//! begun: whether its flush has failed only they were told.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use crate::error::{Error, ErrorKind, Result};
use crate::flush::{flush, flush_content};
use crate::sync::{AtomicBool, AtomicU64, Mutex, MutexGuard};

/// Flushes of one database's log.
#[derive(Debug)]
pub(super) struct SharedFlush {
    /// SQLite keeps this file for as long as any connection is open.
    log: File,
    /// Its folder, opened before SQLite flushes it, which passes over errors there.
    folder: File,
    path: PathBuf,
    /// How many have asked.
    asked: AtomicU64,
    /// A flush has failed, for a look without the lock.
    has_failed: AtomicBool,
    /// There were commits of others in the log when it was opened.
    is_inherited: AtomicBool,
    state: Mutex<State>,
    folding: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    /// What those wait for who asked up to here is on the disk.
    done: u64,
    /// Why nothing can be promised any more.
    failed: Option<Error>,
    /// The name of the log is on the disk.
    is_named: bool,
}

impl SharedFlush {
    /// Opens the log of a database that is open already, before anything is committed.
    pub(super) fn open(database: &Path) -> Result<Self> {
        let mut path = database.as_os_str().to_owned();
        path.push("-wal");
        let path = PathBuf::from(path);
        let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC;
        // SQLite has no locks on this file that closing it could drop.
        let log = File::options().read(true).custom_flags(flags).open(&path);
        let above = path.parent().unwrap_or(Path::new("."));
        let folder = File::open(above).map_err(|error| Error::io(error, above))?;
        let io = |error| Error::io(error, &path);
        let log = log.map_err(io)?;
        let is_inherited = log.metadata().map_err(io)?.len() > 0;
        let doubt = || {
            let cause = "what others have written into the log may not be on the disk";
            let remedy = "try again; a process that is stopped while it reads may be in the way";
            Error::new(ErrorKind::Io, cause).remedy(remedy).at(&path)
        };
        let state = State { failed: is_inherited.then(doubt), ..State::default() };
        Ok(Self {
            log,
            folder,
            asked: AtomicU64::new(0),
            has_failed: AtomicBool::new(false),
            is_inherited: AtomicBool::new(is_inherited),
            state: Mutex::new(state),
            path,
            folding: Mutex::default(),
        })
    }

    /// Flushes what was committed before the call.
    pub(super) fn flush(&self) -> Result<()> {
        let mine = self.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let mut state = self.state();
        if state.done >= mine {
            return Ok(());
        }
        if let Some(error) = &state.failed {
            return Err(error.again());
        }
        // Whoever has asked by now has committed before this flush begins.
        let all = self.asked.load(Ordering::Acquire);
        match self.flush_log(&mut state.is_named) {
            Ok(()) => {
                state.done = all;
                Ok(())
            }
            Err(error) => {
                let again = error.again();
                self.set_failed(&mut state, Some(error));
                Err(again)
            }
        }
    }

    /// Takes note that somebody else could not flush the log.
    pub(super) fn fail(&self, error: &Error) {
        self.set_failed(&mut self.state(), Some(error.again()));
    }

    /// Takes note that all of the log was written into the database, and that was flushed; nobody
    /// has committed since.
    pub(super) fn heal(&self) {
        self.set_failed(&mut self.state(), None);
    }

    /// Waits until no thread of this process folds the log in: SQLite would not, and call it busy.
    pub(super) fn fold(&self) -> MutexGuard<'_, ()> {
        self.folding.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a flush has failed, so that the log should be folded in soon.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }

    /// Whether the log has to be folded in before anything can be flushed.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.has_failed() || self.is_inherited.load(Ordering::Acquire)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_failed(&self, state: &mut State, failed: Option<Error>) {
        self.has_failed.store(failed.is_some(), Ordering::Release);
        if failed.is_none() {
            self.is_inherited.store(false, Ordering::Release);
        }
        state.failed = failed;
    }

    fn flush_log(&self, is_named: &mut bool) -> Result<()> {
        let io = |error: io::Error| Error::io(error, &self.path);
        flush_content(self.log.as_fd()).map_err(|error| io(error.into()))?;
        if self.log.metadata().map_err(io)?.nlink() == 0 {
            // Somebody has removed it by hand: what is committed now is found by nobody later.
            return Err(io(io::ErrorKind::NotFound.into()));
        }
        if !*is_named {
            flush(self.folder.as_fd()).map_err(|error| io(error.into()))?;
            *is_named = true;
        }
        Ok(())
    }
}
