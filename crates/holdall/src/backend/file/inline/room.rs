//! Removing values where there is little room or a damaged page: a removal writes to the log before
//! anything is free.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::{AtFlags, Dir, OFlags, fcntl_setfl, unlinkat};

use super::super::layout::{own_file, own_folder};
use super::write::removal;
use super::{FOLDER, Inline};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::index::{Index as _, SqliteIndex};
use crate::key::Key;
use crate::lock::ofd;

/// A file whose room is given up for removals when the disk is full, and its bytes: what SQLite has
/// beside an open database, and the log of a removal of one value with some dozens of tags.
const RESERVE: &str = "reserve";
const RESERVED: u64 = 512 * 1_024;

/// How much of it is given up at once. Never all: somebody else would take what is not needed.
const STEP: u64 = 32 * 1_024;

/// How long is waited for another process that gives up some of it, which takes two system calls; ms.
const PATIENCE: u64 = 5_000;

/// How many keys are removed with one commit on a full disk.
const FEW: usize = 4;

impl Inline {
    /// Removes the values of keys that the caller has locked, with one commit where that succeeds.
    /// One answer for each: damage costs those that it concerns, and a full disk as few as can be.
    pub(crate) fn remove(self: &Arc<Self>, keys: &[&Key]) -> Vec<Result<()>> {
        if keys.is_empty() {
            return Vec::new();
        }
        match self.remove_at_once(keys) {
            Err(error) if error.is_disk_full() => self.remove_on_full_disk(keys),
            Err(error) if error.kind() == ErrorKind::Corrupt && keys.len() > 1 => {
                keys.iter().map(|key| self.remove_at_once(&[key])).collect()
            }
            removed => keys.iter().map(|_| again(&removed)).collect(),
        }
    }

    fn remove_at_once(self: &Arc<Self>, keys: &[&Key]) -> Result<()> {
        self.commit(keys.iter().map(|key| removal(key)).collect())
    }

    /// What is in the database need not be in the log as well, which is begun anew; if that does
    /// not give room enough, the reserve does for a few at a time.
    fn remove_on_full_disk(self: &Arc<Self>, keys: &[&Key]) -> Vec<Result<()>> {
        self.begin_log_anew();
        let removed = self.remove_at_once(keys);
        if !removed.as_ref().is_err_and(Error::is_disk_full) {
            return keys.iter().map(|_| again(&removed)).collect();
        }
        let mut results = Vec::with_capacity(keys.len());
        let mut size = FEW;
        while results.len() < keys.len() {
            let rest = &keys[results.len()..];
            let few = &rest[..size.min(rest.len())];
            let removed = self.remove_with_reserve(few);
            if removed.is_err() && few.len() > 1 {
                size = 1;
                continue;
            }
            results.extend(few.iter().map(|_| again(&removed)));
            if removed.as_ref().is_err_and(Error::is_disk_full) {
                // The others would fare no better.
                results.resize_with(keys.len(), || again(&removed));
            }
        }
        self.keep_reserve();
        results
    }

    /// Gives up as much of the reserve as this commit needs. The log keeps it for the next.
    fn remove_with_reserve(self: &Arc<Self>, keys: &[&Key]) -> Result<()> {
        let mut removed = self.remove_at_once(keys);
        while removed.as_ref().is_err_and(Error::is_disk_full) {
            self.begin_log_anew();
            removed = self.remove_at_once(keys);
            if removed.as_ref().is_err_and(Error::is_disk_full) && !self.give_up_reserve() {
                break;
            }
        }
        removed
    }

    /// Has the room of the log used from its beginning.
    pub(super) fn begin_log_anew(&self) {
        if let Err(error) = self.ask(SqliteIndex::begin_log_anew) {
            tracing::debug!("the log of the inline values was not folded in: {error}");
        }
    }

    /// Gives up some of the room that is kept for removals; answers whether there was any left.
    pub(super) fn give_up_reserve(&self) -> bool {
        self.is_reserve_short.store(true, Ordering::Release);
        own_folder(&self.own, FOLDER).is_ok_and(|folder| give_up(&folder))
    }

    /// Takes back what was given up of the reserve, as far as there is room.
    pub(super) fn keep_reserve(&self) {
        if self.is_reserve_short.load(Ordering::Acquire)
            && let Ok(folder) = own_folder(&self.own, FOLDER)
        {
            self.is_reserve_short.store(!keep(&folder), Ordering::Release);
        }
    }
}

/// Gives up a part of the reserve; answers whether there was any left.
pub(super) fn give_up(folder: &OwnedFd) -> bool {
    give_up_within(folder, PATIENCE)
}

fn give_up_within(folder: &OwnedFd, patience: u64) -> bool {
    let shorter = own_file(folder, RESERVE).and_then(|file| {
        let file = File::from(file);
        // Of two at once the later one would make it longer again, by a hole.
        let clock = Clock::system();
        let deadline = clock.boot_millis() + patience;
        let what = "the room that is kept for removals";
        let _turn = ofd::lock_until(file.as_fd(), 0, 1, true, &clock, deadline, what)?;
        let length = file.metadata().map_err(io)?.len();
        file.set_len(length.saturating_sub(STEP)).map_err(io)?;
        Ok(length > 0)
    });
    shorter.unwrap_or_else(|error| {
        tracing::debug!("no room was given up for removals: {error}");
        false
    })
}

/// Opens the database, which takes some pages beside it: those of the reserve where there are no
/// others.
pub(super) fn open(values: &SqliteIndex, give_up: impl Fn() -> bool) -> Result<()> {
    loop {
        match values.open_now() {
            Err(error) if error.is_disk_full() && give_up() => {}
            opened => return opened,
        }
    }
}

/// Folds the log in and closes the database, which writes to the log once more.
pub(super) fn close(values: &SqliteIndex, give_up: impl Fn() -> bool) -> Result<()> {
    loop {
        match values.close() {
            Err(error) if error.is_disk_full() && give_up() => open(values, &give_up)?,
            closed => return closed,
        }
    }
}

/// Takes the room that a removal needs on a full disk, or as much of it as there is; answers whether
/// that is all. Without it the store is as good, but for that.
pub(super) fn keep(folder: &OwnedFd) -> bool {
    let kept = own_file(folder, RESERVE).and_then(|file| {
        // At the end, wherever that is by then: another process may give up a part meanwhile, and
        // behind that would be a hole.
        fcntl_setfl(&file, OFlags::APPEND).map_err(|error| io(error.into()))?;
        let mut file = File::from(file);
        while file.metadata().map_err(io)?.len() < RESERVED {
            // A block, so that what is left of the disk is found whatever it is.
            file.write_all(&[0; 4_096]).map_err(io)?;
        }
        Ok(())
    });
    if let Err(error) = &kept {
        tracing::debug!("less room than needed is kept for removals: {error}");
    }
    kept.is_ok()
}

fn io(error: std::io::Error) -> Error {
    Error::io(error, RESERVE)
}

/// Removes databases that nobody will give a name any more: there is one that has it, or no other
/// process has the store open. They are not opened for it, because one may be the database itself
/// under its first name, and closing it would drop this process's locks.
pub(in super::super) fn sweep(folder: &OwnedFd) {
    let Ok(entries) = Dir::read_from(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name.to_str().is_ok_and(SqliteIndex::is_draft)
            && let Err(error) = unlinkat(folder, name, AtFlags::empty())
        {
            tracing::warn!("what a dead process has left was not removed: {error}");
        }
    }
}

fn again(result: &Result<()>) -> Result<()> {
    result.as_ref().map_err(Error::again).copied()
}

#[cfg(test)]
mod tests {
    use rustix::fs::SeekFrom;

    use super::*;

    #[test]
    fn one_process_at_a_time_gives_up_some_of_the_reserve() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let folder = || OwnedFd::from(File::open(dir.path()).expect("there"));
        assert!(keep(&folder()));
        let other = own_file(&folder(), RESERVE).expect("there");
        let length =
            || File::from(other.try_clone().expect("open")).metadata().expect("there").len();
        assert!(ofd::try_lock(other.as_fd(), 0, 1, true).expect("asked"));
        assert!(!give_up_within(&folder(), 0));
        assert_eq!(length(), RESERVED);
        ofd::unlock(other.as_fd(), 0, 1).expect("freed");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..3).for_each(|_| assert!(give_up(&folder()))));
            }
        });
        assert_eq!(length(), RESERVED - 12 * STEP, "one has taken back what another gave up");
    }

    #[test]
    fn a_reserve_that_one_process_takes_and_another_gives_up_has_no_holes() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let folder = || OwnedFd::from(File::open(dir.path()).expect("there"));
        for _ in 0..50 {
            std::thread::scope(|scope| {
                let one = scope.spawn(|| keep(&folder()));
                for _ in 0..20 {
                    give_up(&folder());
                }
                one.join().expect("no panic");
            });
            assert!(keep(&folder()));
            let file = File::open(dir.path().join(RESERVE)).expect("there");
            let hole = rustix::fs::seek(&file, SeekFrom::Hole(0)).expect("asked");
            assert_eq!(hole, file.metadata().expect("there").len());
            std::fs::remove_file(dir.path().join(RESERVE)).expect("there");
        }
    }
}
