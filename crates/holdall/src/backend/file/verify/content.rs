//! The content of one file: how long it is, what its checksum is, and what that means.

use std::fmt;
use std::os::fd::OwnedFd;

use rustix::fs::Stat;
use rustix::io::Errno;
use xxhash_rust::xxh3::Xxh3Default;

use crate::backend::Reading;
use crate::backend::health::ProblemKind;
use crate::cancel;
use crate::error::{Error, Result};
use crate::format::{Codec, Ending, Format, split_suffix};
use crate::record::Record;

/// How much of a file is read at a time; a cancelled verification ends after that.
const PIECE: usize = 256 * 1_024;

/// What it is called if the content is not what the record says.
pub(super) fn damage(record: &Record, length: u64) -> (ProblemKind, String) {
    if length < record.length {
        let what = format!("it has {length} bytes of {}", record.length);
        (ProblemKind::ContentTruncated, what)
    } else if length > record.length {
        let what = format!("it has {length} bytes, not {}", record.length);
        (ProblemKind::ContentDamaged, what)
    } else {
        let what = "its checksum is not the one that was saved";
        (ProblemKind::ContentDamaged, what.to_owned())
    }
}

/// What the end of a file's name says; of formats that share it, the plainest.
pub(super) fn ending_of(path: &str) -> Ending {
    let (_, format, codec) = split_suffix(path).unwrap_or((path, Format::Bytes, Codec::None));
    Ending { format, codec }
}

/// Length and checksum of a file, read piece by piece.
pub(super) fn measure(file: &OwnedFd, stat: &Stat) -> Result<(u64, u64)> {
    let size = usize::try_from(stat.st_size).unwrap_or(usize::MAX);
    let mut piece = vec![0; size.saturating_add(1).min(PIECE)];
    let mut checksum = Xxh3Default::new();
    let mut length = 0;
    loop {
        cancel::check()?;
        let read = Peek(file).read_at(&mut piece, length)?;
        if read == 0 {
            return Ok((length, checksum.digest()));
        }
        checksum.update(&piece[..read]);
        length += read as u64;
    }
}

/// An open file that is read here and there.
pub(super) struct Peek<'a>(pub(super) &'a OwnedFd);

impl fmt::Debug for Peek<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Peek")
    }
}

impl Reading for Peek<'_> {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> Result<usize> {
        loop {
            match rustix::io::pread(self.0, &mut *buffer, position) {
                Err(Errno::INTR) => {}
                read => return read.map_err(|error| Error::io(error.into(), "")),
            }
        }
    }
}
