//! The log of the inline values, as SQLite writes and reads it: what it writes is noted beside it, and
//! what it reads of a log that a killed process has left is put right by the notes (decision 0025).
#![allow(unsafe_code, reason = "SQLite calls files through tables of functions")]

mod frame;
mod notes;

use std::cell::Cell;
use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::mem::offset_of;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::ptr::drop_in_place;

use rusqlite::ffi;

use self::notes::{Found, Notes};
use super::checksums::{Damage, Methods, Read, Write};
use super::role::VALUES_FILE;

#[cfg(test)]
pub(super) use self::{frame::frames_of, notes::claim};

type Close = unsafe extern "C" fn(*mut ffi::sqlite3_file) -> c_int;
type Size = unsafe extern "C" fn(*mut ffi::sqlite3_file, *mut i64) -> c_int;
type Truncate = unsafe extern "C" fn(*mut ffi::sqlite3_file, i64) -> c_int;

/// What lies behind an open log of the layer below, in the same memory.
pub(super) struct Above {
    methods: Methods,
    read: Read,
    write: Write,
    truncate: Truncate,
    size: Size,
    close: Close,
    damage: Damage,
    /// How often the database of this log was locked to write to it; it is open as long as the log.
    turns: *const Cell<u64>,
    notes: Notes,
}

/// The log that has notes, if this is one; the index can be made again without them.
///
/// # Safety
/// `name` is null or a string that ends with a null.
pub(super) unsafe fn noted(name: *const c_char) -> Option<PathBuf> {
    if name.is_null() {
        return None;
    }
    // SAFETY: as the caller says.
    let name = unsafe { CStr::from_ptr(name) };
    let path = Path::new(OsStr::from_bytes(name.to_bytes()));
    let database = path.file_name()?.as_bytes().strip_suffix(b"-wal")?;
    (database == VALUES_FILE.as_bytes()).then(|| path.to_path_buf())
}

/// Puts our functions in the place of those of a log that the layer below has opened; whether it could.
///
/// # Safety
/// `file` is open, and at `place` there is room for [`Above`], aligned, until it is closed; `turns` can be
/// read until then.
pub(super) unsafe fn lay(
    file: *mut ffi::sqlite3_file,
    place: *mut Above,
    log: PathBuf,
    damage: Damage,
    is_read_only: bool,
    turns: *const Cell<u64>,
) -> bool {
    // SAFETY: an open file has methods, which lie there as long as the process; the rest as the caller says.
    unsafe {
        let Some(below) = (*file).pMethods.as_ref() else { return false };
        let (Some(read), Some(write), Some(truncate), Some(size), Some(close)) =
            (below.xRead, below.xWrite, below.xTruncate, below.xFileSize, below.xClose)
        else {
            return false;
        };
        let methods = Methods {
            xRead: Some(read_log),
            xWrite: Some(write_log),
            xTruncate: Some(truncate_log),
            xFileSize: Some(size_of_log),
            xClose: Some(close_log),
            ..*below
        };
        let notes = Notes::of(log, is_read_only);
        place.write(Above { methods, read, write, truncate, size, close, damage, turns, notes });
        (*file).pMethods = &raw const (*place).methods;
    }
    true
}

/// Forgets the notes of a log that is about to be removed.
pub(super) fn forget(log: &Path) {
    notes::remove_beside(log);
}

/// # Safety
/// `file` was given to [`lay`], and is open; no other reference to its [`Above`] is in use.
unsafe fn above_of<'f>(file: *mut ffi::sqlite3_file) -> &'f mut Above {
    // SAFETY: its methods are those in `Above`, which lies there until SQLite has closed the file. SQLite
    // uses a file in one thread at a time, and none of our functions is called from another one.
    unsafe {
        let methods = (*file).pMethods.cast_mut();
        &mut *methods.byte_sub(offset_of!(Above, methods)).cast::<Above>()
    }
}

/// # Safety
/// As SQLite calls it: the file is open, and `into` has room for so many bytes.
unsafe extern "C" fn read_log(
    file: *mut ffi::sqlite3_file,
    into: *mut c_void,
    amount: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: this function is among the methods of logs that were given to `lay` alone; the file below is
    // the same one; after a read that has succeeded all bytes are there.
    let (above, bytes) = unsafe {
        let above = above_of(file);
        let code = (above.read)(file, into, amount, offset);
        if code != ffi::SQLITE_OK {
            return code;
        }
        (above, std::slice::from_raw_parts_mut(into.cast::<u8>(), amount.max(0) as usize))
    };
    let mut size = 0;
    if offset == 0 {
        // SAFETY: the file is open, and the size is written to where the argument points.
        let code = unsafe { (above.size)(file, &raw mut size) };
        if code != ffi::SQLITE_OK {
            return code;
        }
    }
    let (offset_in, size) = (offset.max(0) as u64, size.max(0) as u64);
    match above.notes.read(bytes, offset_in, size) {
        Found::PutRight if !above.notes.may_grow => {
            tracing::warn!("a log of the database was damaged, and is put right by its notes");
            // SAFETY: there are as many bytes as were read, and nobody else writes to a log while one reads it
            // from its beginning.
            unsafe { (above.write)(file, bytes.as_ptr().cast(), amount, offset) }
        }
        Found::AsItIs => ffi::SQLITE_OK,
        _ if above.damage == Damage::Given => ffi::SQLITE_OK,
        _ => ffi::SQLITE_IOERR_DATA,
    }
}

/// # Safety
/// As SQLite calls it: the file is open, and at `from` so many bytes can be read.
unsafe extern "C" fn write_log(
    file: *mut ffi::sqlite3_file,
    from: *const c_void,
    amount: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: as in `read_log`.
    unsafe {
        let above = above_of(file);
        let bytes = std::slice::from_raw_parts(from.cast::<u8>(), amount.max(0) as usize);
        let (turn, read, place) = ((*above.turns).get(), above.read, offset.max(0) as u64);
        above.notes.before_write(bytes.len(), place, turn, |sums, place| {
            let into = sums.as_mut_ptr().cast::<c_void>();
            read(file, into, sums.len() as c_int, place as i64) == ffi::SQLITE_OK
        });
        let code = (above.write)(file, from, amount, offset);
        if code == ffi::SQLITE_OK {
            above.notes.wrote(bytes, place);
        }
        code
    }
}

/// # Safety
/// As SQLite calls it: the file is open.
unsafe extern "C" fn truncate_log(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    // SAFETY: as in `read_log`.
    unsafe {
        let above = above_of(file);
        if size == 0 {
            // First, or they would say that something is missing if this process is killed in between.
            above.notes.forget();
        }
        (above.truncate)(file, size)
    }
}

/// # Safety
/// As SQLite calls it: the file is open, and its size can be written to where `size` points.
unsafe extern "C" fn size_of_log(file: *mut ffi::sqlite3_file, size: *mut i64) -> c_int {
    // SAFETY: as in `read_log`.
    unsafe {
        let above = above_of(file);
        let code = (above.size)(file, size);
        let is_empty = code == ffi::SQLITE_OK && *size <= frame::HEAD as i64;
        if is_empty && above.damage != Damage::Given && above.notes.lacks_all() {
            return ffi::SQLITE_IOERR_DATA;
        }
        code
    }
}

/// # Safety
/// As SQLite calls it: the file is open, and is not used again.
unsafe extern "C" fn close_log(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: as in `read_log`; SQLite asks for nothing of a file that it has closed, so what lies in the
    // file's memory is dropped once, after its last use.
    unsafe {
        let above: *mut Above = above_of(file);
        let close = (*above).close;
        drop_in_place(above);
        close(file)
    }
}
