//! Takes the room that the log will need in the database, while a commit can still be refused.
//!
//! A log is folded into the database before its own room is used again. On a disk that the log has
//! filled, a database that had to grow for that could not: nothing could be saved or removed any more.
#![allow(unsafe_code, reason = "SQLite is told this through pointers only")]

use std::ffi::{c_int, c_void};
use std::io;

use rusqlite::{Connection, Error as Sqlite, ffi};

use super::{Fault, system};
use crate::error::Error;

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
    let mut step = c_int::try_from(page).unwrap_or(c_int::MAX);
    // Without a step the other is not heeded.
    control(transaction, ffi::SQLITE_FCNTL_CHUNK_SIZE, &mut step)?;
    let mut bytes = pages.saturating_mul(page);
    control(transaction, ffi::SQLITE_FCNTL_SIZE_HINT, &mut bytes)
}

/// `operation` has to be one that takes a `T`.
fn control<T>(connection: &Connection, operation: c_int, argument: &mut T) -> Result<(), Fault> {
    // SAFETY: the connection is open while it is borrowed, and belongs to this thread, which holds
    // it alone; both operations above read one number of the type that SQLite documents for them
    // (`int` and `sqlite3_int64`) from where the last argument points, and keep no pointer.
    let code = unsafe {
        ffi::sqlite3_file_control(
            connection.handle(),
            c"main".as_ptr(),
            operation,
            std::ptr::from_mut(argument).cast::<c_void>(),
        )
    };
    match (code, system::in_database(connection)) {
        (ffi::SQLITE_OK, _) => Ok(()),
        (_, 0) => Err(Sqlite::SqliteFailure(ffi::Error::new(code), None).into()),
        (_, number) => {
            let path = connection.path().unwrap_or_default();
            Err(Error::io(io::Error::from_raw_os_error(number), path).into())
        }
    }
}
