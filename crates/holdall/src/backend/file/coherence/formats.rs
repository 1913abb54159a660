//! Which formats files of a store have had, so that nobody looks for the others.
//!
//! Kept twice, the second time inverted: a format that either of the two has seen is looked for, so a
//! damaged byte costs a look and hides no value.

use std::sync::atomic::Ordering;

use super::{ClockFile, MAGIC};
use crate::format::{Ending, Format};

const FORMATS: usize = 36;
/// The same bits inverted; zero, which says nothing, in a clock file of an earlier release.
const INVERTED: usize = 48;

/// Set if every format that a file of this store ever had has its bit.
const ALL_KNOWN: u32 = 1 << 31;
/// Set if the store ever had inline values.
const INLINE: u32 = 1 << 29;
/// Set once the database of inline values is on the disk, which is never taken away again.
const DATABASE: u32 = 1 << 30;

/// How many bytes of a clock file [`notes_database`] needs.
pub(crate) const NOTES: usize = INVERTED + 4;

/// As [`ClockFile::had_database`], of the beginning of a clock file that is only read.
pub(crate) fn notes_database(head: &[u8; NOTES]) -> bool {
    let half = |at: usize| {
        let bytes = head.iter().skip(at).take(4).rev();
        bytes.fold(0_u32, |half, byte| half << 8 | u32::from(*byte))
    };
    head.starts_with(&MAGIC.to_le_bytes()) && has_database(half(FORMATS), half(INVERTED))
}

fn has_database(seen: u32, unseen: u32) -> bool {
    seen & DATABASE != 0 && unseen & DATABASE == 0
}

impl ClockFile {
    /// Notes, before it gets its name, that there is a file of this format. Cheap if that is known.
    pub(crate) fn note_format(&self, ending: Ending) {
        self.note(bit(ending));
    }

    /// Notes, before the first of them is there, that the store has inline values.
    pub(crate) fn note_inline(&self) {
        self.note(INLINE);
    }

    /// Notes that the database of inline values is there. Cheap if that is known.
    pub(crate) fn note_database(&self) {
        self.note(DATABASE);
    }

    /// Whether there was a database of inline values; both copies say so, for a flipped bit of one
    /// must not make a store look as if it had lost it.
    pub(crate) fn had_database(&self) -> bool {
        let (seen, unseen) = self.seen();
        has_database(seen, unseen)
    }

    fn note(&self, bit: u32) {
        let (seen, unseen) = (self.half(FORMATS), self.half(INVERTED));
        if seen.load(Ordering::Acquire) & bit == 0 {
            seen.fetch_or(bit, Ordering::AcqRel);
        }
        if unseen.load(Ordering::Acquire) & bit != 0 {
            unseen.fetch_and(!bit, Ordering::AcqRel);
        }
    }

    /// Whether the store ever had inline values, or nobody can tell.
    pub(crate) fn has_inline(&self) -> bool {
        let (seen, unseen) = self.seen();
        // Without the second copy the first has to do.
        seen & INLINE != 0 || (unseen != 0 && unseen & INLINE == 0)
    }

    /// Says whether all formats are noted that files of this store have.
    pub(crate) fn set_formats_known(&self, known: bool) {
        if known {
            let seen = self.half(FORMATS).fetch_or(ALL_KNOWN, Ordering::AcqRel) | ALL_KNOWN;
            self.half(INVERTED).store(!seen, Ordering::Release);
        } else {
            self.half(FORMATS).fetch_and(!ALL_KNOWN, Ordering::AcqRel);
        }
    }

    /// Whether a file of this format may be there.
    pub(crate) fn may_have(&self, ending: Ending) -> bool {
        let (seen, unseen) = self.seen();
        let all_known = seen & ALL_KNOWN != 0 && unseen & ALL_KNOWN == 0 && unseen != 0;
        !all_known || seen & bit(ending) != 0 || unseen & bit(ending) == 0
    }

    fn seen(&self) -> (u32, u32) {
        let load = |at| self.half(at).load(Ordering::Acquire);
        (load(FORMATS), load(INVERTED))
    }
}

/// Formats with one suffix share a bit; each codec has eight of them.
fn bit(ending: Ending) -> u32 {
    let same = |other: &Format| other.suffix() == ending.format.suffix();
    let format = Format::all().iter().position(same).unwrap_or(7).min(7);
    1 << (usize::from(ending.codec.id()) * 8 + format)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Codec;

    #[test]
    fn a_damaged_byte_of_either_copy_hides_no_format() {
        let clock = ClockFile::private([7; 16]).expect("there is memory");
        let ending = |format| Ending { format, codec: Codec::None };
        let (json, text) = (ending(Format::Json), ending(Format::String));
        clock.note_format(json);
        clock.note_inline();
        clock.set_formats_known(true);
        clock.note_format(ending(Format::Bytes));
        assert!(!clock.may_have(text) && clock.has_inline());
        for at in [FORMATS, INVERTED] {
            let whole = clock.half(at).load(Ordering::Acquire);
            let bits = (0..32).map(|bit| 1_u32 << bit);
            let bytes = (0..4).map(|byte| 0xff_u32 << (byte * 8));
            for damage in bits.chain(bytes).chain([u32::MAX, whole]) {
                clock.half(at).store(whole ^ damage, Ordering::Release);
                for there in [json, ending(Format::Bytes)] {
                    assert!(clock.may_have(there), "{at}: {whole:#x} ^ {damage:#x}");
                }
                assert!(clock.has_inline(), "{at}: {whole:#x} ^ {damage:#x}");
            }
            clock.half(at).store(whole, Ordering::Release);
        }
        assert!(!clock.may_have(text));
    }

    #[test]
    fn a_flipped_bit_of_one_copy_makes_no_lost_database() {
        let clock = ClockFile::private([7; 16]).expect("there is memory");
        clock.note_inline();
        clock.set_formats_known(true);
        for at in [FORMATS, INVERTED] {
            assert!(!clock.had_database());
            clock.half(at).fetch_xor(DATABASE, Ordering::AcqRel);
            assert!(!clock.had_database());
            clock.half(at).fetch_xor(DATABASE, Ordering::AcqRel);
        }
        clock.note_database();
        assert!(clock.had_database());
        clock.set_formats_known(true);
        assert!(clock.had_database());
    }
}
