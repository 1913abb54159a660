//! Placing values: the order of steps that keeps readers and crashes from seeing anything torn.
//!
//! Temporary file, complete -> locks of the stripes -> conditions, stamp -> clock odd -> rename
//! -> one commit of the index -> the old format's file goes -> clock even -> unlock -> flush of
//! the folders where asked for -> answer. The stamp carries the record, so a commit that fails
//! undoes nothing: the index is marked, and filled again from the files before it is next asked.

use std::collections::HashSet;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::fs::{AtFlags, Stat, statat, unlinkat};
use rustix::io::Errno;

use super::dir::{make_parent, parent, prune_parents};
use super::find::{Candidate, Search};
use super::inline::{self, MOST_INLINE};
use super::open::{Live, Opened};
use super::temp::Temp;
use crate::backend::{Durability, Placed, Put};
use crate::cancel;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::format::Ending;
use crate::index::{Change, Row};
use crate::key::Key;
use crate::record::{Expiry, MAX_KEY_IN_STAMP, Record, Stamp};

/// How often a folder is made again that others remove because it is empty.
const TRIES: usize = 1_000;

/// What is said where only the last flush has failed.
pub(super) const IN_PLACE: &str = "the new value is in place";

/// What one manager brings to a write.
#[derive(Clone, Copy)]
pub(crate) struct Terms<'a> {
    pub(crate) clock: &'a Clock,
    pub(crate) lock_timeout: Duration,
    /// Values of fewer bytes are kept inline.
    pub(crate) inline_below: u64,
}

/// A value whose bytes are in a temporary file.
struct Staged<'a> {
    put: Put,
    temp: Temp<'a>,
    length: u64,
    checksum: u64,
    /// The stamp that is flushed already, with the generation of the value that it follows.
    stamped: Option<(Record, Option<u64>)>,
    /// The count of its stripe before that stamp was made.
    count: u64,
}

/// What was placed, and what is left to be done for it.
pub(super) struct Pending {
    record: Record,
    pub(super) key: Key,
    pub(super) path: String,
    /// Files of the key in other formats.
    displaced: Vec<Candidate>,
    /// The key has an inline value too.
    pub(super) displaces_inline: bool,
    durable: bool,
    /// Nothing has begun to write the file to the disk.
    is_unwritten: bool,
    /// No later member of its batch has the same key.
    is_newest: bool,
    version: Option<u64>,
}

impl Opened {
    /// Places several values, each for itself.
    pub(crate) fn write(&self, puts: Vec<Put>, terms: Terms<'_>) -> Vec<Result<Placed>> {
        let mut results: Vec<Option<Result<Placed>>> = puts.iter().map(|_| None).collect();
        let lies_inline = |key: &Key| self.inline_record(key).is_ok_and(|found| found.is_there);
        let is_small = |put: &Put| match put.continues {
            None if inline::is_small(put, terms.inline_below) => true,
            None => {
                let may_stay = put.stays_inline && inline::is_small(put, MOST_INLINE);
                may_stay && lies_inline(&put.key)
            }
            Some(_) => lies_inline(&put.key),
        };
        let can_inline = puts.iter().any(is_small) && self.can_inline();
        for (is_small, run) in inline::runs(puts, |put| can_inline && is_small(put)) {
            if is_small {
                let refused = self.write_inline(run, terms, &mut results);
                self.write_files(refused, terms, &mut results);
            } else {
                self.write_files(run, terms, &mut results);
            }
        }
        let lost = || Err(Error::new(ErrorKind::Io, "the write was not carried out"));
        results.into_iter().map(|result| result.unwrap_or_else(lost)).collect()
    }

    fn write_files(
        &self,
        puts: Vec<(usize, Put)>,
        terms: Terms<'_>,
        results: &mut [Option<Result<Placed>>],
    ) {
        if puts.is_empty() {
            return;
        }
        let mut staged: Vec<(usize, Staged<'_>)> = Vec::with_capacity(puts.len());
        for (at, put) in puts {
            match self.stage(put, terms) {
                Ok(one) => staged.push((at, one)),
                Err(error) => results[at] = Some(Err(error)),
            }
        }
        self.settle(staged, terms, results);
    }

    /// Places one value whose bytes are in a temporary file already.
    pub(crate) fn write_staged<'a>(
        &'a self,
        put: Put,
        temp: Temp<'a>,
        length: u64,
        checksum: u64,
        terms: Terms<'_>,
    ) -> Result<Placed> {
        put.check()?;
        let count = self.live()?.clock.count(put.key.stripe());
        let staged = Staged { put, temp, length, checksum, stamped: None, count };
        let staged = self.flush_staged(staged, terms)?;
        let mut results = vec![None];
        self.settle(vec![(0, staged)], terms, &mut results);
        let lost = || Err(Error::new(ErrorKind::Io, "the write was not carried out"));
        results.into_iter().flatten().next().unwrap_or_else(lost)
    }

    /// Places what is staged, and flushes the names of what must be durable.
    fn settle<'a>(
        &'a self,
        staged: Vec<(usize, Staged<'a>)>,
        terms: Terms<'_>,
        results: &mut [Option<Result<Placed>>],
    ) {
        let placed = self.place_all(staged, terms, results);
        // No flush happens under a lock.
        let durable = placed.iter().filter(|(_, one)| one.durable);
        let durable: Vec<&str> = durable.map(|(_, one)| one.path.as_str()).collect();
        let mut flushed =
            self.flushed.flush_for_good(self.base.as_fd(), &self.path, &durable).into_iter();
        for (at, one) in placed {
            let flushed = if one.durable { flushed.next().unwrap_or(Ok(())) } else { Ok(()) };
            let placed = Placed { record: one.record, version: one.version };
            let flushed = flushed.map_err(|error| error.after(IN_PLACE));
            results[at] = Some(flushed.map(|()| placed));
        }
    }

    /// Writes the bytes, and flushes them with their probable stamp if they must be durable.
    fn stage(&self, mut put: Put, terms: Terms<'_>) -> Result<Staged<'_>> {
        put.check()?;
        let live = self.live()?;
        let mut temp = live.temp().map_err(|error| error.below(&self.path))?;
        let io = |error| Error::io(error, self.path.clone());
        let (length, checksum) = match put.seal.take() {
            None => temp.write(&put.parts).map_err(io)?,
            Some(seal) => {
                let (length, checksum, tag) = temp.write_sealed(&put.parts, &seal).map_err(io)?;
                put.signature = Some(tag);
                (length, checksum)
            }
        };
        let count = live.clock.count(put.key.stripe());
        let staged = Staged { put, temp, length, checksum, stamped: None, count };
        let mut staged = self.flush_staged(staged, terms)?;
        // The parts may be large; nobody needs them any more.
        staged.put.parts = Vec::new();
        Ok(staged)
    }

    /// Flushes the bytes with their probable stamp if they must be durable, and the text of a key that
    /// no stamp can hold.
    fn flush_staged<'a>(&'a self, mut staged: Staged<'a>, terms: Terms<'_>) -> Result<Staged<'a>> {
        let durable = staged.put.durability == Durability::Disk;
        if staged.put.key.as_str().len() > MAX_KEY_IN_STAMP {
            // It is flushed when it is made, and not under the lock.
            self.keep_key(self.live()?, &staged.put.key, durable)?;
        }
        if durable {
            let current = self.find(&staged.put.key, None, Search::Known)?;
            let inline = self.inline_under(&staged.put, &current)?;
            let before = self.newest(&current, inline.record)?;
            self.stamp(self.live()?, &mut staged, before.as_ref(), terms)?;
            staged.temp.sync().map_err(|error| Error::io(error.into(), self.path.clone()))?;
        }
        Ok(staged)
    }

    fn place_all<'a>(
        &'a self,
        staged: Vec<(usize, Staged<'a>)>,
        terms: Terms<'_>,
        results: &mut [Option<Result<Placed>>],
    ) -> Vec<(usize, Pending)> {
        let mut placed = Vec::with_capacity(staged.len());
        let mut stripes: Vec<usize> = staged.iter().map(|(_, one)| one.put.key.stripe()).collect();
        stripes.sort_unstable();
        stripes.dedup();
        let locked = self.live().and_then(|live| {
            let guard = live.locks.lock(stripes.clone(), terms.lock_timeout)?;
            cancel::check()?;
            Ok((live, guard))
        });
        let (live, guard) = match locked {
            Ok(locked) => locked,
            Err(error) => {
                for (at, _) in &staged {
                    results[*at] = Some(Err(error.again()));
                }
                return placed;
            }
        };
        begin(live, &stripes);
        for (at, one) in staged {
            match self.place(live, one, terms) {
                Ok(done) => placed.push((at, done)),
                Err(error) => results[at] = Some(Err(error)),
            }
        }
        let mut later = HashSet::new();
        for (_, one) in placed.iter_mut().rev() {
            one.is_newest = later.insert(one.key.hash());
        }
        let moves = placed.iter().any(|(_, one)| one.displaces_inline);
        let moving = moves.then(|| live.clock.begin_move());
        let rows = placed.iter().map(|(_, one)| Change::Put(self.row(&one.key, &one.record)));
        commit(live, rows.collect());
        for (at, (_, one)) in placed.iter().enumerate() {
            for old in &one.displaced {
                // A later member of this batch may have placed its value there.
                if placed[at + 1..].iter().any(|(_, later)| later.path == old.path) {
                    continue;
                }
                if let Err(error) = self.unlink(&old.path, &old.stat) {
                    tracing::warn!(path = ?old.path, "an outdated file was not removed: {error}");
                    // Readers must not take the first file that they find for the value.
                    live.clock.set_diverged(true);
                }
            }
        }
        self.replace_inline(live, &mut placed, results);
        drop(moving);
        finish(live, &stripes);
        // Still under the locks: the next writer makes them old.
        for (_, one) in placed.iter_mut().filter(|(_, one)| live.coherent && one.is_newest) {
            one.version = live.clock.version(one.key.stripe());
        }
        drop(guard);
        let unwritten = placed.iter().filter(|(_, one)| one.is_unwritten);
        live.writeback.start(unwritten.map(|(_, one)| one.path.as_str()));
        placed
    }

    fn place<'a>(
        &'a self,
        live: &Live,
        mut staged: Staged<'a>,
        terms: Terms<'_>,
    ) -> Result<Pending> {
        staged.put.check()?;
        live.check_signer(&staged.put)?;
        let key = staged.put.key.clone();
        // Before the search, so that whoever comes next looks for this one too.
        live.clock.note_format(Ending { format: staged.put.format, codec: staged.put.codec });
        let mut current = self.find(&key, None, Search::Known)?;
        let inline = self.inline_under(&staged.put, &current)?;
        let before = self.newest(&current, inline.record)?;
        staged.put.admit(before.as_ref(), terms.clock)?;
        let durable = staged.put.durability == Durability::Disk;
        let follows = before.as_ref().map(|found| found.generation);
        // Where a value came and went meanwhile, the one that follows looks the same; but readers
        // have seen that value's generation, and this one's must be higher.
        let untouched = live.clock.count(key.stripe()) == staged.count + 1;
        let record = match staged.stamped.take() {
            Some((record, expected)) if expected == follows && untouched => {
                // A scan may have taken the text of the key meanwhile, which had no file.
                self.keep_key(live, &key, durable)?;
                record
            }
            _ => {
                let record = self.stamp(live, &mut staged, before.as_ref(), terms)?;
                if durable || inline.is_there {
                    // Another writer of this very key came between, or the value moves: rare, so
                    // under its lock.
                    staged.temp.sync().map_err(|error| Error::io(error.into(), &self.path))?;
                }
                record
            }
        };
        let path = record.ending().after(&key.name(self.case_rule()));
        // What other programs put there goes only if it was the value.
        let alone = current.len() == 1 && !inline.is_there;
        let replaced = current.iter().position(|old| old.path == path);
        let replaced = replaced.map(|at| current.remove(at));
        current.retain(|old| old.is_ours() || alone);
        let io = |error: Errno| Error::io(error.into(), self.path.join(&path));
        let mut tries = 0;
        loop {
            let placed =
                make_parent(self.base.as_fd(), &path).and_then(|(folder, name)| match replaced {
                    Some(_) => staged.temp.replace(folder.as_fd(), name),
                    None => staged.temp.place(folder.as_fd(), name),
                });
            match placed {
                Ok(()) => break,
                // A folder on the way was empty and was removed just now. If it is the temporary
                // file or the store that is gone, trying again does not help.
                Err(Errno::NOENT) if path.contains('/') && tries < TRIES => tries += 1,
                Err(error) => {
                    // Folders may have been made for it.
                    prune_parents(self.base.as_fd(), &path);
                    return Err(io(error));
                }
            }
        }
        if let Some(replaced) = &replaced {
            self.stamps.forget(replaced.stat.st_ino);
        }
        self.set_hint(&key, record.ending());
        let is_unwritten = replaced.is_some() && !durable;
        Ok(Pending {
            record,
            key,
            path,
            displaced: current,
            displaces_inline: inline.is_there,
            durable,
            is_unwritten,
            is_newest: true,
            version: None,
        })
    }

    /// Gives a temporary file its record, as the successor of `current`.
    fn stamp<'a>(
        &'a self,
        live: &Live,
        staged: &mut Staged<'a>,
        before: Option<&Record>,
        terms: Terms<'_>,
    ) -> Result<Record> {
        let put = &staged.put;
        let record = record(live, put, staged.length, staged.checksum, before, terms);
        let updated = record.updated;
        let durable = put.durability == Durability::Disk;
        let bytes = self.stamp_for(live, &put.key, record.clone(), durable)?.encode();
        let io = |error: std::io::Error| Error::io(error, self.path.clone());
        staged.temp.set_modified(updated).map_err(|error| io(error.into()))?;
        staged.temp.stamp(&self.stamps, &bytes, durable).map_err(io)?;
        staged.stamped = Some((record.clone(), before.map(|before| before.generation)));
        Ok(record)
    }

    /// The stamp that binds a record to this store and this key.
    pub(crate) fn stamp_for(
        &self,
        live: &Live,
        key: &Key,
        record: Record,
        durable: bool,
    ) -> Result<Stamp> {
        let text = self.keep_key(live, key, durable)?;
        Ok(Stamp { store: self.mark(), key_hash: key.hash(), key: text, record })
    }

    /// What the index is told of a value.
    pub(crate) fn row(&self, key: &Key, record: &Record) -> Row {
        let stamp =
            Stamp { store: self.mark(), key_hash: key.hash(), key: None, record: record.clone() };
        Row {
            key: key.as_str().to_owned(),
            generation: record.generation,
            size: record.length,
            expires_at: record.expiry.map(|expiry| expiry.wall),
            format: record.format.name().to_owned(),
            foreign: record.foreign,
            tags: record.tags.clone(),
            record: stamp.encode(),
        }
    }

    /// Removes a file that no longer counts, and that the caller has open. What another program
    /// has put in its place meanwhile stays.
    pub(crate) fn unlink(&self, path: &str, stat: &Stat) -> Result<()> {
        let io = |error: Errno| Error::io(error.into(), self.path.join(path));
        let Some((folder, name)) = parent(self.base.as_fd(), path).map_err(io)? else {
            return Ok(());
        };
        match statat(folder.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(now) if (now.st_dev, now.st_ino) != (stat.st_dev, stat.st_ino) => {
                tracing::info!(?path, "another program has replaced the file; it stays");
                return Ok(());
            }
            Ok(_) => {}
            Err(Errno::NOENT) => {}
            Err(error) => return Err(io(error)),
        }
        match unlinkat(folder.as_fd(), name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(io(error)),
        }
        self.stamps.forget(stat.st_ino);
        prune_parents(self.base.as_fd(), path);
        Ok(())
    }
}

/// The record of a value with this content, as the successor of `before`.
pub(super) fn record(
    live: &Live,
    put: &Put,
    length: u64,
    checksum: u64,
    before: Option<&Record>,
    terms: Terms<'_>,
) -> Record {
    if let Some(before) = before {
        live.clock.raise_generation(before.generation);
    }
    let now = terms.clock.wall_micros();
    let updated = now / 1_000;
    let continues = put.continues.as_ref();
    let alive = before.filter(|before| continues.is_some() || !before.is_expired(terms.clock));
    let after = |millis| Expiry::after(millis, terms.clock);
    let noted = put.created.map(|created| created.min(updated));
    Record {
        generation: live.clock.next_generation(now),
        format: put.format,
        codec: put.codec,
        length,
        checksum,
        created: noted.or(alive.map(|before| before.created)).unwrap_or(updated),
        updated,
        expiry: continues.map_or_else(|| put.ttl.map(after), |record| record.expiry),
        signature: put.signature,
        tags: put.tags.clone(),
        metadata: put.metadata.clone(),
        foreign: false,
    }
}

/// Says that writes begin; the locks of the stripes are held.
pub(crate) fn begin(live: &Live, stripes: &[usize]) {
    live.clock.set_in_use();
    for &stripe in stripes {
        if live.clock.begin(stripe) {
            tracing::info!(stripe, "a writer died in the middle of its work");
        }
    }
}

/// Says that the writes are over.
pub(crate) fn finish(live: &Live, stripes: &[usize]) {
    for &stripe in stripes {
        live.clock.finish(stripe);
    }
}

/// Tells the index; a refusal is made good by a scan, for the files have the facts.
pub(crate) fn commit(live: &Live, changes: Vec<Change>) {
    if changes.is_empty() {
        return;
    }
    if let Err(error) = live.catalog.commit(&live.clock, changes) {
        tracing::warn!("the index is behind and will be filled from the files: {error}");
        live.clock.set_diverged(true);
    }
}
