//! Removing many values at once: what has expired, what is too much, and all; and what was not used
//! for long.

use std::any::Any;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::inline::{self, Page};
use super::open::{Live, Opened};
use super::remove::Doomed;
use super::uses::Uses;
use super::write::Terms;
use super::{BATCH, FileBackend};
use crate::backend::{Condition, Durability, left_if_changed};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::fork;
use crate::index::{Index, Row};
use crate::key::{self, Key};
use crate::lock::{byte, ofd, wait};
use crate::record::Record;

/// What cleans up waits no longer than this for a key: it comes again, and others may wait for the
/// keys that it holds already.
const PATIENCE: Duration = Duration::from_secs(1);

impl FileBackend {
    /// Removes what has expired, until there is no more or it was `most`.
    pub(super) fn remove_expired(&self, most: u64, durability: Durability) -> Result<u64> {
        let mut count = 0;
        let mut failed = None;
        let now = self.options.clock.wall_micros() / 1_000;
        let mut after: Option<(u64, String)> = None;
        loop {
            let from = after.as_ref().map(|(expires_at, key)| (*expires_at, key.as_str()));
            let expired = |index: &dyn Index| index.expired(now, from, BATCH);
            let Page { rows, .. } =
                self.writable()?.page(self.terms(), BATCH, inline::by_end, expired)?;
            let Some(last) = rows.last() else { return failed.map_or(Ok(count), Err) };
            if count >= most {
                // Whatever could not be removed comes up again.
                return Ok(count);
            }
            after = Some((last.expires_at.unwrap_or(now), last.key.clone()));
            let goes =
                |row: &Row| Some((Key::new(&row.key).ok()?, Doomed::Expired(row.generation)));
            let doomed: Vec<_> = rows.iter().filter_map(goes).collect();
            for removed in self.writable()?.remove(&doomed, durability, self.terms())? {
                match removed {
                    // Or it was saved anew, or lives on: the wall clock was set forward.
                    Ok(removed) => count += u64::from(removed.removed),
                    // One entry that cannot be removed does not keep the rest.
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
        }
    }

    /// Removes every value of this store that was there at the beginning.
    pub(super) fn remove_all(&self, durability: Durability) -> Result<u64> {
        let opened = self.writable()?;
        // Waits for writes under way, which go too, and teaches a new clock the generations.
        drop(opened.ensure_index(self.terms())?);
        let until = opened.live()?.clock.generation();
        let mut count = 0;
        let mut failed = None;
        let mut after: Option<String> = None;
        loop {
            let all = |index: &dyn Index| index.page("", after.as_deref(), BATCH);
            let Page { rows, .. } = opened.page(self.terms(), BATCH, inline::by_key, all)?;
            let is_last = rows.is_empty();
            after = rows.last().map(|last| last.key.clone());
            let own = rows.iter().filter(|row| !row.foreign);
            let doomed: Vec<_> = if is_last {
                // No page has those.
                let damaged = opened.damaged_inline_keys()?.into_iter();
                damaged.map(|key| (key, Doomed::Damaged)).collect()
            } else {
                own.filter_map(|row| Some((Key::new(&row.key).ok()?, Doomed::NotAfter(until))))
                    .collect()
            };
            for removed in opened.remove(&doomed, durability, self.terms())? {
                match removed {
                    Ok(removed) => count += u64::from(removed.removed),
                    // One damaged entry does not keep the rest.
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
            if is_last {
                return failed.map_or(Ok(count), Err);
            }
        }
    }

    /// Removes the values that are still those of these generations.
    pub(super) fn remove_unchanged(
        &self,
        seen: &[(Key, u64)],
        durability: Durability,
    ) -> Vec<Result<bool>> {
        let lock_timeout = self.options.lock_timeout.min(PATIENCE);
        let terms = Terms { lock_timeout, ..self.terms() };
        let mut results = Vec::with_capacity(seen.len());
        for batch in seen.chunks(BATCH) {
            let doomed: Vec<_> = batch
                .iter()
                .map(|(key, generation)| {
                    let condition = Condition::Matches(Record::etag_of(*generation));
                    (key.clone(), Doomed::Any(condition))
                })
                .collect();
            match self.writable().and_then(|opened| opened.remove(&doomed, durability, terms)) {
                Ok(removed) => results.extend(
                    removed.into_iter().map(|one| left_if_changed(one.map(|one| one.removed))),
                ),
                Err(error) => results.extend(batch.iter().map(|_| Err(error.again()))),
            }
        }
        results
    }

    /// See `Backend::begin_cleaning`.
    pub(super) fn take_turn_at_cleaning(&self, wait: bool) -> Result<Option<Box<dyn Any + Send>>> {
        let opened = self.writable()?;
        let clock = Clock::system();
        let patience = if wait { self.options.lock_timeout } else { Duration::ZERO };
        let patience = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        let deadline = clock.boot_millis().saturating_add(patience);
        if wait::until(&clock, deadline, || opened.live()?.try_clean())? {
            return Ok(Some(Box::new(Turn(opened))));
        }
        if !wait {
            return Ok(None);
        }
        Err(Error::new(ErrorKind::Busy, "another process is cleaning the store up")
            .remedy("try again later; what it removes need not be removed here"))
    }
}

impl FileBackend {
    /// Notes a use, if the store is open and keeps them.
    pub(super) fn note_use_now(&self, key: &str) {
        let opened = self.opened.load();
        if let Some((generation, opened)) = opened.as_deref()
            && *generation == fork::generation()
            && let Some(uses) = opened.maybe_live().and_then(Live::uses)
        {
            uses.note(key::hash_of(key), self.options.clock.coarse_wall_micros());
        }
    }

    /// When a value was last used, as far as that is kept.
    pub(super) fn last_known_use(&self, key: &Key) -> Option<u64> {
        let opened = self.opened_already()?;
        opened.maybe_live()?.uses()?.last(key.hash(), self.options.clock.wall_micros())
    }
}

/// Keeps others from cleaning up until it is dropped.
struct Turn(Arc<Opened>);

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(live) = self.0.maybe_live() {
            live.end_cleaning();
        }
    }
}

impl Live {
    /// From now on keeps the uses, unless that cannot be: then values count as used when they were
    /// saved. Not where other machines use them too.
    pub(super) fn keep_uses(&self) {
        self.uses.get_or_init(|| {
            if !self.coherent {
                return None;
            }
            Uses::open(&self.own)
                .inspect_err(|error| {
                    tracing::warn!("no uses are noted, values go as they were saved: {error}");
                })
                .ok()
        });
    }

    fn uses(&self) -> Option<&Uses> {
        self.uses.get()?.as_ref()
    }

    /// Whether it is this thread's turn now. Threads of one process share the lock, so the first of
    /// them takes it.
    fn try_clean(&self) -> Result<bool> {
        if self.cleaning.swap(true, Ordering::AcqRel) {
            return Ok(false);
        }
        let taken = ofd::try_lock(self.locks.file().as_fd(), byte::CLEANING, 1, true);
        if !matches!(taken, Ok(true)) {
            self.cleaning.store(false, Ordering::Release);
        }
        taken
    }

    fn end_cleaning(&self) {
        if let Err(error) = ofd::unlock(self.locks.file().as_fd(), byte::CLEANING, 1) {
            tracing::debug!(%error, "a lock ends with its descriptor");
        }
        self.cleaning.store(false, Ordering::Release);
    }
}
