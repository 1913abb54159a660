//! Removing values where there is little room or a damaged page: a removal writes to the log before
//! anything is free.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, unlinkat};

use super::super::layout::{own_file, own_folder};
use super::write::removal;
use super::{FOLDER, Inline};
use crate::error::{Error, ErrorKind, Result};
use crate::index::SqliteIndex;
use crate::key::Key;

/// A file whose room is given up for removals when the disk is full, and its bytes.
const RESERVE: &str = "reserve";
const RESERVED: usize = 128 * 1_024;

/// How many keys the reserve suffices for: each touches some pages of the table and its indexes.
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
        let mut removed = self.remove_at_once(keys);
        if removed.as_ref().is_err_and(Error::is_disk_full) {
            self.release_reserve();
            self.begin_log_anew();
            let mut results = Vec::with_capacity(keys.len());
            for few in keys.chunks(FEW) {
                removed = self.remove_at_once(few);
                if removed.as_ref().is_err_and(Error::is_disk_full) {
                    self.begin_log_anew();
                    removed = self.remove_at_once(few);
                }
                results.extend(few.iter().map(|_| again(&removed)));
            }
            if let Ok(folder) = own_folder(&self.own, FOLDER) {
                keep(&folder);
            }
            return results;
        }
        keys.iter().map(|_| again(&removed)).collect()
    }

    /// Has the room of the log used from its beginning.
    pub(super) fn begin_log_anew(&self) {
        if let Err(error) = self.ask(SqliteIndex::begin_log_anew) {
            tracing::debug!("the log of the inline values was not folded in: {error}");
        }
    }

    /// Gives up the room that is kept for removals, if there is any left.
    fn release_reserve(&self) {
        if let Ok(folder) = own_folder(&self.own, FOLDER) {
            release(&folder);
        }
    }
}

fn release(folder: &OwnedFd) {
    let _ = unlinkat(folder, RESERVE, AtFlags::empty());
}

/// Opens the database, which takes some pages beside it: those of the reserve where there are no
/// others.
pub(super) fn open(values: &SqliteIndex, folder: &OwnedFd) -> Result<()> {
    match values.open_now() {
        Err(error) if error.is_disk_full() => {
            release(folder);
            values.open_now()
        }
        opened => opened,
    }
}

/// Takes the room that a removal needs on a full disk. Without it the store is as good, but for
/// that.
pub(super) fn keep(folder: &OwnedFd) {
    let kept = own_file(folder, RESERVE).and_then(|file| {
        let mut file = File::from(file);
        let io = |error| Error::io(error, RESERVE);
        if file.metadata().map_err(io)?.len() == 0 {
            file.write_all(&[0; RESERVED]).map_err(io)?;
        }
        Ok(())
    });
    if let Err(error) = kept {
        tracing::debug!("no room is kept for removals: {error}");
        release(folder);
    }
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
