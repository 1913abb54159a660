//! What there is, all of it: values that are over, and files that no listing shows yet.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use rustix::fs::{Dir, FileType};
use rustix::io::Errno;

use super::inline::{self, Page};
use super::layout::OWN;
use super::open::Opened;
use super::scan::DEPTH;
use super::stamps::FoundStamp;
use super::{FileBackend, dir};
use crate::backend::{Found, Object};
use crate::error::{Error, Result};
use crate::format::split_suffix;
use crate::index::Index;
use crate::key::{Key, ParsedName, parse_name};
use crate::record::{Record, Stamp};

impl Opened {
    /// Reads a value as a whole, whether or not it is over.
    pub(super) fn read_whole(&self, key: &Key, limit: u64) -> Result<Option<Object>> {
        Ok(match self.read(key, None, limit, u64::MAX)? {
            Some(Found::Whole(object)) => Some(object),
            _ => None,
        })
    }

    /// Adds the keys of files in formats that need a signature and that carry no stamp of this
    /// store.
    fn unstamped(
        &self,
        folder: BorrowedFd<'_>,
        prefix: &str,
        depth: usize,
        found: &mut Vec<Key>,
    ) -> Result<()> {
        let io = |error: Errno| Error::io(error.into(), self.path.join(prefix));
        for entry in Dir::read_from(folder).map_err(io)? {
            let entry = entry.map_err(io)?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if matches!(name, "." | "..") || (depth == 0 && name == OWN) {
                continue;
            }
            let path = format!("{prefix}{name}");
            // Some file systems do not tell a folder from a file.
            let kind = entry.file_type();
            if kind != FileType::RegularFile
                && depth < DEPTH
                && !name.contains('.')
                && let Ok(below) = dir::open_folder(self.base.as_fd(), &path)
            {
                self.unstamped(below.as_fd(), &format!("{path}/"), depth + 1, found)?;
            } else if matches!(kind, FileType::RegularFile | FileType::Unknown) {
                found.extend(self.unstamped_key(&path));
            }
        }
        Ok(())
    }

    fn unstamped_key(&self, path: &str) -> Option<Key> {
        let (stem, format, _) = split_suffix(path)?;
        if !format.is_signed() {
            return None;
        }
        let key = match parse_name(stem, self.case_rule())? {
            ParsedName::Key(key) => key,
            // The text of the longest keys is kept apart; of shorter ones it went with the stamp.
            ParsedName::Hashed => Key::new(&self.maybe_live()?.long_key(stem)?).ok()?,
        };
        let file = dir::open_file(self.base.as_fd(), path).ok()??;
        let stat = rustix::fs::fstat(&file).ok()?;
        // What a later release has stamped is its own affair.
        let stamp = self.stamp_of(file.as_fd(), &stat, key.hash(), path);
        matches!(stamp, Ok(FoundStamp::None)).then_some(key)
    }
}

impl FileBackend {
    pub(super) fn page_of_all(
        &self,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<(Key, Option<Record>)>> {
        let mut found = Vec::new();
        let mut after = after.map(|key| key.as_str().to_owned());
        loop {
            let ask = |index: &dyn Index| index.page("", after.as_deref(), limit);
            let Page { rows, is_last } =
                self.opened()?.page(self.terms(), limit, inline::by_key, ask)?;
            after = rows.last().map(|row| row.key.clone());
            found.extend(rows.into_iter().filter_map(|row| {
                let record = Stamp::decode(&row.record).map(|stamp| stamp.record);
                Some((Key::new(&row.key).ok()?, record))
            }));
            if is_last || found.len() >= limit {
                found.truncate(limit);
                return Ok(found);
            }
        }
    }

    pub(super) fn look_for_unlisted(&self) -> Result<()> {
        let opened = self.opened()?;
        let mut found = Vec::new();
        opened.unstamped(opened.base.as_fd(), "", 0, &mut found)?;
        for key in found {
            // What is damaged, or claimed twice, has no row; the next load of it says why.
            let _ = self.look(&key);
        }
        Ok(())
    }

    /// The record of a value, and its file if it has one.
    pub(super) fn look(&self, key: &Key) -> Result<Option<(Option<PathBuf>, Record)>> {
        let limit = self.options.max_value_bytes;
        let (opened, found) =
            self.reading(self.opened()?, |opened| opened.read_head(key, limit))?;
        match &found {
            Some((_, record)) if record.foreign => opened.note_foreign(key, record),
            Some(_) => {}
            None => opened.forget_gone(key, self.terms()),
        }
        let live = found.filter(|(_, record)| !record.is_expired(&self.options.clock));
        Ok(live.map(|(path, record)| (path.map(|path| opened.path.join(path)), record)))
    }
}
