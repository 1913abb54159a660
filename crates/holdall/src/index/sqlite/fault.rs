//! What an error of SQLite means for the store.

use std::io;
use std::path::Path;

use rusqlite::Error as Sqlite;
use rusqlite::ErrorCode;
use rusqlite::ffi;
use rustix::fs::{Access, access};

use super::room;
use crate::error::{Error, ErrorKind, LOOK_AT_THE_DISK};

/// Our error for one of SQLite's. What cannot come from a sound database that we made, such as a
/// column of another type, is damage.
pub(super) fn explain(error: Sqlite, database: &Path) -> Error {
    let failure = match &error {
        Sqlite::SqliteFailure(failure, _) | Sqlite::SqlInputError { error: failure, .. } => failure,
        Sqlite::QueryReturnedNoRows => {
            let cause = "the database is damaged: a row that it always has is missing";
            return noted(Error::new(ErrorKind::Corrupt, cause).at(database));
        }
        _ => return noted(damaged(&error).at(database)),
    };
    let ours = match failure.code {
        ErrorCode::DatabaseBusy
        | ErrorCode::DatabaseLocked
        | ErrorCode::FileLockingProtocolFailed => {
            Error::new(ErrorKind::Busy, "the database of the store is held by another process")
                .remedy("try again, or look for a process that is stopped while using the store")
        }
        ErrorCode::DiskFull => system(libc::ENOSPC, database),
        ErrorCode::SystemIoFailure if has_no_shared_memory(failure.extended_code, database) => {
            system(libc::ENOSPC, database)
        }
        ErrorCode::OutOfMemory => system(libc::ENOMEM, database),
        ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied => {
            system(libc::EACCES, database)
        }
        ErrorCode::ReadOnly => read_only(&error, database),
        ErrorCode::SystemIoFailure if failure.extended_code == ffi::SQLITE_IOERR_DATA => {
            let cause = "the database is damaged: a page is not the one that was written";
            Error::new(ErrorKind::Corrupt, cause)
        }
        ErrorCode::SystemIoFailure if !is_damage(failure.extended_code) => {
            Error::new(ErrorKind::Io, format!("the database cannot be read or written: {error}"))
                .remedy(LOOK_AT_THE_DISK)
        }
        ErrorCode::CannotOpen if has_no_inode(database) => system(libc::ENOSPC, database),
        ErrorCode::CannotOpen => {
            Error::new(ErrorKind::Io, format!("the database cannot be opened: {error}"))
                .remedy("check who may use .holdall and how many files may be open, and try again")
        }
        _ => damaged(&error),
    };
    noted(ours.at(database))
}

/// A file that ends too early. `SQLITE_IOERR_CORRUPTFS` is none: so SQLite calls EIO of a read.
fn is_damage(extended_code: i32) -> bool {
    extended_code == ffi::SQLITE_IOERR_SHORT_READ
}

/// Whether there was no room for the pages that SQLite has beside an open database, of which it says
/// no more than that they could not be written.
fn has_no_shared_memory(extended_code: i32, database: &Path) -> bool {
    extended_code == ffi::SQLITE_IOERR_SHMSIZE && has_less_than(32_768, database)
}

/// Whether there was no room for a new file beside a database, of which SQLite says no more than that
/// it could not be opened. XFS wants some hundred KiB for one.
fn has_no_inode(database: &Path) -> bool {
    has_less_than(512 * 1_024, database)
}

fn has_less_than(bytes: u64, database: &Path) -> bool {
    database.parent().is_some_and(|folder| room::lacks(folder, bytes))
}

/// A flipped bit in the header makes SQLite say "read-only" of a file that can be written.
fn read_only(error: &Sqlite, database: &Path) -> Error {
    match access(database, Access::WRITE_OK) {
        Ok(()) => damaged(error),
        Err(number) => Error::io(number.into(), database),
    }
}

fn damaged(error: &Sqlite) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the database is damaged: {error}"))
}

fn system(number: i32, database: &Path) -> Error {
    Error::io(io::Error::from_raw_os_error(number), database)
}

/// Leaves a trace of damage, because the caller may quietly rebuild.
pub(super) fn noted(error: Error) -> Error {
    if error.kind() == ErrorKind::Corrupt {
        tracing::debug!(%error, "a database is damaged");
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(code: i32) -> (ErrorKind, Option<i32>) {
        let error = Sqlite::SqliteFailure(ffi::Error::new(code), None);
        let ours = explain(error, Path::new("/store/index.sqlite"));
        (ours.kind(), ours.os_error())
    }

    #[test]
    fn damage_full_disks_and_busy_peers_are_told_apart() {
        for code in [
            ffi::SQLITE_CORRUPT,
            ffi::SQLITE_NOTADB,
            ffi::SQLITE_IOERR_SHORT_READ,
            ffi::SQLITE_IOERR_DATA,
            ffi::SQLITE_TOOBIG,
            ffi::SQLITE_ERROR,
        ] {
            assert_eq!(kind_of(code), (ErrorKind::Corrupt, None), "{code}");
        }
        assert_eq!(kind_of(ffi::SQLITE_FULL), (ErrorKind::Io, Some(libc::ENOSPC)));
        assert_eq!(kind_of(ffi::SQLITE_READONLY), (ErrorKind::Io, Some(libc::ENOENT)));
        assert_eq!(kind_of(ffi::SQLITE_IOERR_WRITE), (ErrorKind::Io, None));
        assert_eq!(kind_of(ffi::SQLITE_IOERR_CORRUPTFS), (ErrorKind::Io, None));
        assert_eq!(kind_of(ffi::SQLITE_BUSY), (ErrorKind::Busy, None));
        assert_eq!(kind_of(ffi::SQLITE_PROTOCOL), (ErrorKind::Busy, None));
    }
}
