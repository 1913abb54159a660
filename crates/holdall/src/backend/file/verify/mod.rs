//! Reading everything and saying what is wrong: files, their stamps, the index, inline values, and
//! what else lies in `.holdall`.
//!
//! Nothing is locked and nothing changed, but that files of other programs are listed from then on.
//! What looks wrong is looked at again until no writer came between: `value` judges the files of a
//! key, `inline` the values in the database, `rows` the index, `own` the store's own files. `walk`
//! finds the names, `names` the keys of those whose files do not tell them any more, and `files` goes
//! through both.

mod content;
mod files;
mod inline;
pub(super) mod names;
mod own;
mod rows;
mod value;
mod walk;

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub(super) use self::inline::database;
use self::names::{Nameless, Witness};
use self::own::Loose;
pub(super) use self::value::{Context, KNOWN, Look};
use self::walk::Group;
use super::FileBackend;
use super::open::{Live, Opened};
use super::temp;
use crate::backend::health::{
    Examiner, Inspect, Problem, ProblemKind, Progress, RepairReport, VerifyReport, Verifying,
};
use crate::cancel;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::fork;
use crate::index::Index as _;
use crate::key::Key;

/// One step ends after so many values, or so many bytes, or so many milliseconds.
const STEP_VALUES: usize = 64;
const STEP_BYTES: u64 = 8 << 20;
const STEP_MILLIS: u64 = 20;

/// How often something that looks wrong is looked at again because a writer came between, before
/// the lock of its key is taken.
const RETRIES: usize = 16;
const PATIENCE: Duration = Duration::from_secs(30);

/// What is done, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Own,
    Files,
    NamesInIndex,
    NamesInline,
    Nameless,
    Rows,
    Inline,
    Leftovers,
    Done,
}

/// A verification of a directory.
pub(super) struct FileVerifying {
    opened: Arc<Opened>,
    made_in: u64,
    began: u64,
    phase: Phase,
    report: VerifyReport,
    total: Option<u64>,
    owner: u32,
    has_index: bool,
    /// Folders that are still to be walked.
    folders: Vec<String>,
    /// The files of the folder at hand.
    groups: Vec<Group>,
    nameless: Nameless,
    open_to_others: Option<Problem>,
    after: Option<String>,
    loose: Vec<Loose>,
    /// Inodes with stamps of their own that no file was found for yet.
    stampless: HashSet<u64>,
    /// Texts of long keys that no file was found for yet.
    keyless: HashSet<String>,
    generation: u64,
}

impl fmt::Debug for FileVerifying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { phase, report, .. } = self;
        f.debug_struct("FileVerifying").field("phase", phase).field("report", report).finish()
    }
}

impl FileVerifying {
    pub(super) fn new(opened: Arc<Opened>) -> Self {
        Self {
            opened,
            made_in: fork::generation(),
            began: Clock::system().boot_millis(),
            phase: Phase::Own,
            report: VerifyReport::default(),
            total: None,
            owner: 0,
            has_index: false,
            folders: vec![String::new()],
            groups: Vec::new(),
            nameless: Nameless::default(),
            open_to_others: None,
            after: None,
            loose: Vec::new(),
            stampless: HashSet::new(),
            keyless: HashSet::new(),
            generation: 0,
        }
    }

    /// A store that cannot be opened at all, because of this.
    pub(super) fn hopeless(path: PathBuf, error: &Error) -> Hopeless {
        let problem = Problem::new(ProblemKind::StoreFileDamaged, error.cause()).at(path);
        let mut report = VerifyReport::default();
        report.add(problem);
        Hopeless(report)
    }

    fn add(&mut self, mut problem: Problem) {
        problem.path = problem.path.map(|path| self.opened.path.join(path));
        self.report.add(problem);
    }

    fn add_all(&mut self, problems: Vec<Problem>) {
        problems.into_iter().for_each(|problem| self.add(problem));
    }

    fn context<'a>(&self, examiner: Examiner<'a>) -> Context<'a> {
        Context { inspect: examiner.inspect, has_index: self.has_index, owner: self.owner }
    }

    /// Everything that takes no walk.
    fn begin(&mut self) -> Result<()> {
        let opened = Arc::clone(&self.opened);
        let mut found = Vec::new();
        let stat =
            super::dir::open_folder(std::os::fd::AsFd::as_fd(&opened.base), super::layout::OWN)
                .and_then(rustix::fs::fstat);
        if let Ok(stat) = stat {
            self.owner = stat.st_uid;
            opened.examine_rights(self.owner, &mut found);
        }
        if let Some(live) = opened.maybe_live() {
            opened.examine_clock(live, &mut found);
            opened.examine_signer(live, &mut found);
            self.loose = opened.loose(live);
            self.stampless = opened.stamped_inodes(live).into_iter().collect();
            self.keyless = opened.kept_keys(live).into_iter().collect();
            self.has_index = opened.examine_index(&mut found)?;
            if self.has_index {
                let files = live.catalog.ask(&live.clock, |index| index.totals()).ok();
                self.total = files.map(|totals| totals.entries);
            }
        }
        self.add_all(found);
        Ok(())
    }

    /// A generation that the clock has not given means that it has forgotten some.
    fn note_generation(&mut self, seen: u64) {
        let Some(live) = self.opened.maybe_live().filter(|live| live.coherent) else { return };
        let given = live.clock.generation();
        if seen > given && self.generation == 0 {
            let what = format!("a value has generation {seen}, the last one given is {given}");
            let problem = Problem::new(ProblemKind::ClockBehind, what);
            self.add(problem.at(format!("{}/clock", super::layout::OWN)));
        }
        self.generation = self.generation.max(if seen > given { seen } else { 0 });
    }

    fn read_rows(&mut self, examiner: Examiner<'_>) -> Result<bool> {
        if !self.has_index {
            return Ok(false);
        }
        let mut found = Vec::new();
        let (after, context) = (self.after.take(), self.context(examiner));
        let opened = Arc::clone(&self.opened);
        self.after = opened.compare_rows(after.as_deref(), STEP_VALUES, context, &mut found)?;
        self.add_all(found);
        Ok(self.after.is_some())
    }

    fn read_inline(&mut self, examiner: Examiner<'_>) -> Result<bool> {
        let opened = Arc::clone(&self.opened);
        let mut found = Vec::new();
        if self.after.is_none() && !opened.examine_inline(&mut found)? {
            self.add_all(found);
            return Ok(false);
        }
        let context = self.context(examiner);
        let page = opened.inline_keys(self.after.as_deref(), STEP_VALUES, &mut found)?;
        for text in &page {
            cancel::check()?;
            let Ok(key) = Key::new(text) else { continue };
            let look = opened.judge_inline(&key, context)?;
            self.report.checked += u64::from(look.bytes.is_some());
            self.report.bytes += look.bytes.unwrap_or(0);
            self.note_generation(look.generation);
            found.extend(look.problems);
        }
        self.add_all(found);
        self.after = page.last().cloned();
        if page.is_empty() {
            let mut found = Vec::new();
            opened.examine_pages(&self.report.problems, &mut found)?;
            self.add_all(found);
        }
        Ok(self.after.is_some())
    }

    /// What nobody needed at the beginning, and nobody needs now.
    fn leftovers(&mut self) {
        let opened = Arc::clone(&self.opened);
        let Some(live) = opened.maybe_live() else { return };
        if !self.loose.is_empty() {
            // A file that was displaced just now lies there until its writer removes it.
            let making = format!("{}/tmp/", super::layout::OWN);
            let is_calm = quiesced(live);
            // The folder of an index in the making looks like one too.
            let is_settled = nobody_rebuilds(live);
            let still: HashSet<Loose> = opened.loose(live).into_iter().collect();
            let loose = std::mem::take(&mut self.loose);
            let is_left = |one: &Loose| is_settled && (is_calm || !one.0.starts_with(&making));
            for one in loose.into_iter().filter(|one| is_left(one) && still.contains(one)) {
                self.add(leftover("nobody needs it", &one.0));
            }
        }
        let mut stamps = opened.stamped_inodes(live);
        stamps.retain(|inode| self.stampless.contains(inode));
        for inode in stamps {
            let path = format!("{}/stamps/{inode:x}", super::layout::OWN);
            self.add(leftover("it is the record of a file that is gone", &path));
        }
        for digest in std::mem::take(&mut self.keyless) {
            if opened.is_orphan(live, &digest) {
                let path = format!("{}/keys/{digest}", super::layout::OWN);
                self.add(leftover("it is the key of a value that is gone", &path));
            }
        }
    }
}

fn leftover(what: &str, path: &str) -> Problem {
    Problem::new(ProblemKind::Leftover, what).at(path)
}

impl Verifying for FileVerifying {
    fn step(&mut self, examiner: Examiner<'_>) -> Result<Option<Progress>> {
        if self.made_in != fork::generation() {
            return Err(Error::new(ErrorKind::Closed, "the process was forked meanwhile")
                .remedy("verify anew in the child"));
        }
        if self.phase == Phase::Done {
            return Ok(None);
        }
        let (clock, bytes) = (Clock::system(), self.report.bytes);
        let began = clock.boot_millis();
        for _ in 0..STEP_VALUES {
            cancel::check()?;
            let more = match self.phase {
                Phase::Own => self.begin().map(|()| false),
                Phase::Files => self.read_files(examiner),
                Phase::NamesInIndex => self.search_names(Witness::Index),
                Phase::NamesInline => self.search_names(Witness::Inline),
                Phase::Nameless => self.read_nameless(examiner),
                Phase::Rows => self.read_rows(examiner),
                Phase::Inline => self.read_inline(examiner),
                Phase::Leftovers => {
                    self.leftovers();
                    Ok(false)
                }
                Phase::Done => break,
            }?;
            if !more {
                self.after = None;
                self.phase = match self.phase {
                    Phase::Own => Phase::Files,
                    Phase::Files => Phase::NamesInIndex,
                    Phase::NamesInIndex => Phase::NamesInline,
                    Phase::NamesInline => Phase::Nameless,
                    Phase::Nameless => Phase::Rows,
                    Phase::Rows => Phase::Inline,
                    Phase::Inline => Phase::Leftovers,
                    Phase::Leftovers | Phase::Done => Phase::Done,
                };
            }
            let spent = clock.boot_millis().saturating_sub(began);
            if self.report.bytes - bytes >= STEP_BYTES || spent >= STEP_MILLIS {
                break;
            }
        }
        self.report.seconds = clock.boot_millis().saturating_sub(self.began) as f64 / 1_000.0;
        let (checked, bytes) = (self.report.checked, self.report.bytes);
        Ok(Some(Progress { checked, bytes, total: self.total }))
    }

    fn report(self: Box<Self>) -> VerifyReport {
        self.report
    }
}

/// A verification that is over before it begins.
#[derive(Debug)]
pub(super) struct Hopeless(VerifyReport);

impl Verifying for Hopeless {
    fn step(&mut self, _: Examiner<'_>) -> Result<Option<Progress>> {
        Ok(None)
    }

    fn report(self: Box<Self>) -> VerifyReport {
        self.0
    }
}

/// Looks until there is nothing to say, or until no write of the stripe came between: a finding
/// that is no finding a moment later is none. In the end the lock is taken.
fn window<T>(
    opened: &Opened,
    stripe: Option<usize>,
    mut look: impl FnMut() -> Result<T>,
    is_fine: impl Fn(&T) -> bool,
) -> Result<T> {
    let seen = look()?;
    if is_fine(&seen) {
        return Ok(seen);
    }
    let (Some(live), Some(stripe)) = (opened.maybe_live().filter(|live| live.coherent), stripe)
    else {
        // Locks mean nothing here: two looks are all there is.
        return look();
    };
    for _ in 0..RETRIES {
        let before = live.clock.count(stripe);
        if before % 2 == 1 {
            // A writer at work, or one that died there; then this is as good as the lock.
            if let Some(_guard) = live.locks.try_lock(stripe)? {
                return look();
            }
        }
        let seen = look()?;
        if is_fine(&seen) || (before.is_multiple_of(2) && live.clock.count(stripe) == before) {
            return Ok(seen);
        }
        std::thread::yield_now();
    }
    let _guard = live.locks.lock(vec![stripe], PATIENCE)?;
    look()
}

/// How often something that takes a moment is looked at.
const TRIES: usize = 1_000;

/// Waits until nobody makes the index anew, under all locks, but not for long; answers whether so.
fn nobody_rebuilds(live: &Live) -> bool {
    (0..TRIES).any(|_| {
        let is_free = matches!(live.locks.try_lock(0), Ok(Some(_)));
        if !is_free {
            std::thread::yield_now();
        }
        is_free
    })
}

/// Waits until every write that was under way has ended, but not for long; answers whether so.
fn quiesced(live: &Live) -> bool {
    let has_ended = |stripe: usize| {
        let before = live.clock.count(stripe);
        (0..TRIES).any(|_| {
            let is_over = before.is_multiple_of(2)
                || live.clock.count(stripe) != before
                || matches!(live.locks.try_lock(stripe), Ok(Some(_)));
            if !is_over {
                std::thread::yield_now();
            }
            is_over
        })
    };
    let is_made = (0..TRIES).any(|_| {
        let is_made = !temp::is_making();
        if !is_made {
            std::thread::yield_now();
        }
        is_made
    });
    is_made && (0..crate::key::STRIPES).all(has_ended)
}

impl FileBackend {
    pub(super) fn begin_verification(&self) -> Result<Box<dyn Verifying>> {
        match self.opened() {
            Ok(opened) => Ok(Box::new(FileVerifying::new(opened))),
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                let store = self.path.join(super::layout::OWN).join("store.json");
                Ok(Box::new(FileVerifying::hopeless(store, &error)))
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn mend_found(
        &self,
        found: &VerifyReport,
        inspect: &Inspect<'_>,
        dry_run: bool,
    ) -> Result<RepairReport> {
        match self.opened() {
            Ok(opened) => opened.mend(found, inspect, dry_run, self.terms()),
            // Somebody has to bring store.json back.
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                let kept = found.problems.clone();
                Ok(RepairReport { dry_run, kept, ..RepairReport::default() })
            }
            Err(error) => Err(error),
        }
    }
}
