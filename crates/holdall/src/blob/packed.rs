//! Compressed values: which are, and what cannot be done with them.

use super::BlobManager;
use crate::backend::Part;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Codec, compress, decompress};
use crate::record::Record;

/// Smaller values are not compressed: a file takes a block of the disk whatever its length. Bytes.
const WORTH_COMPRESSING: u64 = 512;

/// What is decompressed by a thread that must not wait, bytes.
const MOST_AT_ONCE: u64 = 256 << 10;

impl BlobManager {
    /// Compresses a payload if the manager does so and it gets smaller by that.
    pub(super) fn compressed(
        &self,
        asked: Option<Codec>,
        parts: &mut Vec<Part>,
        size: u64,
    ) -> Result<Codec> {
        let codec = asked.unwrap_or(self.options.compression);
        if codec == Codec::None || size < WORTH_COMPRESSING {
            return Ok(Codec::None);
        }
        let pieces = parts.iter().map(|part| &part.bytes()[..]);
        let packed = compress(codec, pieces, size)?;
        if packed.len() as u64 >= size {
            return Ok(Codec::None);
        }
        *parts = vec![packed.into()];
        Ok(codec)
    }
}

/// The payload of a small file, for a thread that must not wait; `None` if it becomes a large value,
/// or is damaged.
pub(super) fn at_once(record: &Record, content: Vec<u8>) -> Option<Vec<u8>> {
    match record.codec {
        Codec::None => Some(content),
        codec => decompress(codec, content, MOST_AT_ONCE).ok(),
    }
}

/// An error if the file of a value is not in its format as it is.
pub(super) fn plain(record: &Record) -> Result<()> {
    if record.codec == Codec::None {
        return Ok(());
    }
    let cause =
        format!("the value is compressed ({}), so its file is not mapped", record.codec.name());
    Err(Error::new(ErrorKind::InvalidArgument, cause)
        .remedy("load it without mmap, or save it with a manager without compression"))
}
