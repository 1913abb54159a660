//! Removing what dead writers have left.

use std::os::fd::AsFd as _;

use rustix::fs::{AtFlags, unlinkat};
use rustix::io::Errno;

use super::super::dir::{open_folder, parent};
use super::super::layout::OWN;
use super::super::open::{Live, Opened};
use super::super::temp;
use super::super::write::Terms;
use super::{FOLDER, step};
use crate::backend::health::{Problem, RepairReport};
use crate::error::{Error, Result};

impl Opened {
    /// Removes leftovers that were found, and that are still such while no write is under way.
    pub(super) fn sweep(
        &self,
        live: &Live,
        leftovers: &[&Problem],
        terms: Terms<'_>,
        report: &mut RepairReport,
    ) -> Result<()> {
        if leftovers.is_empty() {
            return Ok(());
        }
        let io = |error: Errno| Error::io(error.into(), self.path.join(OWN));
        let _all = live.locks.lock_all(terms.lock_timeout)?;
        // Nor does another thread of this process make the database.
        let values = live.inline.suspend();
        let loose = self.loose(live);
        let stamps = self.orphan_stamps(live)?;
        temp::sweep(&live.temporary, &self.stamps).map_err(io)?;
        for one in leftovers {
            let Some(path) = self.below(one) else { continue };
            let digest = path.strip_prefix(&format!("{OWN}/keys/"));
            let is_left = loose.iter().any(|(left, _)| left == path)
                || stamps.iter().any(|left| left == path)
                || digest.is_some_and(|digest| self.is_unused_key(live, digest));
            if is_left {
                self.remove_own(path)?;
                step();
                report.swept.push((*one).clone());
            }
        }
        drop(values);
        Ok(())
    }

    /// Removes a file or folder of the store's own; one that is gone already is fine.
    fn remove_own(&self, path: &str) -> Result<()> {
        let at = self.path.join(path);
        let io = |error: Errno| Error::io(error.into(), &at);
        let is_folder = path.starts_with(&format!("{OWN}/index/"))
            || path.starts_with(&format!("{OWN}/{FOLDER}/"));
        if is_folder {
            // No link is followed: the standard library sees to that.
            return match std::fs::remove_dir_all(&at) {
                Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {
                    std::fs::remove_file(&at).map_err(|error| Error::io(error, &at))
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                removed => removed.map_err(|error| Error::io(error, &at)),
            };
        }
        let Some((folder, name)) = parent(self.base.as_fd(), path).map_err(io)? else {
            return Ok(());
        };
        match unlinkat(folder.as_fd(), name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(io(error)),
        }
    }

    /// Stamps in files of their own whose files are gone, while no write is under way.
    fn orphan_stamps(&self, live: &Live) -> Result<Vec<String>> {
        let Ok(folder) = open_folder(live.own.as_fd(), "stamps") else { return Ok(Vec::new()) };
        drop(folder);
        let mut stamped = self.stamped_inodes(live);
        let mut folders = vec![String::new()];
        while let Some(folder) = folders.pop() {
            let listed = self.list_folder(&folder)?;
            stamped.retain(|inode| !listed.inodes.contains(inode));
            folders.extend(listed.below);
        }
        Ok(stamped.iter().map(|inode| format!("{OWN}/stamps/{inode:x}")).collect())
    }
}
