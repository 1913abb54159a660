//! Compression around a format: Zstandard (RFC 8878) and LZ4 frames, as their own tools write them.
//!
//! What is read may come from anybody, so no more memory is taken than the caller allows, whatever
//! a frame says of itself.

use std::io::{self, Read, Write};

use super::Codec;
use crate::error::{Error, ErrorKind, Result};

/// The level at which Zstandard compresses: its own default.
const LEVEL: i32 = zstd::DEFAULT_COMPRESSION_LEVEL;

/// The most memory that is taken for a content before any of it was seen, bytes.
const AHEAD: usize = 1 << 20;

/// Windows of up to 8 MiB are read whatever the limit, as RFC 8878 recommends; larger ones only where
/// the content may be as large. The decoder takes memory for a window before it has seen a byte.
const WINDOW_LOG: u32 = 23;
/// The largest that a decoder of Zstandard takes by itself.
const WINDOW_LOG_MOST: u32 = 27;

/// Below this size a content of another program is read however small its file is, bytes.
const HARMLESS: u64 = 256 << 20;
/// How many times the size of its file a larger one may have.
const RATIO: u64 = 100;

/// The most bytes that a file of another program may become, of which `stored` bytes are on the disk.
/// More is a bomb, for all that is known: some kilobytes that fill any memory.
pub(crate) fn plausible(stored: u64) -> u64 {
    stored.saturating_mul(RATIO).max(HARMLESS)
}

/// Compresses pieces as one content, `size` bytes together.
///
/// # Errors
/// [`ErrorKind::Io`] if the compressor fails, which it does only without memory.
pub(crate) fn compress<'a>(
    codec: Codec,
    pieces: impl Iterator<Item = &'a [u8]>,
    size: u64,
) -> Result<Vec<u8>> {
    let compressed = match codec {
        Codec::None => Ok(pieces.flatten().copied().collect()),
        Codec::Zstd => zstd_frame(pieces, size),
        Codec::Lz4 => lz4_frame(pieces, size),
    };
    compressed.map_err(|error| Error::new(ErrorKind::Io, format!("compressing failed: {error}")))
}

fn zstd_frame<'a>(pieces: impl Iterator<Item = &'a [u8]>, size: u64) -> io::Result<Vec<u8>> {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), LEVEL)?;
    // The file has a checksum of its own.
    encoder.include_checksum(false)?;
    encoder.include_contentsize(true)?;
    encoder.set_pledged_src_size(Some(size))?;
    for piece in pieces {
        encoder.write_all(piece)?;
    }
    encoder.finish()
}

fn lz4_frame<'a>(pieces: impl Iterator<Item = &'a [u8]>, size: u64) -> io::Result<Vec<u8>> {
    let info = lz4_flex::frame::FrameInfo::new().content_size(Some(size));
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
    for piece in pieces {
        encoder.write_all(piece)?;
    }
    encoder.finish().map_err(io::Error::other)
}

/// The content of a compressed one, of at most `limit` bytes.
///
/// # Errors
/// [`ErrorKind::Corrupt`] if it is none; [`ErrorKind::InvalidArgument`] if it has more bytes.
pub(crate) fn decompress(codec: Codec, compressed: Vec<u8>, limit: u64) -> Result<Vec<u8>> {
    match codec {
        Codec::None => Ok(compressed),
        Codec::Zstd => {
            if let Ok(Some(declared)) = zstd::zstd_safe::get_frame_content_size(&compressed)
                && declared > limit
            {
                return Err(too_long(limit));
            }
            let decoder = zstd::stream::Decoder::with_buffer(&compressed[..]);
            let mut decoder = decoder.map_err(|error| damaged(&error))?;
            let window = limit.checked_ilog2().map_or(0, |log| log + 1);
            decoder
                .window_log_max(window.clamp(WINDOW_LOG, WINDOW_LOG_MOST))
                .map_err(|error| damaged(&error))?;
            let mut content = room(&compressed, limit);
            bounded(decoder, &mut content, limit)?;
            Ok(content)
        }
        Codec::Lz4 => {
            let mut content = room(&compressed, limit);
            lz4_frames(&compressed, &mut content, limit)?;
            Ok(content)
        }
    }
}

/// Whether a compressed content, of which no more than `limit` bytes are looked at, can be unpacked;
/// what comes out is not kept.
///
/// # Errors
/// [`ErrorKind::Corrupt`] if it cannot.
pub(crate) fn unpacks(codec: Codec, mut rest: &[u8], limit: u64) -> Result<()> {
    let pour = |decoder: &mut dyn Read| {
        let poured = io::copy(&mut decoder.take(limit), &mut io::sink());
        poured.map(|_| ()).map_err(|error| damaged(&error))
    };
    match codec {
        Codec::None => Ok(()),
        Codec::Zstd => {
            let decoder = zstd::stream::Decoder::with_buffer(rest);
            pour(&mut decoder.map_err(|error| damaged(&error))?)
        }
        Codec::Lz4 => {
            while !rest.is_empty() {
                let length =
                    lz4_frame_length(rest).ok_or_else(|| damaged(&"a frame is cut off"))?;
                let (frame, after) = rest.split_at(length);
                if !is_skippable(frame) {
                    pour(&mut lz4_flex::frame::FrameDecoder::new(frame))?;
                }
                rest = after;
            }
            Ok(())
        }
    }
}

fn room(compressed: &[u8], limit: u64) -> Vec<u8> {
    let most = usize::try_from(limit.saturating_add(1)).unwrap_or(usize::MAX);
    Vec::with_capacity(compressed.len().saturating_mul(3).min(AHEAD).min(most))
}

/// The contents of all frames, one after the other, as the `lz4` tool has them. The decoder knows one
/// frame, no skippable ones, and takes the end of the input for the end of a frame.
fn lz4_frames(mut rest: &[u8], content: &mut Vec<u8>, limit: u64) -> Result<()> {
    if rest.is_empty() {
        return Err(damaged(&"there is nothing"));
    }
    while !rest.is_empty() {
        let length = lz4_frame_length(rest).ok_or_else(|| damaged(&"a frame is cut off"))?;
        let (frame, after) = rest.split_at(length);
        if !is_skippable(frame) {
            bounded(lz4_flex::frame::FrameDecoder::new(frame), content, limit)?;
        }
        rest = after;
    }
    Ok(())
}

/// The length of the first frame (LZ4 Frame Format Description, version 1.6.4); `None` if the bytes
/// end before it does. What is no frame at all is left to the decoder.
fn lz4_frame_length(bytes: &[u8]) -> Option<usize> {
    let number = |at: usize| {
        let number = bytes.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(number.try_into().ok()?) as usize)
    };
    let within = |end: usize| (end <= bytes.len()).then_some(end);
    if is_skippable(bytes) {
        return within(number(4)?.checked_add(8)?);
    }
    if number(0)? != 0x184D_2204 {
        return Some(bytes.len());
    }
    let flags = *bytes.get(4)?;
    let size = |flag: u8, size: usize| if flags & flag != 0 { size } else { 0 };
    // Magic number, flags, block descriptor, header checksum, and what the flags announce.
    let mut at = 7 + size(0x08, 8) + size(0x01, 4);
    loop {
        // The highest bit says that the block is not compressed.
        let block = number(at)? & 0x7FFF_FFFF;
        at += 4;
        if block == 0 {
            return within(at + size(0x04, 4));
        }
        at = within(at.checked_add(block + size(0x10, 4))?)?;
    }
}

fn is_skippable(bytes: &[u8]) -> bool {
    matches!(bytes, [0x50..=0x5F, 0x2A, 0x4D, 0x18, ..])
}

/// Appends what a decoder gives, and takes no more memory than `limit` allows, however fast it grows.
fn bounded(mut decoder: impl Read, content: &mut Vec<u8>, limit: u64) -> Result<()> {
    // One byte more, by which too much shows itself.
    let most = usize::try_from(limit.saturating_add(1)).unwrap_or(usize::MAX);
    loop {
        if content.len() == content.capacity() {
            let more = content.len().max(AHEAD).min(most.saturating_sub(content.len()));
            content.try_reserve_exact(more).map_err(|_| Error::no_memory(more))?;
        }
        let room = content.capacity().min(most).saturating_sub(content.len());
        let mut part = decoder.by_ref().take(room as u64);
        let count = part.read_to_end(content).map_err(|error| failed(&error, limit))?;
        if content.len() as u64 > limit {
            return Err(too_long(limit));
        }
        if count < room {
            return Ok(());
        }
    }
}

/// What a decoder says: that a window does not fit is no damage.
fn failed(error: &io::Error, limit: u64) -> Error {
    if error.to_string().contains("too much memory") { too_long(limit) } else { damaged(error) }
}

fn too_long(limit: u64) -> Error {
    let cause = format!("the content has more than the {limit} bytes that are read");
    Error::new(ErrorKind::InvalidArgument, cause).remedy(
        "raise max_value_bytes, or unpack a file that is not holdall's and save what is in it",
    )
}

fn damaged(error: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the compressed content is damaged: {error}")).remedy(
        "restore the file from a backup, save or delete the key, or run repair to keep it aside",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODECS: [Codec; 3] = [Codec::None, Codec::Zstd, Codec::Lz4];

    fn packed(codec: Codec, content: &[u8]) -> Vec<u8> {
        compress(codec, content.chunks(1_000), content.len() as u64).unwrap()
    }

    #[test]
    fn what_was_compressed_comes_back() {
        let text = b"one and one is two, ".repeat(10_000);
        for codec in CODECS {
            for content in [&b""[..], b"x", &text] {
                let packed = packed(codec, content);
                let back = decompress(codec, packed, content.len() as u64).unwrap();
                assert!(back == content, "{codec:?}");
            }
            assert!(codec == Codec::None || packed(codec, &text).len() < text.len() / 10);
        }
    }

    #[test]
    fn several_frames_and_skippable_ones_are_read_as_the_tools_read_them() {
        for codec in [Codec::Zstd, Codec::Lz4] {
            let (one, two) = (packed(codec, b"one, "), packed(codec, b"two"));
            let skipped = b"\x53\x2A\x4D\x18\x03\0\0\0abc";
            let all = [&one[..], skipped, &two, skipped].concat();
            assert_eq!(decompress(codec, all.clone(), 100).unwrap(), b"one, two");
            for cut in [all.len() - 1, one.len() + 5] {
                let error = decompress(codec, all[..cut].to_vec(), 100).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{codec:?}");
            }
            assert_eq!(decompress(codec, all, 7).unwrap_err().kind(), ErrorKind::InvalidArgument);
        }
    }

    #[test]
    fn a_content_of_many_blocks_that_is_cut_between_two_is_damage() {
        let text: Vec<u8> = (0..150_000_u32).flat_map(u32::to_le_bytes).collect();
        for codec in [Codec::Zstd, Codec::Lz4] {
            let whole = packed(codec, &text);
            for end in (whole.len() - 300..whole.len()).chain((1..whole.len()).step_by(9_973)) {
                let cut = decompress(codec, whole[..end].to_vec(), 1 << 30);
                assert!(cut.is_err(), "{codec:?} cut at {end}");
            }
        }
    }

    #[test]
    fn no_more_is_taken_than_allowed_whatever_a_frame_says() {
        let bomb = vec![0; 50 << 20];
        for codec in [Codec::Zstd, Codec::Lz4] {
            let packed = packed(codec, &bomb);
            assert!(packed.len() < 1 << 20);
            let error = decompress(codec, packed, 1_000).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{codec:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_frame_are_damage_and_never_a_panic() {
        let text = b"one and one is two, ".repeat(100);
        for codec in [Codec::Zstd, Codec::Lz4] {
            let whole = packed(codec, &text);
            for end in 1..whole.len() {
                let cut = decompress(codec, whole[..end].to_vec(), 1 << 20);
                assert!(cut.is_err(), "{codec:?} cut at {end}");
            }
            for at in 0..whole.len() {
                let mut flipped = whole.clone();
                flipped[at] ^= 0x55;
                // The checksum of the file finds what a frame does not.
                let _ = decompress(codec, flipped, 1 << 20);
            }
            let error = decompress(codec, b"no frame at all".to_vec(), 1 << 20).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
        }
    }
}
