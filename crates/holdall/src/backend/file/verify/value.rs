//! Judging the files of one key: content, stamp, generations, and what the index says of them.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::super::dir::open_file;
use super::super::find::{Candidate, Verdict};
use super::super::open::Opened;
use super::content::{Peek, damage, ending_of, measure};
use crate::backend::Reading;
use crate::backend::health::{Finding, Inspect, Problem, ProblemKind};
use crate::error::{ErrorKind, Result};
use crate::format::Ending;
use crate::index::{Index as _, Row};
use crate::key::{Key, ParsedName, parse_name};
use crate::record::{Record, Stamp};

/// What is said of a damaged record that the index has.
pub(in super::super) const KNOWN: &str = "its record cannot be read; the index has it";

/// What is said of one that it has not.
const UNKNOWN: &str = "its record cannot be read, and nobody else knows it";

/// What is said of a value beside one whose record is damaged.
const DOUBTFUL: &str = "it may be older than a file of the key whose record cannot be read";

/// What a look needs to know besides the files.
#[derive(Clone, Copy)]
pub(in super::super) struct Context<'a> {
    pub(in super::super) inspect: &'a Inspect<'a>,
    /// The index agrees with the files as far as anybody knows, so what differs is damage.
    pub(in super::super) has_index: bool,
    /// To whom the store belongs.
    pub(in super::super) owner: u32,
}

/// What was seen of the files of one key.
#[derive(Default)]
pub(in super::super) struct Look {
    pub(in super::super) key: Option<Key>,
    pub(in super::super) problems: Vec<Problem>,
    /// Values that were read, and their bytes.
    pub(in super::super) checked: u64,
    pub(in super::super) bytes: u64,
    /// Files that this store has not placed.
    pub(in super::super) foreign: u64,
    /// What listings should know of a file of another program that is the value.
    pub(in super::super) adopt: Option<Record>,
    /// The highest generation of a file.
    pub(in super::super) generation: u64,
    /// The text of the key lies in a file of its own.
    pub(in super::super) has_long_key: bool,
    /// Others may know the key, which the files do not tell any more.
    pub(super) is_nameless: bool,
}

/// What lies at the end of a file that the store has not stamped for this key.
enum Mark {
    None,
    Damaged,
    Newer,
    OtherKey,
    OtherStore,
}

/// A file of a key.
struct Specimen {
    found: Candidate,
    mark: Mark,
    /// Length and checksum of the content, or why it could not be read.
    content: Result<(u64, u64)>,
}

impl Look {
    fn add(&mut self, kind: ProblemKind, what: impl Into<String>, path: &str) {
        let mut problem = Problem::new(kind, what).at(path);
        problem.key = self.key.as_ref().map(|key| key.as_str().to_owned());
        self.problems.push(problem);
    }
}

impl Opened {
    /// The stripe of the key that a name without suffix stands for; `None` if it stands for none,
    /// or if only its hash is known and no file tells more.
    pub(in super::super) fn stripe_of_name(&self, stem: &str, paths: &[String]) -> Option<usize> {
        match parse_name(stem, self.case_rule())? {
            ParsedName::Key(key) => Some(key.stripe()),
            ParsedName::Hashed => {
                let stamped = paths.iter().find_map(|path| {
                    let file = open_file(self.base.as_fd(), path).ok()??;
                    let stat = rustix::fs::fstat(&file).ok()?;
                    let stamp = self
                        .stamps
                        .get(file.as_fd(), stat.st_ino, || self.path.join(path))
                        .ok()?
                        .whole()?;
                    Some((stamp.key_hash % crate::key::STRIPES as u64) as usize)
                });
                let kept = || self.scanned_key(self.maybe_live()?, stem, None);
                stamped.or_else(|| Some(kept()?.stripe()))
            }
        }
    }

    /// Every path that a file of this key may have.
    pub(in super::super) fn paths_of(stem: &str) -> Vec<String> {
        let mut paths: Vec<String> = Ending::all().map(|ending| ending.after(stem)).collect();
        paths.sort_unstable();
        paths.dedup();
        paths
    }

    /// Reads the files at `paths`, which are those of the key with this name, and says what is
    /// wrong with them. `known` is the key, if others know it. Takes no lock: whether a writer came
    /// between is for the caller to see.
    pub(in super::super) fn look(
        &self,
        stem: &str,
        paths: &[String],
        known: Option<&Key>,
        context: Context<'_>,
    ) -> Result<Look> {
        let mut look = Look::default();
        let Some(parsed) = parse_name(stem, self.case_rule()) else { return Ok(look) };
        let mut specimens = Vec::with_capacity(1);
        let mut bare = Vec::new();
        for path in paths {
            match self.opened_file(path) {
                Ok(None) => {}
                Ok(Some((file, stat))) => bare.push((path.clone(), file, stat)),
                Err((kind, what)) => look.add(kind, what, path),
            }
        }
        let mut marks = Vec::with_capacity(bare.len());
        for (path, file, stat) in &bare {
            match self.stamps.bytes(file.as_fd(), stat.st_ino) {
                Ok(bytes) => marks.push(bytes),
                Err(error) => {
                    look.add(ProblemKind::Unreadable, format!("its record: {error}"), path);
                    marks.push(None);
                }
            }
        }
        look.key = self.key_of(stem, &parsed, &marks).or_else(|| known.cloned());
        let blocked = look.problems.len();
        for one in &mut look.problems[..blocked] {
            one.key = look.key.as_ref().map(|key| key.as_str().to_owned());
        }
        for ((path, file, stat), bytes) in bare.into_iter().zip(marks) {
            specimens.push(self.specimen(path, file, stat, bytes, look.key.as_ref())?);
        }
        if look.key.is_none() {
            self.judge_keyless(&specimens, &mut look);
            return Ok(look);
        }
        self.judge_all(specimens, &mut look, context)?;
        Ok(look)
    }

    /// A file, open, or what stands in its place.
    fn opened_file(
        &self,
        path: &str,
    ) -> Result<Option<(OwnedFd, Stat)>, (ProblemKind, &'static str)> {
        const OTHER: (ProblemKind, &str) =
            (ProblemKind::Blocked, "something else than a file has the name of a value");
        let file = match open_file(self.base.as_fd(), path) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(None),
            Err(Errno::LOOP | Errno::XDEV) => {
                return Err((ProblemKind::Blocked, "a symbolic link has the name of a value"));
            }
            Err(Errno::NXIO) => return Err(OTHER),
            Err(_) => return Err((ProblemKind::Unreadable, "the file cannot be opened")),
        };
        match rustix::fs::fstat(&file) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                Ok(Some((file, stat)))
            }
            Ok(_) => Err(OTHER),
            Err(_) => Err((ProblemKind::Unreadable, "the file cannot be looked at")),
        }
    }

    fn key_of(&self, stem: &str, parsed: &ParsedName, marks: &[Option<Vec<u8>>]) -> Option<Key> {
        if let ParsedName::Key(key) = parsed {
            return Some(key.clone());
        }
        let stamps = marks.iter().flatten().filter_map(|bytes| Stamp::decode(bytes));
        let told = stamps.filter_map(|stamp| stamp.key);
        let kept = self.maybe_live().and_then(|live| live.long_key(stem));
        told.chain(kept)
            .filter_map(|text| Key::new(&text).ok())
            .find(|key| key.name(self.case_rule()) == stem)
    }

    fn specimen(
        &self,
        path: String,
        file: OwnedFd,
        stat: Stat,
        bytes: Option<Vec<u8>>,
        key: Option<&Key>,
    ) -> Result<Specimen> {
        let (looked, mut mark, mut stamp) = (ending_of(&path), Mark::None, None);
        if let Some(bytes) = bytes {
            match Stamp::decode(&bytes) {
                Some(found) if found.store != self.mark() => mark = Mark::OtherStore,
                Some(found) if key.is_some_and(|key| found.key_hash != key.hash()) => {
                    mark = Mark::OtherKey;
                }
                // Renamed to another format's suffix.
                Some(found) if !found.record.ending().looks_like(looked) => mark = Mark::OtherKey,
                Some(found) => stamp = Some(found),
                None if Stamp::is_newer(&bytes) => mark = Mark::Newer,
                None => mark = Mark::Damaged,
            }
        }
        let ending = stamp.as_ref().map_or(looked, |stamp| stamp.record.ending());
        let content = match measure(&file, &stat) {
            Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
            content => content,
        };
        let is_unknown = matches!(mark, Mark::Damaged);
        let found = Candidate { path, file, stat, ending, stamp, is_unknown };
        Ok(Specimen { found, mark, content })
    }

    /// Files of which only the hash of their key is known.
    fn judge_keyless(&self, specimens: &[Specimen], look: &mut Look) {
        for one in specimens {
            let path = &one.found.path;
            match (&one.found.stamp, &one.content) {
                (None, _) if matches!(one.mark, Mark::Damaged) => {
                    look.is_nameless = true;
                    look.add(ProblemKind::StampDamaged, UNKNOWN, path);
                }
                (None, _) => look.foreign += 1,
                (Some(stamp), content) => {
                    look.generation = look.generation.max(stamp.record.generation);
                    look.has_long_key = true;
                    look.add(ProblemKind::KeyRecordMissing, "nobody knows its whole key", path);
                    if let Ok((length, checksum)) = content {
                        look.checked += 1;
                        look.bytes += length;
                        if (*length, *checksum) != (stamp.record.length, stamp.record.checksum) {
                            let (kind, what) = damage(&stamp.record, *length);
                            look.add(kind, what, path);
                        }
                    }
                }
            }
        }
    }

    fn judge_all(
        &self,
        specimens: Vec<Specimen>,
        look: &mut Look,
        context: Context<'_>,
    ) -> Result<()> {
        let Some(key) = look.key.clone() else { return Ok(()) };
        // That one may be newer than all the others.
        let has_damaged = specimens.iter().any(|one| matches!(one.mark, Mark::Damaged));
        let row = match self.row_known(&key, context, look) {
            // Files whose records are whole are as well as ever, if the index could not be asked from
            // the beginning. What could not be asked is no "nobody knows".
            Err(error) if error.kind() != ErrorKind::Busy && !has_damaged && !context.has_index => {
                None
            }
            row => row?,
        };
        let is_doubtful = has_damaged && self.is_in_doubt();
        let mut ours: Vec<(Candidate, Record)> = Vec::new();
        let mut foreign: Vec<(Candidate, Record)> = Vec::new();
        for Specimen { found, mark, content } in specimens {
            let (length, checksum) = match content {
                Ok(content) => content,
                Err(error) => {
                    look.add(ProblemKind::Unreadable, error.cause(), &found.path);
                    if let Some(stamp) = &found.stamp {
                        let record = stamp.record.clone();
                        ours.push((found, record));
                    }
                    continue;
                }
            };
            look.checked += 1;
            look.bytes += length;
            let Some(stamp) = &found.stamp else {
                if self.judge_mark(&found, mark, (length, checksum), row.as_ref(), look) {
                    look.foreign += 1;
                    let record = found.foreign_record(&found.stat, length, checksum);
                    foreign.push((found, record));
                }
                continue;
            };
            let record = stamp.record.clone();
            look.generation = look.generation.max(record.generation);
            look.has_long_key |=
                key.as_str().len() > crate::record::MAX_KEY_IN_STAMP && found.path.contains("%=");
            self.judge_owner(&found, context, look);
            match found.verdict(&record, length, checksum)? {
                Verdict::Whole => {
                    let reading = Peek(&found.file);
                    if let Some(Finding { kind, what }) =
                        inspected(context, &key, &record, &reading)?
                    {
                        look.add(kind, what, &found.path);
                    }
                    ours.push((found, record));
                }
                Verdict::Damaged => {
                    let (kind, what) = damage(&record, length);
                    look.add(kind, what, &found.path);
                    ours.push((found, record));
                }
                Verdict::Edited(stat) => {
                    look.foreign += 1;
                    let edited = found.foreign_record(&stat, length, checksum);
                    // It counts as what it was for the order of files.
                    ours.push((found, edited));
                }
            }
        }
        ours.sort_by_key(|(found, _)| {
            std::cmp::Reverse(found.stamp.as_ref().map(|stamp| stamp.record.generation))
        });
        let newer = if is_doubtful { DOUBTFUL } else { "a newer file of the key is there" };
        for (old, _) in ours.iter().skip(usize::from(!is_doubtful)) {
            look.add(ProblemKind::Outdated, newer, &old.path);
        }
        if ours.is_empty() && foreign.len() > 1 {
            let names: Vec<_> = foreign.iter().map(|(found, _)| found.path.as_str()).collect();
            let what = format!("several files claim this key: {}", names.join(", "));
            look.add(ProblemKind::Conflict, what, &foreign[0].0.path);
            return Ok(());
        }
        let value = ours.into_iter().chain(foreign).next();
        let value = value.filter(|(_, record)| !is_doubtful || record.foreign);
        self.judge_row(&key, value, row, context, look);
        Ok(())
    }

    /// Judges a file without a stamp of ours; answers whether it is one of another program.
    fn judge_mark(
        &self,
        found: &Candidate,
        mark: Mark,
        content: (u64, u64),
        row: Option<&Row>,
        look: &mut Look,
    ) -> bool {
        let known = row.filter(|row| !row.foreign).and_then(|row| Stamp::decode(&row.record));
        let is_known = known.is_some_and(|known| {
            known.record.ending().looks_like(found.ending)
                && (known.record.length, known.record.checksum) == content
        });
        let path = &found.path;
        match mark {
            Mark::None if is_known => {
                look.add(ProblemKind::StampMissing, "the file has no record", path);
                false
            }
            Mark::None => true,
            Mark::Damaged => {
                let what = if is_known { KNOWN } else { UNKNOWN };
                look.add(ProblemKind::StampDamaged, what, path);
                false
            }
            Mark::Newer => {
                look.add(ProblemKind::StampNewer, "its record is of a later layout", path);
                false
            }
            Mark::OtherKey => {
                look.add(ProblemKind::StampOfAnotherKey, "its record is another key's", path);
                true
            }
            Mark::OtherStore => {
                let what = "its record is another store's";
                look.add(ProblemKind::StampOfAnotherStore, what, path);
                true
            }
        }
    }

    fn judge_owner(&self, found: &Candidate, context: Context<'_>, look: &mut Look) {
        let mode = found.stat.st_mode & 0o7777;
        if mode != 0o600 {
            look.add(ProblemKind::Permissions, format!("it is {mode:04o}, not 0600"), &found.path);
        }
        if found.stat.st_uid != context.owner {
            let what = format!("it belongs to user {}, not {}", found.stat.st_uid, context.owner);
            look.add(ProblemKind::Owner, what, &found.path);
        }
    }

    /// What the index knows of a key.
    fn row_known(&self, key: &Key, context: Context<'_>, look: &mut Look) -> Result<Option<Row>> {
        let Some(live) = self.maybe_live().filter(|live| live.coherent) else { return Ok(None) };
        match live.catalog.ask(&live.clock, |index| index.get(key.as_str())) {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                if context.has_index {
                    look.problems.push(
                        Problem::new(ProblemKind::RowDamaged, "its row cannot be read")
                            .on_key(key.as_str())
                            .at(live.catalog.folders()),
                    );
                }
                Ok(None)
            }
            row => row,
        }
    }

    /// Compares the value of a key with its row.
    fn judge_row(
        &self,
        key: &Key,
        value: Option<(Candidate, Record)>,
        row: Option<Row>,
        context: Context<'_>,
        look: &mut Look,
    ) {
        let Some((found, record)) = value else { return };
        if record.foreign {
            look.adopt = Some(record);
            return;
        }
        let is_doubted = self.maybe_live().is_some_and(|live| live.clock.needs_scan());
        if !context.has_index
            || is_doubted
            || look.problems.iter().any(|one| one.kind == ProblemKind::RowDamaged)
        {
            return;
        }
        match row {
            None => look.add(ProblemKind::RowMissing, "the index does not list it", &found.path),
            Some(row) if row == self.row(key, &record) => {}
            // Once foreign, it was put back as it was.
            Some(row) if row.foreign => look.adopt = Some(record),
            Some(_) => {
                let what = "the index has another record of it";
                look.add(ProblemKind::RowDiffers, what, &found.path);
            }
        }
    }
}

fn inspected(
    context: Context<'_>,
    key: &Key,
    record: &Record,
    reading: &dyn Reading,
) -> Result<Option<Finding>> {
    match (context.inspect)(key, record, reading) {
        Err(error) if error.kind() == ErrorKind::Io => {
            Ok(Some(Finding { kind: ProblemKind::Unreadable, what: error.cause().to_owned() }))
        }
        inspected => inspected,
    }
}
