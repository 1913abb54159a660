//! The file system: its kind, and how much room there is.

use std::path::Path;

use holdall::backend::file::FileSystem;
use rustix::fs::{StatVfsMountFlags, statvfs};

use super::Findings;
use crate::output::size;

/// Below this the next larger save may fail.
const LITTLE: u64 = 64 << 20;

pub(super) fn examine(folder: &Path, findings: &mut Findings) {
    let (Ok(kind), Ok(room)) = (FileSystem::of(folder), statvfs(folder)) else {
        return findings.error("the file system cannot be asked", "look at the folder first");
    };
    match kind.name {
        Some(name) if kind.is_network => findings.error(
            format!("it lies on {name}, which other machines may share: holdall refuses it"),
            "use a local disk; or, if only this machine uses it, allow_network_fs=True in Python",
        ),
        Some("tmpfs") => findings.warning(
            "it lies in memory (tmpfs): nothing survives a restart of the machine",
            "use a disk, if it should",
        ),
        Some(name) => findings.good(format!("it lies on {name}")),
        None => findings.notice(
            format!("it lies on a file system that is not known here ({:#x})", kind.number),
            "see docs/concepts.md for what holdall needs of one",
        ),
    }
    if room.f_flag.contains(StatVfsMountFlags::RDONLY) {
        findings.warning("the file system is mounted read-only", "mount it for writing");
    }
    let free = room.f_bavail.saturating_mul(room.f_frsize);
    let all = room.f_blocks.saturating_mul(room.f_frsize);
    let left = format!("{} of {} are free", size(free), size(all));
    match free {
        // Such as one that only looks like files.
        _ if all == 0 => {}
        0..LITTLE => findings.warning(left, "free some space"),
        _ => findings.good(left),
    }
    // Some file systems have no fixed number of files.
    if room.f_files > 0 && room.f_favail < room.f_files / 100 {
        let what = format!("only {} more files can be made (inodes)", room.f_favail);
        findings.warning(what, "remove files, or keep small values inline (inline_below=)");
    }
}
