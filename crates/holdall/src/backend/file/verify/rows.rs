//! Comparing the index with the files: what it lists that is not there, and the keys that only it
//! still knows.

use std::os::fd::AsFd as _;

use rustix::fs::{AtFlags, statat};
use rustix::io::Errno;

use super::super::dir::parent;
use super::super::open::Opened;
use super::value::Context;
use super::window;
use crate::backend::health::{Problem, ProblemKind};
use crate::error::{ErrorKind, Result};
use crate::index::{Flaw, Index as _, Row};
use crate::key::{Key, ParsedName, parse_name};
use crate::record::{MAX_KEY_IN_STAMP, Stamp};

impl Opened {
    /// Whether the rows of the index mean something; adds what is wrong with it as a whole.
    pub(super) fn examine_index(&self, found: &mut Vec<Problem>) -> Result<bool> {
        let Some(live) = self.maybe_live().filter(|live| live.coherent) else { return Ok(false) };
        let behind = |what: &str| Problem::new(ProblemKind::IndexBehind, what);
        if live.clock.needs_scan() {
            found.push(behind("files and index may differ"));
            return Ok(false);
        }
        let folder = live.catalog.folder(live.clock.epoch());
        match live.catalog.ask(&live.clock, |index| index.is_complete()) {
            Ok(true) => {}
            Ok(false) => {
                found.push(behind("it was never filled"));
                return Ok(false);
            }
            Err(error) => return index_lost(error, &folder, found),
        }
        let flaws = match live.catalog.ask(&live.clock, |index| index.flaws()) {
            Ok(flaws) => flaws,
            Err(error) => return index_lost(error, &folder, found),
        };
        for flaw in &flaws {
            found.push(match flaw {
                Flaw::Pages(what) => Problem::new(ProblemKind::IndexDamaged, what).at(&folder),
                Flaw::Counters(what) => Problem::new(ProblemKind::CountersWrong, what).at(&folder),
                Flaw::Row(key) => {
                    let row = Problem::new(ProblemKind::RowDamaged, "a row cannot be read");
                    let row = row.at(&folder);
                    key.iter().fold(row, |row, key| row.on_key(key))
                }
            });
        }
        Ok(flaws.iter().all(|flaw| matches!(flaw, Flaw::Counters(_))))
    }

    /// A page of the index's rows after this key, and what is wrong with them; the last key.
    pub(super) fn compare_rows(
        &self,
        after: Option<&str>,
        limit: usize,
        context: Context<'_>,
        found: &mut Vec<Problem>,
    ) -> Result<Option<String>> {
        let Some(live) = self.maybe_live().filter(|live| live.coherent) else { return Ok(None) };
        let page = live.catalog.ask(&live.clock, |index| index.page("", after, limit));
        let page = match page {
            Ok(page) => page,
            Err(error) => {
                index_lost(error, live.catalog.folders(), found)?;
                return Ok(None);
            }
        };
        for row in &page {
            crate::cancel::check()?;
            if let Ok(key) = Key::new(&row.key) {
                self.compare_row(&key, row, context, found)?;
            }
        }
        Ok(page.last().map(|row| row.key.clone()))
    }

    fn compare_row(
        &self,
        key: &Key,
        row: &Row,
        context: Context<'_>,
        found: &mut Vec<Problem>,
    ) -> Result<()> {
        let Some(live) = self.maybe_live() else { return Ok(()) };
        let stem = key.name(self.case_rule());
        let path = Stamp::decode(&row.record).map(|stamp| stamp.record.ending().after(&stem));
        if !path.as_deref().is_some_and(|path| self.is_there(path)) {
            let look = || {
                let look = self.look(&stem, &Self::paths_of(&stem), Some(key), context)?;
                let row = live.catalog.ask(&live.clock, |index| index.get(key.as_str()))?;
                // What stands in its place is told by the look at the files.
                let is_empty = look.checked == 0 && look.problems.is_empty();
                Ok(row.is_some() && is_empty && !live.clock.needs_scan())
            };
            if window(self, Some(key.stripe()), look, |is_gone| !is_gone)? {
                let gone = Problem::new(ProblemKind::RowWithoutFile, "its file is gone");
                found.push(gone.on_key(key.as_str()).at(path.unwrap_or(stem)));
                return Ok(());
            }
        }
        let is_long = key.as_str().len() > MAX_KEY_IN_STAMP && !row.foreign;
        if is_long && matches!(parse_name(&stem, self.case_rule()), Some(ParsedName::Hashed)) {
            let look = || {
                let is_kept = live.long_key(&stem).as_deref() == Some(key.as_str());
                let row = live.catalog.ask(&live.clock, |index| index.get(key.as_str()))?;
                Ok(!is_kept && row.is_some_and(|row| !row.foreign))
            };
            if window(self, Some(key.stripe()), look, |is_lost| !is_lost)? {
                let what = "the index knows its text, .holdall/keys does not";
                let lost = Problem::new(ProblemKind::KeyRecordMissing, what);
                found.push(lost.on_key(key.as_str()).at(stem));
            }
        }
        Ok(())
    }

    /// Whether anything has this name.
    fn is_there(&self, path: &str) -> bool {
        match parent(self.base.as_fd(), path) {
            Ok(Some((folder, name))) => !matches!(
                statat(folder.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW),
                Err(Errno::NOENT)
            ),
            _ => false,
        }
    }
}

/// What it means that the index cannot be asked; its rows are not compared any more.
fn index_lost(
    error: crate::error::Error,
    folder: &std::path::Path,
    found: &mut Vec<Problem>,
) -> Result<bool> {
    match error.kind() {
        ErrorKind::Corrupt => {
            found.push(Problem::new(ProblemKind::IndexDamaged, error.cause()).at(folder));
        }
        ErrorKind::Busy | ErrorKind::Closed => return Err(error),
        // It is a copy, and nothing is wrong with it: the files are read without it.
        _ if error.is_disk_full() => {
            let what = "the disk is full, so it cannot be opened";
            let notice = Problem::new(ProblemKind::IndexBehind, what).at(folder);
            found.push(Problem { remedy: "free some space".into(), ..notice });
        }
        _ => found.push(Problem::new(ProblemKind::Unreadable, error.cause()).at(folder)),
    }
    Ok(false)
}
