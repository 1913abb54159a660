//! Cleaning a store up: what has expired goes, and of what is too much the oldest.
//!
//! A round may be asked for, or is made by the thread of `cleaner`, which this tells when there is
//! something to do. Nothing goes that was saved anew since it was seen.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::cleaner;
use super::limits::{Eviction, Limits};
use super::oldest::{Candidate, Oldest};
use super::pace::Pace;
use super::watch::Operation;
use super::{BlobManager, BlobOptions};
use crate::backend::{Backend, Durability, Totals};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::fork;
use crate::key::Key;
use crate::record::Record;
use crate::stats::CleaningReport;

/// Values that are listed, and expired ones that are removed, at a time.
const PAGE: usize = 500;
/// Values that are removed with one commit; others may wait for their locks meanwhile.
const BATCH: usize = 64;
/// Milliseconds between two rounds at least.
const PAUSE: u64 = 100;
/// Milliseconds after which it is looked whether others are done.
const OTHERS: u64 = 1_000;
/// Nobody has asked yet how much there is: the first save has it found out.
const UNKNOWN: u64 = u64::MAX / 2;
/// No round is planned.
pub(super) const NEVER: u64 = u64::MAX;

/// What a manager and its clones know of cleaning up.
#[derive(Debug)]
pub(super) struct Cleaning {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) clock: Clock,
    limits: Limits,
    durability: Durability,
    /// Milliseconds between rounds; `None` is no background.
    every: Option<u64>,
    /// Loads are noted, for they decide who goes.
    pub(super) notes_uses: bool,
    /// Every save counts, for there are limits.
    counts: bool,
    /// How much there is, at most: the totals of the last round and all saves since.
    entries: AtomicU64,
    bytes: AtomicU64,
    /// When the last of the values ends that were seen so far, as all times [`Clock::coarse_millis`].
    last_end: AtomicU64,
    /// When the next round is to be made in the background; the thread has it too.
    pub(super) due: Arc<AtomicU64>,
    /// No round before this moment.
    not_before: AtomicU64,
    /// One more than the fork generation in which the thread knows of this, or 0.
    pub(super) joined: AtomicU64,
    /// The background is to stop soon.
    pub(super) is_ending: AtomicBool,
    /// One more than the fork generation in which a round is being made in the background, or 0.
    running: AtomicU64,
    evictions: AtomicU64,
    expirations: AtomicU64,
}

impl Cleaning {
    pub(super) fn new(backend: &Arc<dyn Backend>, options: &BlobOptions) -> Self {
        let limits = options.limits.clone();
        let millis = |every: Duration| u64::try_from(every.as_millis()).unwrap_or(NEVER / 2);
        let every = limits.clean_every.map(|every| millis(every).clamp(1, NEVER / 2));
        Self {
            backend: Arc::clone(backend),
            clock: options.clock.clone(),
            durability: options.durability,
            every,
            counts: every.is_some() && limits.any(),
            notes_uses: limits.eviction == Eviction::LeastRecentlyUsed,
            limits,
            entries: AtomicU64::new(UNKNOWN),
            bytes: AtomicU64::new(UNKNOWN),
            last_end: AtomicU64::new(0),
            due: Arc::new(AtomicU64::new(NEVER)),
            not_before: AtomicU64::new(0),
            joined: AtomicU64::new(0),
            is_ending: AtomicBool::new(false),
            running: AtomicU64::new(0),
            evictions: AtomicU64::new(0),
            expirations: AtomicU64::new(0),
        }
    }

    /// How many values were evicted, and how many expired ones removed.
    pub(super) fn removed(&self) -> (u64, u64) {
        (self.evictions.load(Ordering::Relaxed), self.expirations.load(Ordering::Relaxed))
    }

    pub(super) fn expired(&self, values: u64) {
        self.expirations.fetch_add(values, Ordering::Relaxed);
    }

    /// To be told of every value that was saved.
    pub(super) fn saved(self: &Arc<Self>, record: &Record) {
        if self.counts || record.expiry.is_some() {
            self.note(record, self.counts);
        }
    }

    /// To be told of every value that was loaded.
    pub(super) fn loaded(self: &Arc<Self>, key: &Key, record: &Record) {
        if record.expiry.is_some() {
            self.note(record, false);
        }
        if self.notes_uses {
            self.backend.note_use(key.as_str());
        }
    }

    #[cold]
    fn note(self: &Arc<Self>, record: &Record, counts: bool) {
        let Some(every) = self.every else { return };
        let now = self.clock.coarse_millis();
        let mut wanted = NEVER;
        if let Some(expiry) = &record.expiry {
            self.last_end
                .fetch_max(now.saturating_add(expiry.remaining(&self.clock)), Ordering::Relaxed);
            wanted = now.saturating_add(every);
        }
        if counts {
            self.entries.fetch_add(1, Ordering::Relaxed);
            self.bytes.fetch_add(record.length, Ordering::Relaxed);
            if self.limits.excess(self.known()).is_some() {
                wanted = now;
            }
        }
        self.plan(wanted);
    }

    /// Has a round made at `wanted` or before; during one, after it.
    fn plan(self: &Arc<Self>, wanted: u64) {
        let wanted = wanted.max(self.not_before.load(Ordering::Relaxed));
        // In a forked child nobody knows of what was planned in the parent.
        let is_known = self.joined.load(Ordering::Acquire) == fork::generation() + 1;
        if wanted < self.due.load(Ordering::Acquire) || !is_known {
            self.due.fetch_min(wanted, Ordering::AcqRel);
            cleaner::wake(self);
        }
    }

    /// A round of the background, if one is due. Fails with nothing but a line in the log.
    pub(super) fn run_if_due(&self) {
        let Some(every) = self.every else { return };
        if self.due.load(Ordering::Acquire) > self.clock.coarse_millis() {
            return;
        }
        // Whoever saves from here on plans another round.
        self.due.store(NEVER, Ordering::Release);
        let here = fork::generation() + 1;
        self.running.store(here, Ordering::Release);
        let mut next = every.max(PAUSE);
        let mut again = false;
        match Pace::gentle(self).map(|pace| pace.map(|pace| self.round(pace))) {
            Ok(Some(Ok(_))) => {}
            // Others may be done before what was saved here in the meantime.
            Ok(None) => (next, again) = (next.min(OTHERS), true),
            Err(error) if is_read_only(&error) => {
                // Whoever can write there cleans up.
                self.last_end.store(0, Ordering::Relaxed);
                tracing::debug!(target: "holdall::cleaning", "nothing is cleaned up here: {error}");
            }
            Ok(Some(Err(error))) | Err(error) => {
                tracing::warn!(target: "holdall::cleaning", "the store was not cleaned up: {error}");
            }
        }
        self.running.store(0, Ordering::Release);
        let now = self.clock.coarse_millis();
        self.not_before.store(now.saturating_add(PAUSE), Ordering::Relaxed);
        // Some time longer than it seems to take: the coarse clock is late, and the two clocks by which a
        // value ends may be apart.
        let longer = every.max(OTHERS);
        again |= self.last_end.load(Ordering::Relaxed).saturating_add(longer) > now;
        if again || (self.counts && self.limits.excess(self.known()).is_some()) {
            self.due.fetch_min(now.saturating_add(next), Ordering::AcqRel);
        }
        if self.is_ending.load(Ordering::Acquire) {
            self.due.store(NEVER, Ordering::Release);
        }
    }

    /// How much there is, at most, as far as this manager knows.
    fn known(&self) -> Totals {
        Totals {
            entries: self.entries.load(Ordering::Relaxed),
            total_size: self.bytes.load(Ordering::Relaxed),
        }
    }

    /// Ends what goes on in the background, after the batch that is being removed; a later save begins
    /// it again.
    pub(super) fn end(&self) {
        self.is_ending.store(true, Ordering::Release);
        self.last_end.store(0, Ordering::Relaxed);
        self.due.store(NEVER, Ordering::Release);
        let here = fork::generation() + 1;
        // The thread of a parent is not waited for in its child, nor one that hangs.
        for _ in 0..1_000 {
            if self.running.load(Ordering::Acquire) != here {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.is_ending.store(false, Ordering::Release);
    }

    /// One look at everything.
    ///
    /// # Errors
    /// The first failure; the rest was done before it is reported.
    fn round(&self, mut pace: Pace<'_>) -> Result<CleaningReport> {
        let started = Clock::system().boot_micros();
        let mut report = CleaningReport::default();
        let mut failed = self.expire(&mut pace, &mut report).err();
        if self.limits.any() {
            failed = failed.or(self.evict(&mut pace, &mut report).err());
        }
        let micros = Clock::system().boot_micros().saturating_sub(started);
        let CleaningReport { expired, evicted, evicted_bytes } = report;
        if expired + evicted > 0 {
            tracing::info!(
                target: "holdall::cleaning",
                expired, evicted, evicted_bytes, micros,
                "the store was cleaned up"
            );
        } else {
            tracing::debug!(target: "holdall::cleaning", micros, "nothing was to be cleaned up");
        }
        failed.map_or(Ok(report), Err)
    }

    fn expire(&self, pace: &mut Pace<'_>, report: &mut CleaningReport) -> Result<()> {
        loop {
            let removed = self.backend.expire_some(PAGE as u64, self.durability)?;
            self.expired(removed);
            report.expired += removed;
            if removed < PAGE as u64 || !pace.go_on(false)? {
                return Ok(());
            }
        }
    }

    fn evict(&self, pace: &mut Pace<'_>, report: &mut CleaningReport) -> Result<()> {
        let mut failed = None;
        loop {
            let totals = self.backend.totals()?;
            self.entries.store(totals.entries, Ordering::Relaxed);
            self.bytes.store(totals.total_size, Ordering::Relaxed);
            let Some(wanted) = self.limits.excess(totals) else { break };
            let is_urgent = self.limits.is_urgent(totals);
            let Some((oldest, own)) = self.oldest(wanted, is_urgent, pace)? else { break };
            // What other programs have put there counts for nobody.
            let Some(wanted) = self.limits.excess(own) else { break };
            let removed = self.remove(&oldest, wanted, is_urgent, pace, &mut failed)?;
            self.evictions.fetch_add(removed.entries, Ordering::Relaxed);
            report.evicted += removed.entries;
            report.evicted_bytes += removed.total_size;
            if removed.entries == 0 || !pace.go_on(is_urgent)? {
                break;
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// The oldest values of this store, enough to free so much, and how much there is of its own; `None`
    /// if the round is over.
    fn oldest(
        &self,
        wanted: Totals,
        is_urgent: bool,
        pace: &mut Pace<'_>,
    ) -> Result<Option<(Vec<Candidate>, Totals)>> {
        let mut own = Totals::default();
        let mut oldest = Oldest::new(wanted);
        let mut after: Option<Key> = None;
        loop {
            let page = self.backend.list("", after.as_ref(), PAGE)?;
            let is_last = page.len() < PAGE;
            after = page.last().map(|(key, _)| key.clone());
            for (key, record) in page.into_iter().filter(|(_, record)| !record.foreign) {
                own.entries += 1;
                own.total_size += record.length;
                let last = self.last_of(&key, &record);
                let (generation, bytes) = (record.generation, record.length);
                oldest.add(Candidate { last, generation, bytes, key });
            }
            if is_last {
                return Ok(Some((oldest.in_order(), own)));
            }
            if !pace.go_on(is_urgent)? {
                return Ok(None);
            }
        }
    }

    /// When a value was last saved or, where that counts, used.
    fn last_of(&self, key: &Key, record: &Record) -> u64 {
        if self.limits.never_fits(record.length) {
            return 0;
        }
        match self.limits.eviction {
            Eviction::LeastRecentlySaved => record.updated,
            Eviction::LeastRecentlyUsed => {
                self.backend.last_use(key).unwrap_or(0).max(record.updated)
            }
        }
    }

    /// Removes the first of these values, until so much is freed; what went.
    fn remove(
        &self,
        oldest: &[Candidate],
        wanted: Totals,
        is_urgent: bool,
        pace: &mut Pace<'_>,
        failed: &mut Option<Error>,
    ) -> Result<Totals> {
        let mut removed = Totals::default();
        let mut left = oldest;
        while !left.is_empty() {
            let batch = enough(left, wanted, removed);
            if batch.is_empty() {
                break;
            }
            left = &left[batch.len()..];
            let seen: Vec<_> = batch.iter().map(|one| (one.key.clone(), one.generation)).collect();
            let results = self.backend.remove_seen(&seen, self.durability);
            for (one, result) in batch.iter().zip(results) {
                match result {
                    Ok(true) => {
                        removed.entries += 1;
                        removed.total_size += one.bytes;
                    }
                    // Saved anew, or gone already.
                    Ok(false) => {}
                    // One that cannot be removed does not keep the rest.
                    Err(error) => *failed = failed.take().or(Some(error)),
                }
            }
            if !pace.go_on(is_urgent)? {
                break;
            }
        }
        Ok(removed)
    }
}

/// Whether the store can only be read.
fn is_read_only(error: &Error) -> bool {
    matches!(error.os_error(), Some(libc::EROFS | libc::EACCES | libc::EPERM))
}

/// As many of the first values as it takes, one batch at most.
fn enough(left: &[Candidate], wanted: Totals, removed: Totals) -> &[Candidate] {
    let mut sum = removed;
    let mut count = 0;
    for one in left.iter().take(BATCH) {
        if sum.entries >= wanted.entries && sum.total_size >= wanted.total_size {
            break;
        }
        sum.entries += 1;
        sum.total_size += one.bytes;
        count += 1;
    }
    &left[..count]
}

impl Drop for Cleaning {
    fn drop(&mut self) {
        if *self.joined.get_mut() != 0 {
            cleaner::left();
        }
    }
}

impl BlobManager {
    /// Whether uses of values are to be noted, see [`Eviction::LeastRecentlyUsed`]; for memories over
    /// the store, whose hits it does not see.
    #[must_use]
    pub fn notes_uses(&self) -> bool {
        self.cleaning.notes_uses
    }

    /// Notes that a value is used now, if that is to be noted.
    pub(crate) fn note_use(&self, key: &Key) {
        if self.cleaning.notes_uses {
            self.backend().note_use(key.as_str());
        }
    }

    /// Cleans the store up, now: removes what has expired and, where [`Limits`] say that there is too
    /// much, the oldest values, down to 95 % of the limit. The thread in the background does the same,
    /// see [`Limits::clean_every`]. Files of other programs neither count nor go.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`](crate::ErrorKind::Busy) if another process does it and does not come to an
    /// end; [`ErrorKind::Io`](crate::ErrorKind::Io). What could be removed is removed all the same.
    pub fn clean_up(&self) -> Result<CleaningReport> {
        let clean = || self.cleaning.round(Pace::at_once(&self.cleaning)?);
        let cleaned = self.watched(Operation::Clean, None, |_| 0, clean);
        cleaned.map_err(|error| error.during("clean the store up"))
    }
}

#[cfg(test)]
mod tests;
