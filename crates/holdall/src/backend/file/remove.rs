//! Removing values, and changing how long they live.

use std::os::fd::AsFd as _;

use super::find::Search;
use super::inline::{self, Inlines};
use super::open::{Live, Opened};
use super::write::{Terms, begin, commit, finish};
use crate::backend::{Condition, Durability};
use crate::cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::flush::flush;
use crate::index::Change;
use crate::key::Key;
use crate::record::{Expiry, Record};

/// What is said where only the last flush has failed.
pub(super) const GONE: &str = "the value is gone";
const SET: &str = "the new end is set";

/// Which value of a key a removal is about.
#[derive(Clone)]
pub(crate) enum Doomed {
    /// Whatever is there and fulfils the condition.
    Any(Condition),
    /// The one of this generation, if it has expired.
    Expired(u64),
    /// One that this store placed and that is not newer than this generation.
    NotAfter(u64),
    /// An inline value whose record cannot be read.
    Damaged,
}

impl Doomed {
    /// Whether it goes even if nobody knows what it was.
    fn suits_damage(&self) -> bool {
        matches!(self, Self::Any(Condition::Any) | Self::Damaged)
    }

    /// Whether the value that is there is the one that shall go.
    fn applies_to(&self, record: Option<&Record>, terms: Terms<'_>) -> Result<bool> {
        match self {
            Self::Any(condition) => {
                condition.check(record.filter(|record| !record.is_expired(terms.clock)))?;
                Ok(record.is_some())
            }
            Self::Expired(generation) => Ok(record.is_some_and(|record| {
                record.generation == *generation && record.is_expired(terms.clock)
            })),
            Self::Damaged => Ok(false),
            Self::NotAfter(generation) => {
                Ok(record.is_some_and(|record| !record.foreign && record.generation <= *generation))
            }
        }
    }
}

impl Opened {
    /// Removes values with one commit.
    pub(crate) fn remove(
        &self,
        doomed: &[(Key, Doomed)],
        durability: Durability,
        terms: Terms<'_>,
    ) -> Result<Vec<Result<Removal>>> {
        let live = self.live()?;
        let mut stripes: Vec<usize> = doomed.iter().map(|(key, _)| key.stripe()).collect();
        stripes.sort_unstable();
        stripes.dedup();
        let guard = live.locks.lock(stripes.clone(), terms.lock_timeout)?;
        cancel::check()?;
        begin(live, &stripes);
        let mut changes = Vec::with_capacity(doomed.len());
        let mut inline = Inlines::of(self, doomed);
        let mut results = Vec::with_capacity(doomed.len());
        for (at, (key, which)) in doomed.iter().enumerate() {
            let result = self.remove_one(at, key, which, terms, &mut inline);
            if matches!(result, Ok(Removal { forgotten: true, .. })) {
                changes.push(Change::Remove { key: key.as_str().to_owned(), generation: None });
            }
            results.push(result);
        }
        inline.commit(live, &mut results);
        commit(live, changes);
        finish(live, &stripes);
        drop(guard);
        if durability == Durability::Disk {
            self.flush_removals(live, doomed, &inline, &mut results);
        }
        Ok(results)
    }

    /// Makes it survive a power cut that there is nothing: wherever a value can lie, for an older
    /// one may have been removed there without a flush, when the key's value moved.
    fn flush_removals(
        &self,
        live: &Live,
        doomed: &[(Key, Doomed)],
        inline: &Inlines,
        results: &mut [Result<Removal>],
    ) {
        let is_gone = |(at, (_, which)): &(usize, &(Key, Doomed))| match &results[*at] {
            Ok(removal) => removal.removed || matches!(which, Doomed::Any(_)),
            Err(_) => false,
        };
        let gone: Vec<_> = doomed.iter().enumerate().filter(is_gone).collect();
        let (places, names): (Vec<usize>, Vec<_>) =
            gone.iter().map(|(at, (key, _))| (*at, key.name(self.case_rule()))).unzip();
        inline.flush(live, &places, results);
        let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
        let flushed = self.flushed.flush_for_good(self.base.as_fd(), &self.path, &names);
        for (at, flushed) in places.into_iter().zip(flushed) {
            if let Err(error) = flushed
                && results[at].is_ok()
            {
                results[at] = Err(error.after(GONE));
            }
        }
    }

    fn remove_one(
        &self,
        at: usize,
        key: &Key,
        which: &Doomed,
        terms: Terms<'_>,
        inlines: &mut Inlines,
    ) -> Result<Removal> {
        let found = self.find(key, None, Search::All)?;
        let inline = self.certain(key, inlines.take(at, key)?, &found)?;
        if inline.is_damaged && found.is_empty() && which.suits_damage() {
            // What it was is not known any more; to remove it is the remedy.
            inlines.doom(at, key);
            return Ok(Removal { was_alive: true, removed: true, forgotten: false });
        }
        let inline_generation = inline.record.as_ref().map(|record| record.generation);
        let record = self.newest(&found, inline.record)?;
        if !which.applies_to(record.as_ref(), terms)? {
            // A row without a file is an entry of the index only.
            let forgotten = found.is_empty();
            return Ok(Removal { was_alive: false, removed: false, forgotten });
        }
        let own = found.iter().filter(|one| one.is_ours()).count();
        if own == 0 && found.len() > 1 && !inline.is_there {
            return Err(Error::new(ErrorKind::Conflict, "several files claim this key")
                .at(self.path.clone())
                .remedy("remove all but one of them by hand"));
        }
        let was_alive = record.as_ref().is_some_and(|record| !record.is_expired(terms.clock));
        // The winner last: after a crash it is still the winner. What other programs put beside
        // our own files stays.
        let inline_wins = inline_generation == record.map(|record| record.generation);
        if inline.is_there && !inline_wins {
            inlines.remove_older(self.live()?, key)?;
        }
        let least = usize::from(!inline.is_there);
        let goes = &found[..own.max(least)];
        for old in goes.iter().rev() {
            self.unlink(&old.path, &old.stat)?;
        }
        if goes.len() == found.len() {
            self.forget_key(self.live()?, key);
        }
        if inline.is_there && inline_wins {
            // Or a power cut could leave an older value as the only one.
            let older: Vec<&str> = goes.iter().map(|old| old.path.as_str()).collect();
            let flushed = self.flushed.flush_names(self.base.as_fd(), &self.path, &older);
            flushed.into_iter().collect::<Result<()>>()?;
            inlines.doom(at, key);
        }
        Ok(Removal { was_alive, removed: true, forgotten: !found.is_empty() })
    }

    /// Gives a value another end, by another stamp on the same file.
    pub(crate) fn set_ttl(
        &self,
        key: &Key,
        ttl: Option<u64>,
        durability: Durability,
        terms: Terms<'_>,
    ) -> Result<Option<Record>> {
        let live = self.live()?;
        let stripes = [key.stripe()];
        let guard = live.locks.lock(stripes.to_vec(), terms.lock_timeout)?;
        cancel::check()?;
        let found = self.find(key, None, Search::All)?;
        let inline = self.certain(key, self.inline_record(key)?, &found)?;
        if inline.is_damaged && found.is_empty() {
            return Err(inline::damaged("its record cannot be read"));
        }
        let inline_generation = inline.record.as_ref().map(|record| record.generation);
        if let Some(first) = found.first().filter(|first| first.is_unknown)
            && (!inline.is_there || self.is_in_doubt())
        {
            return Err(first.unknown(&self.path));
        }
        let Some(current) = self.newest(&found, inline.record)? else { return Ok(None) };
        if current.foreign {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "another program wrote this file, so it has no lifetime",
            )
            .remedy("save the value first"));
        }
        if current.is_expired(terms.clock) {
            return Ok(None);
        }
        let follows = current.generation;
        live.clock.raise_generation(follows);
        let record = Record {
            generation: live.clock.next_generation(terms.clock.wall_micros()),
            expiry: ttl.map(|millis| Expiry::after(millis, terms.clock)),
            ..current
        };
        if inline_generation == Some(follows) {
            begin(live, &stripes);
            let set = self.restamp_inline(live, key, &record);
            finish(live, &stripes);
            drop(guard);
            if durability == Durability::Disk && set.is_ok() {
                let flushed = live.inline.flush();
                flushed
                    .and_then(|()| self.flushed.anchor(self.base.as_fd(), &self.path))
                    .map_err(|error| error.after(SET))?;
            }
            return set.map(|()| Some(record));
        }
        let Some(winner) = found.first() else { return Ok(None) };
        let bytes =
            self.stamp_for(live, key, record.clone(), durability == Durability::Disk)?.encode();
        begin(live, &stripes);
        let set = self
            .stamps
            .set(winner.file.as_fd(), winner.stat.st_ino, &bytes, durability == Durability::Disk)
            .map_err(|error| Error::io(error, self.path.join(&winner.path)));
        if set.is_ok() {
            commit(live, vec![Change::Put(self.row(key, &record))]);
        }
        finish(live, &stripes);
        drop(guard);
        if durability == Durability::Disk && set.is_ok() {
            flush(winner.file.as_fd()).map_err(|error| {
                Error::io(error.into(), self.path.join(&winner.path)).after(SET)
            })?;
        }
        set.map(|()| Some(record))
    }
}

/// What became of one removal.
pub(crate) struct Removal {
    /// There was a value that had not expired.
    pub(crate) was_alive: bool,
    /// Its file is gone.
    pub(crate) removed: bool,
    /// The index has to forget the key.
    pub(super) forgotten: bool,
}
