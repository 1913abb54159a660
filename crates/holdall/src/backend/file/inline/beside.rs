//! Files that take the place of inline values.

use std::os::fd::AsFd as _;

use super::super::find::Candidate;
use super::super::open::{Live, Opened};
use super::super::write::{IN_PLACE, Pending};
use super::unknown;
use super::write::InlineRecord;
use crate::backend::{Condition, Placed, Put};
use crate::error::{Error, ErrorKind, Result};
use crate::index::Standing;
use crate::key::Key;

impl Opened {
    /// What lies inline under the key of a value that becomes a file, where there are `files` already.
    /// If that cannot be found out, the file is placed all the same, unless that depends on it.
    pub(crate) fn inline_under(&self, put: &Put, files: &[Candidate]) -> Result<InlineRecord> {
        let mut found = self.inline_record(&put.key)?;
        let is_unconditional = put.condition == Condition::Any;
        if !is_unconditional && !has_file(files) {
            found = self.certain(&put.key, found, files)?;
        }
        if found.is_damaged && !is_unconditional {
            return Err(Error::new(ErrorKind::Corrupt, "the inline value there is damaged")
                .remedy("save it without a condition, or delete it"));
        }
        if found.is_lost {
            tracing::warn!("a file is placed beside inline values that cannot be read");
            self.live()?.clock.note_unsettled();
        }
        Ok(found)
    }

    /// What lies inline under a key whose lock the caller holds, where what was `found` may be that nobody
    /// knows: all rows are searched. If that does not tell it either, `files` of ours are the value.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if that does not tell it either.
    pub(crate) fn certain(
        &self,
        key: &Key,
        found: InlineRecord,
        files: &[Candidate],
    ) -> Result<InlineRecord> {
        if !found.is_lost {
            return Ok(found);
        }
        let searched = self.live()?.inline.ask(|values| values.search(key.as_str()));
        if searched.is_err() && has_file(files) {
            return Ok(found);
        }
        let row = searched.map_err(|_| unknown())?.map(|(row, _)| Box::new(row));
        Ok(InlineRecord::of(row.map_or(Standing::Absent, Standing::There)))
    }

    /// Removes the inline values whose keys have files now. Those are flushed before, or a power
    /// cut could take both, and the removal after, or one that comes while the file is deleted later
    /// could bring the inline value back: a move is rare, so both happen under the locks.
    pub(crate) fn replace_inline(
        &self,
        live: &Live,
        placed: &mut Vec<(usize, Pending)>,
        results: &mut [Option<Result<Placed>>],
    ) {
        let moved = |one: &Pending| one.displaces_inline;
        let paths: Vec<&str> =
            placed.iter().filter(|(_, one)| moved(one)).map(|(_, one)| one.path.as_str()).collect();
        if paths.is_empty() {
            return;
        }
        let flushed = self.flushed.flush_names(self.base.as_fd(), &self.path, &paths);
        let mut flushed = flushed.into_iter();
        let mut gone = Vec::with_capacity(paths.len());
        let mut failed = Vec::new();
        for (at, one) in placed.iter().filter(|(_, one)| moved(one)) {
            match flushed.next().unwrap_or(Ok(())) {
                Ok(()) => gone.push(&one.key),
                Err(error) => failed.push((*at, error)),
            }
        }
        self.evict_inline(live, &gone);
        if !gone.is_empty()
            && let Err(error) = live.inline.flush()
            // A file does not suffer from a database that is damaged.
            && error.kind() != ErrorKind::Corrupt
        {
            let moved = placed.iter().filter(|(_, one)| one.displaces_inline);
            failed.extend(moved.map(|(at, _)| (*at, error.again())));
        }
        if !failed.is_empty() {
            // Both are there, and the file is the newer one.
            live.clock.set_diverged(true);
        }
        for (at, error) in failed {
            placed.retain(|(other, _)| *other != at);
            results[at] = Some(Err(error.after(IN_PLACE)));
        }
    }
}

/// Whether one of the files is ours: it is the value, if nobody knows whether there is an inline one.
fn has_file(files: &[Candidate]) -> bool {
    files.first().is_some_and(|first| first.stamp.is_some())
}
