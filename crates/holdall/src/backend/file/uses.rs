//! When values were last used: `.holdall/uses`, a mapped table that may forget and mix up.
//!
//! A slot for each of 262,144 hashes of keys: seconds since 2020, of the last load in any process,
//! rounded up; 0 is never. Two keys of one slot seem to be used whenever one of them is. Nothing
//! depends on it but the order in which values are evicted, so whatever is wrong with the file, it is
//! made anew or done without. It is there only where somebody asked for that order.
#![allow(unsafe_code, reason = "a shared mapping can only be reached through pointers")]

use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::coherence::room;
use super::layout::own_file;
use crate::error::{Error, ErrorKind, Result};
use crate::sigbus::Watch;

const NAME: &str = "uses";
const SLOTS: usize = 1 << 18;
const LENGTH: usize = SLOTS * 4;
/// A watch is for 64 pages at most, which have 4 KiB at least.
const WATCHED: usize = 64 * 4_096;
/// 2020-01-01, seconds since 1970: what fits into four bytes ends in the year 2156.
const BEGIN: u64 = 1_577_836_800;

/// The mapped table of one store.
pub(crate) struct Uses {
    map: NonNull<u8>,
    /// Where somebody cuts the file short, memory of this process takes the place of the rest. What
    /// that begins with are numbers of the clock file: times to come, which nobody believes.
    watches: Vec<Watch>,
}

// SAFETY: the mapping is only reached through atomics, and lives until the struct is dropped.
unsafe impl Send for Uses {}
// SAFETY: as above; atomics may be used from several threads at once.
unsafe impl Sync for Uses {}

impl Uses {
    /// Maps the table, made if it is missing or has another length. The clock was opened before, so
    /// that whoever cuts it short later ends no process.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if there is no room for it or something else has its name.
    pub(super) fn open(own: &OwnedFd) -> Result<Self> {
        let io = |error: rustix::io::Errno| Error::io(error.into(), ".holdall/uses");
        let file = own_file(own, NAME)?;
        let length = rustix::fs::fstat(&file).map_err(io)?.st_size;
        if usize::try_from(length).ok() != Some(LENGTH) {
            rustix::fs::ftruncate(&file, LENGTH as u64).map_err(io)?;
            let reserved = room::reserve(&file, LENGTH, ".holdall/uses");
            if reserved.is_err() {
                // The disk is full: somebody else needs what there is of it more.
                let _ = rustix::fs::ftruncate(&file, 0);
            }
            reserved?;
        } else if room::has_holes(&file, LENGTH, ".holdall/uses")? {
            room::fill(&file, LENGTH, ".holdall/uses")?;
        }
        // SAFETY: a new shared mapping of a file that is LENGTH bytes long, at an address that the
        // kernel chooses; nothing else refers to it.
        let map = unsafe {
            let access = ProtFlags::READ | ProtFlags::WRITE;
            mmap(std::ptr::null_mut(), LENGTH, access, MapFlags::SHARED, &file, 0).map_err(io)?
        };
        let map = NonNull::new(map.cast::<u8>())
            .ok_or_else(|| Error::new(ErrorKind::Io, "the table of uses is at address 0"))?;
        let part = |start: usize| Watch::new(map.as_ptr().wrapping_add(start), WATCHED);
        let watches = (0..LENGTH).step_by(WATCHED).map(part).collect();
        Ok(Self { map, watches })
    }

    fn slot(&self, hash: u64) -> &AtomicU32 {
        // Other bits than those that choose a stripe or a hint.
        let slot = (hash >> 40) as usize % SLOTS;
        // SAFETY: the slot lies inside the mapping and is aligned, for the mapping starts at a page;
        // all processes use atomics there.
        unsafe { AtomicU32::from_ptr(self.map.add(slot * 4).as_ptr().cast()) }
    }

    /// Notes that the key with this hash is used now, microseconds since 1970. Some nanoseconds.
    pub(crate) fn note(&self, hash: u64, now: u64) {
        let seconds = u32::try_from((now / 1_000_000 + 1).saturating_sub(BEGIN)).unwrap_or(0);
        let slot = self.slot(hash);
        // Or threads that use the same value would wait for each other.
        if slot.load(Ordering::Relaxed) != seconds {
            slot.store(seconds, Ordering::Relaxed);
        }
    }

    /// When the key with this hash was last used, milliseconds since 1970: up to a second later than
    /// it was, or much later if it shares its slot; `None` if nobody knows.
    pub(crate) fn last(&self, hash: u64, now: u64) -> Option<u64> {
        let seconds = self.slot(hash).load(Ordering::Relaxed);
        let last = u64::from(seconds) + BEGIN;
        (seconds != 0 && last <= now / 1_000_000 + 1).then_some(last * 1_000)
    }
}

impl Drop for Uses {
    fn drop(&mut self) {
        self.watches.clear();
        // SAFETY: the mapping was made by `open` with this length, and no reference to it outlives
        // the struct.
        let unmapped = unsafe { munmap(self.map.as_ptr().cast(), LENGTH) };
        debug_assert!(unmapped.is_ok());
    }
}

#[cfg(test)]
mod tests;
