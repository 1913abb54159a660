//! The signature at the end of a file, where `pickle.load` and `joblib.load` do not look.
//!
//! A pickle ends with its STOP opcode, and so does an uncompressed joblib file; readers go no
//! further. What follows is 64 bytes, fixed for ever (version 1):
//!
//! | bytes | what |
//! |---|---|
//! | 0-7 | id of the signing key |
//! | 8-39 | MAC |
//! | 40-45 | zero |
//! | 46 | version, 1 |
//! | 47 | length of the trailer in bytes, 64 |
//! | 48-55 | XXH3-64 of bytes 0-47, seed 0, little-endian |
//! | 56-63 | `89 48 4F 4C 44 41 4C 4C`: 0x89 and `HOLDALL` |
//!
//! The last 18 bytes stay where they are, counted from the end, in every later version. joblib's
//! compressed files never get one: its reader takes more bytes for more compressed data. What holdall
//! compresses has the trailer inside a skippable frame (RFC 8878, section 3.1.2; LZ4 has the same), which
//! both kinds of reader pass over.

use xxhash_rust::xxh3::xxh3_64;

use super::{Tag, VERSION};

/// The length of a trailer in bytes.
pub const LENGTH: usize = 64;
const MAGIC: &[u8; 8] = b"\x89HOLDALL";

/// The beginning of a skippable frame that is as long as a trailer.
const FRAME: &[u8; 8] = b"\x50\x2A\x4D\x18\x40\0\0\0";

/// The bytes to write after a payload of compressed frames.
#[must_use]
pub fn append_frame(tag: &Tag) -> Vec<u8> {
    [&FRAME[..], &append(tag)].concat()
}

/// As [`split`], of a file of compressed frames.
#[must_use]
pub fn split_frame(file: &[u8]) -> (&[u8], Option<Tag>) {
    match split(file) {
        (payload, Some(tag)) => match payload.strip_suffix(FRAME) {
            Some(payload) => (payload, Some(tag)),
            None => (file, None),
        },
        (_, None) => (file, None),
    }
}

/// The bytes to write after the payload. They are no part of what the MAC covers.
#[must_use]
pub fn append(tag: &Tag) -> [u8; LENGTH] {
    let mut trailer = [0; LENGTH];
    trailer[..8].copy_from_slice(&tag.key_id);
    trailer[8..40].copy_from_slice(&tag.mac);
    trailer[46] = VERSION;
    trailer[47] = LENGTH as u8;
    let checksum = xxh3_64(&trailer[..48]);
    trailer[48..56].copy_from_slice(&checksum.to_le_bytes());
    trailer[56..].copy_from_slice(MAGIC);
    trailer
}

/// Splits a file into payload and signature. A file without a whole trailer of this version is
/// all payload: it is unsigned, and refused as such. Only the last trailer is taken off.
#[must_use]
pub fn split(file: &[u8]) -> (&[u8], Option<Tag>) {
    let Some((payload, trailer)) = file.split_last_chunk::<LENGTH>() else { return (file, None) };
    let mut tag = Tag { key_id: [0; 8], mac: [0; 32] };
    tag.key_id.copy_from_slice(&trailer[..8]);
    tag.mac.copy_from_slice(&trailer[8..40]);
    // There is one way to write a trailer, so comparing all of it checks every field.
    if append(&tag) == *trailer { (payload, Some(tag)) } else { (file, None) }
}
