//! A clock file that somebody has cut short, or that was lost.

use std::sync::atomic::Ordering;

use super::{ClockFile, DIVERGED, EPOCH, MAGIC};
use crate::sigbus::Watch;

impl ClockFile {
    /// Whether somebody has cut the file short, so that a part of it is this process's alone: the
    /// store has to be opened anew. Cheap if nobody has.
    pub(crate) fn is_cut(&self) -> bool {
        self.watch.as_ref().is_some_and(Watch::is_cut)
    }

    /// In a store that is not new: if the clock was lost, begins at an epoch that no other process
    /// remembers, for its counters begin anew.
    pub(crate) fn leap_if_made(&self, is_new: bool) {
        if self.is_made && !is_new {
            let leap = 1_000 + getrandom::u64().unwrap_or(0) % 30_000;
            self.word(EPOCH).fetch_add(leap, Ordering::AcqRel);
        }
    }
}

/// What a process finds in the first page of a clock that was cut: nothing is known, and no counter is
/// one that anybody remembers.
pub(super) extern "C" fn first_page(page: *mut u8) {
    let word = |at: usize, value: u64| {
        // SAFETY: the page is new, aligned, longer than the header's fields, and not shared yet.
        unsafe { page.add(at).cast::<u64>().write(value) }
    };
    word(0, MAGIC);
    word(EPOCH, u64::from(u32::MAX));
    word(DIVERGED, u64::from_le_bytes([1, 0, 0, 0, 0, 0, 0, 0x20]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_the_page_of_a_cut_clock_nothing_is_fresh_and_the_index_is_doubtful() {
        let clock = ClockFile::private([7; 16]).expect("there is memory");
        let before = clock.version(3);
        clock.set_diverged(false);
        first_page(clock.map.as_ptr());
        assert_eq!(clock.epoch(), u64::from(u32::MAX));
        assert_ne!(clock.version(3), before);
        assert!(clock.diverged());
    }
}
