//! Opening a store: the checks that come before anything is touched, and the parts that every
//! manager of this process shares.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::catalog::Catalog;
use super::coherence::{ClockFile, Found};
use super::dir::open_folder;
use super::flush::{FlushedFolders, make_base};
use super::inline::{self, Inline};
use super::layout::{OWN, StoreFile, open_base, own_file, own_folder, settle_apart};
use super::newer;
use super::place::{network_file_system, refuse_if_others_write};
use super::private::PrivateFolder;
use super::scan::remove_all_but;
use super::stamps::Stamps;
use super::temp::{self, Temp};
use super::uses::Uses;
use super::writeback::Writeback;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::format::Ending;
use crate::key::{CaseRule, Key};
use crate::lock::{byte, ofd, stripes::StripeLocks};
use crate::record::StoreMark;
use crate::sync::{AtomicBool, Mutex};

/// How many keys are remembered with the format that was last seen of them.
const HINTS: usize = 1 << 16;
/// Remembered in place of a format where the value was inline.
const HINT_INLINE: u8 = u8::MAX;

/// An open store, shared by all managers of the process that use this directory.
pub(crate) struct Opened {
    pub(crate) path: PathBuf,
    pub(crate) base: OwnedFd,
    /// Device and inode of the base directory.
    pub(crate) identity: (u64, u64),
    pub(crate) store: Option<StoreFile>,
    pub(crate) stamps: Stamps,
    pub(crate) flushed: FlushedFolders,
    hints: Box<[AtomicU8]>,
    /// What is needed for writing and for memory; absent on a read-only or network file system.
    live: Option<Live>,
    /// Why it is absent.
    read_only: Option<Errno>,
}

/// The parts of an open store that need the store's own folder to be writable.
pub(crate) struct Live {
    pub(crate) own: OwnedFd,
    pub(crate) temporary: OwnedFd,
    pub(crate) clock: Arc<ClockFile>,
    pub(crate) locks: StripeLocks,
    pub(crate) catalog: Catalog,
    pub(crate) inline: Arc<Inline>,
    pub(crate) writeback: Writeback,
    names: AtomicU64,
    seed: u64,
    /// Held by the one thread that finds out whether this process is the last user.
    closing: Mutex<()>,
    /// When values were last used, where somebody asked for it and it could be mapped.
    pub(super) uses: OnceLock<Option<Uses>>,
    /// A thread of this process cleans up.
    pub(super) cleaning: AtomicBool,
    /// A migration of this process is at work.
    pub(super) migrating: AtomicBool,
    /// [`ClockFile::writes`] at the opening, if everything was on the disk and nobody else was there.
    found_closed: Option<u64>,
    /// Whether memory may be trusted: not on a network file system.
    pub(crate) coherent: bool,
    /// Where the index lies if not in the store.
    _private: Option<PrivateFolder>,
    /// When the index was last known to agree with what other machines do, boot milliseconds.
    filled: AtomicU64,
}

/// What a manager says about opening.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpenOptions {
    pub(crate) allow_network_fs: bool,
    pub(crate) lock_timeout: Duration,
}

impl Opened {
    /// Opens the store at `path`, made if it is missing.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] with the path and the remedy; [`ErrorKind::Version`] for a later layout;
    /// [`ErrorKind::Untrusted`] for a directory that others can write.
    pub(crate) fn open(path: &Path, options: OpenOptions) -> Result<Arc<Self>> {
        Self::open_on(path, options, network_file_system)
    }

    pub(super) fn open_on(
        path: &Path,
        options: OpenOptions,
        network_file_system: impl Fn(&OwnedFd) -> Result<Option<&'static str>, Errno>,
    ) -> Result<Arc<Self>> {
        let clock = Clock::system();
        let io = |error: Errno| Error::io(error.into(), path);
        let base = match open_base(path) {
            Err(Errno::NOENT) => {
                make_base(path).map_err(|error| {
                    Error::io(error, path).remedy("choose a base_path that can be made")
                })?;
                open_base(path).map_err(io)?
            }
            other => other.map_err(io)?,
        };
        let path = std::fs::canonicalize(path).map_err(|error| Error::io(error, path))?;
        refuse_if_others_write(&path)?;
        let network = network_file_system(&base).map_err(io)?;
        if let (Some(name), false) = (network, options.allow_network_fs) {
            return Err(Error::new(
                ErrorKind::Io,
                format!("{name} is a network file system, on which locks and memory mislead"),
            )
            .at(path)
            .remedy(
                "choose a local base_path, or pass allow_network_fs=True to go without memory",
            ));
        }
        let stat = rustix::fs::fstat(&base).map_err(io)?;
        let identity = (stat.st_dev, stat.st_ino);
        let hints = (0..HINTS).map(|_| AtomicU8::new(0)).collect();
        let live = Live::open(&base, &path, network.is_none(), &clock, options);
        match live.map_err(|error| error.below(&path)) {
            Ok((store, live, stamps)) => Ok(Arc::new(Self {
                path,
                base,
                identity,
                store: Some(store),
                stamps,
                flushed: FlushedFolders::default(),
                hints,
                live: Some(live),
                read_only: None,
            })),
            Err(error) => {
                let refused = error.os_error().map(Errno::from_raw_os_error);
                let Some(refused @ (Errno::ROFS | Errno::ACCESS | Errno::PERM)) = refused else {
                    return Err(error);
                };
                tracing::warn!(path = %path.display(), "the store is read without memory: {error}");
                let own = open_folder(base.as_fd(), OWN).ok();
                let store = own.as_ref().map(StoreFile::read).transpose()?.flatten();
                let stamps = own.and_then(|own| open_folder(own.as_fd(), "stamps").ok());
                let stamps = stamps.map_or(Stamps::Attributes, Stamps::Folder);
                Ok(Arc::new(Self {
                    path,
                    base,
                    identity,
                    store,
                    stamps,
                    flushed: FlushedFolders::default(),
                    hints,
                    live: None,
                    read_only: Some(refused),
                }))
            }
        }
    }

    /// What is needed for writing.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] where the store can only be read.
    pub(crate) fn live(&self) -> Result<&Live> {
        self.live.as_ref().ok_or_else(|| {
            let refused = self.read_only.unwrap_or(Errno::ROFS);
            Error::io(refused.into(), self.path.clone()).instead(
                "single values can be loaded; for all else let this user write there, or choose \
                 another base_path",
            )
        })
    }

    /// Whether the folder was deleted since, or the clock cut short: then it is to be opened anew.
    pub(crate) fn is_deleted(&self) -> bool {
        let folder = self.live.as_ref().map_or(&self.base, |live| &live.own);
        self.live.as_ref().is_some_and(|live| live.clock.is_cut())
            || rustix::fs::fstat(folder).is_ok_and(|stat| stat.st_nlink == 0)
    }

    /// As [`Opened::live`], for those that can do without.
    pub(crate) fn maybe_live(&self) -> Option<&Live> {
        self.live.as_ref()
    }

    pub(crate) fn mark(&self) -> StoreMark {
        self.store.as_ref().map_or(StoreMark(0), StoreFile::mark)
    }

    pub(crate) fn case_rule(&self) -> CaseRule {
        self.store.as_ref().map_or(CaseRule::Sensitive, StoreFile::case_rule)
    }

    /// The format that was last seen of a key; a guess, to look there first.
    pub(crate) fn hint(&self, key: &Key) -> Option<Ending> {
        Ending::from_id(self.hints[key.hash() as usize % HINTS].load(Ordering::Relaxed))
    }

    /// Whether the value that was last seen of a key was inline; a guess too.
    pub(crate) fn hints_inline(&self, key: &Key) -> bool {
        self.hints[key.hash() as usize % HINTS].load(Ordering::Relaxed) == HINT_INLINE
    }

    pub(crate) fn set_inline_hint(&self, key: &Key) {
        self.hints[key.hash() as usize % HINTS].store(HINT_INLINE, Ordering::Relaxed);
    }

    pub(crate) fn set_hint(&self, key: &Key, ending: Ending) {
        self.hints[key.hash() as usize % HINTS].store(ending.id(), Ordering::Relaxed);
    }
}

impl Live {
    fn open(
        base: &OwnedFd,
        path: &Path,
        coherent: bool,
        time: &Clock,
        options: OpenOptions,
    ) -> Result<(StoreFile, Self, Stamps)> {
        // An unknown newer version is refused before anything is made.
        if let Ok(own) = open_folder(base.as_fd(), OWN) {
            StoreFile::read(&own)?;
            newer::refuse_clock(&own)?;
        }
        let own = own_folder(base, OWN)?;
        let (store, is_new) = StoreFile::read_or_make(&own, time.wall_micros() / 1_000)?;
        store.check_case(&own)?;
        if is_new {
            settle_apart(&own);
        }
        let temporary = own_folder(&own, "tmp")?;
        let locks = own_file(&own, "locks")?;
        let timeout = u64::try_from(options.lock_timeout.as_millis()).unwrap_or(u64::MAX);
        let deadline = time.boot_millis().saturating_add(timeout);
        let file = locks.as_fd();
        let opening =
            ofd::lock_until(file, byte::OPENING, 1, true, time, deadline, "the opening store")?;
        let alone = ofd::try_lock(file, byte::USERS, 1, true)?;
        if alone {
            newer::refuse_databases(&own)?;
        }
        // Neither mappings nor the index's locks hold between machines.
        let clock = Arc::new(if coherent {
            ClockFile::open(&own_file(&own, "clock")?, store.id())?
        } else {
            ClockFile::private(store.id())?
        });
        clock.leap_if_made(is_new);
        // From here on the last one to leave knows that it is not the last.
        let user =
            ofd::lock_until(file, byte::USERS, 1, false, time, deadline, "the closing store")?;
        // Held until the file is closed.
        std::mem::forget(user);
        let found_closed = (alone && clock.is_closed()).then(|| clock.writes());
        let found = clock.enter(time.boot_id(), alone);
        if is_new && coherent {
            clock.set_diverged(false);
            clock.set_formats_known(true);
        }
        if alone && clock.diverged() {
            // Whatever kept the others from comparing everything may be mended by now.
            clock.set_diverged(true);
        }
        if found == Found::WentDown {
            tracing::info!("the machine went down while the store was in use; it is checked");
            clock.settle();
            clock.set_diverged(true);
            clock.set_formats_known(false);
        }
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|error| {
            Error::new(ErrorKind::Io, format!("the system has no random bytes: {error}"))
        })?;
        let (names, seed) = (AtomicU64::new(0), u64::from_le_bytes(seed));
        let probe = || format!("probe-{:016x}-{seed:016x}", names.fetch_add(1, Ordering::Relaxed));
        let stamps = Stamps::open(&own, Temp::create_one(&temporary, probe))?;
        let private = if coherent { None } else { Some(PrivateFolder::new(seed)?) };
        let index = match &private {
            Some(folder) => folder.path().to_path_buf(),
            None => {
                drop(own_folder(&own, "index")?);
                path.join(OWN).join("index")
            }
        };
        if alone && let Err(error) = remove_all_but(&index, &index.join(clock.epoch().to_string()))
        {
            // A rebuild was stopped before it could, or could not.
            tracing::warn!("an old index was not removed: {error}");
        }
        let catalog = Catalog::new(index, is_new && coherent, found == Found::Abandoned);
        match open_folder(own.as_fd(), inline::FOLDER) {
            Ok(folder) => {
                // The clock file may have been lost.
                clock.note_inline();
                if alone {
                    inline::sweep(&folder);
                }
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            // Or all that lies there would seem to be gone.
            Err(error) => return Err(Error::io(error.into(), format!("{OWN}/{}", inline::FOLDER))),
        }
        let inline = Arc::new(Inline::new(&own, &path.join(OWN), coherent, Arc::clone(&clock))?);
        let writeback = Writeback::below(base);
        drop(opening);
        if let Err(error) = temp::sweep(&temporary, &stamps) {
            tracing::warn!("temporary files of dead writers were not removed: {error}");
        }
        let locks = StripeLocks::new(locks);
        let live = Self {
            own,
            temporary,
            clock,
            locks,
            catalog,
            inline,
            writeback,
            names,
            seed,
            closing: Mutex::new(()),
            uses: OnceLock::new(),
            cleaning: AtomicBool::new(false),
            migrating: AtomicBool::new(false),
            found_closed,
            coherent,
            _private: private,
            filled: AtomicU64::new(0),
        };
        Ok((store, live, stamps))
    }

    /// On a network file system, has the index filled anew if that was not done lately: nobody
    /// says what other machines have written.
    pub(crate) fn doubt_stale_index(&self) {
        const LATELY: u64 = 1_000;
        let now = Clock::system().boot_millis();
        if !self.coherent && now.saturating_sub(self.filled.load(Ordering::Relaxed)) >= LATELY {
            self.clock.set_diverged(true);
            self.filled.store(now, Ordering::Relaxed);
        }
    }

    /// A new temporary file.
    pub(crate) fn temp(&self) -> Result<Temp<'_>> {
        let name = || {
            let count = self.names.fetch_add(1, Ordering::Relaxed);
            format!("{:016x}", xxh3_64_with_seed(&count.to_le_bytes(), self.seed))
        };
        Temp::create_one(&self.temporary, name)
            .map_err(|error| Error::io(error.into(), format!("{OWN}/tmp")).help_if_gone())
    }

    /// Writes the index down and, if nobody else has the store open, notes that all is well.
    pub(crate) fn close(&self, timeout: Duration) -> Result<()> {
        self.close_all(timeout).map_err(Error::help_if_gone)
    }

    fn close_all(&self, timeout: Duration) -> Result<()> {
        if self.as_last_user(|| {
            // No write may be under way: it would be taken for one that is on the disk.
            let _all = self.locks.lock_all(timeout)?;
            self.inline.close()?;
            let is_written = self.found_closed == Some(self.clock.writes());
            let closed = self.catalog.close_last(&self.clock, is_written, |trusted| {
                if trusted {
                    self.clock.set_closed();
                }
            });
            unless_only_index(closed)
        })? {
            return Ok(());
        }
        self.inline.close()?;
        unless_only_index(self.catalog.close(&self.clock))
    }

    /// Does something if this process alone has the store open, and nobody can open it meanwhile.
    pub(super) fn as_last_user(&self, work: impl FnOnce() -> Result<()>) -> Result<bool> {
        let _closing = self.closing.lock().unwrap_or_else(PoisonError::into_inner);
        let file = self.locks.file().as_fd();
        if !ofd::try_lock(file, byte::USERS, 1, true)? {
            return Ok(false);
        }
        let done = work();
        // Still a user: the store may be used again after a close.
        ofd::try_lock(file, byte::USERS, 1, false)?;
        done.map(|()| true)
    }
}

/// An index that a full disk does not let be written down is in doubt at the next opening, as after a
/// crash, and a damaged one is made anew; values do not suffer from it.
fn unless_only_index(closed: Result<()>) -> Result<()> {
    match closed {
        Err(error) if error.is_disk_full() || error.kind() == ErrorKind::Corrupt => {
            tracing::warn!("the index was not written down: {error}");
            Ok(())
        }
        closed => closed,
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let trusted = self.catalog.drop_index();
        let left = self.as_last_user(|| {
            // A store that was closed stays so.
            if trusted && !self.clock.is_closed() {
                self.clock.set_left();
            }
            Ok(())
        });
        if let Err(error) = left {
            tracing::debug!("the next user will check the index: {error}");
        }
    }
}

#[cfg(test)]
mod tests;
