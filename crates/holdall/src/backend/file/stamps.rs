//! Where stamps lie: in an extended attribute of the file, or, where the file system has none,
//! in a file of their own that is named after the inode.
//!
//! Both ways the stamp belongs to the inode, so that placing a file by one rename places its
//! stamp too. The second way costs one more file a value, and a copy of the store leaves its
//! stamps behind; the values are then read as foreign files.

use std::io::Write as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::buffer::spare_capacity;
use rustix::fs::{AtFlags, OFlags, XattrFlags, fgetxattr, fsetxattr, openat, unlinkat};
use rustix::io::Errno;

use super::dir::{FILE_MODE, open_file, read_small};
use super::layout::{OWN, own_folder};
use super::newer;
use super::temp::Temp;
use crate::error::{Error, Result};
use crate::flush::flush;
use crate::record::{MAX_STAMP, Stamp};

const ATTRIBUTE: &str = "user.holdall";

/// What lies where a file's stamp belongs.
#[derive(Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "a box would cost every read an allocation")]
pub(crate) enum FoundStamp {
    /// Nothing, or what this store did not set for the key: the file is a foreign one.
    None,
    /// Something that cannot be understood: whose the file is, and what of it is true, is lost.
    Damaged,
    /// A stamp that is whole.
    Whole(Stamp),
}

impl FoundStamp {
    /// The stamp, if there is one that can be understood.
    pub(crate) fn whole(self) -> Option<Stamp> {
        match self {
            Self::Whole(stamp) => Some(stamp),
            Self::None | Self::Damaged => None,
        }
    }
}

/// Where the stamps of one store lie.
pub(crate) enum Stamps {
    /// With the files.
    Attributes,
    /// In this folder.
    Folder(OwnedFd),
}

impl Stamps {
    /// Finds out where the stamps of a store lie, with a file that will be removed; on a full disk
    /// there is none.
    ///
    /// # Errors
    /// If the disk fails: whoever took that for a no would take all files for those of strangers.
    pub(crate) fn open(own: &OwnedFd, probe: Result<Temp<'_>, Errno>) -> Result<Self> {
        let has_attributes = match probe {
            Ok(probe) => Self::supports_attributes(probe.file()),
            Err(Errno::NOSPC | Errno::DQUOT) => {
                let known = open_file(own.as_fd(), "store.json");
                known.and_then(|file| Self::may_have_attributes(file.ok_or(Errno::NOENT)?.as_fd()))
            }
            Err(error) => Err(error),
        };
        match has_attributes {
            Ok(true) => Ok(Self::Attributes),
            Ok(false) => Ok(Self::Folder(own_folder(own, "stamps")?)),
            Err(error) => Err(Error::io(error.into(), format!("{OWN}/tmp"))),
        }
    }

    /// Tries the attribute on a file that will be removed.
    fn supports_attributes(probe: BorrowedFd<'_>) -> Result<bool, Errno> {
        #[cfg(test)]
        if FORCE_FOLDER.get() {
            return Ok(false);
        }
        supports(fsetxattr(probe, ATTRIBUTE, b"probe", XattrFlags::empty()))
    }

    /// Whether a file could have the attribute, found out without a write, for a disk that is full.
    fn may_have_attributes(file: BorrowedFd<'_>) -> Result<bool, Errno> {
        match fgetxattr(file, ATTRIBUTE, &mut [0; 128][..]) {
            Err(Errno::NODATA | Errno::RANGE) => Ok(true),
            asked => supports(asked.map(drop)),
        }
    }

    /// Sets or replaces the stamp of an open file.
    ///
    /// In a folder, `durable` flushes the stamp before the value gets its name.
    pub(crate) fn set(
        &self,
        file: BorrowedFd<'_>,
        inode: u64,
        stamp: &[u8],
        durable: bool,
    ) -> std::io::Result<()> {
        match self {
            Self::Attributes => Ok(fsetxattr(file, ATTRIBUTE, stamp, XattrFlags::empty())?),
            Self::Folder(folder) => {
                let name = format!("{inode:x}");
                let partial = format!("{name}.new");
                let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::CLOEXEC;
                let out = openat(
                    folder,
                    &partial,
                    flags | OFlags::NOFOLLOW | OFlags::NONBLOCK,
                    FILE_MODE,
                )?;
                let mut out = std::fs::File::from(out);
                let placed = out.write_all(stamp).and_then(|()| {
                    if durable {
                        flush(out.as_fd())?;
                    }
                    Ok(rustix::fs::renameat(folder, &partial, folder, &name)?)
                });
                if placed.is_err() {
                    let _ = unlinkat(folder, &partial, AtFlags::empty());
                }
                placed?;
                if durable {
                    flush(folder.as_fd())?;
                }
                Ok(())
            }
        }
    }

    /// Removes the stamp of a file that has lost its name. The file must still be open: its inode
    /// could be another file's already.
    pub(crate) fn forget(&self, inode: u64) {
        if let Self::Folder(folder) = self {
            let _ = unlinkat(folder, format!("{inode:x}"), AtFlags::empty());
        }
    }

    /// Reads the stamp of an open file, which is called `name` in errors.
    ///
    /// # Errors
    /// [`ErrorKind::Version`](crate::ErrorKind::Version) for one of a later layout: what it says
    /// of the value, its end or its signature, is not known here.
    pub(crate) fn get(
        &self,
        file: BorrowedFd<'_>,
        inode: u64,
        name: impl Fn() -> PathBuf,
    ) -> Result<FoundStamp> {
        let bytes = self.bytes(file, inode).map_err(|error| Error::io(error, name()))?;
        let Some(bytes) = bytes else { return Ok(FoundStamp::None) };
        if let Some(stamp) = Stamp::decode(&bytes) {
            return Ok(FoundStamp::Whole(stamp));
        }
        match Stamp::later_version(&bytes) {
            Some(found) => {
                let error = newer::refused("the record of this value", found, Stamp::VERSION);
                Err(error.remedy(newer::REMEDY).at(name()))
            }
            None => Ok(FoundStamp::Damaged),
        }
    }

    /// Reads the stamp of an open file as it lies there, whatever it is.
    pub(crate) fn bytes(
        &self,
        file: BorrowedFd<'_>,
        inode: u64,
    ) -> std::io::Result<Option<Vec<u8>>> {
        match self {
            Self::Attributes => attribute(file),
            Self::Folder(folder) => {
                read_small(folder.as_fd(), &format!("{inode:x}"), MAX_STAMP as u64)
            }
        }
    }
}

fn supports(tried: Result<(), Errno>) -> Result<bool, Errno> {
    match tried {
        // Who says that there is no room would have taken it.
        Ok(()) | Err(Errno::NOSPC | Errno::DQUOT) => Ok(true),
        Err(Errno::NOTSUP | Errno::NOSYS | Errno::PERM | Errno::ACCESS) => Ok(false),
        Err(error) => Err(error),
    }
}

fn attribute(file: BorrowedFd<'_>) -> std::io::Result<Option<Vec<u8>>> {
    // Most stamps are small; asking for the size first would cost every read a system call.
    for capacity in [128, MAX_STAMP] {
        let mut bytes = Vec::with_capacity(capacity);
        match fgetxattr(file, ATTRIBUTE, spare_capacity(&mut bytes)) {
            Ok(_) => return Ok(Some(bytes)),
            Err(Errno::RANGE) => {}
            Err(Errno::NODATA | Errno::NOTSUP) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
    // Larger than any stamp: it is there, and nothing of it can be understood.
    Ok(Some(Vec::new()))
}

#[cfg(test)]
thread_local! {
    static FORCE_FOLDER: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Makes the stores that this thread opens do without attributes.
#[cfg(test)]
pub(crate) fn force_folder(force: bool) {
    FORCE_FOLDER.set(force);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::file::dir::open_folder;

    #[test]
    fn a_stamp_follows_its_inode_in_either_place() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let base = std::fs::File::open(dir.path()).expect("just made");
        let folder = open_folder(base.as_fd(), ".").expect("just made");
        let stamp = crate::record::tests_support::plain_stamp();
        let file = tempfile::NamedTempFile::new_in(&dir).expect("a temporary file");
        let inode = rustix::fs::fstat(file.as_file()).expect("open").st_ino;
        for stamps in [Stamps::Attributes, Stamps::Folder(folder)] {
            let file = file.as_file().as_fd();
            if matches!(stamps, Stamps::Attributes)
                && !Stamps::supports_attributes(file).expect("tried")
            {
                continue;
            }
            stamps.set(file, inode, &stamp.encode(), true).expect("set");
            let found = stamps.get(file, inode, PathBuf::new).expect("read");
            assert_eq!(found.whole().as_ref(), Some(&stamp));
        }
    }
}
