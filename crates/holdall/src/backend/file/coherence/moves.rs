//! Values that move between files and the inline values: what a listing of both has to know.

use std::sync::atomic::Ordering;

use super::ClockFile;

/// How often values were about to appear in, or to leave, one of the two.
const MOVES: usize = 40;
/// How many moves are under way.
const MOVING: usize = 44;

impl ClockFile {
    /// Notes that values move between files and the inline values, for as long as they may be in
    /// both. The caller has locked their keys.
    pub(crate) fn begin_move(&self) -> Moving<'_> {
        self.half(MOVING).fetch_add(1, Ordering::AcqRel);
        self.note_move();
        Moving(self)
    }

    /// Notes that values are in two places, before they leave the older one: whoever asked for
    /// the newer place before has to ask again.
    pub(crate) fn note_move(&self) {
        self.half(MOVES).fetch_add(1, Ordering::AcqRel);
    }

    /// How often moves were noted, and whether some may be under way.
    pub(crate) fn moves(&self) -> (u32, bool) {
        let begun = self.half(MOVES).load(Ordering::Acquire);
        (begun, self.half(MOVING).load(Ordering::Acquire) != 0)
    }

    /// Forgets the moves of dead writers; every stripe is held.
    pub(crate) fn end_moves(&self) {
        self.half(MOVING).store(0, Ordering::Release);
    }
}

/// A move under way.
pub(crate) struct Moving<'a>(&'a ClockFile);

impl Drop for Moving<'_> {
    fn drop(&mut self) {
        self.0.half(MOVING).fetch_sub(1, Ordering::AcqRel);
    }
}
