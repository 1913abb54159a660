//! Where a store may lie: not where others can plant values, and not where locks mislead.

use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::io::Errno;

use crate::error::{Error, ErrorKind, Result};

/// Others who can write the directory, or rename what lies above it, could plant values.
///
/// # Errors
/// [`ErrorKind::Untrusted`] with the folder that others can write; [`ErrorKind::Io`].
pub fn refuse_if_others_write(path: &Path) -> Result<()> {
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

/// The kind of file system that a folder lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileSystem {
    /// The number that statfs(2) gives for its kind.
    pub number: u64,
    /// The usual name; `None` if it is not known here.
    pub name: Option<&'static str>,
    /// Whether other machines may share it: a store there is refused unless that was allowed.
    pub is_network: bool,
}

/// Those that other machines may share.
const NETWORK: &[(u64, &str)] = &[
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "SMB"),
    (0xfe53_4d42, "SMB"),
    (0x0102_1997, "9p"),
    (0x6573_5546, "FUSE"),
    (0x00c3_6400, "Ceph"),
    (0x0bd0_0bd0, "Lustre"),
    (0x5346_414f, "AFS"),
];

/// Those of one machine, only to be named.
const LOCAL: &[(u64, &str)] = &[
    (0xef53, "ext4"),
    (0x5846_5342, "XFS"),
    (0x9123_683e, "Btrfs"),
    (0x2fc1_2fc1, "ZFS"),
    (0xf2f5_2010, "F2FS"),
    (0xca45_1a4e, "bcachefs"),
    (0x0102_1994, "tmpfs"),
    (0x794c_7630, "overlayfs"),
];

impl FileSystem {
    /// That of a file or folder. Asks the system, which may block where it is a network's.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if it cannot be asked.
    pub fn of(path: &Path) -> Result<Self> {
        let found = rustix::fs::statfs(path).map_err(|error| Error::io(error.into(), path))?;
        Ok(Self::numbered(found.f_type as u64))
    }

    fn numbered(number: u64) -> Self {
        let number = number & 0xffff_ffff;
        let named = |kinds: &[(u64, &'static str)]| {
            kinds.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
        };
        let network = named(NETWORK);
        Self { number, name: network.or_else(|| named(LOCAL)), is_network: network.is_some() }
    }
}

/// The name of the file system if it is one that other machines share.
pub(crate) fn network_file_system(base: &OwnedFd) -> Result<Option<&'static str>, Errno> {
    let kind = FileSystem::numbered(rustix::fs::fstatfs(base)?.f_type as u64);
    Ok(kind.name.filter(|_| kind.is_network))
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
    fn a_file_system_has_its_name_and_whether_others_share_it() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let here = FileSystem::of(dir.path()).expect("it is there");
        assert_eq!(here, FileSystem::numbered(here.number));
        for (number, name, is_network) in
            [(0x6969, Some("NFS"), true), (0xef53, Some("ext4"), false), (7, None, false)]
        {
            assert_eq!(FileSystem::numbered(number), FileSystem { number, name, is_network });
        }
        assert_eq!(
            FileSystem::of(&dir.path().join("none")).expect_err("none").kind(),
            ErrorKind::Io
        );
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
