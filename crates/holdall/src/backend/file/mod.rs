//! Values as plain files in a directory, shared by any number of threads and processes.
//!
//! The parts, from the outside in: [`FileBackend`] is what the managers use; `registry` keeps one
//! open store per directory and sees to forks; `open` opens it; `read`, `cached`, `write`, `remove`, `clean`, `every` and `scan` are the operations; `find` tells which file is a key's; `inline` keeps small values in a database instead; `flush` makes names survive a power cut; `full` makes room; `coherence`, `catalog`, `stamps`, `stream`, `temp` and `uses` are one kind of file each; `verify` and `repair` look after the whole; `dir`, `layout`, `place` and `private` say what lies where, and may.

mod cached;
mod catalog;
mod clean;
mod coherence;
mod dir;
mod every;
mod find;
mod flush;
mod foreign;
mod full;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod inline;
mod layout;
mod migrating;
mod newer;
mod open;
mod own;
mod pipeline;
mod place;
mod private;
mod read;
mod registry;
mod remove;
mod repair;
mod scan;
mod stamps;
mod stream;
mod temp;
#[cfg(test)]
mod tests;
mod under_way;
mod uses;
mod verify;
mod write;
mod writeback;

use std::any::Any;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;

pub use self::inline::MOST_INLINE;
use self::inline::Page;
use self::open::{OpenOptions, Opened};
pub use self::place::{FileSystem, refuse_if_others_write};
use self::remove::Doomed;
use self::stream::FileWriting;
use self::write::Terms;
use super::health::{Inspect, RepairReport, VerifyReport, Verifying};
use super::{Backend, Condition, Durability, Found, Object, Placed, Put, Reading, Totals, Writing};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::fork;
use crate::format::Format;
use crate::index::{Index, Row};
use crate::key::{self, Key, KeyPage};
use crate::record::{Record, Stamp};

/// How many values one commit removes at most.
const BATCH: usize = 256;

/// How a [`FileBackend`] is opened.
#[derive(Debug, Clone)]
pub struct FileOptions {
    /// Go on, without memory, on a file system that other machines share. Default: no.
    pub allow_network_fs: bool,
    /// How long a write, or a listing, waits for another process. Default: 30 seconds.
    pub lock_timeout: Duration,
    /// The largest file that is read, bytes. Default: 8 GiB.
    pub max_value_bytes: u64,
    /// Values of fewer bytes are kept in the store's database instead of files of their own; at
    /// most [`MOST_INLINE`]. Default: 0, so that every value is a file.
    pub inline_below: u64,
    /// Keep a table of when values were last used, in a file of a megabyte. Default: no.
    pub notes_uses: bool,
    /// What tells the time.
    pub clock: Clock,
}

impl Default for FileOptions {
    fn default() -> Self {
        Self {
            allow_network_fs: false,
            lock_timeout: Duration::from_secs(30),
            max_value_bytes: 8 << 30,
            inline_below: 0,
            notes_uses: false,
            clock: Clock::system(),
        }
    }
}

impl FileOptions {
    fn terms(&self) -> Terms<'_> {
        let inline_below = self.inline_below.min(MOST_INLINE);
        Terms { clock: &self.clock, lock_timeout: self.lock_timeout, inline_below }
    }
}

/// A directory of plain files.
///
/// Making one touches nothing; the directory is opened, and made if missing, by the first call.
/// All backends of a process on one directory share what is open. After a `fork` the child opens
/// it anew. Calls block on the disk and on other writers of the same key.
pub struct FileBackend {
    path: PathBuf,
    options: FileOptions,
    opened: ArcSwapOption<(u64, Arc<Opened>)>,
}

impl FileBackend {
    /// A backend on `path`, which need not exist yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, options: FileOptions) -> Self {
        Self { path: path.into(), options, opened: ArcSwapOption::empty() }
    }

    /// The open store, if it is open in this process.
    fn opened_already(&self) -> Option<Arc<Opened>> {
        let opened = self.opened.load_full()?;
        (opened.0 == fork::generation()).then(|| Arc::clone(&opened.1))
    }

    /// The open store; another one if that was deleted, and one may have been made in its place.
    fn opened(&self) -> Result<Arc<Opened>> {
        if let Some(opened) = self.opened_already().filter(|opened| !opened.is_deleted()) {
            return Ok(opened);
        }
        let FileOptions { allow_network_fs, lock_timeout, .. } = self.options;
        let opened = registry::open(&self.path, OpenOptions { allow_network_fs, lock_timeout })?;
        if let (true, Some(live)) = (self.options.notes_uses, opened.maybe_live()) {
            live.keep_uses();
        }
        self.opened.store(Some(Arc::new((fork::generation(), Arc::clone(&opened)))));
        Ok(opened)
    }

    /// As [`FileBackend::opened`], for what cannot do with reading alone: a store that could not be
    /// written when it was opened is opened once more.
    fn writable(&self) -> Result<Arc<Opened>> {
        let opened = self.opened()?;
        if opened.live().is_ok() {
            return Ok(opened);
        }
        self.opened.store(None);
        self.opened()
    }

    /// A read; where it fails in a store that can only be read, once more if that has changed.
    fn reading<T>(
        &self,
        opened: Arc<Opened>,
        read: impl Fn(&Opened) -> Result<T>,
    ) -> Result<(Arc<Opened>, T)> {
        match read(&opened) {
            Err(_) if opened.live().is_err() => {
                let opened = self.writable()?;
                let found = read(&opened)?;
                Ok((opened, found))
            }
            found => Ok((opened, found?)),
        }
    }

    fn terms(&self) -> Terms<'_> {
        self.options.terms()
    }

    /// Pages through rows until there are enough that have not expired.
    fn live_page(
        &self,
        after: Option<&Key>,
        limit: usize,
        page: impl Fn(&dyn Index, Option<&str>) -> Result<Vec<Row>>,
    ) -> Result<Vec<(Key, Record)>> {
        let mut found = Vec::new();
        let mut after = after.map(|key| key.as_str().to_owned());
        loop {
            let ask = |index: &dyn Index| page(index, after.as_deref());
            let Page { rows, is_last } =
                self.writable()?.page(self.terms(), limit, inline::by_key, ask)?;
            after = rows.last().map(|row| row.key.clone());
            let entries = rows.into_iter().filter_map(entry);
            found.extend(entries.filter(|(_, record)| !record.is_expired(&self.options.clock)));
            if is_last || found.len() >= limit {
                found.truncate(limit);
                return Ok(found);
            }
        }
    }
}

/// Closes every store that this process has open, for a fast start next time; for the end of a
/// process. They may be used again.
pub fn close_all() {
    // A process that ends does not wait long for others.
    const PATIENCE: Duration = Duration::from_secs(1);
    for opened in registry::all() {
        let closed = opened.maybe_live().map_or(Ok(()), |live| live.close(PATIENCE));
        if let Err(error) = closed {
            tracing::warn!(path = %opened.path.display(), "the store was not closed: {error}");
        }
    }
}

/// The entry that a row of the index stands for.
fn entry(row: Row) -> Option<(Key, Record)> {
    Some((Key::new(&row.key).ok()?, Stamp::decode(&row.record)?.record))
}

impl fmt::Debug for FileBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileBackend").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Backend for FileBackend {
    fn put(&self, put: Put) -> Result<Placed> {
        let lost = || Err(Error::new(ErrorKind::Io, "the write was not carried out"));
        self.put_many(vec![put]).pop().unwrap_or_else(lost)
    }

    fn put_many(&self, puts: Vec<Put>) -> Vec<Result<Placed>> {
        match self.writable() {
            Ok(opened) => opened.write_or_make_room(puts, self.terms()),
            Err(error) => {
                let mut rest: Vec<_> = puts.iter().skip(1).map(|_| Err(error.again())).collect();
                rest.push(Err(error));
                rest
            }
        }
    }

    fn get(&self, key: &Key, wanted: Option<Format>) -> Result<Option<Object>> {
        // Nothing is larger than this, so nothing is left open.
        match self.get_or_open(key, wanted, u64::MAX)? {
            Some(Found::Whole(object)) => Ok(Some(object)),
            _ => Ok(None),
        }
    }

    fn get_or_open(&self, key: &Key, wanted: Option<Format>, large: u64) -> Result<Option<Found>> {
        // What is found is there, so only a miss asks whether the store is.
        let opened = self.opened_already().map_or_else(|| self.opened(), Ok)?;
        let limit = self.options.max_value_bytes;
        let (opened, mut found) =
            self.reading(opened, |opened| opened.read(key, wanted, limit, large))?;
        if found.is_none() && opened.is_deleted() {
            found = self.opened()?.read(key, wanted, limit, large)?;
        }
        match &found {
            Some(Found::Whole(object)) if object.record.foreign => {
                opened.note_foreign(key, &object.record);
            }
            Some(_) => {}
            None => opened.forget_gone(key, self.terms()),
        }
        Ok(found.filter(|found| {
            let (Found::Whole(Object { record, .. }) | Found::Open(record, _)) = found;
            !record.is_expired(&self.options.clock)
        }))
    }

    fn get_cached(&self, key: &Key, wanted: Option<Format>) -> Option<Object> {
        let limit = self.options.max_value_bytes;
        let object = self.opened_already()?.read_cached(key, wanted, limit)?;
        Some(object).filter(|object| !object.record.is_expired(&self.options.clock))
    }

    fn reader(&self, key: &Key) -> Result<Option<(Record, Box<dyn Reading>)>> {
        let limit = self.options.max_value_bytes;
        let (opened, found) = self.reading(self.opened()?, |opened| opened.reader(key, limit))?;
        match &found {
            Some((record, _)) if record.foreign => opened.note_foreign(key, record),
            Some(_) => {}
            None => opened.forget_gone(key, self.terms()),
        }
        Ok(found.filter(|(record, _)| !record.is_expired(&self.options.clock)))
    }

    fn signs_while_writing(&self) -> bool {
        true
    }

    fn writer(&self) -> Result<Option<Box<dyn Writing>>> {
        Ok(Some(Box::new(FileWriting::new(self.writable()?, self.options.clone())?)))
    }

    fn head(&self, key: &Key) -> Result<Option<Record>> {
        Ok(self.look(key)?.map(|(_, record)| record))
    }

    fn set_ttl(
        &self,
        key: &Key,
        ttl: Option<u64>,
        durability: Durability,
    ) -> Result<Option<Record>> {
        self.writable()?.set_ttl(key, ttl, durability, self.terms())
    }

    fn delete(&self, key: &Key, condition: &Condition, durability: Durability) -> Result<bool> {
        let doomed = [(key.clone(), Doomed::Any(condition.clone()))];
        let results = self.writable()?.remove(&doomed, durability, self.terms())?;
        results.into_iter().next().map_or(Ok(false), |one| Ok(one?.was_alive))
    }

    fn delete_many(&self, keys: &[Key], durability: Durability) -> Vec<Result<bool>> {
        let doomed: Vec<_> =
            keys.iter().map(|key| (key.clone(), Doomed::Any(Condition::Any))).collect();
        let mut results = Vec::with_capacity(keys.len());
        for batch in doomed.chunks(BATCH) {
            let removed =
                self.writable().and_then(|opened| opened.remove(batch, durability, self.terms()));
            match removed {
                Ok(removed) => results.extend(removed.into_iter().map(|one| Ok(one?.was_alive))),
                Err(error) => results.extend(batch.iter().map(|_| Err(error.again()))),
            }
        }
        results
    }

    fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, Record)>> {
        self.live_page(after, limit, |index, after| index.page(prefix, after, limit))
    }

    fn keys(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<KeyPage> {
        // What cannot be read is shown by no listing.
        let expired = |stamp: &[u8]| {
            Stamp::decode(stamp).is_none_or(|stamp| stamp.record.is_expired(&self.options.clock))
        };
        let after = after.map(Key::as_str);
        self.writable()?
            .keys(self.terms(), limit, |index| index.keys(prefix, after, limit, &expired))
    }

    fn tagged(&self, tag: &str, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, Record)>> {
        self.live_page(after, limit, |index, after| index.tagged(tag, after, limit))
    }

    fn expire(&self, durability: Durability) -> Result<u64> {
        self.remove_expired(u64::MAX, durability)
    }

    fn expire_some(&self, most: u64, durability: Durability) -> Result<u64> {
        self.remove_expired(most, durability)
    }

    fn remove_seen(&self, seen: &[(Key, u64)], durability: Durability) -> Vec<Result<bool>> {
        self.remove_unchanged(seen, durability)
    }

    fn begin_cleaning(&self, wait: bool) -> Result<Option<Box<dyn Any + Send>>> {
        self.take_turn_at_cleaning(wait)
    }

    fn begin_migrating(&self) -> Result<Box<dyn Any + Send>> {
        self.take_turn_at_migrating()
    }

    fn clear(&self, durability: Durability) -> Result<u64> {
        self.remove_all(durability)
    }

    fn totals(&self) -> Result<Totals> {
        let (entries, total_size) = self.writable()?.totals(self.terms())?;
        Ok(Totals { entries, total_size })
    }

    fn version(&self, key: &Key) -> Option<u64> {
        self.version_of(key.as_str())
    }

    fn version_of(&self, key: &str) -> Option<u64> {
        let opened = self.opened.load();
        let (generation, opened) = &**opened.as_ref()?;
        if *generation != fork::generation() {
            return None;
        }
        let live = opened.maybe_live().filter(|live| live.coherent)?;
        live.clock.version(key::stripe_of(key))
    }

    fn note_use(&self, key: &str) {
        self.note_use_now(key);
    }

    fn last_use(&self, key: &Key) -> Option<u64> {
        self.last_known_use(key)
    }

    fn revalidate(&self, key: &Key, generation: u64) -> Result<()> {
        let opened = self.opened()?;
        let is_same = match opened.read_head(key, self.options.max_value_bytes) {
            Ok(found) => found.is_some_and(|(_, record)| record.generation == generation),
            // The next load has to report it.
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Conflict) => false,
            Err(error) => return Err(error),
        };
        if !is_same && let Some(live) = opened.maybe_live() {
            let _guard = live.locks.lock(vec![key.stripe()], self.options.lock_timeout)?;
            write::begin(live, &[key.stripe()]);
            write::finish(live, &[key.stripe()]);
        }
        Ok(())
    }

    fn locate(&self, key: &Key) -> Result<Option<(PathBuf, Record)>> {
        let Some((path, record)) = self.look(key)? else { return Ok(None) };
        let Some(path) = path else {
            return Err(Error::new(ErrorKind::InvalidArgument, "the value is inline, not a file")
                .remedy("save it again with inline_below=0, or load it without a mapping"));
        };
        Ok(Some((path, record)))
    }

    fn locate_cached(&self, key: &Key, wanted: Option<Format>) -> Option<(PathBuf, Record)> {
        let opened = self.opened_already()?;
        let (path, record) = opened.locate_cached(key, wanted)?;
        let is_live = !record.is_expired(&self.options.clock);
        is_live.then(|| (opened.path.join(path), record))
    }

    fn store_id(&self) -> Result<[u8; 16]> {
        Ok(self.opened()?.store.as_ref().map_or([0; 16], layout::StoreFile::id))
    }

    fn signer(&self) -> Result<Option<String>> {
        self.opened()?.signer()
    }

    fn note_signer(&self, fingerprint: &str) -> Result<()> {
        self.writable()?.live()?.note_signer(fingerprint, self.options.lock_timeout)
    }

    fn replace_signer(&self, fingerprint: &str) -> Result<()> {
        self.writable()?.live()?.replace_signer(fingerprint, self.options.lock_timeout)
    }

    fn every(&self, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, Option<Record>)>> {
        self.page_of_all(after, limit)
    }

    fn get_expired(&self, key: &Key) -> Result<Option<Object>> {
        self.opened()?.read_whole(key, self.options.max_value_bytes)
    }

    fn list_unlisted(&self) -> Result<()> {
        self.look_for_unlisted()
    }

    fn verification(&self) -> Result<Box<dyn Verifying>> {
        self.begin_verification()
    }

    fn mend(
        &self,
        found: &VerifyReport,
        inspect: &Inspect<'_>,
        dry_run: bool,
    ) -> Result<RepairReport> {
        self.mend_found(found, inspect, dry_run)
    }

    fn folder(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn close(&self) -> Result<()> {
        let Some(opened) = self.opened_already() else { return Ok(()) };
        opened.maybe_live().map_or(Ok(()), |live| live.close(self.options.lock_timeout))
    }
}
