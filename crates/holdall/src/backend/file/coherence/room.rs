//! The room that a mapped file has on the disk: a write into a hole of a mapping on a full disk
//! would end the process with SIGBUS, so every block is there before the file is mapped.

use std::fs::File;
use std::os::fd::OwnedFd;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::{Errno, retry_on_intr};

use crate::error::{Error, Result};

/// Takes the blocks of a file that means nothing yet.
pub(in super::super) fn reserve(file: &OwnedFd, length: usize, name: &str) -> Result<()> {
    use std::os::unix::fs::FileExt as _;
    let file = File::from(file.try_clone().map_err(|error| Error::io(error, name))?);
    file.write_all_at(&vec![0; length], 0).map_err(|error| Error::io(error, name))
}

/// Whether a part of the file has no blocks: a copy of a store may leave out what is zero.
pub(in super::super) fn has_holes(file: &OwnedFd, length: usize, name: &str) -> Result<bool> {
    let stat = rustix::fs::fstat(file).map_err(|error| Error::io(error.into(), name))?;
    // On a file system that compresses it may look so for ever, which costs a call at each opening.
    Ok((stat.st_blocks as u64) * 512 < length as u64)
}

/// Gives such parts their blocks, and leaves alone what is there: others may have it mapped.
pub(in super::super) fn fill(file: &OwnedFd, length: usize, name: &str) -> Result<()> {
    match retry_on_intr(|| fallocate(file, FallocateFlags::empty(), 0, length as u64)) {
        Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::IO)) => {
            Err(Error::io(error.into(), name))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::super::{ClockFile, HEADER, LENGTH};
    use super::*;

    #[test]
    fn a_clock_file_that_was_copied_with_holes_gets_its_blocks_before_it_is_mapped() {
        let file = || tempfile::tempfile().expect("a temporary file");
        let (first, copy) = (OwnedFd::from(file()), file());
        ClockFile::open(&first, [7; 16]).expect("made").next_generation(77);
        let mut header = [0; HEADER];
        File::from(first).read_exact_at(&mut header, 0).expect("read");
        copy.set_len(LENGTH as u64).expect("sized");
        copy.write_all_at(&header, 0).expect("written");
        let copy = OwnedFd::from(copy);
        assert!(has_holes(&copy, LENGTH, "clock").expect("looked at"));
        let clock = ClockFile::open(&copy, [7; 16]).expect("opened");
        assert!(!has_holes(&copy, LENGTH, "clock").expect("looked at"));
        assert_eq!(clock.generation(), 77);
    }
}
