//! A damaged database of inline values: what can be read of it goes into a new one, and the old one
//! into quarantine.
//!
//! The new database is complete, and on the disk, in quarantine before the two folders are exchanged,
//! which is one step: whoever is killed before has changed nothing, and whoever is killed after it is
//! done. A `draft` in the new folder tells the two apart.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, RenameFlags, renameat_with, unlinkat};
use rustix::io::Errno;

use super::super::inline::FOLDER as INLINE;
use super::super::layout::{OWN, own_folder};
use super::super::open::{Live, Opened};
use super::super::verify::database;
use super::super::write::Terms;
use super::items::{Item, Note};
use super::step;
use crate::backend::health::{Problem, Quarantined, RepairReport};
use crate::error::{Error, Result};
use crate::flush::flush;
use crate::index::{SqliteIndex, VALUES_FILE};

/// What a new database takes beside its values while they are copied.
const LOG_BYTES: u64 = 8 << 20;

/// In a folder of a database that is not in its place yet.
pub(in super::super) const DRAFT: &str = "draft";

impl Opened {
    /// Puts pages with one flipped bit right, or makes the database of inline values anew. Nobody writes meanwhile, and every process opens
    /// it anew afterwards.
    pub(super) fn mend_database(
        &self,
        live: &Live,
        problem: &Problem,
        terms: Terms<'_>,
        report: &mut RepairReport,
    ) -> Result<()> {
        let _all = live.locks.lock_all(terms.lock_timeout)?;
        let values = live.inline.suspend();
        let place = self.path.join(OWN).join(INLINE);
        match SqliteIndex::put_right(&place) {
            Ok(true) => {
                tracing::warn!("flipped bits of the database of inline values were put right");
                report.mended.push(problem.clone());
                return Ok(());
            }
            Ok(false) => {}
            Err(error) => tracing::warn!("its pages could not be put right one by one: {error}"),
        }
        let note = Note {
            kind: problem.kind.name(),
            key: None,
            path: Some(&database()),
            what: &problem.what,
            file: INLINE,
            stamp: None,
        };
        let told = |error: Error| if error.is_disk_full() { needed(error, &place) } else { error };
        let item = Item::make(live, "inline", &note).map_err(told)?;
        let aside = self.path.join(&item.path);
        let drafted = draft(&item, &place, &aside.join(INLINE)).map_err(told);
        if drafted.is_err()
            && let Err(error) = std::fs::remove_dir_all(&aside)
        {
            tracing::warn!("a database that was not finished is left to the next repair: {error}");
        }
        let (folder, salvaged) = drafted?;
        step();
        self.forget_draft(live)?;
        // Before the exchange: whoever has the old one open looks where it is at each call, until
        // a scan has begun another epoch, even if nobody lives to begin one here.
        live.clock.set_diverged(true);
        step();
        let io = |error: Errno| {
            let error = Error::io(error.into(), &place);
            error.remedy("end every process that uses the store, and move .holdall/inline away")
        };
        renameat_with(&live.own, INLINE, &item.folder, INLINE, RenameFlags::EXCHANGE)
            .map_err(io)?;
        step();
        item.flush()?;
        flush(live.own.as_fd()).map_err(io)?;
        unlinkat(&folder, DRAFT, AtFlags::empty()).map_err(io)?;
        step();
        flush(folder.as_fd()).map_err(io)?;
        live.clock.next_epoch();
        step();
        drop(values);
        let what = format!("{}; {salvaged} values were read", problem.what);
        tracing::warn!("the database of inline values was made anew: {what}");
        report.salvaged = Some(salvaged);
        let problem = Problem { what, ..problem.clone() };
        report.quarantined.push(Quarantined { problem, folder: self.path.join(&item.path) });
        Ok(())
    }

    /// Removes the draft that a repair which was killed has left in the database that is in its
    /// place: in quarantine it would make it look like one that was never finished.
    fn forget_draft(&self, live: &Live) -> Result<()> {
        let io = |error: Errno| Error::io(error.into(), self.path.join(OWN).join(INLINE));
        let folder = own_folder(&live.own, INLINE)?;
        match unlinkat(&folder, DRAFT, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            removed => removed.and_then(|()| flush(folder.as_fd())).map_err(io),
        }
    }
}

/// Makes the new database beside the old one, on the disk. Answers with its folder and how many values
/// were read.
fn draft(item: &Item, place: &Path, new: &Path) -> Result<(OwnedFd, u64)> {
    let folder = own_folder(&item.folder, INLINE)?;
    step();
    drop(super::super::layout::own_file(&folder, DRAFT)?);
    keep_log(place, new)?;
    let salvaged = SqliteIndex::salvage(place, new, &is_whole)?;
    flush(folder.as_fd()).map_err(|error| Error::io(error.into(), new))?;
    item.flush()?;
    Ok((folder, salvaged))
}

/// Keeps the log as it lies there beside the new database: reading the old one folds in what SQLite
/// believes of the log, and removes the rest.
fn keep_log(place: &Path, new: &Path) -> Result<()> {
    let name = format!("{VALUES_FILE}-wal");
    let (log, kept) = (place.join(&name), new.with_file_name(&name));
    match std::fs::symlink_metadata(&log) {
        Ok(found) if found.is_file() && found.len() > 0 => {}
        _ => return Ok(()),
    }
    let flushed = std::fs::copy(&log, &kept).and_then(|_| {
        let file = std::fs::File::open(&kept)?;
        Ok(flush(file.as_fd())?)
    });
    flushed.map_err(|error| Error::io(error, log))
}

/// Says how much is to be freed: all values are copied before the old database goes, and that itself
/// where it cannot be read as it is. What its log has may be all new: then it is there in the new
/// database, in the log that is copied too, and in the copy into which that is folded.
fn needed(error: Error, place: &Path) -> Error {
    let length = |name: &str| place.join(name).metadata().map_or(0, |found| found.len());
    let (old, log) = (length(VALUES_FILE), length(&format!("{VALUES_FILE}-wal")));
    error.needs_room(2 * old + 3 * log + LOG_BYTES)
}

/// Whether an inline value is what was saved, in whichever store: all of them are loaded.
fn is_whole(key: &str, row: &[u8], content: &[u8]) -> bool {
    let Some(record) = crate::index::record_of(key, row) else { return false };
    let Some(stamp) = crate::record::Stamp::decode(&record) else { return false };
    stamp.key_hash == xxhash_rust::xxh3::xxh3_64(key.as_bytes())
        && stamp.record.length == content.len() as u64
        && stamp.record.checksum == xxhash_rust::xxh3::xxh3_64(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_that_is_needed_counts_the_log() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let write = |name: &str, mib: u64| {
            let file = std::fs::File::create(place.path().join(name)).expect("made");
            file.set_len(mib << 20).expect("enlarged");
        };
        let told =
            || needed(Error::io(Errno::NOSPC.into(), place.path()), place.path()).to_string();
        write(VALUES_FILE, 10);
        assert!(told().contains("about 28 MiB"), "{}", told());
        write(&format!("{VALUES_FILE}-wal"), 64);
        assert!(told().contains("about 220 MiB"), "{}", told());
    }
}
