//! A checksum at the end of each page of a database, which SQLite itself does not have: a flipped bit
//! in the index of the keys would lead past a row, and a value that is there would be a miss. With the
//! checksum a flipped bit is not only seen but put right: it is the one without which the checksum fits.
//!
//! SQLite leaves [`BYTES`] of each page alone if it is told to when the database is made, and reads and
//! writes files through tables of functions. Three of those functions are put in the place of its own,
//! for databases alone: a page is given its checksum when it is written, is compared with it
//! when it is read, and is never read in part. The log has checksums of its own, which SQLite compares when it opens a log that
//! somebody has left. The idea is that of SQLite's own checksum layer
//! (<https://www.sqlite.org/cksumvfs.html>), which is no part of the library.
#![allow(unsafe_code, reason = "SQLite calls files through tables of functions")]

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::{align_of, offset_of, size_of};
use std::path::Path;
use std::sync::OnceLock;

use rusqlite::{Connection, OpenFlags, ffi};

use super::log;
use super::page::{BYTES, PAGE, Page, is_as_written, is_whole, page_at, put_right, sealed};

/// Where the first page says how large pages are, and how many bytes at the end of each are left alone.
const SIZE: usize = 16;
const RESERVED: usize = 20;
/// The shortest beginning of the first page that SQLite reads.
const HEADER: usize = 100;

/// What a page is that has another checksum than it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Damage {
    /// One flipped bit is put right, all else is an error.
    Refused,
    /// An error.
    Told,
    /// One flipped bit is put right, all else is given as it is: for whoever takes what can be had.
    Given,
}

impl Damage {
    const EACH: [Self; 3] = [Self::Refused, Self::Told, Self::Given];

    const fn layer(self) -> &'static CStr {
        match self {
            Self::Refused => c"holdall-refused",
            Self::Told => c"holdall-told",
            Self::Given => c"holdall-given",
        }
    }
}

/// Opens a database whose pages have checksums, or are to have them.
pub(super) fn open(
    database: impl AsRef<Path>,
    flags: OpenFlags,
    damage: Damage,
) -> rusqlite::Result<Connection> {
    static REGISTERED: OnceLock<c_int> = OnceLock::new();
    match *REGISTERED.get_or_init(register) {
        ffi::SQLITE_OK => Connection::open_with_flags_and_vfs(database, flags, damage.layer()),
        code => Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)),
    }
}

/// A database that nobody has open, as somebody sees it who knows of checksums and changes what he likes.
#[cfg(test)]
pub(crate) fn open_to_change(database: impl AsRef<Path>) -> rusqlite::Result<Connection> {
    open(database, OpenFlags::default(), Damage::Given)
}

/// Has the pages of a database have checksums that is about to be made.
pub(super) fn reserve(connection: &Connection) -> rusqlite::Result<()> {
    let (code, _) = reserved(connection, BYTES as c_int);
    if code == ffi::SQLITE_OK {
        return Ok(());
    }
    Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))
}

/// Whether the pages of a database have checksums, as its first page says.
pub(super) fn are_there(connection: &Connection) -> bool {
    let size = connection.query_row("PRAGMA page_size", [], |columns| columns.get::<_, i64>(0));
    // Pages of another size are not compared.
    size == Ok(PAGE as i64) && reserved(connection, -1) == (ffi::SQLITE_OK, BYTES as c_int)
}

/// Asks for so many bytes of each page, or how many they are.
fn reserved(connection: &Connection, mut bytes: c_int) -> (c_int, c_int) {
    // SAFETY: the connection is open while it is borrowed, and belongs to this thread; this operation
    // reads an `int` from where the last argument points, writes one there and keeps no pointer.
    let code = unsafe {
        ffi::sqlite3_file_control(
            connection.handle(),
            c"main".as_ptr(),
            ffi::SQLITE_FCNTL_RESERVE_BYTES,
            (&raw mut bytes).cast::<c_void>(),
        )
    };
    (code, bytes)
}

pub(super) type Methods = ffi::sqlite3_io_methods;
type Open = unsafe extern "C" fn(
    *mut ffi::sqlite3_vfs,
    *const c_char,
    *mut ffi::sqlite3_file,
    c_int,
    *mut c_int,
) -> c_int;
pub(super) type Read =
    unsafe extern "C" fn(*mut ffi::sqlite3_file, *mut c_void, c_int, i64) -> c_int;
type Remove = unsafe extern "C" fn(*mut ffi::sqlite3_vfs, *const c_char, c_int) -> c_int;
type Lock = unsafe extern "C" fn(*mut ffi::sqlite3_file, c_int, c_int, c_int) -> c_int;
type Traits = unsafe extern "C" fn(*mut ffi::sqlite3_file) -> c_int;
pub(super) type Write =
    unsafe extern "C" fn(*mut ffi::sqlite3_file, *const c_void, c_int, i64) -> c_int;

/// What SQLite opens files with, instead of its own.
#[repr(C)]
struct Layer {
    /// First, so that a pointer to it is one to the layer.
    vfs: ffi::sqlite3_vfs,
    below: *mut ffi::sqlite3_vfs,
    open_below: Open,
    remove_below: Remove,
    damage: Damage,
}

/// What lies behind the open file of the layer below, in the same memory.
struct Above {
    methods: Methods,
    read: Read,
    write: Write,
    traits: Traits,
    lock: Lock,
    damage: Damage,
    is_read_only: bool,
    /// How often it was locked to write to it.
    turns: Cell<u64>,
    /// Never `false` again: a database does not lose them while it is open.
    has_checksums: Cell<bool>,
}

/// Where it lies behind a file of so many bytes.
fn above(size: c_int) -> usize {
    (size.max(0) as usize).next_multiple_of(align_of::<Above>())
}

/// Makes the layers known to SQLite; they are there until the process ends.
fn register() -> c_int {
    // SAFETY: initializing may be done at any time and from every thread; without a name the layer
    // is looked for that is the default, which SQLite never removes.
    let below = unsafe {
        match ffi::sqlite3_initialize() {
            ffi::SQLITE_OK => ffi::sqlite3_vfs_find(std::ptr::null()),
            code => return code,
        }
    };
    // SAFETY: it is null or lies there as long as the process, and nobody changes these fields.
    let Some(default) = (unsafe { below.as_ref() }) else { return ffi::SQLITE_ERROR };
    let (Some(open_below), Some(remove_below)) = (default.xOpen, default.xDelete) else {
        return ffi::SQLITE_ERROR;
    };
    // Its functions may be called for our layers: none but `xOpen` looks at which one it is called for.
    for damage in Damage::EACH {
        let mut vfs = *default;
        let most = size_of::<Above>().max(size_of::<log::Above>());
        vfs.szOsFile = (above(vfs.szOsFile) + most) as c_int;
        vfs.zName = damage.layer().as_ptr();
        vfs.pNext = std::ptr::null_mut();
        vfs.xOpen = Some(open_file);
        vfs.xDelete = Some(remove_file);
        let layer = Layer { vfs, below, open_below, remove_below, damage };
        let layer = Box::leak(Box::new(layer));
        // SAFETY: the layer is never freed, and nobody else has a reference to it; it is not made the
        // default.
        let code = unsafe { ffi::sqlite3_vfs_register((&raw mut *layer).cast(), 0) };
        if code != ffi::SQLITE_OK {
            return code;
        }
    }
    ffi::SQLITE_OK
}

/// # Safety
/// As SQLite calls it: `vfs` is a [`Layer`] of ours, and `file` has room for what that says.
unsafe extern "C" fn open_file(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: this function is in the tables of our layers alone, which are never freed.
    let layer = unsafe { &*vfs.cast::<Layer>() };
    // SAFETY: what SQLite has given us, which is what the layer below expects.
    let code = unsafe { (layer.open_below)(layer.below, name, file, flags, out_flags) };
    if code == ffi::SQLITE_OK && flags & ffi::SQLITE_OPEN_WAL != 0 {
        // SAFETY: the name is the string that SQLite gives to the log of a database, whose file it has opened
        // by us and closes after the log; the log is open, and there is room as below.
        unsafe {
            if let Some(path) = log::noted(name) {
                let database = above_of(ffi::sqlite3_database_file_object(name));
                let (turns, is_read_only) = (&raw const database.turns, database.is_read_only);
                let place = file.byte_add(above((*layer.below).szOsFile)).cast::<log::Above>();
                if !log::lay(file, place, path, layer.damage, is_read_only, turns) {
                    return ffi::SQLITE_ERROR;
                }
            }
        }
    }
    if code != ffi::SQLITE_OK || flags & ffi::SQLITE_OPEN_MAIN_DB == 0 {
        return code;
    }
    // SAFETY: the file is open, so it has methods, which lie there as long as the process; there is
    // room for `Above` where it is put, aligned, because we have asked for it behind what the layer
    // below uses, and SQLite aligns files to 8 bytes.
    unsafe {
        let Some(below) = (*file).pMethods.as_ref() else { return ffi::SQLITE_ERROR };
        let (Some(read), Some(write), Some(traits), Some(lock)) =
            (below.xRead, below.xWrite, below.xDeviceCharacteristics, below.xShmLock)
        else {
            return ffi::SQLITE_ERROR;
        };
        let methods = Methods {
            xRead: Some(read_file),
            xWrite: Some(write_file),
            xDeviceCharacteristics: Some(traits_of_file),
            xShmLock: Some(lock_file),
            ..*below
        };
        let (turns, has_checksums, damage) = (Cell::new(0), Cell::new(false), layer.damage);
        let is_read_only = flags & ffi::SQLITE_OPEN_READONLY != 0;
        let place = file.byte_add(above((*layer.below).szOsFile)).cast::<Above>();
        place.write(Above {
            methods,
            read,
            write,
            traits,
            lock,
            damage,
            is_read_only,
            turns,
            has_checksums,
        });
        (*file).pMethods = &raw const (*place).methods;
    }
    code
}

/// # Safety
/// As SQLite calls it: `vfs` is a [`Layer`] of ours, and `name` a string.
unsafe extern "C" fn remove_file(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    sync_folder: c_int,
) -> c_int {
    // SAFETY: this function is in the tables of our layers alone, which are never freed; the rest is what
    // SQLite has given us, which is what the layer below expects.
    unsafe {
        let layer = &*vfs.cast::<Layer>();
        if let Some(path) = log::noted(name) {
            log::forget(&path);
        }
        (layer.remove_below)(layer.below, name, sync_folder)
    }
}

/// # Safety
/// `file` was opened by [`open_file`] as a database, and is open.
unsafe fn above_of<'f>(file: *mut ffi::sqlite3_file) -> &'f Above {
    // SAFETY: its methods are those in `Above`, which lies there until SQLite has closed the file.
    unsafe { &*(*file).pMethods.byte_sub(offset_of!(Above, methods)).cast::<Above>() }
}

/// # Safety
/// As SQLite calls it: the file is open, and `into` has room for so many bytes.
unsafe extern "C" fn read_file(
    file: *mut ffi::sqlite3_file,
    into: *mut c_void,
    amount: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: this function is among the methods of databases that we have opened alone; the file
    // below is the same one; after a read that has succeeded all bytes are there.
    let (above, bytes) = unsafe {
        let above = above_of(file);
        match (above.read)(file, into, amount, offset) {
            ffi::SQLITE_OK => {}
            // SQLite would go on with zeros.
            ffi::SQLITE_IOERR_SHORT_READ if above.misses_page(amount) => {
                return ffi::SQLITE_IOERR_DATA;
            }
            code => return code,
        }
        (above, std::slice::from_raw_parts_mut(into.cast::<u8>(), amount.max(0) as usize))
    };
    if offset == 0 && bytes.len() >= HEADER {
        let mut first = [0; PAGE];
        // Its beginning may not say any more that there are checksums.
        // SAFETY: the file is open, and there is room for a page.
        let code = unsafe { (above.read)(file, first.as_mut_ptr().cast(), PAGE as c_int, 0) };
        if code == ffi::SQLITE_OK && put_right(&first, 1).is_some() {
            above.has_checksums.set(true);
        }
        above.note(bytes, offset);
        if bytes.len() < PAGE && above.has_checksums.get() && above.damage != Damage::Told {
            let right = put_right(&first, 1).unwrap_or(first);
            bytes.copy_from_slice(&right[..bytes.len()]);
        }
    }
    let Some((page, number)) = page_at(bytes, offset) else { return ffi::SQLITE_OK };
    if !above.has_checksums.get() || above.accepts(page, number) {
        return ffi::SQLITE_OK;
    }
    let right = if above.damage == Damage::Told { None } else { put_right(page, number) };
    match right {
        Some(right) => {
            bytes.copy_from_slice(&right);
            tracing::warn!(
                page = number,
                "a flipped bit of a database was read as it was: run repair"
            );
            ffi::SQLITE_OK
        }
        None if above.damage == Damage::Given => ffi::SQLITE_OK,
        None => ffi::SQLITE_IOERR_DATA,
    }
}

/// # Safety
/// As SQLite calls it: the file is open, and at `from` so many bytes can be read.
unsafe extern "C" fn write_file(
    file: *mut ffi::sqlite3_file,
    from: *const c_void,
    amount: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: as in `read_file`.
    let (above, bytes) = unsafe {
        let bytes = std::slice::from_raw_parts(from.cast::<u8>(), amount.max(0) as usize);
        (above_of(file), bytes)
    };
    above.note(bytes, offset);
    let copy;
    let from = match page_at(bytes, offset) {
        Some((page, number)) if above.has_checksums.get() => {
            // The page itself may be read by others of this process.
            copy = sealed(page, number);
            copy.as_ptr().cast::<c_void>()
        }
        _ => from,
    };
    // SAFETY: there are as many bytes as before, and the file below is the same one.
    unsafe { (above.write)(file, from, amount, offset) }
}

/// # Safety
/// As SQLite calls it: the file is open.
unsafe extern "C" fn traits_of_file(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: as in `read_file`.
    let traits = unsafe { (above_of(file).traits)(file) };
    // The part of a long key that lies in a page of its own would be read without its checksum.
    traits & !ffi::SQLITE_IOCAP_SUBPAGE_READ
}

/// # Safety
/// As SQLite calls it: the file is open.
unsafe extern "C" fn lock_file(
    file: *mut ffi::sqlite3_file,
    offset: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    // SAFETY: as in `read_file`.
    unsafe {
        let above = above_of(file);
        let code = (above.lock)(file, offset, count, flags);
        let wanted = ffi::SQLITE_SHM_LOCK | ffi::SQLITE_SHM_EXCLUSIVE;
        // The first of the locks is that of who writes.
        if code == ffi::SQLITE_OK && offset == 0 && flags & wanted == wanted {
            above.turns.set(above.turns.get() + 1);
        }
        code
    }
}

impl Above {
    /// Looks whether the first page says that there are checksums.
    fn note(&self, bytes: &[u8], offset: i64) {
        if offset == 0
            && bytes.len() >= HEADER
            && bytes.starts_with(b"SQLite format 3\0")
            && bytes[SIZE..SIZE + 2] == (PAGE as u16).to_be_bytes()
            && usize::from(bytes[RESERVED]) == BYTES
        {
            self.has_checksums.set(true);
        }
    }
    fn misses_page(&self, amount: c_int) -> bool {
        amount == PAGE as c_int && self.has_checksums.get() && self.damage != Damage::Given
    }

    fn accepts(&self, page: &Page, number: u64) -> bool {
        match self.damage {
            Damage::Told => is_as_written(page, number),
            Damage::Refused | Damage::Given => is_whole(page, number),
        }
    }
}
