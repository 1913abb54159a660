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
            let decoder = zstd::stream::Decoder::with_buffer(&compressed[..]);
            bounded(decoder.map_err(|error| damaged(&error))?, compressed.len(), limit)
        }
        Codec::Lz4 => {
            bounded(lz4_flex::frame::FrameDecoder::new(&compressed[..]), compressed.len(), limit)
        }
    }
}

fn bounded(decoder: impl Read, compressed: usize, limit: u64) -> Result<Vec<u8>> {
    let mut content = Vec::with_capacity(compressed.saturating_mul(3).min(AHEAD));
    let most = limit.saturating_add(1);
    let read = decoder.take(most).read_to_end(&mut content).map_err(|error| damaged(&error))?;
    if read as u64 > limit {
        let cause = format!("the value has more than {limit} bytes, as max_value_bytes allows");
        return Err(Error::new(ErrorKind::InvalidArgument, cause)
            .remedy("raise max_value_bytes if the value is yours"));
    }
    Ok(content)
}

fn damaged(error: &io::Error) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the compressed content is damaged: {error}"))
        .remedy("restore the file from a backup, or save or delete the key")
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
                // A cut through the end mark goes unnoticed here; the file has a checksum.
                assert!(cut.is_err() || cut.is_ok_and(|content| text.starts_with(&content)));
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
