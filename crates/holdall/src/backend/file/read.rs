//! Reading a value: record and content of one moment, without a lock.

use std::fs::File;
use std::io::Read as _;

use super::find::{Candidate, Search, Winner};
use super::open::Opened;
use crate::backend::{Found, Object};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Format, plausible};
use crate::key::Key;
use crate::record::Record;
use crate::sync::thread;

/// How often a reader looks again when writers come between, before it waits for them.
const RETRIES: usize = 16;

/// From so many bytes on, a file is likely to be mapped.
const LONG: u64 = 64 * 1_024;

/// What a look has found.
pub(crate) struct Sight<T> {
    /// A file of this store, not one that another program put beside it.
    pub(crate) ours: bool,
    pub(crate) it: T,
}

impl Opened {
    /// Runs a search until it saw one moment of the key: it found something, or no write came
    /// between while it found nothing.
    pub(crate) fn settled<T>(
        &self,
        key: &Key,
        mut look: impl FnMut(Search) -> Result<Option<Sight<T>>>,
    ) -> Result<Option<T>> {
        let mut look = |search| look(search).map(|found| found.map(|sight| (sight.ours, sight.it)));
        let whole = |found: Result<Option<(bool, T)>>| found.map(|found| found.map(|(_, it)| it));
        let Some(live) = self.maybe_live() else {
            return match look(Search::All) {
                // Nobody says that a value has moved to a file meanwhile.
                Ok(None) if self.may_have_inline() => whole(look(Search::All)),
                found => whole(found),
            };
        };
        let stripe = key.stripe();
        for _ in 0..RETRIES {
            if live.clock.is_odd(stripe) {
                self.bury_dead_writer(stripe)?;
            }
            let before = live.clock.count(stripe);
            // While a writer is at work, and where one died, two formats of a key may be there.
            let calm = before % 2 == 0 && !live.clock.diverged();
            let found = look(if calm { Search::First } else { Search::All });
            let ours = matches!(found, Ok(Some((true, _))));
            // In calm the first file of ours that is found was the value when it was opened. All
            // else took several looks and is believed if no writer came. While one is at work,
            // what is missing is not believed at all: a value that moves to another format must
            // not seem to be gone.
            let same = live.clock.count(stripe) == before;
            if (calm && ours) || (same && (ours || before % 2 == 0)) {
                return whole(found);
            }
            thread::yield_now();
        }
        let _guard = live.locks.lock(vec![stripe], std::time::Duration::from_secs(30))?;
        whole(look(Search::All))
    }

    /// Reads a value and checks it; one of ours of `large` bytes or more, that nobody has touched,
    /// is left open.
    pub(crate) fn read(
        &self,
        key: &Key,
        wanted: Option<Format>,
        limit: u64,
        large: u64,
    ) -> Result<Option<Found>> {
        self.settled(key, |search| {
            let found = match self.winner(key, wanted, search)? {
                Some(Winner::File(found)) => found,
                Some(Winner::Inline(object)) => {
                    within(object.record.length, limit)?;
                    return Ok(Some(Sight { ours: true, it: Found::Whole(object) }));
                }
                None => return Ok(None),
            };
            let size = found.stat.st_size as u64;
            if let Some(stamp) = &found.stamp
                && (large..=limit).contains(&size)
                && found.looks_untouched(&stamp.record)
            {
                let record = stamp.record.clone();
                let open = Found::Open(record, self.reading(found));
                return Ok(Some(Sight { ours: true, it: open }));
            }
            let content =
                content(&found, limit).map_err(|error| error.at(self.path.join(&found.path)))?;
            let record = found.judge(&content, &self.path)?;
            let whole = Found::Whole(Object { record, content });
            Ok(Some(Sight { ours: found.stamp.is_some(), it: whole }))
        })
    }

    /// Reads the record of a value, and the path of its file if it has one; the content of that
    /// only if it was touched since it was placed.
    pub(crate) fn read_head(
        &self,
        key: &Key,
        limit: u64,
    ) -> Result<Option<(Option<String>, Record)>> {
        self.settled(key, |search| {
            let found = match self.winner(key, None, search)? {
                Some(Winner::File(found)) => found,
                Some(Winner::Inline(object)) => {
                    return Ok(Some(Sight { ours: true, it: (None, object.record) }));
                }
                None => return Ok(None),
            };
            let record = self.record_of(&found, limit)?;
            if record.length >= LONG {
                // Whoever opens it next, to map it, finds its beginning in the kernel's cache and
                // need not wait. A failure shows there.
                let _ = rustix::io::pread(&found.file, &mut [0_u8; 64], 0);
            }
            Ok(Some(Sight { ours: found.stamp.is_some(), it: (Some(found.path), record) }))
        })
    }

    /// The record of a file; its content is read only if it was touched since it was placed.
    pub(crate) fn record_of(&self, found: &Candidate, limit: u64) -> Result<Record> {
        match &found.stamp {
            Some(stamp) if found.looks_untouched(&stamp.record) => Ok(stamp.record.clone()),
            // Another length tells enough: a file that has grown may be of any size.
            Some(stamp) if found.stat.st_size as u64 != stamp.record.length => {
                found.judge_by(found.stat.st_size as u64, 0, &self.path)
            }
            Some(_) => found.judge(&content(found, limit)?, &self.path),
            None => found.current(),
        }
    }
}

/// Refuses what is larger than this manager reads.
pub(super) fn within(size: u64, limit: u64) -> Result<()> {
    if size <= limit {
        return Ok(());
    }
    let cause = format!("the value has {size} bytes, max_value_bytes allows {limit}");
    Err(Error::new(ErrorKind::InvalidArgument, cause)
        .remedy("raise max_value_bytes if the value is yours"))
}

/// The content of a file, whose size is looked at before memory is taken.
fn content(found: &Candidate, limit: u64) -> Result<Vec<u8>> {
    let size = found.stat.st_size as u64;
    within(size, limit)?;
    let is_ours = found.stamp.as_ref().is_some_and(|stamp| found.looks_untouched(&stamp.record));
    let on_disk = u64::try_from(found.stat.st_blocks).unwrap_or(0).saturating_mul(512);
    if !is_ours && size > plausible(on_disk) {
        let cause = format!("the file has {size} bytes, of which {on_disk} are on the disk");
        return Err(Error::new(ErrorKind::InvalidArgument, cause).remedy(
            "copy it with all its holes filled (cp --sparse=never) if the value is yours",
        ));
    }
    // One byte more than expected: a file that has grown shows itself without another call.
    let mut content = Vec::new();
    let room = usize::try_from(size).unwrap_or(usize::MAX).saturating_add(1);
    content.try_reserve_exact(room).map_err(|_| Error::no_memory(room))?;
    let mut file =
        File::from(found.file.try_clone().map_err(|error| Error::io(error, &found.path))?);
    file.by_ref()
        .take(limit.saturating_add(1))
        .read_to_end(&mut content)
        .map_err(|error| Error::io(error, &found.path))?;
    within(content.len() as u64, limit)?;
    Ok(content)
}
