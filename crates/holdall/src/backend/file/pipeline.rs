//! Large values on their way to a file: two threads copy, check, sign and write blocks of them.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use crate::backend::Part;
use crate::blocks::{Block, Turns, share};
use crate::signing::{Seal, Tag, trailer};

/// How much of a value one thread prepares and writes at a time: what its processor's cache holds,
/// beside the pages of the file.
const BLOCK: usize = 512 * 1_024;

/// The bytes of a piece that nobody changes any more: themselves, or a copy in `copy` if their
/// owner may write to them.
pub(super) fn steady<'a>(part: &Part, piece: &'a [u8], copy: &'a mut Vec<u8>) -> &'a [u8] {
    match part {
        Part::Stable(_) => piece,
        Part::Volatile(_) => {
            copy.clear();
            copy.extend_from_slice(piece);
            copy
        }
    }
}

/// Writes the parts one after the other to an empty file; answers with the checksum of the whole.
/// What is written is what the checksum was taken of, whatever the owners of volatile parts do
/// meanwhile.
pub(super) fn write(file: &File, parts: &[Part], length: u64) -> std::io::Result<u64> {
    let content = Content::new(parts);
    let turns = Turns::new();
    write_blocks(file, &content, length, BLOCK, &turns, |_, _| {})?;
    Ok(turns.into_checksum(length)?.digest())
}

/// As [`write`], with the signature behind the parts, which is of what was written, too.
pub(super) fn write_sealed(
    file: &File,
    parts: &[Part],
    length: u64,
    seal: &Seal,
) -> std::io::Result<(u64, Tag)> {
    let content = Content::new(parts);
    let turns = Turns::new();
    let mac = seal.blocks(length, BLOCK);
    let first = mac.first();
    write_blocks(file, &content, length, first, &turns, |index, block| mac.take(index, block))?;
    let tag = mac.finish();
    let end = trailer::append(&tag);
    file.write_all_at(&end, length)?;
    let mut checksum = turns.into_checksum(length)?;
    checksum.update(&end);
    Ok((checksum.digest(), tag))
}

/// Writes the parts in blocks that `each` is given before they are written; the first one is
/// `first` bytes long.
fn write_blocks<'a>(
    file: &File,
    content: &Content<'a>,
    length: u64,
    first: usize,
    turns: &Turns<'a>,
    each: impl Fn(usize, &[u8]) + Sync,
) -> std::io::Result<()> {
    reserve(file, length)?;
    let length = content.length;
    let mut begin = 0;
    let blocks = std::iter::from_fn(move || {
        let end = length.min(if begin == 0 { first } else { begin + BLOCK });
        let block = begin..end;
        begin = end;
        (!block.is_empty()).then_some(block)
    });
    share(blocks, turns, |index, block: Range<usize>| {
        let begin = block.start as u64;
        let block = content.steady(block, || turns.buffer());
        let bytes = block.bytes();
        // While it is in the cache, if its turn has come.
        let is_added = turns.add_now(index, bytes);
        each(index, bytes);
        // In whatever order: nobody sees the file before all of it is there.
        file.write_all_at(bytes, begin)?;
        if is_added {
            turns.done_with(block);
        } else {
            turns.add(index, block);
        }
        Ok(())
    })
}

/// Reserves the room: pages taken at once cost less than pages taken one after the other, and a
/// disk without room says so now. Where it is not supported, it was not needed.
fn reserve(file: &File, length: u64) -> std::io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, length) {
        Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => Err(error.into()),
        _ => Ok(()),
    }
}

/// Parts as one piece of memory.
struct Content<'a> {
    /// With where each of them begins.
    parts: Vec<(usize, &'a Part)>,
    length: usize,
}

impl<'a> Content<'a> {
    fn new(parts: &'a [Part]) -> Self {
        let mut length = 0;
        let parts = parts.iter().filter(|part| !part.bytes().is_empty()).map(|part| {
            let begin = length;
            length += part.bytes().len();
            (begin, part)
        });
        let parts = parts.collect();
        Self { parts, length }
    }

    /// A range that is not empty, as nobody changes it any more: as it is where it lies in one
    /// stable part, else a copy in a buffer.
    fn steady(&self, range: Range<usize>, buffer: impl FnOnce() -> Vec<u8>) -> Block<'a> {
        let from = self.parts.partition_point(|(begin, _)| *begin <= range.start) - 1;
        if let (begin, Part::Stable(bytes)) = self.parts[from]
            && range.end <= begin + bytes.len()
        {
            return Block::Lent(&bytes[range.start - begin..range.end - begin]);
        }
        let mut copy = buffer();
        copy.clear();
        for (begin, part) in &self.parts[from..] {
            if *begin >= range.end {
                break;
            }
            let bytes = part.bytes();
            let here = range.start.saturating_sub(*begin)..(range.end - begin).min(bytes.len());
            copy.extend_from_slice(&bytes[here]);
        }
        Block::Owned(copy)
    }
}
