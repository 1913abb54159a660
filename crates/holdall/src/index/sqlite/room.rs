//! Room on a disk that is nearly full: what the log will need in the database is taken while a commit
//! can still be refused, and what it does not need is given back.
//!
//! A log is folded into the database before its own room is used again. On a disk that the log has
//! filled, a database that had to grow for that could not: nothing could be saved or removed any more.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rustix::fs::{FallocateFlags, Mode, OFlags, StatVfs, fallocate, open, statvfs};
use rustix::io::{Errno, retry_on_intr};

use super::{Fault, SqliteIndex, system};
use crate::error::{Error, Result as Answer};

/// A log that is shorter is no help to anybody, bytes.
const LONG_LOG: u64 = 256 * 1_024;

/// SQLite maps a file beside the database, and takes its room by one byte in so many: on a disk with
/// smaller blocks the rest is holes, and a write into a hole on a full disk ends the process.
const STEP: u64 = 4_096;
/// What it maps for a log of 80 MB, which only one commit of more makes longer, and what is needed
/// before it maps anything, bytes.
const MAPPED: u64 = 5 * 32 * 1_024;
const FREE: u64 = MAPPED + 64 * 1_024;

impl SqliteIndex {
    /// Folds the log in and cuts it off, if it is long; does not wait for the disk.
    pub(crate) fn give_back_log(&self) -> Answer<()> {
        let log = self.folder.join(format!("{}-wal", self.role.name));
        if std::fs::symlink_metadata(log).is_ok_and(|log| log.len() < LONG_LOG) {
            return Ok(());
        }
        self.write(
            |writer| Ok(writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?),
        )
    }
}

/// Has the database file grow to the size that it has after this transaction, which is open and
/// about to be committed; what is added is really there, no hole.
///
/// # Errors
/// What the system has said, above all that the disk is full: then the transaction must not be
/// committed.
pub(super) fn take(transaction: &Connection) -> Result<(), Fault> {
    let ask = |pragma: &str| {
        transaction.prepare_cached(pragma)?.query_row([], |columns| columns.get::<_, i64>(0))
    };
    let (pages, page) = (ask("PRAGMA page_count")?, ask("PRAGMA page_size")?);
    system::grow(transaction, pages.saturating_mul(page), page)
}

/// Refuses to have anything mapped where it could end the process.
///
/// # Errors
/// [`ErrorKind::Io`](crate::ErrorKind::Io): the disk, which has small blocks, is full.
pub(super) fn check(database: &Path) -> Answer<()> {
    let folder = database.parent().unwrap_or(database);
    if !has_small_blocks(folder) {
        return Ok(());
    }
    let mapped = fs::symlink_metadata(mapped(database));
    let is_there = mapped.is_ok_and(|file| file.len() > 0 && file.blocks() * 512 >= file.len());
    if !is_there && lacks(folder, FREE) {
        return Err(Error::io(Errno::NOSPC.into(), database));
    }
    Ok(())
}

/// Takes the room of what SQLite has mapped, where it has not. The file must be closed after all
/// connections of this process: closing it drops the process's locks on it.
///
/// # Errors
/// [`ErrorKind::Io`](crate::ErrorKind::Io) with the file, if the disk is full.
pub(super) fn take_mapped(database: &Path, kept: &mut Option<File>) -> Answer<()> {
    if !has_small_blocks(database.parent().unwrap_or(database)) {
        return Ok(());
    }
    let path = mapped(database);
    let mut options = File::options();
    options.read(true).write(true).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC);
    let file = kept.insert(options.open(&path).map_err(|error| Error::io(error, &path))?);
    match retry_on_intr(|| fallocate(&*file, FallocateFlags::empty(), 0, MAPPED)) {
        Err(error @ (Errno::NOSPC | Errno::DQUOT)) => Err(Error::io(error.into(), path)),
        _ => Ok(()),
    }
}

/// Whether this process cannot have so many bytes more there. That is tried with a file that has no
/// name: of what is left to root, and of quotas, the numbers of the file system say nothing.
pub(super) fn lacks(folder: &Path, bytes: u64) -> bool {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let tried = retry_on_intr(|| {
        let file = open(folder, flags, Mode::RUSR | Mode::WUSR)?;
        fallocate(file, FallocateFlags::empty(), 0, bytes)
    });
    match tried {
        Err(Errno::NOSPC | Errno::DQUOT) => true,
        // There is no such file there, or it cannot be given room.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOSYS) => {
            let has_less = |disk: StatVfs| disk.f_bavail.saturating_mul(disk.f_frsize) < bytes;
            statvfs(folder).is_ok_and(has_less)
        }
        // Whatever else is in the way is not the disk's room.
        _ => false,
    }
}

fn has_small_blocks(folder: &Path) -> bool {
    statvfs(folder).is_ok_and(|disk| disk.f_frsize < STEP)
}

fn mapped(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push("-shm");
    PathBuf::from(path)
}
