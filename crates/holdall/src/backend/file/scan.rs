//! Filling the index from the files: after a crash, or when it is missing or damaged.
//!
//! The scan holds every stripe, so that no write is under way anywhere. It also ends what dead
//! writers left half done: of two formats of one key the older file goes.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use rustix::fs::{AtFlags, Dir, FileType, Stat, statat};
use rustix::io::Errno;

use super::dir::{open_file, open_folder};
use super::find::foreign_generation;
use super::full::{discard_index, give_log_back};
use super::inline::Settled;
use super::layout::OWN;
use super::open::{Live, Opened};
use super::stamps::FoundStamp;
use super::temp;
use super::write::Terms;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Ending, split_suffix};
use crate::index::{Change, Index, Listing, Row, SqliteIndex};
use crate::key::{Key, ParsedName, parse_name};
use crate::lock::stripes::StripeGuard;
use crate::record::{Record, Stamp};

/// How many rows are committed together.
const BATCH: usize = 2_000;

/// How deep folders are followed; no key makes more.
pub(super) const DEPTH: usize = 40;

/// What a scan has found.
#[derive(Default)]
struct Scan {
    found: HashMap<Key, Seen>,
    /// Files and folders that the disk did not let it look at.
    unread: Vec<String>,
    /// Files with a stamp that cannot be understood.
    unknown: HashSet<String>,
    /// There are files left that are not the values of their keys.
    is_unsettled: bool,
}

impl Scan {
    /// Goes on without what cannot be looked at, which others may have said of it: somebody else's,
    /// gone, or a link. A disk that fails leaves the index in doubt, for the next time may be better.
    ///
    /// # Errors
    /// What is in the way of everything: one file more or less would be a matter of chance.
    fn skip(&mut self, path: &str, error: Errno) -> Result<(), Errno> {
        match error {
            Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::INTR => return Err(error),
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS | Errno::PERM => {}
            _ => {
                tracing::warn!(?path, "it cannot be read and is left out of listings: {error}");
                self.unread.push(path.to_owned());
            }
        }
        Ok(())
    }

    /// Whether a path is, or lies below, one that could not be looked at.
    fn has_missed(&self, path: &str) -> bool {
        let below = |folder: &String| {
            path.strip_prefix(&folder[..])
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.unread.iter().any(below)
    }
}

/// Asks once more what a disk has failed to tell.
fn twice<T>(ask: impl Fn() -> Result<T, Errno>) -> Result<T, Errno> {
    match ask() {
        Err(Errno::IO) => ask(),
        answer => answer,
    }
}

/// A file of this store that the scan has found.
pub(super) struct Seen {
    pub(super) path: String,
    pub(super) record: Record,
    stat: Stat,
}

/// What an index would hold, as long as nobody writes.
pub(crate) struct Apart<'a> {
    pub(crate) rows: Listing,
    _all: StripeGuard<'a>,
}

impl Opened {
    /// Makes sure that the index agrees with the files, by a scan if that is in doubt, and knows what
    /// readers may have seen so far.
    /// On a full disk gives what an index would hold instead.
    pub(crate) fn ensure_index(&self, terms: Terms<'_>) -> Result<Option<Apart<'_>>> {
        let live = self.live()?;
        live.doubt_stale_index();
        self.outlast_writers(terms.lock_timeout)?;
        live.catalog.resolve_doubt(&live.clock)?;
        let in_order = || {
            let complete = live.catalog.ask(&live.clock, |index| index.is_complete());
            match complete {
                // A rebuild would only wait for the same process, or take a later release's index
                // away from it.
                Err(error) if matches!(error.kind(), ErrorKind::Busy | ErrorKind::Version) => {
                    Err(error)
                }
                complete => Ok(complete.unwrap_or(false) && !live.clock.needs_scan()),
            }
        };
        if in_order()? {
            return Ok(None);
        }
        let all = live.locks.lock_all(terms.lock_timeout)?;
        if in_order()? {
            return Ok(None);
        }
        Ok(self.rebuild(live)?.map(|rows| Apart { rows, _all: all }))
    }

    /// Fills a new index; every stripe is held. On a full disk the old one goes first, and where that
    /// does not make room enough there is none: then this gives what it would hold.
    pub(super) fn rebuild(&self, live: &Live) -> Result<Option<Listing>> {
        tracing::info!(path = %self.path.display(), "filling the index from the files");
        let _building = live.catalog.building();
        if let Err(error) = temp::sweep(&live.temporary, &self.stamps) {
            tracing::warn!("temporary files of dead writers were not removed: {error}");
        }
        let mut scan = Scan::default();
        self.walk(live, self.base.as_fd(), "", 0, &mut scan)?;
        let settled = self.settle_inline(live, &mut scan.found)?;
        live.clock.end_moves();
        let is_doubtful = self.is_doubtful(live, &scan);
        let Some(kept) = self.kept_rows(live, &scan)? else {
            tracing::warn!("the disk is full: listings read all files until the index can be read");
            return Ok(Some(self.rows(live, &scan, &[]).collect()));
        };
        let mut filled = self.fill(live, &scan, &kept);
        if filled.as_ref().is_err_and(Error::is_disk_full) {
            // What no file tells would be gone with the old one if the new one fails too.
            if kept.is_empty() {
                discard_index(live);
            } else {
                give_log_back(live);
            }
            filled = self.fill(live, &scan, &kept);
        }
        if filled.as_ref().is_err_and(Error::is_disk_full) {
            tracing::warn!("the disk is full: listings read all files until there is room");
            return Ok(Some(self.rows(live, &scan, &kept).collect()));
        }
        let (index, folder) = filled?;
        live.clock.set_formats_known(live.coherent && scan.unread.is_empty());
        if scan.unread.is_empty() {
            self.forget_other_keys(live, scan.found.keys());
        }
        // Before it is the current one, which another thread opens: to close a file drops this
        // process's locks on it, also those that SQLite holds by another descriptor.
        drop(index);
        // In this order: the old index must not pass for one that is in order, nor what it lacks for
        // a write that has ended.
        live.clock.next_epoch();
        live.clock.settle();
        // Else a file may be older than another one, or than an inline value that cannot be read now.
        let is_whole = scan.unread.is_empty() && !scan.is_unsettled;
        let needs_another = settled == Settled::NotNow || !is_whole;
        live.clock.end_scan(needs_another, settled == Settled::Never || is_doubtful);
        if let Err(error) = remove_all_but(live.catalog.folders(), &folder) {
            tracing::warn!("an old index was not removed: {error}");
        }
        tracing::info!("the index is filled");
        Ok(None)
    }

    /// Whether a key has another value beside a file whose stamp is damaged: which of them is newer
    /// nobody can tell.
    fn is_doubtful(&self, live: &Live, scan: &Scan) -> bool {
        let stem = |path| split_suffix(path).map(|(stem, ..)| stem);
        let unknown: HashSet<&str> = scan.unknown.iter().filter_map(|path| stem(path)).collect();
        let has_inline = |stem: &&str| {
            let key = self.scanned_key(live, stem, None);
            // Of what cannot be asked or has no text it is not known.
            let may_be = |key| self.inline_record(&key).map_or(true, |found| found.is_there);
            key.is_none_or(may_be)
        };
        !unknown.is_empty()
            && (scan
                .found
                .values()
                .any(|seen| stem(&seen.path).is_some_and(|one| unknown.contains(one)))
                || (live.clock.has_inline() && unknown.iter().any(has_inline)))
    }

    /// The key of a file with this name, if its text is known.
    pub(super) fn scanned_key(
        &self,
        live: &Live,
        stem: &str,
        stamped: Option<String>,
    ) -> Option<Key> {
        match parse_name(stem, self.case_rule())? {
            ParsedName::Key(key) => Some(key),
            ParsedName::Hashed => {
                let key = Key::new(&stamped.or_else(|| live.long_key(stem))?).ok()?;
                (key.name(self.case_rule()) == stem).then_some(key)
            }
        }
    }

    /// What an index holds after this scan.
    fn rows<'s>(
        &'s self,
        live: &'s Live,
        scan: &'s Scan,
        kept: &'s [Row],
    ) -> impl Iterator<Item = Row> + 's {
        let edited: HashSet<&str> = kept.iter().map(|row| row.key.as_str()).collect();
        let found = scan.found.iter().filter_map(move |(key, Seen { record, .. })| {
            live.clock.raise_generation(record.generation);
            (!edited.contains(key.as_str())).then(|| self.row(key, record))
        });
        found.chain(kept.iter().cloned())
    }

    /// Fills the index of the next epoch, which is not the current one by that.
    fn fill(&self, live: &Live, scan: &Scan, kept: &[Row]) -> Result<(SqliteIndex, PathBuf)> {
        let next = live.clock.epoch().wrapping_add(1);
        let folder = live.catalog.folder(next);
        let remove = || match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io(error, &folder))
            }
            _ => Ok(()),
        };
        // A rebuild that was killed may have left it.
        remove()?;
        let index = live.catalog.index(next);
        let mut rows = self.rows(live, scan, kept).map(Change::Put).peekable();
        let mut count = 0;
        let mut fill = || {
            while rows.peek().is_some() {
                let batch: Vec<Change> = rows.by_ref().take(BATCH).collect();
                index.apply(&batch)?;
                count += batch.len();
                tracing::info!(values = count, "filling the index");
            }
            index.set_complete(true)
        };
        if let Err(error) = fill() {
            drop(index);
            remove()?;
            return Err(error);
        }
        drop(rows);
        Ok((index, folder))
    }

    fn walk(
        &self,
        live: &Live,
        folder: BorrowedFd<'_>,
        prefix: &str,
        depth: usize,
        scan: &mut Scan,
    ) -> Result<()> {
        let io = |error: Errno| Error::io(error.into(), self.path.join(prefix));
        for entry in Dir::read_from(folder).map_err(io)? {
            let entry = entry.map_err(io)?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if matches!(name, "." | "..") || (depth == 0 && name == OWN) {
                continue;
            }
            let path = format!("{prefix}{name}");
            let kind = match entry.file_type() {
                // Some file systems do not tell.
                FileType::Unknown => {
                    match twice(|| statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)) {
                        Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                        Err(error) => {
                            scan.skip(&path, error).map_err(io)?;
                            continue;
                        }
                    }
                }
                kind => kind,
            };
            match kind {
                FileType::Directory if depth < DEPTH && !name.contains('.') => {
                    match twice(|| open_folder(self.base.as_fd(), &path)) {
                        Ok(below) => {
                            let path = format!("{path}/");
                            self.walk(live, below.as_fd(), &path, depth + 1, scan)?;
                        }
                        Err(error) => scan.skip(&path, error).map_err(io)?,
                    }
                }
                FileType::RegularFile => {
                    if let Err(error) = self.take(live, &path, scan) {
                        scan.skip(&path, error).map_err(io)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes note of a file, if this store placed it.
    fn take(&self, live: &Live, path: &str, scan: &mut Scan) -> Result<(), Errno> {
        let Some((stem, format, codec)) = split_suffix(path) else { return Ok(()) };
        let ending = Ending { format, codec };
        if parse_name(stem, self.case_rule()).is_none() {
            return Ok(());
        }
        live.clock.note_format(ending);
        let Some(file) = twice(|| open_file(self.base.as_fd(), path))? else { return Ok(()) };
        let stat = twice(|| rustix::fs::fstat(&file))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(());
        }
        let stamp = twice(|| {
            let stamp = self.stamps.get(file.as_fd(), stat.st_ino, || self.path.join(path));
            stamp.map_err(|error| error.os_error().map_or(Errno::IO, Errno::from_raw_os_error))
        })?;
        let stamp = match stamp {
            FoundStamp::None => return Ok(()),
            FoundStamp::Damaged => {
                scan.unknown.insert(path.to_owned());
                return Ok(());
            }
            FoundStamp::Whole(stamp) => stamp,
        };
        let key = self.scanned_key(live, stem, stamp.key.clone());
        let Some(key) = key else { return Ok(()) };
        let fits = stamp.store == self.mark()
            && stamp.key_hash == key.hash()
            && stamp.record.ending().looks_like(ending);
        if !fits {
            return Ok(());
        }
        let this = Seen { path: path.to_owned(), record: stamp.record, stat };
        let outdated = match scan.found.get(&key) {
            Some(other) if other.record.generation > this.record.generation => Some(this),
            _ => scan.found.insert(key, this),
        };
        if let Some(outdated) = outdated {
            scan.is_unsettled |= !self.remove_outdated(&outdated);
        }
        Ok(())
    }

    /// Removes a file that is not the value of its key; answers whether it is gone.
    pub(super) fn remove_outdated(&self, outdated: &Seen) -> bool {
        tracing::info!(path = ?outdated.path, "removing what a dead writer has left");
        // Open, so that its inode is not another file's before its stamp is gone.
        let _open = open_file(self.base.as_fd(), &outdated.path);
        let removed = self.unlink(&outdated.path, &outdated.stat);
        if let Err(error) = &removed {
            tracing::warn!(path = ?outdated.path, "it was not removed: {error}");
        }
        removed.is_ok()
    }

    /// What the old index knew of the files of other programs, as far as they are still there, of
    /// those that could not be looked at, and of those whose stamps are damaged: repair needs it.
    /// `None` if there is no room to ask.
    fn kept_rows(&self, live: &Live, scan: &Scan) -> Result<Option<Vec<Row>>> {
        let mut kept = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page =
                live.catalog.ask(&live.clock, |index| index.page("", after.as_deref(), BATCH));
            let page = match page {
                Ok(page) => page,
                Err(error) if error.kind() == ErrorKind::Busy => return Err(error),
                Err(error) if error.is_disk_full() && live.catalog.has_index(&live.clock) => {
                    return Ok(None);
                }
                // It is replaced because it cannot be read; the next load of each such file
                // takes it in again.
                Err(_) => return Ok(Some(kept)),
            };
            after = page.last().map(|row| row.key.clone());
            if after.is_none() {
                return Ok(Some(kept));
            }
            kept.extend(page.into_iter().filter(|row| {
                let Ok(key) = Key::new(&row.key) else { return false };
                let Some(stamp) = Stamp::decode(&row.record) else { return false };
                let path = stamp.record.ending().after(&key.name(self.case_rule()));
                if let Some(seen) = scan.found.get(&key) {
                    // A file of ours that was edited, if it is still in that state; or a newer one
                    // beside it whose stamp is damaged.
                    return (row.foreign && foreign_generation(&seen.stat) == row.generation)
                        || (scan.unknown.contains(&path)
                            && row.generation > seen.record.generation);
                }
                let is_there = || matches!(open_file(self.base.as_fd(), &path), Ok(Some(_)));
                scan.has_missed(&path)
                    || scan.unknown.contains(&path)
                    || (row.foreign && is_there())
            }));
        }
    }
}

/// Removes the indexes of other epochs, those too that a lost clock file has left behind.
pub(super) fn remove_all_but(
    folders: &std::path::Path,
    kept: &std::path::Path,
) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folders)? {
        let path = entry?.path();
        if path != kept {
            std::fs::remove_dir_all(path)?;
        }
    }
    Ok(())
}
