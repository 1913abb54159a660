//! Giving back what can be known: records that the index still has, texts of long keys, rights.

use std::os::fd::AsFd as _;

use rustix::fs::{FileType, Mode, OFlags, Timespec, Timestamps, fchmod, fchown};
use rustix::io::Errno;
use rustix::process::Uid;

use super::super::dir::{open_beneath, open_file};
use super::super::layout::OWN;
use super::super::open::{Live, Opened};
use super::super::verify::KNOWN;
use super::super::write::Terms;
use super::step;
use crate::backend::health::{Problem, ProblemKind};
use crate::error::{Error, Result};
use crate::flush::flush;
use crate::index::Index as _;
use crate::key::Key;
use crate::record::Stamp;

/// Whether the index can give the record back.
pub(super) fn can_be_restored(problem: &Problem) -> bool {
    problem.kind == ProblemKind::StampMissing
        || (problem.kind == ProblemKind::StampDamaged && problem.what == KNOWN)
}

impl Opened {
    /// Gives a file, whose stripe is held, the record that the index has of it. Its content was just
    /// compared with that. A signature in it is the one that was made when the value was saved.
    pub(super) fn restore_record(&self, live: &Live, path: &str, key: Option<&Key>) -> Result<()> {
        let io = |error: std::io::Error| Error::io(error, self.path.join(path));
        let Some(key) = key else { return Ok(()) };
        let row = live.catalog.ask(&live.clock, |index| index.get(key.as_str()))?;
        let Some(known) = row.and_then(|row| Stamp::decode(&row.record)) else { return Ok(()) };
        let Some(file) = open_file(self.base.as_fd(), path).map_err(|error| io(error.into()))?
        else {
            return Ok(());
        };
        let stat = rustix::fs::fstat(&file).map_err(|error| io(error.into()))?;
        let millis = known.record.updated;
        let stamp = self.stamp_for(live, key, known.record, true)?;
        self.stamps.set(file.as_fd(), stat.st_ino, &stamp.encode(), true).map_err(io)?;
        step();
        let seconds = i64::try_from(millis / 1_000).unwrap_or(i64::MAX);
        let when = Timespec { tv_sec: seconds, tv_nsec: (millis % 1_000 * 1_000_000) as _ };
        let times = Timestamps { last_access: when, last_modification: when };
        rustix::fs::futimens(&file, &times).map_err(|error| io(error.into()))?;
        flush(file.as_fd()).map_err(|error| io(error.into()))
    }

    /// Keeps the text of a long key anew, which the index has. Answers whether it was lost.
    pub(super) fn restore_key(
        &self,
        live: &Live,
        problem: &Problem,
        terms: Terms<'_>,
    ) -> Result<bool> {
        let Some(key) = problem.key.as_deref().and_then(|text| Key::new(text).ok()) else {
            return Ok(false);
        };
        let stem = key.name(self.case_rule());
        let _guard = live.locks.lock(vec![key.stripe()], terms.lock_timeout)?;
        if live.long_key(&stem).as_deref() == Some(key.as_str()) {
            return Ok(false);
        }
        // One that is damaged is in the way.
        live.forget_long_key(&stem)?;
        step();
        live.keep_long_key(&key, &stem, None)?;
        Ok(true)
    }

    /// Gives a file or folder of the store the rights that it should have, and its owner.
    pub(super) fn set_rights(&self, live: &Live, problem: &Problem, owner: u32) -> Result<()> {
        let Some(path) = self.below(problem) else { return Ok(()) };
        let io = |error: Errno| Error::io(error.into(), self.path.join(path));
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let is_database = path.contains(".sqlite");
        if is_database {
            // A descriptor of a database must never be closed by anybody but SQLite.
            return self.set_database_rights(live, path, owner);
        }
        let found = match open_beneath(self.base.as_fd(), path, flags) {
            Err(Errno::NOENT) => return Ok(()),
            found => found.map_err(io)?,
        };
        let stat = rustix::fs::fstat(&found).map_err(io)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let mode = match kind {
            FileType::Directory if path == OWN || path.starts_with(&format!("{OWN}/")) => {
                Mode::RWXU
            }
            // Who may look into a folder of values is for its owner to say; not who may write.
            FileType::Directory => {
                Mode::from_raw_mode(stat.st_mode & 0o7777) - Mode::WGRP - Mode::WOTH
            }
            FileType::RegularFile => Mode::RUSR | Mode::WUSR,
            _ => return Ok(()),
        };
        fchmod(&found, mode).map_err(io)?;
        step();
        if stat.st_uid != owner {
            fchown(&found, Some(Uid::from_raw(owner)), None).map_err(io)?;
        }
        Ok(())
    }

    fn set_database_rights(&self, live: &Live, path: &str, owner: u32) -> Result<()> {
        let io = |error: Errno| Error::io(error.into(), self.path.join(path));
        let Some(below) = path.strip_prefix(&format!("{OWN}/")) else { return Ok(()) };
        let (flags, mode) = (rustix::fs::AtFlags::SYMLINK_NOFOLLOW, Mode::RUSR | Mode::WUSR);
        let stat = rustix::fs::statat(&live.own, below, flags).map_err(io)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(());
        }
        rustix::fs::chmodat(&live.own, below, mode, rustix::fs::AtFlags::empty()).map_err(io)?;
        if stat.st_uid != owner {
            let owner = Some(Uid::from_raw(owner));
            rustix::fs::chownat(&live.own, below, owner, None, flags).map_err(io)?;
        }
        Ok(())
    }
}
