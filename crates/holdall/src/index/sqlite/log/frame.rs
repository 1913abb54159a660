//! What SQLite writes into a log (<https://www.sqlite.org/fileformat2.html#the_write_ahead_log>), and
//! what is noted of each frame of it, by which damage is put right.
//!
//! A frame counts if the checksums of it and of all before it fit, and a log ends at the first that does
//! not. So nothing that is put right by a note is believed unless that checksum fits.

use super::super::page::{PAGE, Page, checksum, code, flip};

/// Checksums as they stand at the end of a head.
pub(super) type Sums = [u8; 8];
/// The beginning of a log.
pub(super) type Head = [u8; 32];
/// What stands before each page.
pub(super) type FrameHead = [u8; 24];

pub(super) const HEAD: usize = size_of::<Head>();
pub(super) const FRAME_HEAD: usize = size_of::<FrameHead>();
pub(super) const FRAME: usize = FRAME_HEAD + PAGE;
/// Where a head has the two random numbers that each of its frames repeats.
const SALTS: usize = 16;

/// The frame in which an offset lies, and how far from its beginning.
pub(super) fn frame_at(offset: u64) -> Option<(u32, usize)> {
    let behind = offset.checked_sub(HEAD as u64)?;
    let number = u32::try_from(behind / FRAME as u64).ok()?.checked_add(1)?;
    Some((number, (behind % FRAME as u64) as usize))
}

/// How many frames a log of so many bytes has.
pub(super) fn frames_in(bytes: u64) -> u64 {
    bytes.saturating_sub(HEAD as u64) / FRAME as u64
}

/// Whether a frame is the last one of a commit.
pub(super) fn is_commit(head: &FrameHead) -> bool {
    head[4..8] != [0; 4]
}

/// How the checksums of a log go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chain {
    salts: [u8; 8],
    sums: [u32; 2],
    is_big_endian: bool,
}

impl Chain {
    /// At the head of a log with pages of our size; `None` if it is not whole.
    pub(super) fn begin(head: &Head) -> Option<Self> {
        let is_big_endian = match u32::from_be_bytes([head[0], head[1], head[2], head[3]]) {
            0x377f_0682 => false,
            0x377f_0683 => true,
            _ => return None,
        };
        let is_ours =
            head[4..8] == 3_007_000_u32.to_be_bytes() && head[8..12] == (PAGE as u32).to_be_bytes();
        let mut chain = Self { salts: salts_of(head), sums: [0; 2], is_big_endian };
        chain.add(&head[..24]);
        (is_ours && chain.stored() == head[24..]).then_some(chain)
    }

    /// With the next frame; `None` if the log ends before it.
    pub(super) fn with(mut self, frame: &[u8; FRAME]) -> Option<Self> {
        self.add(&frame[..8]);
        self.add(&frame[FRAME_HEAD..]);
        let fits = frame[..4] != [0; 4]
            && frame[8..16] == self.salts
            && frame[16..FRAME_HEAD] == self.stored();
        fits.then_some(self)
    }

    /// Whether a note is of the frame that follows here. One of another log, or of a commit that another
    /// one has taken the place of, is not.
    pub(super) fn is_followed_by(&self, note: &Note) -> bool {
        note.head[8..16] == self.salts && note.before == self.stored()
    }

    /// Whether it begins with this head.
    pub(super) fn is_of(&self, head: &Head) -> bool {
        salts_of(head) == self.salts
    }

    fn add(&mut self, bytes: &[u8]) {
        let (words, _) = bytes.as_chunks::<4>();
        let word = |bytes: [u8; 4]| match self.is_big_endian {
            true => u32::from_be_bytes(bytes),
            false => u32::from_le_bytes(bytes),
        };
        let [mut first, mut second] = self.sums;
        for pair in words.chunks_exact(2) {
            first = first.wrapping_add(word(pair[0])).wrapping_add(second);
            second = second.wrapping_add(word(pair[1])).wrapping_add(first);
        }
        self.sums = [first, second];
    }

    fn stored(&self) -> Sums {
        let [first, second] = self.sums.map(u32::to_be_bytes);
        let mut stored = [0; 8];
        stored[..4].copy_from_slice(&first);
        stored[4..].copy_from_slice(&second);
        stored
    }
}

fn salts_of(head: &Head) -> [u8; 8] {
    let mut salts = [0; 8];
    salts.copy_from_slice(&head[SALTS..SALTS + 8]);
    salts
}

/// Where the checksums of what lies before a frame stand.
pub(super) fn before(number: u32) -> u64 {
    match number {
        0 | 1 => HEAD as u64 - 8,
        _ => HEAD as u64 + (u64::from(number) - 2) * FRAME as u64 + 16,
    }
}

/// The checksums in the head of a frame.
pub(super) fn sums_of(head: &FrameHead) -> Sums {
    let mut sums = [0; 8];
    sums.copy_from_slice(&head[16..]);
    sums
}

/// What is noted of a frame: its head, a checksum and a code of its page, and the checksums before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) head: FrameHead,
    end: [u8; 8],
    pub(super) before: Sums,
}

impl Note {
    pub(super) const BYTES: usize = FRAME_HEAD + 16;

    /// Of a frame whose page is still to be written.
    pub(super) fn of(head: FrameHead) -> Self {
        Self { head, end: [0; 8], before: [0; 8] }
    }

    pub(super) fn set_page(&mut self, page: &Page) {
        let [sum @ .., _, _] = checksum(page, 0).to_le_bytes();
        let [low, high] = code(page).to_le_bytes();
        let [a, b, c, d, e, f] = sum;
        self.end = [a, b, c, d, e, f, low, high];
    }

    pub(super) fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..FRAME_HEAD].copy_from_slice(&self.head);
        bytes[FRAME_HEAD..FRAME_HEAD + 8].copy_from_slice(&self.end);
        bytes[FRAME_HEAD + 8..].copy_from_slice(&self.before);
        bytes
    }

    pub(super) fn decode(bytes: &[u8; Self::BYTES]) -> Self {
        let mut note = Self::of([0; FRAME_HEAD]);
        note.head.copy_from_slice(&bytes[..FRAME_HEAD]);
        note.end.copy_from_slice(&bytes[FRAME_HEAD..FRAME_HEAD + 8]);
        note.before.copy_from_slice(&bytes[FRAME_HEAD + 8..]);
        note
    }

    /// The frame that was noted, if no more of its page than one bit has changed.
    pub(super) fn put_right(&self, frame: &[u8; FRAME]) -> Option<[u8; FRAME]> {
        let mut right = *frame;
        right[..FRAME_HEAD].copy_from_slice(&self.head);
        let page: &mut Page = (&mut right[FRAME_HEAD..]).try_into().ok()?;
        let mut found = Self::of(self.head);
        found.set_page(page);
        if found.end[..6] != self.end[..6] {
            let said = u16::from_le_bytes([self.end[6], self.end[7]]);
            let changed = said ^ code(page);
            flip(page, changed)?;
            found.set_page(page);
        }
        (found.end[..6] == self.end[..6]).then_some(right)
    }
}

/// The frames up to the end of the last commit.
#[cfg(test)]
pub(in super::super) fn frames_of(log: &[u8]) -> usize {
    let mut chain = Chain::begin(log.first_chunk().unwrap());
    let mut commit = 0;
    for (at, frame) in log[HEAD..].as_chunks::<FRAME>().0.iter().enumerate() {
        chain = chain.and_then(|chain| chain.with(frame));
        if chain.is_some() && is_commit(frame.first_chunk().unwrap()) {
            commit = at + 1;
        }
    }
    commit
}

/// The head of a log whose random numbers are ones.
#[cfg(test)]
pub(super) fn a_head() -> Head {
    let mut head = [1; HEAD];
    head[..4].copy_from_slice(&0x377f_0682_u32.to_be_bytes());
    head[4..8].copy_from_slice(&3_007_000_u32.to_be_bytes());
    head[8..12].copy_from_slice(&(PAGE as u32).to_be_bytes());
    let mut chain = Chain { salts: salts_of(&head), sums: [0; 2], is_big_endian: false };
    chain.add(&head[..24]);
    head[24..].copy_from_slice(&chain.stored());
    head
}
