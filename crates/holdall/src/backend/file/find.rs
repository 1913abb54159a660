//! Finding the file of a key, and judging what is found.
//!
//! A key has at most one file that this store placed. Several can be there for a moment, while
//! one format replaces another, or for good, because a writer died or another program put one
//! there; then the highest generation wins, and a stamped file wins over an unstamped one.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

use super::dir::open_file;
use super::open::Opened;
use super::stamps::FoundStamp;
use crate::backend::Object;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Codec, Ending, Format};
use crate::key::Key;
use crate::record::{Record, Stamp};

/// A file that claims a key.
pub(crate) struct Candidate {
    /// Path below the base.
    pub(crate) path: String,
    pub(crate) file: OwnedFd,
    pub(crate) stat: Stat,
    pub(crate) ending: Ending,
    /// The stamp, if it is one of this store for this key.
    pub(crate) stamp: Option<Stamp>,
    /// There is a stamp, and it cannot be understood.
    pub(crate) is_unknown: bool,
}

/// The value of a key, wherever it lies.
pub(crate) enum Winner {
    /// In a file, not read yet.
    File(Candidate),
    /// In the database, checked.
    Inline(Object),
}

/// How thoroughly to look.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Search {
    /// The first stamped file is the one; right while no write is under way.
    First,
    /// All that claim the key in formats that files of this store have had, the winner first:
    /// enough for writers, who hold the lock of the key. A file that another program has put there
    /// in another format, and that nobody has read yet, is not seen.
    Known,
    /// All that claim the key, the winner first.
    All,
}

impl Candidate {
    /// Whether this store placed it, as far as anybody can know.
    pub(crate) fn is_ours(&self) -> bool {
        self.stamp.is_some() || self.is_unknown
    }

    /// The error for a file whose stamp cannot be understood.
    pub(crate) fn unknown(&self, base: &std::path::Path) -> Error {
        Error::new(ErrorKind::Corrupt, "the record that travels with the file is damaged")
            .at(base.join(&self.path))
            .remedy("run repair, which takes the record from the index or keeps the file aside, or save or delete the key")
    }

    /// The record of the value that is there, for whoever is about to replace or remove it. The
    /// content is read only if somebody has touched the file; what was damaged is still ours.
    pub(crate) fn current(&self) -> Result<Record> {
        let Some(stamp) = &self.stamp else {
            let foreign = self.foreign_record(&self.stat, self.stat.st_size as u64, 0);
            // Nobody knows its generation; but it was given one, and clear may take it.
            let unknown = |record| Record { generation: 1, foreign: false, ..record };
            return Ok(if self.is_unknown { unknown(foreign) } else { foreign });
        };
        if self.looks_untouched(&stamp.record) {
            return Ok(stamp.record.clone());
        }
        let (length, checksum) = match self.stat.st_size as u64 {
            // Nothing more has to be known, and a file that has grown may be of any size.
            length if length != stamp.record.length => (length, 0),
            _ => self.measure().map_err(|error| Error::io(error, &self.path))?,
        };
        Ok(match self.verdict(&stamp.record, length, checksum)? {
            Verdict::Whole | Verdict::Damaged => stamp.record.clone(),
            Verdict::Edited(stat) => self.foreign_record(&stat, length, checksum),
        })
    }

    /// Whether size and time of change are still those of the moment when it was placed.
    pub(crate) fn looks_untouched(&self, record: &Record) -> bool {
        self.stat.st_size as u64 == record.length && modified(&self.stat) == (record.updated, true)
    }

    /// What can be said of a file that another program wrote.
    pub(crate) fn foreign_record(&self, stat: &Stat, length: u64, checksum: u64) -> Record {
        let (updated, _) = modified(stat);
        Record {
            // Later edits have later times of change; ours count on from the wall clock too.
            generation: foreign_generation(stat),
            format: self.ending.format,
            codec: self.ending.codec,
            length,
            checksum,
            created: updated,
            updated,
            expiry: None,
            signature: None,
            tags: Vec::new(),
            metadata: None,
            foreign: true,
        }
    }

    /// The record that belongs to this content.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if the content contradicts the stamp and is no edit of another
    /// program: unchanged since it was placed, or changed before this machine was last started.
    pub(crate) fn judge(&self, content: &[u8], at: &std::path::Path) -> Result<Record> {
        self.judge_by(content.len() as u64, xxh3_64(content), at)
    }

    /// The same by length and checksum of the content; the latter means nothing if the former is
    /// not that of the record.
    pub(crate) fn judge_by(
        &self,
        length: u64,
        checksum: u64,
        at: &std::path::Path,
    ) -> Result<Record> {
        let Some(stamp) = &self.stamp else {
            return Ok(self.foreign_record(&self.stat, length, checksum));
        };
        let record = &stamp.record;
        match self.verdict(record, length, checksum)? {
            Verdict::Whole => Ok(record.clone()),
            Verdict::Edited(stat) => {
                tracing::info!(path = ?self.path, "another program has edited the file");
                Ok(self.foreign_record(&stat, length, checksum))
            }
            Verdict::Damaged => {
                let cause = if length == record.length {
                    "the file was damaged: its checksum is not the one that was saved".into()
                } else {
                    format!("the file was damaged: it has {length} bytes of {}", record.length)
                };
                Err(Error::new(ErrorKind::Corrupt, cause)
                    .at(at.join(&self.path))
                    .remedy("restore the file from a backup, save or delete the key, or run repair to keep it aside"))
            }
        }
    }

    /// How a content of this length and checksum agrees with the stamp.
    pub(super) fn verdict(&self, record: &Record, length: u64, checksum: u64) -> Result<Verdict> {
        if (length, checksum) == (record.length, record.checksum) {
            return Ok(Verdict::Whole);
        }
        // Looked at anew: the edit may have come after the file was opened.
        let stat =
            rustix::fs::fstat(&self.file).map_err(|error| Error::io(error.into(), &self.path))?;
        let time_is_ours = modified(&stat) == (record.updated, true);
        Ok(if time_is_ours || changed_before_this_boot(&stat) {
            Verdict::Damaged
        } else {
            Verdict::Edited(stat)
        })
    }

    /// Length and checksum of the content, read piece by piece.
    pub(super) fn measure(&self) -> std::io::Result<(u64, u64)> {
        let mut checksum = Xxh3Default::new();
        let mut piece = vec![0; 256 * 1_024];
        let mut length = 0;
        loop {
            let read = match rustix::io::pread(&self.file, &mut piece, length) {
                Err(Errno::INTR) => continue,
                read => read?,
            };
            if read == 0 {
                return Ok((length, checksum.digest()));
            }
            checksum.update(&piece[..read]);
            length += read as u64;
        }
    }
}

/// How content and stamp agree.
pub(super) enum Verdict {
    Whole,
    Damaged,
    /// Another program has written it, and then it looked like this.
    Edited(Stat),
}

fn changed_before_this_boot(stat: &Stat) -> bool {
    micros(stat.st_ctime, stat.st_ctime_nsec) < booted()
}

/// When this machine was started, microseconds since 1970.
fn booted() -> u64 {
    #[cfg(test)]
    if let Some(booted) = BOOTED.get() {
        return booted;
    }
    let clock = Clock::system();
    clock.wall_micros().saturating_sub(clock.boot_millis() * 1_000)
}

#[cfg(test)]
thread_local! {
    static BOOTED: std::cell::Cell<Option<u64>> = const { std::cell::Cell::new(None) };
}

/// Has this thread take another moment for the start of the machine.
#[cfg(test)]
pub(super) fn set_booted(micros: Option<u64>) {
    BOOTED.set(micros);
}

/// The generation of a file in the state in which another program has left it.
pub(crate) fn foreign_generation(stat: &Stat) -> u64 {
    micros(stat.st_ctime, stat.st_ctime_nsec)
}

/// When the content was last changed, milliseconds since 1970, and whether that is a whole one.
pub(super) fn modified(stat: &Stat) -> (u64, bool) {
    let millis = micros(stat.st_mtime, stat.st_mtime_nsec) / 1_000;
    (millis, nanos(stat.st_mtime_nsec).is_multiple_of(1_000_000))
}

fn micros(seconds: i64, nanos: impl TryInto<u64>) -> u64 {
    // Some file systems keep any number that a program sets.
    let micros = u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000_000);
    micros.saturating_add(self::nanos(nanos) / 1_000)
}

/// The type of this field is not the same everywhere.
fn nanos(nanos: impl TryInto<u64>) -> u64 {
    nanos.try_into().unwrap_or(0)
}

impl Opened {
    /// The files that claim a key, the winner first.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if something else than a file has the name.
    pub(crate) fn find(
        &self,
        key: &Key,
        first: Option<Format>,
        search: Search,
    ) -> Result<Vec<Candidate>> {
        let name = key.name(self.case_rule());
        let mut stamped: Vec<Candidate> = Vec::new();
        let mut unknown: Vec<Candidate> = Vec::new();
        let mut foreign: Vec<Candidate> = Vec::new();
        let hint = self.hint(key);
        let known = self.maybe_live().map(|live| &live.clock);
        // Who asks for a format does not say how it is compressed.
        let first = first
            .into_iter()
            .flat_map(|first| Ending::all().filter(move |ending| ending.format == first));
        let order = hint.into_iter().chain(first).chain(Ending::all());
        let mut tried: Vec<Ending> = Vec::with_capacity(8);
        for ending in order {
            if tried.iter().any(|other| other.looks_like(ending)) {
                continue;
            }
            tried.push(ending);
            // Compressed files that other programs put there are found by scans alone.
            let is_asked = search != Search::Known && ending.codec == Codec::None;
            if !is_asked && known.is_some_and(|clock| !clock.may_have(ending)) {
                continue;
            }
            let path = ending.after(&name);
            let Some(found) = self.candidate(key, path, ending)? else {
                continue;
            };
            if found.stamp.is_none() {
                if let Some(clock) = known {
                    clock.note_format(found.ending);
                }
                if found.is_unknown { &mut unknown } else { &mut foreign }.push(found);
                continue;
            }
            self.set_hint(key, found.ending);
            stamped.push(found);
            if search == Search::First {
                return Ok(stamped);
            }
        }
        stamped.sort_by_key(|found| {
            std::cmp::Reverse(found.stamp.as_ref().map(|stamp| stamp.record.generation))
        });
        if !unknown.is_empty() && self.is_in_doubt() {
            if let (Some(Candidate { stamp: Some(stamp), .. }), Some(clock)) =
                (stamped.first(), known)
            {
                // What follows is newer than this one too, which nobody asks.
                clock.raise_generation(stamp.record.generation);
            }
            stamped.splice(0..0, unknown.drain(..));
        }
        stamped.append(&mut unknown);
        stamped.append(&mut foreign);
        Ok(stamped)
    }

    /// Whether a key may be in two places. Then one whose stamp is damaged may be the newest, and
    /// nothing else passes for the value; else it is not.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.maybe_live().is_none_or(|live| live.clock.diverged())
    }

    /// The value of a key: a file, or an inline value.
    ///
    /// # Errors
    /// As [`Opened::find`], and [`ErrorKind::Conflict`] if two files claim the key and neither
    /// carries a stamp; [`ErrorKind::Corrupt`] for a damaged inline value, and for a file whose stamp
    /// cannot be understood.
    pub(crate) fn winner(
        &self,
        key: &Key,
        first: Option<Format>,
        search: Search,
    ) -> Result<Option<Winner>> {
        let is_calm = search == Search::First;
        let guess = is_calm && self.hints_inline(key);
        // In calm a key is in one place only, so whoever has a file does not ask the database.
        if guess && let Ok(Some(object)) = self.inline_value(key) {
            return Ok(Some(Winner::Inline(object)));
        }
        let found = self.find(key, first, search)?;
        let is_unknown = |found: &&Candidate| found.is_unknown;
        if let Some(first) = found.first().filter(is_unknown).filter(|_| self.is_in_doubt()) {
            return Err(first.unknown(&self.path));
        }
        let stamp = found.first().and_then(|found| found.stamp.as_ref());
        let file = stamp.map(|stamp| stamp.record.generation);
        if (file.is_none() || !is_calm)
            && let Some(object) = self.inline_beside(key, file)?
        {
            self.set_inline_hint(key);
            return Ok(Some(Winner::Inline(object)));
        }
        if let Some(first) = found.first().filter(is_unknown) {
            return Err(first.unknown(&self.path));
        }
        if found.len() > 1 && found.iter().all(|one| one.stamp.is_none()) {
            let names: Vec<_> = found.iter().map(|one| one.path.as_str()).collect();
            let cause = format!("several files claim this key: {}", names.join(", "));
            return Err(Error::new(ErrorKind::Conflict, cause)
                .at(self.path.clone())
                .remedy("remove all but one of them, or save the key anew"));
        }
        Ok(found.into_iter().next().map(Winner::File))
    }

    fn candidate(&self, key: &Key, path: String, looked: Ending) -> Result<Option<Candidate>> {
        let io = |error: Errno| Error::io(error.into(), self.path.join(&path));
        let file = match open_file(self.base.as_fd(), &path) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(None),
            Err(Errno::LOOP | Errno::XDEV) => {
                return Err(Error::new(ErrorKind::Corrupt, "a symbolic link is in the way")
                    .at(self.path.join(&path))
                    .remedy("remove it; links are never followed"));
            }
            Err(Errno::NXIO) => return Err(self.no_file(&path)),
            Err(error) => return Err(io(error)),
        };
        let stat = rustix::fs::fstat(&file).map_err(io)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(self.no_file(&path));
        }
        let stamp = self.stamp_of(file.as_fd(), &stat, key.hash(), &path)?;
        let is_unknown = stamp == FoundStamp::Damaged;
        let stamp = stamp.whole().filter(|stamp| stamp.record.ending().looks_like(looked));
        // What no stamp tells is the plainest of the formats that share a suffix.
        let plainest = || Format::from_suffix(looked.format.suffix());
        let ending = match &stamp {
            Some(stamp) => Some(stamp.record.ending()),
            None => plainest().map(|format| Ending { format, ..looked }),
        };
        Ok(ending.map(|ending| Candidate { path, file, stat, ending, stamp, is_unknown }))
    }

    /// The stamp of a file, if this store set it for the key with this hash, or it is damaged.
    ///
    /// # Errors
    /// As [`Stamps::get`](super::stamps::Stamps::get).
    pub(crate) fn stamp_of(
        &self,
        file: BorrowedFd<'_>,
        stat: &Stat,
        key_hash: u64,
        path: &str,
    ) -> Result<FoundStamp> {
        let found = self.stamps.get(file, stat.st_ino, || self.path.join(path))?;
        let is_own = |stamp: &Stamp| stamp.store == self.mark() && stamp.key_hash == key_hash;
        Ok(match found {
            FoundStamp::Whole(stamp) if !is_own(&stamp) => FoundStamp::None,
            found => found,
        })
    }

    fn no_file(&self, path: &str) -> Error {
        Error::new(ErrorKind::Corrupt, "something else than a file has the name of this value")
            .at(self.path.join(path))
            .remedy("remove it, or use another key")
    }
}
