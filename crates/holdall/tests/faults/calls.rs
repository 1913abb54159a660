//! The system calls on files, and which faults suit them. `close` is none of them: on a local file
//! system it does not fail.
#![allow(unsafe_code, reason = "a lock is told from its release by what is pointed to")]

use std::ffi::c_long;
use std::fmt;

use super::injector::Fault;

/// What a call can do, for the faults that suit it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Reads,
    Writes,
    /// It reads or writes a number of bytes, the third argument.
    ReadsBytes,
    WritesBytes,
    /// As the two before, from a list of buffers.
    ReadsVectors,
    WritesVectors,
    /// It makes a descriptor; its flags, which say whether it may make a file, are this argument.
    Opens(usize),
    /// `fcntl`: duplicates, locks, asks.
    Controls,
    Locks,
}

use Kind::*;

const CALLS: [(c_long, &str, Kind); 45] = [
    (libc::SYS_read, "read", ReadsBytes),
    (libc::SYS_pread64, "pread64", ReadsBytes),
    (libc::SYS_readv, "readv", ReadsVectors),
    (libc::SYS_preadv, "preadv", ReadsVectors),
    (libc::SYS_preadv2, "preadv2", ReadsVectors),
    (libc::SYS_write, "write", WritesBytes),
    (libc::SYS_pwrite64, "pwrite64", WritesBytes),
    (libc::SYS_writev, "writev", WritesVectors),
    (libc::SYS_pwritev, "pwritev", WritesVectors),
    (libc::SYS_pwritev2, "pwritev2", WritesVectors),
    (libc::SYS_open, "open", Opens(1)),
    (libc::SYS_openat, "openat", Opens(2)),
    (libc::SYS_openat2, "openat2", Opens(usize::MAX)),
    (libc::SYS_stat, "stat", Reads),
    (libc::SYS_lstat, "lstat", Reads),
    (libc::SYS_fstat, "fstat", Reads),
    (libc::SYS_newfstatat, "newfstatat", Reads),
    (libc::SYS_statx, "statx", Reads),
    (libc::SYS_statfs, "statfs", Reads),
    (libc::SYS_fstatfs, "fstatfs", Reads),
    (libc::SYS_access, "access", Reads),
    (libc::SYS_faccessat, "faccessat", Reads),
    (libc::SYS_faccessat2, "faccessat2", Reads),
    (libc::SYS_readlink, "readlink", Reads),
    (libc::SYS_readlinkat, "readlinkat", Reads),
    (libc::SYS_getdents64, "getdents64", Reads),
    (libc::SYS_fgetxattr, "fgetxattr", Reads),
    (libc::SYS_lseek, "lseek", Reads),
    (libc::SYS_mmap, "mmap", Reads),
    (libc::SYS_fsetxattr, "fsetxattr", Writes),
    (libc::SYS_ftruncate, "ftruncate", Writes),
    (libc::SYS_fallocate, "fallocate", Writes),
    (libc::SYS_fsync, "fsync", Writes),
    (libc::SYS_fdatasync, "fdatasync", Writes),
    (libc::SYS_mkdir, "mkdir", Writes),
    (libc::SYS_mkdirat, "mkdirat", Writes),
    (libc::SYS_renameat, "renameat", Writes),
    (libc::SYS_renameat2, "renameat2", Writes),
    (libc::SYS_linkat, "linkat", Writes),
    (libc::SYS_unlink, "unlink", Writes),
    (libc::SYS_unlinkat, "unlinkat", Writes),
    (libc::SYS_fchmod, "fchmod", Writes),
    (libc::SYS_utimensat, "utimensat", Writes),
    (libc::SYS_flock, "flock", Locks),
    (libc::SYS_fcntl, "fcntl", Controls),
];

/// Those that the filter stops.
pub(crate) fn numbers() -> impl Iterator<Item = c_long> {
    CALLS.iter().map(|(number, ..)| *number)
}

/// Whether the call takes a list of buffers.
pub(crate) fn has_vectors(number: c_long) -> bool {
    matches!(kind(number), Some(ReadsVectors | WritesVectors))
}

fn kind(number: c_long) -> Option<Kind> {
    CALLS.iter().find(|(one, ..)| *one == number).map(|(_, _, kind)| *kind)
}

/// One call as it was made.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    pub(crate) number: c_long,
    pub(crate) arguments: [u64; 6],
}

impl Call {
    /// Whether such a fault can befall such a call, once or for good. Runs in a signal handler.
    pub(crate) fn suits(&self, fault: Fault, lasts: bool) -> bool {
        let Some(kind) = kind(self.number) else { return false };
        // No file system loses its locks for good, and SQLite would wait for them; signals end.
        let stays = matches!(kind, Controls | Locks) || fault == Fault::Error(libc::EINTR);
        if self.unlocks() || (lasts && stays) {
            return false;
        }
        match fault {
            Fault::Short => match kind {
                ReadsBytes | WritesBytes => self.arguments[2] > 1,
                ReadsVectors | WritesVectors => self.arguments[2] > 0,
                _ => false,
            },
            Fault::Error(libc::EIO | libc::EINTR) => true,
            Fault::Error(libc::EMFILE) => match kind {
                Opens(_) => true,
                Controls => {
                    matches!(self.arguments[1] as i32, libc::F_DUPFD | libc::F_DUPFD_CLOEXEC)
                }
                _ => false,
            },
            // A disk that is full or cannot be written.
            Fault::Error(_) => match kind {
                Writes | WritesBytes | WritesVectors => true,
                Opens(at) => {
                    let flags = self.arguments.get(at).map_or(0, |flags| *flags as i32);
                    flags & libc::O_CREAT != 0
                }
                _ => false,
            },
        }
    }

    /// Giving a lock back never fails.
    fn unlocks(&self) -> bool {
        match self.number {
            libc::SYS_flock => self.arguments[1] as i32 & libc::LOCK_UN != 0,
            libc::SYS_fcntl => {
                let sets = [libc::F_SETLK, libc::F_OFD_SETLK];
                // SAFETY: these two take the address of such a structure.
                sets.contains(&(self.arguments[1] as i32))
                    && unsafe { (*(self.arguments[2] as *const libc::flock)).l_type }
                        == libc::F_UNLCK as libc::c_short
            }
            _ => false,
        }
    }

    /// Whether it waits for the disk to have what was written.
    pub(crate) fn flushes(&self) -> bool {
        matches!(self.number, libc::SYS_fsync | libc::SYS_fdatasync)
    }

    /// Whether it takes a name away.
    pub(crate) fn removes(&self) -> bool {
        matches!(self.number, libc::SYS_unlink | libc::SYS_unlinkat)
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name =
            CALLS.iter().find(|(one, ..)| *one == self.number).map_or("?", |(_, name, _)| name);
        let [a, b, c, ..] = self.arguments;
        write!(f, "{name}({a:#x}, {b:#x}, {c:#x})")
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

pub(crate) fn error_name(number: i32) -> &'static str {
    match number {
        libc::EIO => "EIO",
        libc::EINTR => "EINTR",
        libc::EMFILE => "EMFILE",
        libc::ENOSPC => "ENOSPC",
        libc::EROFS => "EROFS",
        _ => "an error",
    }
}
