//! The clock file: mapped counters that keep the memory of every process honest.
//!
//! `.holdall/clock` is made once and never replaced. It has an epoch, a generation counter and
//! one counter for each stripe of keys. A writer makes its stripe's counter odd before it touches
//! a file and even again after the index knows: a reader that remembered the counter from before
//! it read, and finds it unchanged and even, has the newest acknowledged value. An odd counter
//! whose stripe nobody holds tells of a writer that died, so nothing is trusted for too long.
//!
//! ```text
//!      0   8  "holdall\x01"            8   8  epoch: raised when the index is made anew
//!     16   8  generation               24  4  boot id, the first four bytes of its hash
//!     28   4  0 in use, 1 closed and on the disk, 2 left without a flush
//!     32   4  1 if files and index may differ, 2 if a key stays in two places
//!     36   4  formats that files of this store have had, one bit each, those of a codec from
//!             bit 8 times its number on; bit 29: inline values, bit 30: their database;
//!             highest bit: all formats are known
//!     40   4  raised around moves of values from files into the database of inline values, or back
//!     44   4  such moves under way    48   4  the formats once more, inverted
//!  4,096   8 x 4,096                   the stripes
//! ```
#![allow(unsafe_code, reason = "a shared mapping can only be reached through pointers")]

mod cut;
mod formats;
mod moves;
pub(super) mod room;

use std::ffi::c_void;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, msync, munmap};

use xxhash_rust::xxh3::xxh3_64;

pub(super) use self::formats::{NOTES, notes_database};
use crate::error::{Error, ErrorKind, Result};
use crate::lock::stripes::STRIPES;
use crate::sigbus::{self, Watch};
use crate::sync;

pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"holdall\x01");
const HEADER: usize = 4_096;
const LENGTH: usize = HEADER + STRIPES * 8;

const EPOCH: usize = 8;
const GENERATION: usize = 16;
/// The highest generation that is believed, in the year 148,000: there has to be room above it.
const MOST: u64 = 1 << 62;
const BOOT: usize = 24;
const STATE: usize = 28;
const DIVERGED: usize = 32;
/// There instead of 1: the index is filled, but no scan can tell which of two values is newer.
const UNSETTLED: u32 = 2;
/// Somebody uses the store, or did when it came to an end.
const IN_USE: u32 = 0;
/// Nobody has used it since everything was flushed.
const CLOSED: u32 = 1;
/// Nobody has used it since its last user went away in order, without a flush.
const LEFT: u32 = 2;

/// How a store was found by whoever opens it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// New, or as its last user has left it.
    InOrder,
    /// Others have it open at this moment.
    InUse,
    /// Its last user died.
    Abandoned,
    /// The machine went down while somebody used it.
    WentDown,
}

/// The mapped clock file of one store.
pub(crate) struct ClockFile {
    map: NonNull<u8>,
    /// Knows whether the file was cut short; `None` for a clock of this process alone.
    watch: Option<Watch>,
    /// It was not whole when it was opened.
    is_made: bool,
    /// Keeps the versions of this store apart from those of one that lay here before.
    salt: u64,
    /// Device and inode, unless it is this process's alone.
    identity: Option<(u64, u64)>,
    /// Why it was made anew when it was opened.
    remade: Option<String>,
}

// SAFETY: the mapping is only reached through atomics, and lives until the struct is dropped.
unsafe impl Send for ClockFile {}
// SAFETY: as above; atomics may be used from several threads at once.
unsafe impl Sync for ClockFile {}

impl ClockFile {
    /// Maps the clock file, and first makes it whole if it is new or was torn by a power cut.
    ///
    /// The caller holds the store's opening lock, so that only one process does so. `store` is the
    /// store's id.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if the file cannot be sized or mapped.
    pub(crate) fn open(file: &OwnedFd, store: [u8; 16]) -> Result<Self> {
        let io = |error: rustix::io::Errno| Error::io(error.into(), ".holdall/clock");
        let stat = rustix::fs::fstat(file).map_err(io)?;
        let length = stat.st_size;
        let mut remade = None;
        let is_whole = usize::try_from(length).ok() == Some(LENGTH);
        if !is_whole {
            if length > 0 {
                tracing::warn!(length, "the clock file has a wrong size and is made anew");
                remade = Some(format!("it had {length} bytes, not {LENGTH}"));
            }
            rustix::fs::ftruncate(file, LENGTH as u64).map_err(io)?;
        }
        if !is_whole || !has_magic(file)? {
            if length > 0 {
                remade.get_or_insert_with(|| "its first bytes were not those of a clock".into());
            }
            // Whatever it held is nothing to go by: counters that were cut off count anew, up to what
            // somebody may remember.
            room::reserve(file, LENGTH, ".holdall/clock")?;
        } else if room::has_holes(file, LENGTH, ".holdall/clock")? {
            room::fill(file, LENGTH, ".holdall/clock")?;
        }
        sigbus::guard(cut::first_page);
        // SAFETY: a new shared mapping of a file that is LENGTH bytes long, at an address that
        // the kernel chooses; nothing else refers to it.
        let map = unsafe {
            let access = ProtFlags::READ | ProtFlags::WRITE;
            mmap(std::ptr::null_mut(), LENGTH, access, MapFlags::SHARED, file, 0).map_err(io)?
        };
        let watch = Watch::new(map.cast(), LENGTH);
        let mut clock = Self::on(map, Some(watch), store)?;
        clock.identity = Some((stat.st_dev, stat.st_ino));
        if remade.is_some() {
            // The marks of writers that died may be lost with the rest.
            clock.set_diverged(true);
        }
        clock.remade = remade;
        Ok(clock)
    }

    /// Which file it is; `None` for a clock of this process alone.
    pub(crate) fn identity(&self) -> Option<(u64, u64)> {
        self.identity
    }

    /// Why the file was made anew when it was opened, if it was.
    pub(crate) fn remade(&self) -> Option<&str> {
        self.remade.as_deref()
    }

    /// A clock of this process alone, for file systems on which a mapping is not shared.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if there is no memory.
    pub(crate) fn private(store: [u8; 16]) -> Result<Self> {
        // SAFETY: new memory at an address that the kernel chooses; nothing else refers to it.
        let map = unsafe {
            let access = ProtFlags::READ | ProtFlags::WRITE;
            mmap_anonymous(std::ptr::null_mut(), LENGTH, access, MapFlags::PRIVATE)
                .map_err(|error| Error::io(error.into(), ".holdall/clock"))?
        };
        Self::on(map, None, store)
    }

    /// The clock in a mapping of `LENGTH` bytes, which it unmaps in the end.
    fn on(map: *mut c_void, watch: Option<Watch>, store: [u8; 16]) -> Result<Self> {
        let map = NonNull::new(map.cast::<u8>())
            .ok_or_else(|| Error::new(ErrorKind::Io, "the clock file was mapped at address 0"))?;
        let salt = xxh3_64(&store);
        let mut clock = Self { map, watch, is_made: false, salt, identity: None, remade: None };
        if clock.word(0).load(Ordering::Acquire) != MAGIC {
            clock.is_made = true;
            clock.word(EPOCH).store(1, Ordering::Relaxed);
            clock.half(STATE).store(IN_USE, Ordering::Relaxed);
            clock.half(DIVERGED).store(1, Ordering::Relaxed);
            clock.word(0).store(MAGIC, Ordering::Release);
        }
        // Damage: from here on no generation would be higher than the last.
        if clock.generation() > MOST {
            clock.word(GENERATION).store(0, Ordering::Release);
            clock.half(DIVERGED).store(1, Ordering::Release);
        }
        Ok(clock)
    }

    fn word(&self, offset: usize) -> &AtomicU64 {
        sync::step();
        debug_assert!(offset.is_multiple_of(8) && offset + 8 <= LENGTH);
        // SAFETY: the offset is one of the constants above or a stripe's, so it lies inside the
        // mapping and is aligned; the mapping starts at a page; all processes use atomics there.
        unsafe { AtomicU64::from_ptr(self.map.add(offset).as_ptr().cast()) }
    }

    fn half(&self, offset: usize) -> &AtomicU32 {
        sync::step();
        debug_assert!(offset.is_multiple_of(4) && offset + 4 <= LENGTH);
        // SAFETY: as for `word`.
        unsafe { AtomicU32::from_ptr(self.map.add(offset).as_ptr().cast()) }
    }

    fn stripe(&self, stripe: usize) -> &AtomicU64 {
        self.word(HEADER + (stripe % STRIPES) * 8)
    }

    /// What a memory entry remembers: epoch and stripe in one number. `None` while a write is
    /// under way.
    pub(crate) fn version(&self, stripe: usize) -> Option<u64> {
        let count = self.stripe(stripe).load(Ordering::Acquire);
        let epoch = self.word(EPOCH).load(Ordering::Acquire);
        // Looked at last: what was read may be what took the place of a lost page.
        (count & 1 == 0 && !self.is_cut())
            .then_some((epoch << 48 | (count & ((1 << 48) - 1))) ^ self.salt)
    }

    /// Says that a write begins. The stripe's lock is held.
    ///
    /// Returns whether an earlier writer of the stripe died in the middle of its work: then files and
    /// index may differ.
    pub(crate) fn begin(&self, stripe: usize) -> bool {
        let died = self.stripe(stripe).fetch_or(1, Ordering::SeqCst) & 1 == 1;
        if died {
            // Before the count moves, which listings take for the end of that work.
            self.set_diverged(true);
            // Entries remembered from before that death must not look fresh after this write.
            self.stripe(stripe).fetch_add(2, Ordering::AcqRel);
        }
        died
    }

    /// Says that a write is over. The stripe's lock is held.
    pub(crate) fn finish(&self, stripe: usize) {
        let counter = self.stripe(stripe);
        if counter.load(Ordering::Acquire) & 1 == 1 {
            counter.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// The counter of a stripe: every write adds one when it begins and one when it is over.
    pub(crate) fn count(&self, stripe: usize) -> u64 {
        self.stripe(stripe).load(Ordering::Acquire)
    }

    /// A number that every write and every rebuild of the index raises.
    pub(crate) fn writes(&self) -> u64 {
        let counts = || (0..STRIPES).map(|stripe| self.count(stripe));
        sync::at_once(|| counts().fold(self.epoch(), u64::wrapping_add))
    }

    /// Whether a write is under way, or was when its writer died.
    pub(crate) fn is_odd(&self, stripe: usize) -> bool {
        self.count(stripe) & 1 == 1
    }

    /// The next generation: above every one given before, and not below the wall clock, so that
    /// a counter that a power cut set back does not give a number twice.
    pub(crate) fn next_generation(&self, wall_micros: u64) -> u64 {
        let counter = self.word(GENERATION);
        let next = |last: u64| last.saturating_add(1).max(wall_micros);
        let last = counter.fetch_update(Ordering::AcqRel, Ordering::Acquire, |v| Some(next(v)));
        next(last.unwrap_or_else(|last| last))
    }

    /// The stripes in which a write is under way, or was when its writer died.
    pub(crate) fn odd_stripes(&self) -> impl Iterator<Item = usize> {
        (0..STRIPES).filter(|stripe| sync::at_once(|| self.is_odd(*stripe)))
    }

    /// The last generation that was given.
    pub(crate) fn generation(&self) -> u64 {
        self.word(GENERATION).load(Ordering::Acquire)
    }

    /// Takes note of a generation that was seen on a file.
    pub(crate) fn raise_generation(&self, seen: u64) {
        if seen <= MOST {
            self.word(GENERATION).fetch_max(seen, Ordering::AcqRel);
        }
    }

    /// Which index is the current one.
    pub(crate) fn epoch(&self) -> u64 {
        self.word(EPOCH).load(Ordering::Acquire)
    }

    /// Begins another epoch: every memory entry of every process is a miss from now on.
    pub(crate) fn next_epoch(&self) {
        // Wraps around, as any damaged epoch may.
        self.word(EPOCH).fetch_add(1, Ordering::AcqRel);
    }

    /// Whether a key may be in two places, or files and index may differ: a writer died, or one of
    /// the databases refused a change.
    pub(crate) fn diverged(&self) -> bool {
        self.half(DIVERGED).load(Ordering::Acquire) != 0
    }

    /// Whether a scan of the files could end that.
    pub(crate) fn needs_scan(&self) -> bool {
        !matches!(self.half(DIVERGED).load(Ordering::Acquire), 0 | UNSETTLED)
    }

    /// Notes that a key may stay in two places, which no scan could settle; the next one who opens
    /// the store alone has that looked at anew.
    pub(crate) fn note_unsettled(&self) {
        let in_order = self.half(DIVERGED);
        let _ = in_order.compare_exchange(0, UNSETTLED, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Says how a scan has left it: whether another one could do better, else whether a key may stay
    /// in two places. In one step: a reader that saw calm in between would take the older value.
    pub(crate) fn end_scan(&self, needs_another: bool, is_unsettled: bool) {
        let left = match (needs_another, is_unsettled) {
            (true, _) => 1,
            (false, true) => UNSETTLED,
            (false, false) => 0,
        };
        self.half(DIVERGED).store(left, Ordering::Release);
    }

    /// Says whether files and index may differ.
    pub(crate) fn set_diverged(&self, diverged: bool) {
        self.half(DIVERGED).store(u32::from(diverged), Ordering::Release);
    }

    /// Notes that the store is in use in this boot, and answers how it was found. `alone` says that
    /// no other process has it open.
    pub(crate) fn enter(&self, boot_id: u32, alone: bool) -> Found {
        let boot = self.half(BOOT).swap(boot_id, Ordering::AcqRel);
        let state = self.half(STATE).swap(IN_USE, Ordering::AcqRel);
        if boot != boot_id || state == CLOSED {
            self.flush_header();
        }
        match (boot, state) {
            (0, _) | (_, CLOSED) => Found::InOrder,
            _ if boot != boot_id => Found::WentDown,
            _ if !alone => Found::InUse,
            (_, LEFT) => Found::InOrder,
            _ => Found::Abandoned,
        }
    }

    /// Notes that nobody uses the store any more and that everything is on the disk.
    pub(crate) fn set_closed(&self) {
        self.half(STATE).store(CLOSED, Ordering::Release);
    }

    /// Whether nobody has used the store since everything was on the disk.
    pub(crate) fn is_closed(&self) -> bool {
        self.half(STATE).load(Ordering::Acquire) == CLOSED
    }

    /// Notes that nobody uses the store any more, though not everything may be on the disk.
    pub(crate) fn set_left(&self) {
        self.half(STATE).store(LEFT, Ordering::Release);
    }

    /// Notes that the store is used again after it was closed. Cheap if it was not.
    pub(crate) fn set_in_use(&self) {
        if self.half(STATE).load(Ordering::Acquire) != IN_USE {
            self.half(STATE).store(IN_USE, Ordering::Release);
            self.flush_header();
        }
    }

    /// Sees to it that a power cut does not bring "closed" back once something was written.
    fn flush_header(&self) {
        let flags = rustix::mm::MsyncFlags::SYNC;
        // SAFETY: the header is the beginning of the mapping, which is longer and page-aligned.
        if let Err(error) = unsafe { msync(self.map.as_ptr().cast(), HEADER, flags) } {
            tracing::warn!("the clock file was not flushed: {error}");
        }
    }

    /// Makes every stripe even again: after a reboot no write is under way.
    pub(crate) fn settle(&self) {
        for stripe in 0..STRIPES {
            self.finish(stripe);
        }
    }
}

fn has_magic(file: &OwnedFd) -> Result<bool> {
    let mut start = [0; 8];
    let read = rustix::io::pread(file, &mut start, 0)
        .map_err(|error| Error::io(error.into(), ".holdall/clock"))?;
    Ok(read == start.len() && u64::from_le_bytes(start) == MAGIC)
}

impl Drop for ClockFile {
    fn drop(&mut self) {
        drop(self.watch.take());
        // SAFETY: the mapping was made by `open` with this length, and no reference to it
        // outlives the struct.
        let unmapped = unsafe { munmap(self.map.as_ptr().cast(), LENGTH) };
        debug_assert!(unmapped.is_ok());
    }
}

#[cfg(test)]
mod tests;
