//! `holdall verify`: reads everything and names what is damaged.

use std::path::PathBuf;

use clap::Args;
use holdall::{Problem, VerifyReport};
use serde_json::{Value, json};

use super::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt;
use crate::output::progress::Progress;
use crate::output::{Output, count, grouped, shown, size, style};
use crate::store;
use crate::words;

/// How many of one sort a terminal shows; each takes three lines.
const LISTED: usize = 20;

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The folder, in place of --store
    dir: Option<PathBuf>,
}

impl Verify {
    pub(crate) fn run(self, context: &mut Context) -> Outcome {
        let folder = context.folder_or(self.dir)?;
        let blobs = store::open(&folder)?;
        let report = examined(&blobs, &context.out)?;
        if context.out.json {
            context.out.document(&to_json(&report))?;
        } else {
            tell(&report, &mut context.out)?;
        }
        Ok(if report.is_ok() { Exit::Success } else { Exit::Findings })
    }
}

/// Reads everything, with progress; Ctrl-C ends it.
pub(crate) fn examined(
    blobs: &holdall::BlobManager,
    out: &Output,
) -> Result<VerifyReport, Failure> {
    let mut bar = Progress::begin("verifying", None, !out.quiet && !out.json);
    let report = interrupt::listen().run(|| blobs.verify(|at| bar.at(at.checked, at.total)));
    bar.finish();
    Ok(report?)
}

fn tell(report: &VerifyReport, out: &mut Output) -> Result<(), Failure> {
    let (error, warning, good) = (style::ERROR, style::WARNING, style::GOOD);
    listed(&report.problems, out, |problem| {
        format!("{error}damage{error:#}  {}", found(problem, 8))
    })?;
    listed(&report.notices, out, |notice| {
        format!("{warning}notice{warning:#}  {}", found(notice, 8))
    })?;
    let (values, bytes) = (count(report.checked, "value"), size(report.bytes));
    let seconds = report.seconds;
    match report.problems.len() as u64 {
        0 => out.summary(format!("{good}all is well{good:#}: {values}, {bytes}, {seconds:.1} s")),
        found => {
            let found = count(found, "problem");
            out.summary(format!(
                "{error}{found}{error:#} in {values}, {bytes}, {seconds:.1} s; \
                 see what `holdall repair --dry-run` would do"
            ))
        }
    }
}

/// Lines about some things: on a terminal the first ones, and how many more there are.
pub(crate) fn listed<T>(
    things: &[T],
    out: &mut Output,
    line: impl Fn(&T) -> String,
) -> Result<(), Failure> {
    let most = if out.terminal { LISTED } else { usize::MAX };
    for thing in things.iter().take(most) {
        out.line(line(thing))?;
    }
    match things.len().saturating_sub(most) {
        0 => Ok(()),
        more => out.line(format!("and {} more (--json lists all)", grouped(more as u64))),
    }
}

/// A problem: key and what is wrong, kind and place, remedy; each on its line, so far to the right.
pub(crate) fn found(problem: &Problem, right: usize) -> String {
    let dim = style::DIM;
    let key = problem.key.as_deref().map(|key| format!("{}: ", shown(key))).unwrap_or_default();
    let mut text = format!("{key}{}\n{:right$}{dim}{}", problem.what, "", problem.kind.name());
    if let Some(path) = &problem.path {
        text += &format!(", {}", shown(&path.to_string_lossy()));
    }
    text += &format!("{dim:#}");
    if !problem.remedy.is_empty() {
        text += &format!("\n{:right$}-> {}", "", words::of(&problem.remedy));
    }
    text
}

/// A problem as JSON.
pub(crate) fn problem(found: &Problem) -> Value {
    json!({
        "kind": found.kind.name(),
        "key": found.key,
        "path": found.path,
        "what": found.what,
        "remedy": words::of(&found.remedy),
    })
}

fn to_json(report: &VerifyReport) -> Value {
    json!({
        "ok": report.is_ok(),
        "checked": report.checked,
        "bytes": report.bytes,
        "foreign": report.foreign,
        "seconds": report.seconds,
        "problems": report.problems.iter().map(problem).collect::<Vec<_>>(),
        "notices": report.notices.iter().map(problem).collect::<Vec<_>>(),
    })
}
