//! The end of a page of a database: a checksum, and a code by which one flipped bit is found.
//!
//! The code is that of Hamming ("Error detecting and error correcting codes", 1950): the exclusive or of
//! the places of all bits that are set. A flipped bit changes it by its own place. The checksum says whether
//! that was all.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::flush::flush;

/// The size of a page, bytes.
pub(super) const PAGE: usize = 4_096;
/// What each page gives up for its end: 6 bytes of the checksum, 2 of the code.
pub(super) const BYTES: usize = 8;
const CHECKED: usize = PAGE - BYTES;
const CODE: usize = PAGE - 2;
/// The bits of a word whose places have the first bit set, the second, and so on.
const SET: [u64; 6] = [
    0xaaaa_aaaa_aaaa_aaaa,
    0xcccc_cccc_cccc_cccc,
    0xf0f0_f0f0_f0f0_f0f0,
    0xff00_ff00_ff00_ff00,
    0xffff_0000_ffff_0000,
    0xffff_ffff_0000_0000,
];

/// SQLite locks bytes of this page, and has nothing in it.
const NEVER_WRITTEN: u64 = 0x4000_0000 / PAGE as u64 + 1;

pub(super) type Page = [u8; PAGE];

/// The page that is read or written at an offset of a database, and its number, from 1.
pub(super) fn page_at(bytes: &[u8], offset: i64) -> Option<(&Page, u64)> {
    let page = bytes.try_into().ok()?;
    let offset = u64::try_from(offset).ok()?;
    offset.is_multiple_of(PAGE as u64).then_some((page, offset / PAGE as u64 + 1))
}

/// The page with its end.
pub(super) fn sealed(page: &Page, number: u64) -> Page {
    let mut sealed = *page;
    sealed[CHECKED..].copy_from_slice(&checksum(&page[..CHECKED], number).to_le_bytes());
    sealed[CODE..].copy_from_slice(&code(&page[..CHECKED]).to_le_bytes());
    sealed
}

/// Whether it is the page that was written; its code may have a flipped bit.
pub(super) fn is_whole(page: &Page, number: u64) -> bool {
    said(page).0 == checksum(&page[..CHECKED], number)
}

/// Whether nothing of it has changed.
pub(super) fn is_as_written(page: &Page, number: u64) -> bool {
    said(page) == (checksum(&page[..CHECKED], number), code(&page[..CHECKED]))
}

/// The page that was written, if at most one bit has changed. That another one fits by chance has a
/// probability of some 2^-48.
pub(super) fn put_right(page: &Page, number: u64) -> Option<Page> {
    let (said_checksum, said_code) = said(page);
    let checked = &page[..CHECKED];
    let (checksum, code) = (checksum(checked, number), code(checked));
    let apart = said_checksum ^ checksum;
    if apart == 0 || (apart.is_power_of_two() && said_code == code) {
        return Some(sealed(page, number));
    }
    let mut right = *page;
    flip(&mut right[..CHECKED], said_code ^ code)?;
    is_as_written(&right, number).then_some(right)
}

/// The end of a page: its checksum, and its code.
fn said(page: &Page) -> (u64, u16) {
    let mut checksum = [0; 8];
    checksum[..CODE - CHECKED].copy_from_slice(&page[CHECKED..CODE]);
    (u64::from_le_bytes(checksum), u16::from_le_bytes([page[CODE], page[CODE + 1]]))
}

/// With its number: a page that was written in the place of another is not that one.
pub(super) fn checksum(bytes: &[u8], number: u64) -> u64 {
    xxh3_64_with_seed(bytes, number) & 0xffff_ffff_ffff
}

/// Flips the bit that a change of the code names; `None` if there is none.
pub(super) fn flip(bytes: &mut [u8], changed: u16) -> Option<()> {
    let place = usize::from(changed);
    *bytes.get_mut(place / 8)? ^= 1 << (place % 8);
    Some(())
}

/// The exclusive or of the places of all bits that are set, of at most a page.
pub(super) fn code(bytes: &[u8]) -> u16 {
    let mut all = [0; PAGE / 8];
    for (word, bytes) in all.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    let (mut code, mut half) = (0, all.len() / 2);
    while half > 0 {
        // Those whose number has this bit, which the others go without from then on.
        let (without, with) = all.split_at_mut(half);
        let mut sum = 0;
        for (word, other) in without.iter_mut().zip(with) {
            sum ^= *other;
            *word ^= *other;
        }
        code = code << 1 | (sum.count_ones() % 2) as u16;
        half /= 2;
    }
    let low = (0..).zip(SET).map(|(bit, set)| ((all[0] & set).count_ones() % 2) << bit);
    code << 6 | low.sum::<u32>() as u16
}

/// Writes the pages of a database that have one flipped bit as they were, and flushes them. Nobody has it
/// open in this process: to close the file drops the locks on it. Answers how many those were, or 0 if
/// another page is missing or cannot be put right; then nothing is written.
///
/// # Errors
/// What the system says.
pub(super) fn put_all_right(database: &Path) -> io::Result<usize> {
    let file = File::options().read(true).write(true).open(database)?;
    let mut flipped = Vec::new();
    let (mut pages, mut number) = (1, 1);
    while number <= pages {
        if number == NEVER_WRITTEN {
            number += 1;
            continue;
        }
        let (mut page, offset) = ([0; PAGE], (number - 1) * PAGE as u64);
        match file.read_exact_at(&mut page, offset) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
            read => read?,
        }
        if !is_as_written(&page, number) {
            let Some(right) = put_right(&page, number) else { return Ok(0) };
            flipped.push((offset, right));
            page = right;
        }
        if number == 1 {
            // What lies behind belongs to no page yet.
            pages = u64::from(u32::from_be_bytes([page[28], page[29], page[30], page[31]]));
        }
        number += 1;
    }
    for (offset, right) in &flipped {
        file.write_all_at(right, *offset)?;
    }
    flush(file.as_fd())?;
    Ok(flipped.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Page {
        let mut page = [0; PAGE];
        for (at, byte) in page.iter_mut().enumerate() {
            *byte = (at * at / 7) as u8;
        }
        sealed(&page, 7)
    }

    #[test]
    fn each_flipped_bit_is_seen_and_put_right() {
        let whole = page();
        for bit in 0..PAGE * 8 {
            let mut flipped = whole;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_as_written(&flipped, 7), "bit {bit}");
            assert_eq!(is_whole(&flipped, 7), bit >= CODE * 8, "bit {bit}");
            assert!(put_right(&flipped, 7) == Some(whole), "bit {bit}");
        }
    }

    #[test]
    fn what_else_has_changed_is_never_taken_for_one_bit() {
        let whole = page();
        for bit in (0..CHECKED * 8).step_by(37) {
            for other in (bit + 1..PAGE * 8).step_by(1_013) {
                let mut flipped = whole;
                flipped[bit / 8] ^= 1 << (bit % 8);
                flipped[other / 8] ^= 1 << (other % 8);
                assert!(!is_whole(&flipped, 7), "bits {bit} and {other}");
                assert!(put_right(&flipped, 7).is_none(), "bits {bit} and {other}");
            }
        }
        assert!(!is_whole(&whole, 8) && put_right(&whole, 8).is_none(), "another page");
        assert!(!is_whole(&[0; PAGE], 7) && put_right(&[0; PAGE], 7).is_none(), "no page");
    }
}
