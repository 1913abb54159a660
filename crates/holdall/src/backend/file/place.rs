//! Where a store may lie: not where others can plant values, and not where locks mislead.

use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::io::Errno;

use crate::error::{Error, ErrorKind, Result};

/// Others who can write the directory, or rename what lies above it, could plant values.
pub(crate) fn refuse_if_others_write(path: &Path) -> Result<()> {
    const OTHERS: u32 = 0o002;
    const GROUP: u32 = 0o020;
    const STICKY: u32 = 0o1000;
    for (depth, folder) in path.ancestors().enumerate() {
        let meta = std::fs::metadata(folder).map_err(|error| Error::io(error, folder))?;
        let mode = meta.mode();
        let group = mode & GROUP != 0 && meta.gid() != rustix::process::getegid().as_raw();
        // A sticky folder lets nobody rename what belongs to others, but does let them add.
        let is_safe = depth > 0 && mode & STICKY != 0;
        if !is_safe && (mode & OTHERS != 0 || group) {
            return Err(Error::new(ErrorKind::Untrusted, "others can write this directory")
                .at(folder)
                .remedy("take that right away (chmod go-w) or choose another base_path"));
        }
    }
    let owner = std::fs::metadata(path).map_err(|error| Error::io(error, path))?.uid();
    let me = rustix::process::geteuid().as_raw();
    if owner != me && owner != 0 && me != 0 {
        return Err(Error::new(ErrorKind::Untrusted, "the directory belongs to another user")
            .at(path)
            .remedy("choose another base_path"));
    }
    Ok(())
}

/// The name of the file system if it is one that other machines share.
pub(crate) fn network_file_system(base: &OwnedFd) -> Result<Option<&'static str>, Errno> {
    let kind = rustix::fs::fstatfs(base)?.f_type as u64 & 0xffff_ffff;
    Ok(match kind {
        0x6969 => Some("NFS"),
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => Some("SMB"),
        0x0102_1997 => Some("9p"),
        0x6573_5546 => Some("FUSE"),
        0x00c3_6400 => Some("Ceph"),
        0x0bd0_0bd0 => Some("Lustre"),
        0x5346_414f => Some("AFS"),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::layout::OWN;
    use super::super::{FileBackend, FileOptions};
    use super::*;
    use crate::backend::Backend as _;

    fn opened(path: &Path) -> Result<[u8; 16]> {
        FileBackend::new(path, FileOptions::default()).store_id()
    }

    #[test]
    fn a_directory_that_others_can_write_is_refused_with_the_remedy() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).expect("ours");
        let error = opened(dir.path()).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Untrusted);
        assert!(error.to_string().contains("chmod go-w"));
        let inside = dir.path().join("store");
        std::fs::create_dir(&inside).expect("made");
        assert!(opened(&inside).is_err());
        assert!(!dir.path().join(OWN).exists());
    }

    #[test]
    fn a_parent_that_another_group_can_write_is_refused() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = dir.path().join("store");
        std::fs::create_dir(&store).expect("made");
        std::fs::set_permissions(dir.path(), Permissions::from_mode(0o770)).expect("ours");
        assert!(opened(&store).is_ok(), "our own group may write");
        let another = rustix::process::getegid().as_raw() + 1;
        if std::os::unix::fs::chown(dir.path(), None, Some(another)).is_err() {
            // Only root, and members of that group, can give a directory to it.
            return;
        }
        let error = opened(&store).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Untrusted);
        std::fs::set_permissions(dir.path(), Permissions::from_mode(0o1770)).expect("ours");
        assert!(opened(&store).is_ok(), "nobody can replace what lies in it");
    }
}
