//! Byte-range locks that belong to an open file description (`F_OFD_SETLK`).
//!
//! Unlike the older POSIX locks they are not lost when some other part of the process closes the
//! same file, and they end with the last descriptor, so a killed process blocks nobody. Two things
//! follow from what they belong to: threads that share a descriptor do not exclude each other, and
//! a forked child shares its parent's locks until it opens the file anew.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use super::wait;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};

/// Takes the lock on `len` bytes from `start` if nobody else has it; says whether it was taken.
/// Never waits. A lock already held through this descriptor is replaced.
pub(crate) fn try_lock(fd: BorrowedFd<'_>, start: u64, len: u64, exclusive: bool) -> Result<bool> {
    let kind = if exclusive { libc::F_WRLCK } else { libc::F_RDLCK };
    match set(fd, kind, start, len) {
        Ok(()) => Ok(true),
        Err(error) => match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EACCES) => Ok(false),
            _ => Err(Error::new(ErrorKind::Io, format!("the file cannot be locked: {error}"))
                .remedy("try again, or choose another base_path if this file system has no locks")),
        },
    }
}

/// Waits for the lock until `deadline` (milliseconds since boot on `clock`). `what` names the thing in
/// the error.
///
/// # Errors
/// `Busy` when the deadline passes, `Io` when the file system has no locks.
pub(crate) fn lock_until<'f>(
    fd: BorrowedFd<'f>,
    start: u64,
    len: u64,
    exclusive: bool,
    clock: &Clock,
    deadline: u64,
    what: &str,
) -> Result<Held<'f>> {
    if !wait::until(clock, deadline, || try_lock(fd, start, len, exclusive))? {
        let cause = format!("{what} is held by another process");
        return Err(Error::new(ErrorKind::Busy, cause)
            .remedy("try again, or look for a process that is stopped while using the store"));
    }
    Ok(Held { fd, start, len })
}

/// Gives the lock on `len` bytes from `start` back, whether or not it was held.
pub(crate) fn unlock(fd: BorrowedFd<'_>, start: u64, len: u64) -> Result<()> {
    set(fd, libc::F_UNLCK, start, len)
        .map_err(|error| Error::new(ErrorKind::Io, format!("the lock cannot be freed: {error}")))
}

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub(crate) struct Held<'f> {
    fd: BorrowedFd<'f>,
    start: u64,
    len: u64,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Err(error) = unlock(self.fd, self.start, self.len) {
            tracing::debug!(%error, "a lock ends with its descriptor");
        }
    }
}

#[allow(unsafe_code, reason = "no crate offers F_OFD_SETLK")]
fn set(fd: BorrowedFd<'_>, kind: libc::c_int, start: u64, len: u64) -> io::Result<()> {
    let range = |number: u64| {
        libc::off_t::try_from(number).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
    };
    // SAFETY: `flock` is a plain C struct of integers, for which all zeroes is a value.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock.l_start = range(start)?;
    lock.l_len = range(len)?;
    loop {
        // SAFETY: the descriptor is open for as long as it is borrowed; the kernel reads one
        // `flock` from a live local and keeps no reference to it.
        let result = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
        if result == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd as _;

    use super::*;
    use crate::clock::ManualClock;

    fn twice() -> (tempfile::NamedTempFile, File) {
        let first = tempfile::NamedTempFile::new().unwrap();
        let second = File::options().read(true).write(true).open(first.path()).unwrap();
        (first, second)
    }

    #[test]
    fn a_lock_excludes_the_same_bytes_and_no_others() {
        let (first, second) = twice();
        assert!(try_lock(first.as_file().as_fd(), 7, 1, true).unwrap());
        assert!(!try_lock(second.as_fd(), 7, 1, true).unwrap());
        assert!(!try_lock(second.as_fd(), 7, 1, false).unwrap());
        assert!(try_lock(second.as_fd(), 8, 1, true).unwrap());
        unlock(first.as_file().as_fd(), 7, 1).unwrap();
        assert!(try_lock(second.as_fd(), 7, 1, true).unwrap());
    }

    #[test]
    fn readers_share_a_lock_and_keep_writers_out() {
        let (first, second) = twice();
        assert!(try_lock(first.as_file().as_fd(), 0, 4, false).unwrap());
        assert!(try_lock(second.as_fd(), 0, 4, false).unwrap());
        assert!(!try_lock(second.as_fd(), 0, 4, true).unwrap());
    }

    #[test]
    fn waiting_ends_at_the_deadline_and_says_what_is_held() {
        let (first, second) = twice();
        let clock = ManualClock::new().clock();
        let now = clock.boot_millis();
        let held =
            lock_until(first.as_file().as_fd(), 0, 1, true, &clock, now, "the door").unwrap();
        let error = lock_until(second.as_fd(), 0, 1, true, &clock, now, "the door").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy);
        assert!(error.to_string().contains("the door is held"));
        drop(held);
        assert!(lock_until(second.as_fd(), 0, 1, true, &clock, now, "the door").is_ok());
    }

    #[test]
    fn closing_another_descriptor_of_the_file_keeps_the_lock() {
        let (first, second) = twice();
        assert!(try_lock(first.as_file().as_fd(), 0, 1, true).unwrap());
        drop(File::open(first.path()).unwrap());
        assert!(!try_lock(second.as_fd(), 0, 1, true).unwrap());
    }

    #[test]
    fn a_range_that_the_kernel_cannot_hold_is_an_error() {
        let (first, _) = twice();
        assert!(try_lock(first.as_file().as_fd(), u64::MAX, 1, true).is_err());
    }
}
