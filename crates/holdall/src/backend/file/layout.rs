//! What lies in `.holdall` besides the values, and the identity of a store.

use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, linkat, mkdirat, openat, unlinkat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::dir::{FILE_MODE, FOLDER_MODE, open_folder, read_small};
use crate::error::{Error, ErrorKind, Result};
use crate::flush::flush;
use crate::key::CaseRule;
use crate::record::StoreMark;

/// The store's own folder in the base directory.
pub(crate) const OWN: &str = ".holdall";

/// The newest layout that this release reads and writes.
const FORMAT: u32 = 1;

/// What to do about a `store.json` that cannot be understood.
const STORE_FILE_REMEDY: &str = crate::backend::health::ProblemKind::StoreFileDamaged.remedy();

/// `store.json`: written once, when the store is made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StoreFile {
    /// The layout version.
    format: u32,
    /// 32 hex digits, chosen at random.
    store_id: String,
    /// Milliseconds since 1970.
    created: u64,
    /// The release that made it.
    release: String,
    /// Whether names that differ in case are different files here.
    case_sensitive: bool,
}

impl StoreFile {
    pub(crate) fn id(&self) -> [u8; 16] {
        u128::from_str_radix(&self.store_id, 16).unwrap_or(0).to_be_bytes()
    }

    pub(crate) fn mark(&self) -> StoreMark {
        let [a, b, c, d, ..] = self.id();
        StoreMark(u32::from_le_bytes([a, b, c, d]))
    }

    pub(crate) fn case_rule(&self) -> CaseRule {
        if self.case_sensitive { CaseRule::Sensitive } else { CaseRule::Insensitive }
    }

    /// Reads `store.json`; `None` if the folder is no store yet.
    ///
    /// # Errors
    /// [`ErrorKind::Version`] for a later layout, before anything was touched;
    /// [`ErrorKind::Corrupt`] if it cannot be understood.
    pub(crate) fn read(own: &OwnedFd) -> Result<Option<Self>> {
        let io = |error| Error::io(error, ".holdall/store.json");
        let Some(bytes) = read_small(own.as_fd(), "store.json", 65_536).map_err(io)? else {
            return Ok(None);
        };
        /// All that is asked of a layout that may be a later one.
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let damaged = |_| {
            Error::new(ErrorKind::Corrupt, "store.json cannot be understood")
                .at(".holdall/store.json")
                .remedy(STORE_FILE_REMEDY)
        };
        let Version { format } = serde_json::from_slice(&bytes).map_err(damaged)?;
        if format > FORMAT {
            return Err(Error::new(
                ErrorKind::Version,
                format!("the store has layout {format}, this release reads up to {FORMAT}"),
            )
            .remedy("use a later release of holdall; nothing was touched"));
        }
        Ok(Some(serde_json::from_slice(&bytes).map_err(damaged)?))
    }

    /// Reads `store.json`, or makes it; when several processes do so at once they all get the
    /// same one. Answers also whether it is new.
    ///
    /// # Errors
    /// As [`StoreFile::read`], and [`ErrorKind::Io`].
    pub(crate) fn read_or_make(own: &OwnedFd, wall_millis: u64) -> Result<(Self, bool)> {
        let there = match Self::read(own)? {
            Some(found) => (found, false),
            None => Self::make(own, wall_millis)?,
        };
        if let Err(error) = sweep_drafts(own) {
            tracing::warn!("drafts of store.json were not removed: {error}");
        }
        Ok(there)
    }

    /// Makes it, or reads what somebody else has made meanwhile.
    fn make(own: &OwnedFd, wall_millis: u64) -> Result<(Self, bool)> {
        let io = |error: Errno| Error::io(error.into(), ".holdall/store.json");
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|error| {
            Error::new(ErrorKind::Io, format!("the system has no random bytes: {error}"))
        })?;
        let made = Self {
            format: FORMAT,
            store_id: format!("{:032x}", u128::from_be_bytes(id)),
            created: wall_millis,
            release: env!("CARGO_PKG_VERSION").into(),
            case_sensitive: is_case_sensitive(own).map_err(io)?,
        };
        let text = serde_json::to_vec_pretty(&made)
            .map_err(|error| Error::new(ErrorKind::Io, error.to_string()))?;
        let partial = format!("store.{}.new", made.store_id);
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = openat(own, &partial, flags, FILE_MODE).map_err(io)?;
        let mut file = std::fs::File::from(file);
        let written = file.write_all(&text).and_then(|()| Ok(flush(file.as_fd())?));
        let linked =
            written.map_err(|error| Error::io(error, ".holdall/store.json")).and_then(|()| {
                match linkat(own, &partial, own, "store.json", AtFlags::empty()) {
                    Ok(()) => Ok(true),
                    // Without a draft: swept by somebody who has found a store.json.
                    Err(Errno::EXIST | Errno::NOENT) => Ok(false),
                    Err(error) => Err(io(error)),
                }
            });
        let _ = unlinkat(own, &partial, AtFlags::empty());
        let is_new = linked?;
        flush(own.as_fd()).map_err(io)?;
        let found = Self::read(own)?;
        Ok((found.ok_or_else(|| io(Errno::NOENT))?, is_new))
    }

    /// Refuses a store that was moved to a file system which tells names apart differently.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] then: two keys could become one file.
    pub(crate) fn check_case(&self, own: &OwnedFd) -> Result<()> {
        let io = |error: Errno| Error::io(error.into(), OWN);
        if self.case_sensitive && !is_case_sensitive(own).map_err(io)? {
            return Err(Error::new(
                ErrorKind::Conflict,
                "the store was made where names differ by case, and here they do not",
            )
            .remedy("move it back, or copy its values into a new store"));
        }
        Ok(())
    }
}

/// Whether a file of the store's own folder is a `store.json` that never got its name.
pub(crate) fn is_draft(name: &str) -> bool {
    name.strip_prefix("store.").is_some_and(|rest| rest.ends_with(".new"))
}

/// Removes them. There is a `store.json`, so whoever is still making one comes too late anyway.
fn sweep_drafts(own: &OwnedFd) -> Result<(), Errno> {
    for entry in Dir::read_from(own)? {
        let entry = entry?;
        if entry.file_name().to_str().is_ok_and(is_draft) {
            match unlinkat(own, entry.file_name(), AtFlags::empty()) {
                // By somebody who opens the store at the same time.
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Whether two names that differ in case are two files here: the folder itself is the probe.
fn is_case_sensitive(own: &OwnedFd) -> Result<bool, Errno> {
    match rustix::fs::statat(own, "../.HOLDALL", AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(true),
        Err(error) => Err(error),
        Ok(other) => {
            let this = rustix::fs::fstat(own)?;
            Ok((other.st_dev, other.st_ino) != (this.st_dev, this.st_ino))
        }
    }
}

/// Opens one of the store's own folders, made if missing.
pub(crate) fn own_folder(at: &OwnedFd, name: &str) -> Result<OwnedFd> {
    let io = |error: Errno| Error::io(error.into(), format!("{OWN}/{name}"));
    match mkdirat(at, name, FOLDER_MODE) {
        Ok(()) => {
            if let Err(error) = flush(at.as_fd()) {
                // Or the next one would find it and take it for flushed.
                let _ = unlinkat(at, name, AtFlags::REMOVEDIR);
                return Err(io(error));
            }
        }
        Err(Errno::EXIST) => {}
        Err(error) => return Err(io(error)),
    }
    open_folder(at.as_fd(), name).map_err(io)
}

/// Has ext4 choose a place of its own for each folder in `own` (`chattr +T`), as for those of users in
/// `/home`. By default all lie close to the base directory, and where thousands of files were deleted
/// nearby, an ext4 without a journal takes ten times as long to make one, for minutes. Only a hint:
/// other file systems refuse it.
pub(crate) fn settle_apart(own: &OwnedFd) {
    if let Ok(flags) = rustix::fs::ioctl_getflags(own) {
        let _ = rustix::fs::ioctl_setflags(own, flags | rustix::fs::IFlags::TOPDIR);
    }
}

/// Opens one of the store's own files for reading and writing, made if missing. Nothing else of that
/// name will do: a write into a pipe would wait for ever.
pub(crate) fn own_file(at: &OwnedFd, name: &str) -> Result<OwnedFd> {
    let io = |error: Errno| Error::io(error.into(), format!("{OWN}/{name}"));
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = openat(at, name, flags | OFlags::NONBLOCK, FILE_MODE).map_err(io)?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&file).map_err(io)?.st_mode);
    if kind != FileType::RegularFile {
        let cause = "something else has the name of one of the store's own files";
        return Err(Error::new(ErrorKind::Corrupt, cause)
            .at(format!("{OWN}/{name}"))
            .remedy("remove it; it is made anew"));
    }
    Ok(file)
}

/// Opens the base directory itself; a link to it is the user's own choice and is followed.
pub(crate) fn open_base(path: &std::path::Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    openat(rustix::fs::CWD, path, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_who_open_a_store_at_once_sweep_its_drafts_without_a_failure() {
        let dir = tempfile::tempdir().expect("a folder");
        for n in 0..2_000 {
            std::fs::write(dir.path().join(format!("store.{n}.new")), "").expect("left behind");
        }
        let own = open_base(dir.path()).expect("there");
        let swept = std::thread::scope(|scope| {
            // Each lists them for itself.
            let sweep = || sweep_drafts(&open_base(dir.path()).expect("there"));
            [scope.spawn(sweep), scope.spawn(sweep)].map(|one| one.join().expect("no panic"))
        });
        assert_eq!(swept, [Ok(()), Ok(())]);
        assert_eq!(sweep_drafts(&own), Ok(()));
        assert_eq!(std::fs::read_dir(dir.path()).expect("there").count(), 0);
    }
}
