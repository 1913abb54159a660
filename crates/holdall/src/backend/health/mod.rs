//! What is wrong with a store, and what was done about it.

mod kind;

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};

use super::{Backend, Reading};
use crate::error::Result;
use crate::key::Key;
use crate::record::Record;

pub(crate) use kind::Cure;
pub use kind::ProblemKind;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Problem {
    /// What kind of damage it is.
    pub kind: ProblemKind,
    /// The key that it is about, if it is about one.
    pub key: Option<String>,
    /// The file or folder, as far as it is known.
    pub path: Option<PathBuf>,
    /// What was found, a clause. Never holds a value.
    pub what: String,
    /// What to do, a clause in the imperative.
    pub remedy: String,
}

impl Problem {
    /// A problem with the remedy of its kind.
    #[must_use]
    pub fn new(kind: ProblemKind, what: impl Into<String>) -> Self {
        let remedy = kind.remedy().to_owned();
        Self { kind, key: None, path: None, what: what.into(), remedy }
    }

    /// Says which key it is about.
    #[must_use]
    pub fn on_key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    /// Says which file or folder it is about.
    #[must_use]
    pub fn at(mut self, path: impl AsRef<Path>) -> Self {
        self.path = Some(path.as_ref().to_path_buf());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.name(), self.what)?;
        if let Some(key) = &self.key {
            write!(f, " (key {})", crate::error::shown_key(key))?;
        }
        if let Some(path) = &self.path {
            write!(f, " ({})", path.display())?;
        }
        write!(f, "; {}", self.remedy)
    }
}

/// What a verification has found.
#[derive(Debug, Clone, Default)]
pub struct VerifyReport {
    /// Values that were read whole, those of other programs too.
    pub checked: u64,
    /// Their bytes, as stored.
    pub bytes: u64,
    /// Files of other programs: values without a stamp of this store, and files that are no key's.
    pub foreign: u64,
    /// How long it took.
    pub seconds: f64,
    /// What is damaged.
    pub problems: Vec<Problem>,
    /// What is worth knowing and is no damage.
    pub notices: Vec<Problem>,
    /// Keys of files of other programs, for listings that are made anew.
    pub(crate) adopted: Vec<Key>,
    /// Problems and notices: the same is told once.
    told: HashSet<Problem>,
}

impl VerifyReport {
    /// Whether nothing is damaged.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty()
    }

    pub(crate) fn add(&mut self, problem: Problem) {
        let list = if problem.kind.is_notice() { &mut self.notices } else { &mut self.problems };
        if self.told.insert(problem.clone()) {
            list.push(problem);
        }
    }
}

/// A value that was taken out of the store because it is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// What was wrong with it.
    pub problem: Problem,
    /// The folder in which it lies now, with a note; where it would lie, of a dry run.
    pub folder: PathBuf,
}

/// What a repair has done, or would do.
#[derive(Debug, Clone, Default)]
pub struct RepairReport {
    /// Nothing was done: these are plans.
    pub dry_run: bool,
    /// The index was made anew from the files.
    pub rebuilt: bool,
    /// What was set right in its place.
    pub mended: Vec<Problem>,
    /// What dead writers had left, and is gone.
    pub swept: Vec<Problem>,
    /// What was taken out of the store and is kept aside.
    pub quarantined: Vec<Quarantined>,
    /// What was left as it is, for somebody to decide.
    pub kept: Vec<Problem>,
    /// How many values could be read of a damaged database of inline values; the others are lost,
    /// unless somebody gets them out of the one in quarantine. `None` if none had to be made anew.
    pub salvaged: Option<u64>,
}

impl RepairReport {
    /// Whether anything was changed, or would be.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        let lists = self.mended.len() + self.swept.len() + self.quarantined.len();
        !self.rebuilt && lists == 0
    }
}

/// How far a verification is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Values that were read.
    pub checked: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many values there are, as far as that is known without looking.
    pub total: Option<u64>,
}

/// What is wrong with a whole value, judged by those who know what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind of damage it is.
    pub kind: ProblemKind,
    /// What was found, a clause.
    pub what: String,
}

/// Judges a value whose length and checksum are right: its signature, its compression.
pub type Inspect<'a> = dyn Fn(&Key, &Record, &dyn Reading) -> Result<Option<Finding>> + Sync + 'a;

/// What a verification needs at each step.
#[derive(Clone, Copy)]
pub struct Examiner<'a> {
    /// What is verified.
    pub backend: &'a dyn Backend,
    /// What judges the values.
    pub inspect: &'a Inspect<'a>,
}

impl fmt::Debug for Examiner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Examiner").field("backend", &self.backend).finish_non_exhaustive()
    }
}

/// A verification under way, step by step, so that nobody has to wait long for its thread.
pub trait Verifying: Send + fmt::Debug {
    /// Goes on for some milliseconds, or one large value; `None` when all is done.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Io`] if the store cannot be read at all; [`crate::ErrorKind::Cancelled`].
    fn step(&mut self, examiner: Examiner<'_>) -> Result<Option<Progress>>;

    /// What was found up to now.
    fn report(self: Box<Self>) -> VerifyReport;
}

/// A verification of backends that know nothing better: every value that is listed is loaded.
#[derive(Debug, Default)]
pub(super) struct Loading {
    report: VerifyReport,
    after: Option<Key>,
}

impl Verifying for Loading {
    fn step(&mut self, examiner: Examiner<'_>) -> Result<Option<Progress>> {
        const PAGE: usize = 64;
        crate::cancel::check()?;
        let keys = examiner.backend.keys("", self.after.as_ref(), PAGE)?;
        let page = keys.iter().map(Key::new).collect::<Result<Vec<_>>>()?;
        let Some(last) = page.last() else { return Ok(None) };
        for key in &page {
            match examiner.backend.get(key, None) {
                Ok(None) => {}
                Ok(Some(object)) => {
                    self.report.checked += 1;
                    self.report.bytes += object.record.length;
                    if object.record.foreign {
                        self.report.foreign += 1;
                    } else if let Some(found) =
                        (examiner.inspect)(key, &object.record, &object.content)?
                    {
                        let problem = Problem::new(found.kind, found.what);
                        self.report.add(problem.on_key(key.as_str()));
                    }
                }
                Err(error) => {
                    if let Some(kind) = ProblemKind::of(&error) {
                        let problem = Problem::new(kind, error.cause());
                        self.report.add(problem.on_key(key.as_str()));
                    } else {
                        return Err(error);
                    }
                }
            }
        }
        self.after = Some(last.clone());
        let total = examiner.backend.totals().ok().map(|totals| totals.entries);
        Ok(Some(Progress { checked: self.report.checked, bytes: self.report.bytes, total }))
    }

    fn report(self: Box<Self>) -> VerifyReport {
        self.report
    }
}
