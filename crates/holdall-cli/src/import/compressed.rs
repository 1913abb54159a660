//! What joblib has compressed, unpacked without running anything.

use miniz_oxide::inflate::{TINFLStatus, decompress_to_vec_zlib_with_limit};

/// How a file of joblib begins, and the name of the compression.
const MAGIC: [(&[u8], &str); 6] = [
    (b"\x78", "zlib"),
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bz2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x5d\0\0", "lzma"),
    (b"\x04\x22\x4d\x18", "lz4"),
];

/// How joblib has compressed a pickle, if it has.
pub(crate) fn name(payload: &[u8]) -> Option<&'static str> {
    MAGIC.iter().find(|(magic, _)| payload.starts_with(magic)).map(|(_, name)| *name)
}

/// The pickle as it was before joblib compressed it, of at most `most` bytes; one that is not
/// compressed, or not by zlib, which is what joblib does unless it is told otherwise, as it is. An
/// error says why nobody can unpack it, a clause.
pub(crate) fn plain(payload: Vec<u8>, most: u64) -> Result<Vec<u8>, &'static str> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    if name(&payload) != Some("zlib") {
        return Ok(payload);
    }
    match decompress_to_vec_zlib_with_limit(&payload, most) {
        Ok(plain) => Ok(plain),
        Err(error) if error.status == TINFLStatus::HasMoreOutput => Ok(payload),
        Err(_) => Err("what joblib has compressed is cut off or damaged"),
    }
}
