//! What the system has said to SQLite, which calls a page damaged that the disk could not read; and
//! what SQLite is to ask of it.
#![allow(unsafe_code, reason = "SQLite tells this through pointers only")]

use std::ffi::{c_int, c_void};

use std::io;
use std::path::Path;

use rusqlite::{Connection, ErrorCode, ffi};

use super::Fault;
use crate::error::{Error, ErrorKind, LOOK_AT_THE_DISK};

/// Our error for one that this connection has met.
pub(super) fn explain(fault: Fault, connection: &Connection, database: &Path) -> Error {
    if only_reads_log(&fault, connection) {
        let cause = "the log of the database could only be opened for reading";
        return Error::new(ErrorKind::Io, cause).remedy(LOOK_AT_THE_DISK).at(database);
    }
    unless_unread(fault.at(database), connection, database)
}

/// Whether SQLite has made do with a log that it can only read, where the system refused more for a
/// moment. Another connection may do better.
pub(super) fn only_reads_log(fault: &Fault, connection: &Connection) -> bool {
    let Fault::Sqlite(rusqlite::Error::SqliteFailure(failure, _)) = fault else { return false };
    // The database itself is read-only for SQLite if its header says so, which is damage.
    failure.code == ErrorCode::ReadOnly && matches!(connection.is_readonly("main"), Ok(false))
}

/// The error itself, or what the disk has said where SQLite speaks of damage.
pub(super) fn unless_unread(error: Error, connection: &Connection, database: &Path) -> Error {
    match failed_read(connection) {
        Some(number) if error.kind() == ErrorKind::Corrupt => {
            Error::io(io::Error::from_raw_os_error(number), database)
        }
        _ => error,
    }
}

/// The number of the last error that this connection has met in its files, if it is one of those
/// that SQLite takes for damage.
pub(super) fn failed_read(connection: &Connection) -> Option<i32> {
    let numbers = [in_database(connection), in_log(connection)];
    let failed = [libc::EIO, libc::ENXIO, libc::ERANGE];
    numbers.into_iter().find(|number| failed.contains(number))
}

/// Has the database file grow to `bytes`, in steps of one `page`; what is added is no hole.
pub(super) fn grow(connection: &Connection, mut bytes: i64, page: i64) -> Result<(), Fault> {
    let mut step = c_int::try_from(page).unwrap_or(c_int::MAX);
    // SAFETY: as below; both operations read a number from where the last argument points, the first
    // an `int` and the second a `sqlite3_int64`, and keep no pointer.
    let code = unsafe {
        let file = (connection.handle(), c"main".as_ptr());
        let step = (&raw mut step).cast::<c_void>();
        // Without a step the other is not heeded.
        ffi::sqlite3_file_control(file.0, file.1, ffi::SQLITE_FCNTL_CHUNK_SIZE, step);
        let bytes = (&raw mut bytes).cast::<c_void>();
        ffi::sqlite3_file_control(file.0, file.1, ffi::SQLITE_FCNTL_SIZE_HINT, bytes)
    };
    match (code, in_database(connection)) {
        (ffi::SQLITE_OK, _) => Ok(()),
        (_, 0) => Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None).into()),
        (_, number) => {
            let path = connection.path().unwrap_or_default();
            Err(Error::io(io::Error::from_raw_os_error(number), path).into())
        }
    }
}

fn in_database(connection: &Connection) -> c_int {
    let mut number: c_int = 0;
    // SAFETY: the connection is open while it is borrowed, and belongs to this thread, which holds
    // it alone; this operation writes one `int` to where the last argument points.
    unsafe {
        ffi::sqlite3_file_control(
            connection.handle(),
            c"main".as_ptr(),
            ffi::SQLITE_FCNTL_LAST_ERRNO,
            (&raw mut number).cast::<c_void>(),
        );
    }
    number
}

fn in_log(connection: &Connection) -> c_int {
    let mut log: *mut ffi::sqlite3_file = std::ptr::null_mut();
    let mut number: c_int = 0;
    // SAFETY: as above; this operation writes a pointer to the open log, or null. The log stays open
    // as long as the connection, and has methods while it is open.
    unsafe {
        ffi::sqlite3_file_control(
            connection.handle(),
            c"main".as_ptr(),
            ffi::SQLITE_FCNTL_JOURNAL_POINTER,
            (&raw mut log).cast::<c_void>(),
        );
        if let Some(log_file) = log.as_ref()
            && let Some(methods) = log_file.pMethods.as_ref()
            && let Some(control) = methods.xFileControl
        {
            control(log, ffi::SQLITE_FCNTL_LAST_ERRNO, (&raw mut number).cast::<c_void>());
        }
    }
    number
}
