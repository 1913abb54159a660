//! Opening what lies below the base directory, and nothing else.
//!
//! Every path is relative to an open directory; no symbolic link is followed and no `..` leaves
//! it. Where the kernel or a sandbox refuses `openat2`, the path is walked part by part.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, unlinkat};
use rustix::io::Errno;

/// Folders are for their owner alone.
pub(crate) const FOLDER_MODE: Mode = Mode::RWXU;
/// So are files.
pub(crate) const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::CLOEXEC);

static NO_OPENAT2: AtomicBool = AtomicBool::new(false);

/// Opens a path below `base` without following any link in it.
pub(crate) fn open_beneath(
    base: BorrowedFd<'_>,
    path: &str,
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    if !NO_OPENAT2.load(Ordering::Relaxed) {
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        loop {
            match openat2(base, path, flags, Mode::empty(), how) {
                // A rename elsewhere in the tree came between.
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(Errno::NOSYS | Errno::PERM) => break,
                other => return other,
            }
        }
        let opened = walk(base, path, flags);
        if opened.is_ok() {
            NO_OPENAT2.store(true, Ordering::Relaxed);
        }
        return opened;
    }
    walk(base, path, flags)
}

fn walk(base: BorrowedFd<'_>, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let Some((folders, name)) = path.rsplit_once('/') else {
        return openat(base, path, flags, Mode::empty());
    };
    let mut at: Option<OwnedFd> = None;
    for folder in folders.split('/') {
        let here = at.as_ref().map_or(base, AsFd::as_fd);
        at = Some(openat(here, folder, FOLDER | OFlags::NOFOLLOW, Mode::empty())?);
    }
    openat(at.as_ref().map_or(base, AsFd::as_fd), name, flags, Mode::empty())
}

/// Opens a file for reading; `None` if there is none. Never waits for a pipe's other end.
pub(crate) fn open_file(base: BorrowedFd<'_>, path: &str) -> Result<Option<OwnedFd>, Errno> {
    match open_beneath(base, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
        Ok(file) => Ok(Some(file)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens a file for reading if that takes no disk: all parts of its path are in the kernel's
/// cache. `None` if they are not, if there is no such file, or if the kernel cannot tell (before
/// Linux 5.12).
pub(crate) fn open_cached(base: BorrowedFd<'_>, path: &str) -> Option<OwnedFd> {
    static REFUSED: AtomicBool = AtomicBool::new(false);
    if REFUSED.load(Ordering::Relaxed) || NO_OPENAT2.load(Ordering::Relaxed) {
        return None;
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
    let how = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::CACHED;
    match openat2(base, path, flags | OFlags::CLOEXEC, Mode::empty(), how) {
        Ok(file) => Some(file),
        Err(Errno::INVAL | Errno::NOSYS | Errno::PERM) => {
            REFUSED.store(true, Ordering::Relaxed);
            None
        }
        Err(_) => None,
    }
}

/// Opens a folder below `base`.
pub(crate) fn open_folder(base: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Errno> {
    open_beneath(base, path, FOLDER)
}

/// The folder in which a file lies: the base itself or one below it.
pub(crate) enum Parent<'a> {
    Base(BorrowedFd<'a>),
    Below(OwnedFd),
}

impl AsFd for Parent<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Base(fd) => *fd,
            Self::Below(fd) => fd.as_fd(),
        }
    }
}

/// Splits a path into its folder, opened, and the name in it; `None` if the folder is missing.
pub(crate) fn parent<'a, 'p>(
    base: BorrowedFd<'a>,
    path: &'p str,
) -> Result<Option<(Parent<'a>, &'p str)>, Errno> {
    let Some((folder, name)) = path.rsplit_once('/') else {
        return Ok(Some((Parent::Base(base), path)));
    };
    match open_folder(base, folder) {
        Ok(fd) => Ok(Some((Parent::Below(fd), name))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// As [`parent`], making the folders that are missing. [`Errno::NOENT`] if one of them was removed
/// again meanwhile.
pub(crate) fn make_parent<'a, 'p>(
    base: BorrowedFd<'a>,
    path: &'p str,
) -> Result<(Parent<'a>, &'p str), Errno> {
    if let Some(found) = parent(base, path)? {
        return Ok(found);
    }
    let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
    let mut at: Option<OwnedFd> = None;
    for folder in folders.split('/') {
        let here = at.as_ref().map_or(base, AsFd::as_fd);
        match mkdirat(here, folder, FOLDER_MODE) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        at = Some(openat(here, folder, FOLDER | OFlags::NOFOLLOW, Mode::empty())?);
    }
    Ok((at.map_or(Parent::Base(base), Parent::Below), name))
}

/// Removes the folders above a path that have become empty; somebody may fill them meanwhile.
pub(crate) fn prune_parents(base: BorrowedFd<'_>, path: &str) {
    let mut path = path;
    while let Some((folder, _)) = path.rsplit_once('/') {
        let Ok(Some((above, name))) = parent(base, folder) else { return };
        match unlinkat(above.as_fd(), name, AtFlags::REMOVEDIR) {
            // It was not made, but those above it may have been.
            Ok(()) | Err(Errno::NOENT) => path = folder,
            Err(_) => return,
        }
    }
}

/// Reads a whole small file of the store's own.
pub(crate) fn read_small(
    base: BorrowedFd<'_>,
    path: &str,
    limit: u64,
) -> io::Result<Option<Vec<u8>>> {
    use std::io::Read as _;
    let Some(file) = open_file(base, path)? else { return Ok(None) };
    let mut content = Vec::new();
    std::fs::File::from(file).take(limit).read_to_end(&mut content)?;
    Ok(Some(content))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn base() -> (tempfile::TempDir, OwnedFd) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let fd = openat(rustix::fs::CWD, dir.path(), FOLDER, Mode::empty()).expect("just made");
        (dir, fd)
    }

    #[test]
    fn no_link_is_followed_and_no_path_leaves_the_base() {
        let (dir, fd) = base();
        let outside = tempfile::NamedTempFile::new().expect("a temporary file");
        symlink(outside.path(), dir.path().join("link")).expect("planted");
        symlink("/etc", dir.path().join("folder")).expect("planted");
        for walked in [false, true] {
            let open = |path| {
                if walked {
                    walk(fd.as_fd(), path, OFlags::RDONLY | OFlags::NOFOLLOW)
                } else {
                    open_beneath(fd.as_fd(), path, OFlags::RDONLY)
                }
            };
            assert!(open("link").is_err());
            assert!(open("folder/passwd").is_err());
        }
        assert!(open_beneath(fd.as_fd(), "../x", OFlags::RDONLY).is_err());
        assert!(open_beneath(fd.as_fd(), "/etc/passwd", OFlags::RDONLY).is_err());
        assert!(parent(fd.as_fd(), "folder/x").is_err());
    }

    #[test]
    fn folders_are_made_when_needed_and_removed_when_empty() {
        let (dir, fd) = base();
        assert!(parent(fd.as_fd(), "a/b/c").expect("asked").is_none());
        let (_, name) = make_parent(fd.as_fd(), "a/b/c").expect("made");
        assert_eq!(name, "c");
        std::fs::write(dir.path().join("a/keep"), "x").expect("written");
        prune_parents(fd.as_fd(), "a/b/c");
        assert!(dir.path().join("a").is_dir());
        assert!(!dir.path().join("a/b").exists());
    }

    #[test]
    fn a_pipe_does_not_block_the_reader() {
        let (dir, fd) = base();
        let path = dir.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, FILE_MODE, 0)
            .expect("planted");
        assert!(open_file(fd.as_fd(), "pipe").expect("opened").is_some());
    }
}
