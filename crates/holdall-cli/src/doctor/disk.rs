//! The file system: its kind, and how much room there is.

use std::path::Path;

use rustix::fs::{StatVfsMountFlags, statfs, statvfs};

use super::Findings;
use crate::output::size;

/// Kinds by the number that statfs(2) gives, and whether other machines share them.
const KINDS: &[(u64, &str, bool)] = &[
    (0xef53, "ext4", false),
    (0x5846_5342, "XFS", false),
    (0x9123_683e, "Btrfs", false),
    (0x2fc1_2fc1, "ZFS", false),
    (0xf2f5_2010, "F2FS", false),
    (0xca45_1a4e, "bcachefs", false),
    (0x0102_1994, "tmpfs", false),
    (0x794c_7630, "overlayfs", false),
    (0x6969, "NFS", true),
    (0x517b, "SMB", true),
    (0xff53_4d42, "SMB", true),
    (0xfe53_4d42, "SMB", true),
    (0x0102_1997, "9p", true),
    (0x6573_5546, "FUSE", true),
    (0x00c3_6400, "Ceph", true),
    (0x0bd0_0bd0, "Lustre", true),
    (0x5346_414f, "AFS", true),
];

/// Below this the next larger save may fail.
const LITTLE: u64 = 64 << 20;

pub(super) fn examine(folder: &Path, findings: &mut Findings) {
    let (Ok(kind), Ok(room)) = (statfs(folder), statvfs(folder)) else {
        return findings.error("the file system cannot be asked", "look at the folder first");
    };
    let number = kind.f_type as u64 & 0xffff_ffff;
    match KINDS.iter().find(|(known, ..)| *known == number) {
        Some((_, name, true)) => findings.error(
            format!("it lies on {name}, which other machines may share: holdall refuses it"),
            "use a local disk; or allow_network_fs=True, if only this machine uses it",
        ),
        Some((_, "tmpfs", _)) => findings.warning(
            "it lies in memory (tmpfs): nothing survives a restart of the machine",
            "use a disk, if it should",
        ),
        Some((_, name, _)) => findings.good(format!("it lies on {name}")),
        None => findings.notice(
            format!("it lies on a file system that is not known here ({number:#x})"),
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
        0..LITTLE => findings.warning(left, "free some space"),
        _ => findings.good(left),
    }
    // Some file systems have no fixed number of files.
    if room.f_files > 0 && room.f_favail < room.f_files / 100 {
        let what = format!("only {} more files can be made (inodes)", room.f_favail);
        findings.warning(what, "remove files, or keep small values inline (inline_below=)");
    }
}
