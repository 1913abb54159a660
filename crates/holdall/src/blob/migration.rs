//! Values are brought to another format or compression, while the store is in use.

use std::any::Any;
use std::fmt;

use super::{BlobManager, BlobMetadata, Save, SaveOptions};
use crate::backend::{Condition, Put};
use crate::cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Codec, Format, convert, converts};
use crate::record::Record;

/// The most values that are looked at, and bytes that are placed, in one step.
const MOST_VALUES: usize = 256;
const MOST_BYTES: u64 = 16 << 20;
/// How many are listed together when they are only counted.
const MOST_COUNTED: usize = 10_000;
/// How often a value is looked at anew that somebody else has saved meanwhile.
const RETRIES: usize = 8;

/// Which values are migrated, and to what.
#[derive(Debug, Clone, Default)]
pub struct Migrate {
    /// Only keys that start so. Default: all.
    pub prefix: String,
    /// Only values with this tag. Default: all.
    pub tag: Option<String>,
    /// Only values of this format. Default: all.
    pub from: Option<Format>,
    /// The format that they get. Default: each keeps its own.
    pub format: Option<Format>,
    /// The compression that they get where it makes them smaller. Default: each keeps its own.
    pub compression: Option<Codec>,
    /// Convert, and place nothing.
    pub dry_run: bool,
    /// It is a part of a migration that is at work already, such as of the process that started this
    /// one, and goes on beside it.
    pub is_part: bool,
}

impl Migrate {
    /// Whether it is about this value, by its key and format.
    fn is_about(&self, about: &BlobMetadata) -> bool {
        about.key.starts_with(&self.prefix)
            && self.from.is_none_or(|from| from == about.record().format)
    }

    /// Whether it can be converted here.
    fn is_possible(&self, record: &Record) -> bool {
        self.format.is_none_or(|format| converts(record.format, format))
    }

    fn is_done(&self, record: &Record) -> bool {
        let has_format = self.format.is_none_or(|format| format == record.format);
        has_format && self.compression.is_none_or(|codec| codec == record.codec)
    }
}

/// What a migration has done so far, or in all.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct MigrationReport {
    /// Values that were looked at.
    pub checked: u64,
    /// Of those, how many were converted; of a dry run, how many would be.
    pub converted: u64,
    /// Of those, how many were left as they are: already as asked, or not smaller when compressed.
    pub unchanged: u64,
    /// Bytes of the converted values before, and after.
    pub bytes: (u64, u64),
    /// Of those, how many take Python to convert, and are as they were.
    pub foreign: u64,
    /// Keys of values that could not be converted, and why. Each is as it was.
    pub failed: Vec<(String, Error)>,
}

/// A migration that goes on step by step.
#[derive(Debug)]
pub struct Migration {
    manager: BlobManager,
    asked: Migrate,
    /// The keys up to here are done, but for those in `open`.
    after: Option<String>,
    is_over: bool,
    /// Keys of values that a cancellation, or what stops all, has kept from being placed.
    open: Vec<String>,
    /// Why nothing more can be placed.
    stopped: Option<Error>,
    /// Keys that the last step met and that take Python.
    foreign: Vec<String>,
    done: MigrationReport,
    turn: Option<Turn>,
}

/// Keeps other migrations out of the store until it is dropped.
struct Turn(#[allow(dead_code, reason = "it is held, and not looked at")] Box<dyn Any + Send>);

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Turn")
    }
}

/// A value that is about to be placed.
struct Ready {
    put: Put,
    before: u64,
    tries: usize,
}

impl BlobManager {
    /// Brings values to another format or compression, step by step, for those who do other things
    /// between its steps.
    ///
    /// A value keeps its key, tags, metadata, time of creation and what is left of its life; its
    /// ETag and time of change are new, as after a save. It is replaced as by a save, whole or not at
    /// all, and one that somebody else saves meanwhile stays theirs and is looked at again. A
    /// signature is verified before, and made anew. Stopped anywhere, it is simply run again: what
    /// is done is passed over by its record alone. A full disk ends it at once: the values that
    /// find it full have not failed, and are the first of the next step.
    ///
    /// One migration at a time is at work in a store: from its first step until it is dropped, has
    /// failed or is [ended](Migration::end), others are refused. Not a dry run.
    ///
    /// ```
    /// use holdall::{BlobManager, Format, Migrate};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// let store = BlobManager::new(folder.path());
    /// store.save("a", "text", Format::String)?;
    /// let asked = Migrate { format: Some(Format::Json), ..Migrate::default() };
    /// let done = store.migrate(asked, |_| ())?;
    /// assert_eq!((done.converted, done.failed.len()), (1, 0));
    /// assert_eq!(store.load::<String>("a")?, "text");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn migration(&self, asked: Migrate) -> Migration {
        Migration {
            manager: self.clone(),
            asked,
            after: None,
            is_over: false,
            open: Vec::new(),
            stopped: None,
            foreign: Vec::new(),
            done: MigrationReport::default(),
            turn: None,
        }
    }

    /// As [`BlobManager::migration`], to its end; `progress` is told after every step. Blocks all
    /// that time.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] if another migration is at work in the store; [`ErrorKind::Io`] if the
    /// keys cannot be listed or the disk is full, and whatever else
    /// [stops all](Error::stops_all); [`ErrorKind::Cancelled`]. Failures of single values are in the
    /// report.
    pub fn migrate(
        &self,
        asked: Migrate,
        mut progress: impl FnMut(&MigrationReport),
    ) -> Result<MigrationReport> {
        let mut migration = self.migration(asked);
        while migration.step()? {
            progress(migration.so_far());
        }
        Ok(migration.finish())
    }
}

impl Migration {
    /// What was done so far.
    #[must_use]
    pub fn so_far(&self) -> &MigrationReport {
        &self.done
    }

    /// Keys of values that the last step has met and that take Python to convert; never more than
    /// one step looks at, whatever the size of the store.
    #[must_use]
    pub fn foreign(&self) -> &[String] {
        &self.foreign
    }

    /// How many values are still to be looked at. Reads the listing, and no value.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if the keys cannot be listed.
    pub fn left(&self) -> Result<u64> {
        let mut left = self.open.len();
        let mut after = self.after.clone();
        let mut is_over = self.is_over;
        while !is_over {
            let page = self.page(after.as_deref(), MOST_COUNTED)?;
            is_over = page.len() < MOST_COUNTED;
            left += page.iter().filter(|one| self.is_open(one)).count();
            after = page.into_iter().next_back().map(|last| last.key);
        }
        Ok(left as u64)
    }

    fn page(&self, after: Option<&str>, most: usize) -> Result<Vec<BlobMetadata>> {
        match &self.asked.tag {
            Some(tag) => self.manager.tagged(tag, after, most),
            None => self.manager.list(&self.asked.prefix, after, most),
        }
    }

    fn is_open(&self, about: &BlobMetadata) -> bool {
        self.asked.is_about(about) && !self.asked.is_done(about.record())
    }

    /// What was done in all.
    #[must_use]
    pub fn finish(self) -> MigrationReport {
        self.done
    }

    /// Keeps other migrations out of the store from here on, as the first step does.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] if another one is at work; [`ErrorKind::Io`].
    pub fn begin(&mut self) -> Result<()> {
        if self.turn.is_none() && !self.asked.dry_run && !self.asked.is_part {
            let turn = self.manager.backend().begin_migrating();
            self.turn = Some(Turn(turn.map_err(|error| error.during("migrate the store"))?));
        }
        Ok(())
    }

    /// Lets other migrations into the store, until another step.
    pub fn end(&mut self) {
        self.turn = None;
    }

    /// Goes on for some values; answers whether there is more to do.
    ///
    /// # Errors
    /// As for [`BlobManager::migrate`]; another call goes on from there.
    pub fn step(&mut self) -> Result<bool> {
        self.begin()?;
        if let Err(error) = self.go_on() {
            self.end();
            return Err(error.during("migrate the store"));
        }
        Ok(!self.is_over || !self.open.is_empty())
    }

    fn go_on(&mut self) -> Result<()> {
        self.foreign.clear();
        cancel::check()?;
        let open = std::mem::take(&mut self.open);
        let again = open.iter().filter_map(|key| self.prepared(key, 0)).collect();
        self.place(again)?;
        if self.is_over {
            return Ok(());
        }
        let page = self.page(self.after.as_deref(), MOST_VALUES)?;
        let is_last = page.len() < MOST_VALUES;
        let mut ready = Vec::new();
        let mut bytes = 0;
        for about in page {
            if self.asked.is_about(&about) {
                self.done.checked += 1;
                if let Some(one) = self.looked_at(&about) {
                    bytes += one.put.length();
                    ready.push(one);
                }
            }
            self.after = Some(about.key);
            if bytes >= MOST_BYTES {
                self.place(std::mem::take(&mut ready))?;
                cancel::check()?;
                bytes = 0;
            }
        }
        self.is_over = is_last;
        self.place(ready)
    }

    /// What is to be placed for a value, if anything.
    fn looked_at(&mut self, about: &BlobMetadata) -> Option<Ready> {
        if self.asked.is_done(about.record()) {
            self.done.unchanged += 1;
            return None;
        }
        if !self.asked.is_possible(about.record()) {
            self.done.foreign += 1;
            self.foreign.push(about.key.clone());
            return None;
        }
        self.prepared(&about.key, 0)
    }

    /// Loads a value and converts it; `None` if there is nothing to be placed.
    fn prepared(&mut self, key: &str, tries: usize) -> Option<Ready> {
        match self.converted(key) {
            Ok(Some((put, before))) => Some(Ready { put, before, tries }),
            Ok(None) => {
                self.done.unchanged += 1;
                None
            }
            Err(error) if error.kind() == ErrorKind::Cancelled => {
                self.open.push(key.to_owned());
                None
            }
            Err(error) if error.stops_all() => {
                self.stop(key.to_owned(), error);
                None
            }
            Err(error) => {
                self.report(key, error);
                None
            }
        }
    }

    fn converted(&self, key: &str) -> Result<Option<(Put, u64)>> {
        let Some(blob) = self.manager.try_load_bytes(key, None)? else { return Ok(None) };
        let record = blob.metadata.record();
        if self.asked.is_done(record) {
            return Ok(None);
        }
        let format = self.asked.format.unwrap_or(record.format);
        let payload = convert(record.format, format, blob.payload)?;
        let options = SaveOptions {
            condition: Condition::Matches(record.etag()),
            compression: Some(self.asked.compression.unwrap_or(record.codec)),
            stays_inline: true,
            ..blob.metadata.save_options(&self.manager.options.clock)
        };
        let key = key.to_owned();
        let put =
            self.manager.prepare(Save { key, format, parts: vec![payload.into()], options })?;
        // What does not get smaller stays as it is.
        let is_same = (put.format, put.codec) == (record.format, record.codec);
        Ok((!is_same).then_some((put, record.length)))
    }

    fn place(&mut self, mut ready: Vec<Ready>) -> Result<()> {
        while !ready.is_empty() {
            let about: Vec<_> = ready
                .iter()
                .map(|one| {
                    (one.put.key.as_str().to_owned(), one.before, one.tries, one.put.length())
                })
                .collect();
            let placed = match self.asked.dry_run {
                true => about.iter().map(|_| Ok(None)).collect::<Vec<_>>(),
                false => {
                    let puts = ready.into_iter().map(|one| one.put).collect();
                    let placed = self.manager.put_signed(puts).into_iter();
                    placed.map(|placed| placed.map(|placed| Some(placed.record.length))).collect()
                }
            };
            let mut again = Vec::new();
            for ((key, before, tries, planned), placed) in about.into_iter().zip(placed) {
                match placed {
                    Ok(length) => {
                        self.done.converted += 1;
                        self.done.bytes.0 += before;
                        self.done.bytes.1 += length.unwrap_or(planned);
                    }
                    Err(error) if error.kind() == ErrorKind::Conflict && tries < RETRIES => {
                        again.extend(self.prepared(&key, tries + 1));
                    }
                    Err(error) if error.kind() == ErrorKind::Cancelled => self.open.push(key),
                    Err(error) if error.stops_all() => self.stop(key, error),
                    Err(error) => self.report(&key, error),
                }
            }
            ready = again;
        }
        if let Some(error) = self.stopped.take() {
            return Err(error);
        }
        // It was no fault of these values: the next step begins with them.
        if self.open.is_empty() { Ok(()) } else { cancel::check() }
    }

    /// Notes that nothing more can be placed, which is no fault of this value.
    fn stop(&mut self, key: String, error: Error) {
        self.open.push(key);
        self.stopped.get_or_insert(error);
    }

    fn report(&mut self, key: &str, error: Error) {
        let error = error.on_key(key).during("migrate");
        self.done.failed.push((key.to_owned(), error));
    }
}
