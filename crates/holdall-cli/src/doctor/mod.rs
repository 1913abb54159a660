//! The examinations of `holdall doctor`: each a file with one function, and a line in the list.

mod configuration;
mod disk;
mod folder;
mod leftovers;
mod limits;
mod signing;
mod versions;

use std::path::Path;

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

/// Looks at one thing; never changes anything.
type Examine = fn(&Path, &mut Findings);

const EXAMINATIONS: &[(&str, Examine)] = &[
    ("configuration", configuration::examine),
    ("folder", folder::examine),
    ("disk", disk::examine),
    ("limits", limits::examine),
    ("versions", versions::examine),
    ("signing", signing::examine),
    ("leftovers", leftovers::examine),
];

/// Everything that can be said of a store in this folder without reading its values.
pub(crate) fn examine(folder: &Path) -> Vec<Finding> {
    let mut all = Vec::new();
    for (topic, examine) in EXAMINATIONS {
        let mut findings = Findings { topic, found: Vec::new() };
        examine(folder, &mut findings);
        all.extend(findings.found);
    }
    all
}
