//! Placing and removing inline values.
//!
//! Locks of the stripes -> what is there -> conditions -> clock odd -> one commit of the database
//! -> files of the keys go -> clock even -> unlock -> flush of the log where asked for -> answer.
//! Whatever takes the place of something of the other kind is flushed before that goes, or a power
//! cut could take both.

use std::collections::HashSet;
use std::os::fd::AsFd as _;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use xxhash_rust::xxh3::xxh3_64;

use super::super::find::{Candidate, Search};
use super::super::open::{Live, Opened};
use super::super::write::{IN_PLACE, Terms, begin, commit, finish, record};
use crate::backend::{Condition, Durability, Part, Placed, Put};
use crate::cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::index::{Change, Index as _, Kept, Row, Standing};
use crate::key::Key;
use crate::record::{Record, Stamp};

/// Puts with their places in the batch.
type Run = Vec<(usize, Put)>;
type Results = [Option<Result<Placed>>];

/// A value that is about to be committed.
struct Pending {
    at: usize,
    /// Its parts are one piece now.
    put: Put,
    record: Record,
    kept: Arc<Kept>,
    /// Files of the key.
    displaced: Vec<Candidate>,
}

/// Whether a value is small enough; one that is signed while it is written is not.
pub(crate) fn is_small(put: &Put, inline_below: u64) -> bool {
    put.seal.is_none() && put.length() < inline_below
}

/// The parts of a batch that are placed one after the other: inline values, and files.
pub(crate) fn runs(puts: Vec<Put>, is_small: impl Fn(&Put) -> bool) -> Vec<(bool, Run)> {
    let small: Vec<bool> = puts.iter().map(&is_small).collect();
    let puts: Run = puts.into_iter().enumerate().collect();
    if !small.contains(&true) {
        return vec![(false, puts)];
    }
    let is_small = |at: usize| small[at];
    let mut keys = HashSet::with_capacity(puts.len());
    if puts.iter().all(|(_, put)| keys.insert(put.key.as_str())) {
        let (small, large): (Run, Run) = puts.into_iter().partition(|(at, _)| is_small(*at));
        return vec![(true, small), (false, large)];
    }
    // The second value of a key follows the first.
    puts.into_iter().map(|one| (is_small(one.0), vec![one])).collect()
}

impl Pending {
    fn is_durable(&self) -> bool {
        self.put.durability == Durability::Disk
    }
}

impl Opened {
    /// Whether small values can be kept inline here; else they become files.
    pub(crate) fn can_inline(&self) -> bool {
        match self.live().and_then(|live| live.inline.ready()) {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!("small values become files: {error}");
                false
            }
        }
    }

    /// Places inline values of different keys, each for itself. Those are given back that have to
    /// become files, because a damaged page is in their way.
    #[must_use]
    pub(crate) fn write_inline(&self, puts: Run, terms: Terms<'_>, results: &mut Results) -> Run {
        let mut alive = Vec::with_capacity(puts.len());
        for (at, put) in puts {
            match put.check() {
                Ok(()) => alive.push((at, put)),
                Err(error) => results[at] = Some(Err(error)),
            }
        }
        if alive.is_empty() {
            return Run::new();
        }
        let places: Vec<usize> = alive.iter().map(|(at, _)| *at).collect();
        self.place_inline(alive, terms, results).unwrap_or_else(|error| {
            for at in places {
                results[at].get_or_insert_with(|| Err(error.again()));
            }
            Run::new()
        })
    }

    fn place_inline(&self, puts: Run, terms: Terms<'_>, results: &mut Results) -> Result<Run> {
        let live = self.live()?;
        let mut stripes: Vec<usize> = puts.iter().map(|(_, put)| put.key.stripe()).collect();
        stripes.sort_unstable();
        stripes.dedup();
        let guard = live.locks.lock(stripes.clone(), terms.lock_timeout)?;
        cancel::check()?;
        // Before the search, so that whoever comes next looks for them too.
        live.clock.note_inline();
        let keys: Vec<&str> = puts.iter().map(|(_, put)| put.key.as_str()).collect();
        let standing = live.inline.standing(&keys)?;
        begin(live, &stripes);
        let mut pending = Vec::with_capacity(puts.len());
        let mut refused = Run::new();
        for ((at, put), standing) in puts.into_iter().zip(standing) {
            if standing == Standing::Lost {
                refused.push((at, put));
                continue;
            }
            match self.prepare_inline(live, at, put, standing, terms) {
                Ok(one) => pending.push(one),
                Err(error) => results[at] = Some(Err(error)),
            }
        }
        let _moving =
            pending.iter().any(|one| !one.displaced.is_empty()).then(|| live.clock.begin_move());
        let mut pending = commit_each(live, pending, results, &mut refused);
        self.replace_files(live, &mut pending, results);
        finish(live, &stripes);
        // Still under the locks: the next writer makes them old.
        let version = |key: &Key| live.clock.version(key.stripe()).filter(|_| live.coherent);
        let placed: Vec<_> = pending.into_iter().map(|one| (version(&one.put.key), one)).collect();
        drop(guard);
        let flushed = if placed.iter().any(|(_, one)| one.is_durable()) {
            // No flush happens under a lock.
            live.inline.flush().and_then(|()| self.flushed.anchor(self.base.as_fd(), &self.path))
        } else {
            Ok(())
        };
        for (version, one) in placed {
            let flushed = if one.is_durable() { again(&flushed) } else { Ok(()) };
            let flushed = flushed.map_err(|error| error.after(IN_PLACE));
            results[one.at] = Some(flushed.map(|()| Placed { record: one.record, version }));
        }
        Ok(refused)
    }

    fn prepare_inline(
        &self,
        live: &Live,
        at: usize,
        mut put: Put,
        standing: Standing,
        terms: Terms<'_>,
    ) -> Result<Pending> {
        put.check()?;
        live.check_signer(&put)?;
        let files = self.find(&put.key, None, Search::Known)?;
        let mends = standing == Standing::Damaged;
        if mends && put.condition != Condition::Any {
            return Err(Error::new(
                ErrorKind::Corrupt,
                "the inline value that is there is damaged",
            )
            .remedy("save it without a condition, or delete it"));
        }
        let (row, inline) = recorded(standing);
        let before = self.newest(&files, inline)?;
        put.admit(before.as_ref(), terms.clock)?;
        let content = content(&put.parts);
        let checksum = xxh3_64(&content);
        let record = record(live, &put, content.len() as u64, checksum, before.as_ref(), terms);
        put.parts = vec![Part::Stable(content.clone())];
        let kept = Arc::new(Kept { row: self.row(&put.key, &record), content, old: row, mends });
        // What other programs put there goes only if it was the value.
        let alone = files.len() == 1 && kept.old.is_none();
        let displaced = files.into_iter().filter(|file| file.is_ours() || alone).collect();
        Ok(Pending { at, put, record, kept, displaced })
    }

    /// Removes what the new values replace: their files, and rows of files that are gone already.
    fn replace_files(&self, live: &Live, pending: &mut Vec<Pending>, results: &mut Results) {
        let moved = pending.iter().any(|one| !one.displaced.is_empty());
        if moved && let Err(error) = live.inline.flush() {
            // The files are still the values, but for those that were older than an inline value:
            // that one is gone, and the next newer one stays.
            let moved = pending.iter().filter(|one| !one.displaced.is_empty());
            let alone: Vec<&Key> =
                moved.filter(|one| one.kept.old.is_none()).map(|one| &one.put.key).collect();
            let mut removed = live.inline.remove(&alone).into_iter();
            pending.retain(|one| {
                if one.displaced.is_empty() {
                    return true;
                }
                let is_back = one.kept.old.is_none() && removed.next().is_some_and(|it| it.is_ok());
                let error = error.again();
                results[one.at] = Some(Err(if is_back {
                    error
                } else {
                    live.clock.set_diverged(true);
                    error.after(IN_PLACE)
                }));
                false
            });
        }
        let mut changes = Vec::new();
        let mut left = Vec::new();
        // Where files were removed by hand, the index may still list them.
        let index_has = |key: &Key| {
            let row = live.catalog.ask(&live.clock, |index| index.get(key.as_str()));
            !matches!(row, Ok(None))
        };
        let has_files = pending.iter().any(|one| one.kept.old.is_none()) && self.lists_files(live);
        for one in pending.iter_mut() {
            let displaced = std::mem::take(&mut one.displaced);
            if displaced.is_empty() {
                if has_files && one.kept.old.is_none() && index_has(&one.put.key) {
                    changes.push(removal(&one.put.key));
                }
                continue;
            }
            live.clock.note_move();
            self.unlink_displaced(live, &displaced);
            self.forget_key(live, &one.put.key);
            changes.push(removal(&one.put.key));
            left.extend(displaced.into_iter().map(|file| (one.at, file.path)));
        }
        commit(live, changes);
        // Or a power cut that comes while the inline value is deleted later could bring them back.
        let paths: Vec<&str> = left.iter().map(|(_, path)| path.as_str()).collect();
        let flushed = self.flushed.flush_names(self.base.as_fd(), &self.path, &paths);
        for ((at, _), flushed) in left.iter().zip(flushed) {
            if let Err(error) = flushed {
                live.clock.set_diverged(true);
                results[*at] = Some(Err(error.after(IN_PLACE)));
                pending.retain(|one| one.at != *at);
            }
        }
        for one in pending {
            self.set_inline_hint(&one.put.key);
        }
    }

    /// Removes files that no longer count; a failure has both looked at until it is settled.
    fn unlink_displaced(&self, live: &Live, files: &[Candidate]) {
        for old in files {
            if let Err(error) = self.unlink(&old.path, &old.stat) {
                tracing::warn!(path = ?old.path, "an outdated file was not removed: {error}");
                live.clock.set_diverged(true);
            }
        }
    }

    fn lists_files(&self, live: &Live) -> bool {
        let totals = live.catalog.ask(&live.clock, |index| index.totals());
        totals.map_or(true, |totals| totals.entries > 0)
    }

    /// What lies inline under a key whose lock the caller holds: the row if it is there, and
    /// whether something is.
    ///
    /// # Errors
    /// If that cannot be found out.
    pub(crate) fn inline_record(&self, key: &Key) -> Result<InlineRecord> {
        if !self.may_have_inline() {
            return Ok(InlineRecord::default());
        }
        let mut found = self.live()?.inline.standing(&[key.as_str()])?;
        Ok(InlineRecord::of(found.pop().unwrap_or(Standing::Absent)))
    }

    /// Removes inline values whose keys have files by now; a failure has both looked at until it
    /// is settled.
    pub(crate) fn evict_inline(&self, live: &Live, keys: &[&Key]) {
        if keys.is_empty() {
            return;
        }
        live.clock.note_move();
        for removed in live.inline.remove(keys) {
            let Err(error) = removed else { continue };
            tracing::warn!("an outdated inline value was not removed: {error}");
            if error.kind() == ErrorKind::Corrupt {
                // No scan could either.
                live.clock.note_unsettled();
            } else {
                live.clock.set_diverged(true);
            }
        }
    }
}

/// What lies inline under a key.
#[derive(Default)]
pub(crate) struct InlineRecord {
    pub(crate) is_there: bool,
    pub(crate) is_damaged: bool,
    /// Nobody knows what there is: the database is damaged. A file of the key is the value then.
    pub(crate) is_lost: bool,
    pub(crate) record: Option<Record>,
}

impl InlineRecord {
    pub(super) fn of(standing: Standing) -> Self {
        let is_lost = standing == Standing::Lost;
        let is_there = standing != Standing::Absent && !is_lost;
        let is_damaged = standing == Standing::Damaged;
        Self { is_there, is_damaged, is_lost, record: recorded(standing).1 }
    }
}

impl Opened {
    /// The record of whichever is the value: the newest of ours, else what another program put there.
    pub(crate) fn newest(
        &self,
        files: &[Candidate],
        inline: Option<Record>,
    ) -> Result<Option<Record>> {
        let Some(first) = files.first() else { return Ok(inline) };
        let inline_wins = inline.as_ref().is_some_and(|inline| match &first.stamp {
            Some(stamp) => stamp.record.generation < inline.generation,
            None => !(first.is_unknown && self.is_in_doubt()),
        });
        if inline_wins { Ok(inline) } else { first.current().map(Some) }
    }
}

/// Commits all at once, or each by itself where a damaged page stands in the way of some; those
/// are `refused`.
fn commit_each(
    live: &Live,
    pending: Vec<Pending>,
    results: &mut Results,
    refused: &mut Run,
) -> Vec<Pending> {
    let change = |one: &Pending| Change::Keep(Arc::clone(&one.kept));
    let commit = || live.inline.commit(pending.iter().map(change).collect());
    // Before values have what somebody else has freed.
    live.inline.keep_reserve();
    let mut together = commit();
    if together.as_ref().is_err_and(Error::is_disk_full) {
        // The log may have room that it does not need.
        live.inline.begin_log_anew();
        together = commit();
    }
    let Err(error) = together else { return pending };
    let is_damage = error.kind() == ErrorKind::Corrupt;
    let one_by_one = pending.len() > 1 && is_damage;
    let mut placed = Vec::with_capacity(pending.len());
    for one in pending {
        let committed =
            if one_by_one { live.inline.commit(vec![change(&one)]) } else { Err(error.again()) };
        match committed {
            Ok(()) => placed.push(one),
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                tracing::warn!("a value becomes a file: {error}");
                refused.push((one.at, one.put));
            }
            Err(error) => results[one.at] = Some(Err(error)),
        }
    }
    placed
}

pub(crate) fn removal(key: &Key) -> Change {
    Change::Remove { key: key.as_str().to_owned(), generation: None }
}

fn recorded(standing: Standing) -> (Option<Row>, Option<Record>) {
    let Standing::There(row) = standing else { return (None, None) };
    let record = Stamp::decode(&row.record).map(|stamp| stamp.record);
    (Some(*row), record)
}

/// All parts in one piece; what their owners may change is copied.
fn content(parts: &[Part]) -> Bytes {
    if let [Part::Stable(only)] = parts {
        return only.clone();
    }
    let mut content = BytesMut::with_capacity(parts.iter().map(|part| part.bytes().len()).sum());
    for part in parts {
        content.extend_from_slice(part.bytes());
    }
    content.freeze()
}

fn again(result: &Result<()>) -> Result<()> {
    result.as_ref().map_err(Error::again).copied()
}
