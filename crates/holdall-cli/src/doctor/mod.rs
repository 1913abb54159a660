//! The examinations of `holdall doctor`: each a file with one function, and a line in the list.

mod configuration;
mod disk;
mod folder;
mod leftovers;
mod limits;
mod signing;
mod versions;

use std::path::Path;

use holdall::config::Examined;

/// The variable that names the folder.
const FOLDER: &str = "BLOB_STORAGE_BASE_PATH";

/// What is looked at.
pub(crate) struct About<'a> {
    /// The folder; none where nobody can tell which one.
    pub(crate) folder: Option<&'a Path>,
    pub(crate) configured: &'a Examined,
    /// The folder was named, and is not that of the configuration.
    pub(crate) is_named: bool,
}

impl<'a> About<'a> {
    /// The configuration, and the folder that was named or is configured.
    pub(crate) fn new(configured: &'a Examined, named: Option<&'a Path>) -> Self {
        let (folder, is_named) = (named, named.is_some());
        let mut about = Self { folder, configured, is_named };
        if !is_named && !about.is_wrong(FOLDER) {
            about.folder = Some(&configured.settings.base_path);
        }
        about
    }

    /// Whether a variable has no value that can be used.
    fn is_wrong(&self, name: &str) -> bool {
        let is_it =
            |cause: &str| cause.strip_prefix(name).is_some_and(|rest| rest.starts_with(' '));
        self.configured.errors.iter().any(|error| is_it(error.cause()))
    }
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// As it should be.
    Good,
    /// Worth knowing.
    Notice,
    /// It will go wrong some day.
    Warning,
    /// It is wrong.
    Error,
}

/// What an examination has found.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) level: Level,
    pub(crate) topic: &'static str,
    pub(crate) what: String,
    /// A clause in the imperative; none for what is good.
    pub(crate) remedy: Option<String>,
}

/// Collects findings under one topic.
pub(crate) struct Findings {
    topic: &'static str,
    found: Vec<Finding>,
}

impl Findings {
    pub(crate) fn good(&mut self, what: impl Into<String>) {
        self.add(Level::Good, what.into(), None);
    }

    pub(crate) fn notice(&mut self, what: impl Into<String>, remedy: impl Into<String>) {
        self.add(Level::Notice, what.into(), Some(remedy.into()));
    }

    pub(crate) fn warning(&mut self, what: impl Into<String>, remedy: impl Into<String>) {
        self.add(Level::Warning, what.into(), Some(remedy.into()));
    }

    pub(crate) fn error(&mut self, what: impl Into<String>, remedy: impl Into<String>) {
        self.add(Level::Error, what.into(), Some(remedy.into()));
    }

    fn add(&mut self, level: Level, what: String, remedy: Option<String>) {
        self.found.push(Finding { level, topic: self.topic, what, remedy });
    }
}

/// Looks at one thing; never changes anything, so no store is opened: that would sweep.
enum Examine {
    /// What holds for all folders.
    Machine(fn(&About<'_>, &mut Findings)),
    Folder(fn(&Path, &mut Findings)),
}

const EXAMINATIONS: &[(&str, Examine)] = &[
    ("configuration", Examine::Machine(configuration::examine)),
    ("folder", Examine::Folder(folder::examine)),
    ("disk", Examine::Folder(disk::examine)),
    ("limits", Examine::Machine(limits::examine)),
    ("versions", Examine::Machine(versions::examine)),
    ("signing", Examine::Machine(signing::examine)),
    ("leftovers", Examine::Folder(leftovers::examine)),
];

/// Everything that can be said of a store without reading its values.
pub(crate) fn examine(about: &About<'_>) -> Vec<Finding> {
    let mut all = Vec::new();
    for (topic, examine) in EXAMINATIONS {
        let mut findings = Findings { topic, found: Vec::new() };
        match (examine, about.folder) {
            (Examine::Machine(examine), _) => examine(about, &mut findings),
            (Examine::Folder(examine), Some(folder)) => examine(folder, &mut findings),
            (Examine::Folder(_), None) => {}
        }
        all.extend(findings.found);
    }
    all
}
