//! Making names survive a power cut: those of values and those of the folders on their way.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use rustix::fs::{AtFlags, StatxFlags, statx};
use rustix::io::Errno;

use super::dir::{open_folder, parent};
use super::layout::{OWN, open_base};
use crate::error::{Error, Result};
use crate::flush::flush;
use crate::sync::{AtomicBool, Mutex};

/// How many folders are remembered at most.
const MOST: usize = 1 << 16;

/// Folders whose own names, and those of all folders above them, are known to be on the disk.
#[derive(Default)]
pub(crate) struct FlushedFolders {
    /// And files whose names are.
    known: Mutex<HashSet<Identity>>,
    /// So are the names on the way to the store, and those of its own files.
    is_anchored: AtomicBool,
}

/// Inode and moment of birth: a folder that was removed and made again is another one, though
/// often with the same inode.
type Identity = (u64, i64, u32);

/// `None` where the file system does not tell when a file was made.
fn identity(folder: BorrowedFd<'_>) -> Result<Option<Identity>, Errno> {
    let wanted = StatxFlags::INO | StatxFlags::BTIME;
    match statx(folder, "", AtFlags::EMPTY_PATH, wanted) {
        Ok(stat) if StatxFlags::from_bits_retain(stat.stx_mask).contains(wanted) => {
            Ok(Some((stat.stx_ino, stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec)))
        }
        Ok(_) | Err(Errno::NOSYS) => Ok(None),
        Err(error) => Err(error),
    }
}

impl FlushedFolders {
    /// Flushes the folders in which names were made or removed, each of them once, and the names
    /// of the folders above that may not be on the disk yet. One answer for each path.
    ///
    /// The paths begin at `base`, which is called `name` in errors.
    pub(crate) fn flush_names(
        &self,
        base: BorrowedFd<'_>,
        name: &Path,
        paths: &[&str],
    ) -> Vec<Result<()>> {
        let mut done: HashMap<&str, Result<()>> = HashMap::new();
        let mut flushed = HashSet::new();
        let mut one = |path| {
            let folder = folder_of(path);
            let result = done.entry(folder).or_insert_with(|| {
                self.flush_folder(base, folder, &mut flushed)
                    .map_err(|error| Error::io(error.into(), name.join(folder)))
            });
            result.as_ref().map_err(Error::again).copied()
        };
        paths.iter().map(|path| one(path)).collect()
    }

    /// As [`FlushedFolders::flush_names`], and the store itself is on the disk too.
    pub(crate) fn flush_for_good(
        &self,
        base: BorrowedFd<'_>,
        name: &Path,
        paths: &[&str],
    ) -> Vec<Result<()>> {
        if !paths.is_empty()
            && let Err(error) = self.anchor(base, name)
        {
            return paths.iter().map(|_| Err(error.again())).collect();
        }
        self.flush_names(base, name, paths)
    }

    /// Flushes, once, the name of the store's directory, which somebody may have made just before,
    /// and those of the store's own files: another process may have made the store a moment ago,
    /// and not have flushed them yet. Without its identity, no value of it would be its own.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io).
    pub(crate) fn anchor(&self, base: BorrowedFd<'_>, name: &Path) -> Result<()> {
        if self.is_anchored.load(Ordering::Acquire) {
            return Ok(());
        }
        let io = |error: Errno| Error::io(error.into(), name);
        match open_folder(base, OWN) {
            Ok(own) => flush(own.as_fd()).map_err(io)?,
            Err(Errno::NOENT) => {}
            Err(error) => return Err(io(error)),
        }
        flush(base).map_err(io)?;
        match name.parent().map(open_base) {
            Some(Ok(above)) => flush(above.as_fd()).map_err(io)?,
            // Who may not list it did not make the directory in it either.
            None | Some(Err(Errno::ACCESS)) => {}
            Some(Err(error)) => return Err(io(error)),
        }
        self.is_anchored.store(true, Ordering::Release);
        Ok(())
    }

    /// `flushed` has the folders that this call need not flush again.
    fn flush_folder<'p>(
        &self,
        base: BorrowedFd<'_>,
        mut folder: &'p str,
        flushed: &mut HashSet<&'p str>,
    ) -> Result<(), Errno> {
        let mut once = |folder: &'p str, fd: BorrowedFd<'_>| {
            if !flushed.contains(folder) {
                flush(fd)?;
                flushed.insert(folder);
            }
            Ok(())
        };
        let fd = loop {
            if folder.is_empty() {
                return once("", base);
            }
            match open_folder(base, folder) {
                Ok(fd) => break fd,
                // It was removed with the last value in it: its own name is what has gone.
                Err(Errno::NOENT) => folder = folder_of(folder),
                Err(error) => return Err(error),
            }
        };
        once(folder, fd.as_fd())?;
        let mut new = Vec::new();
        let mut fd = fd;
        while !folder.is_empty() {
            let identity = identity(fd.as_fd())?;
            if identity.is_some_and(|identity| self.contains(&identity)) {
                break;
            }
            let Some((above, _)) = parent(base, folder)? else { break };
            new.extend(identity);
            folder = folder_of(folder);
            once(folder, above.as_fd())?;
            if !folder.is_empty() {
                fd = match open_folder(base, folder) {
                    // As above, just now.
                    Err(Errno::NOENT) => return self.flush_folder(base, folder, flushed),
                    opened => opened?,
                };
            }
        }
        self.extend(new);
        Ok(())
    }

    /// Flushes the name of a file unless that was done before.
    ///
    /// # Errors
    /// What `flush` says.
    pub(crate) fn once(
        &self,
        file: BorrowedFd<'_>,
        flush: impl FnOnce() -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let identity = identity(file)?;
        if identity.is_some_and(|identity| self.contains(&identity)) {
            return Ok(());
        }
        flush()?;
        self.extend(identity.into_iter().collect());
        Ok(())
    }

    fn contains(&self, identity: &Identity) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(identity)
    }

    fn extend(&self, new: Vec<Identity>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() + new.len() > MOST {
            known.clear();
        }
        known.extend(new);
    }
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Makes a directory with all that is missing above it, for its owner alone, and flushes their
/// names.
pub(crate) fn make_base(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let missing: Vec<&Path> = path.ancestors().take_while(|folder| !is_there(folder)).collect();
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    for folder in missing {
        let above = folder.parent().filter(|above| !above.as_os_str().is_empty());
        flush(open_base(above.unwrap_or(Path::new(".")))?.as_fd())?;
    }
    Ok(())
}

fn is_there(folder: &Path) -> bool {
    folder.as_os_str().is_empty() || folder.exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_folders_that_come_and_go_a_bounded_number_is_remembered() {
        let flushed = FlushedFolders::default();
        let folders = 3 * MOST as u64;
        for inode in 0..folders {
            flushed.extend(vec![(inode, 0, 0)]);
            let last = flushed.contains(&(inode, 0, 0));
            assert!(last && flushed.known.lock().expect("no panic").len() <= MOST);
        }
    }
}
