//! Refusing what a later release has written, before anything of it is touched.
//!
//! `store.json` names the layout of the whole; clock file, databases and stamps have versions of
//! their own, for a part may have been changed or put there alone. Each is asked where it can be
//! without changing it. The index is only a copy, but a release that threw a later one away would
//! do so again and again beside a process that uses it.

use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;

use rustix::io::Errno;

use super::coherence::MAGIC;
use super::dir::open_file;
use super::inline;
use super::layout::OWN;
use crate::error::{Error, ErrorKind, Result};
use crate::index;

/// The error for a part of a store that only a later release understands.
pub(super) fn refused(part: &str, found: impl Into<i64>, known: impl Into<i64>) -> Error {
    let (found, known) = (found.into(), known.into());
    let cause = format!("{part} has layout {found}, this release reads up to {known}");
    Error::new(ErrorKind::Version, cause)
}

pub(super) const REMEDY: &str = "use a later release of holdall; nothing was touched";
/// Of the index, which is only a copy.
const REMEDY_OF_INDEX: &str = "use a later release of holdall, or remove .holdall/index, which is \
                               then made anew; nothing was touched";

/// Refuses a clock file of a later release; it is only read.
///
/// # Errors
/// [`ErrorKind::Version`], and [`ErrorKind::Io`].
pub(super) fn refuse_clock(own: &OwnedFd) -> Result<()> {
    match head_of_clock(own)? {
        Some(ClockHead::Later(found)) => {
            Err(refused("the clock file", found, 1).remedy(REMEDY).at(format!("{OWN}/clock")))
        }
        _ => Ok(()),
    }
}

/// Refuses databases of a later release. No process, this one included, may have them open: to
/// close a file drops the locks that this process has on it.
///
/// # Errors
/// As [`refuse_clock`].
pub(super) fn refuse_databases(own: &OwnedFd) -> Result<()> {
    let mut databases = vec![(format!("{}/{}", inline::FOLDER, index::VALUES_FILE), REMEDY)];
    if let Some(ClockHead::Ours { epoch }) = head_of_clock(own)? {
        databases.push((format!("index/{epoch}/{}", index::INDEX_FILE), REMEDY_OF_INDEX));
    }
    for (path, remedy) in databases {
        let name = format!("{OWN}/{path}");
        let mut head = [0; index::HEAD];
        let file = match open_file(own.as_fd(), &path) {
            Ok(Some(file)) => file,
            // What is no file is no database: values in files are as well as ever.
            Ok(None) | Err(Errno::LOOP | Errno::NXIO) => continue,
            Err(error) => return Err(Error::io(error.into(), name)),
        };
        if File::from(file).read_exact_at(&mut head, 0).is_err() {
            // Too short for a database: whoever needs it will say so.
            continue;
        }
        if let Some(found) = index::later_version(&head) {
            let error = refused("the database", found, index::VERSION);
            return Err(error.remedy(remedy).at(name));
        }
    }
    Ok(())
}

fn head_of_clock(own: &OwnedFd) -> Result<Option<ClockHead>> {
    let name = format!("{OWN}/clock");
    let found = open_file(own.as_fd(), "clock").map_err(|error| Error::io(error.into(), &name))?;
    Ok(found.and_then(|file| {
        let mut head = [0; 16];
        File::from(file).read_exact_at(&mut head, 0).ok()?;
        clock_head(&head)
    }))
}

/// What the first bytes of a clock file tell.
enum ClockHead {
    /// It is one of this release.
    Ours { epoch: u64 },
    /// It has this later layout.
    Later(u8),
}

/// Tells a clock file by its first 16 bytes; `None` if they are those of no clock file.
fn clock_head(head: &[u8; 16]) -> Option<ClockHead> {
    let [name @ .., version] = MAGIC.to_le_bytes();
    let (found, epoch) = head.split_at(8);
    let found_version = *found.strip_prefix(&name)?.first()?;
    match found_version.cmp(&version) {
        std::cmp::Ordering::Equal => {
            Some(ClockHead::Ours { epoch: u64::from_le_bytes(epoch.try_into().ok()?) })
        }
        std::cmp::Ordering::Greater => Some(ClockHead::Later(found_version)),
        std::cmp::Ordering::Less => None,
    }
}
