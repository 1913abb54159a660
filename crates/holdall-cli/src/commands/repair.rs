//! `holdall repair`: sets right what a verification finds.

use std::path::PathBuf;

use clap::Args;
use holdall::{Problem, RepairReport};
use serde_json::{Value, json};

use super::Context;
use super::verify::{examined, found, listed, problem};
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt;
use crate::output::{Output, count, style};
use crate::store;

/// Arguments of `repair`.
#[derive(Debug, Args)]
pub(crate) struct Repair {
    /// The folder, in place of --store
    dir: Option<PathBuf>,

    /// Say what would be done, and do nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

impl Repair {
    pub(crate) fn run(self, context: &mut Context) -> Outcome {
        let folder = context.folder_or(self.dir)?;
        let blobs = store::open(&folder)?;
        let found = examined(&blobs, &context.out)?;
        let done = interrupt::listen().run(|| blobs.mend(&found, self.dry_run))?;
        if !self.dry_run {
            blobs.close()?;
        }
        if context.out.json {
            context.out.document(&to_json(&done))?;
        } else {
            tell(&done, &mut context.out)?;
        }
        Ok(if done.kept.is_empty() { Exit::Success } else { Exit::Findings })
    }
}

fn tell(done: &RepairReport, out: &mut Output) -> Result<(), Failure> {
    let (warning, good) = (style::WARNING, style::GOOD);
    let would = if done.dry_run { "would be " } else { "" };
    if done.rebuilt {
        out.line(format!("the index {would}made anew from the files"))?;
    }
    for (verb, problems) in [("mended", &done.mended), ("swept", &done.swept)] {
        listed(problems, out, |problem| {
            format!("{would}{verb}  {}", about(problem, would.len() + verb.len() + 2))
        })?;
    }
    listed(&done.quarantined, out, |aside| {
        let right = would.len() + "set aside  ".len();
        let text = about(&aside.problem, right);
        let folder = aside.folder.display();
        format!("{warning}{would}set aside{warning:#}  {text}\n{:right$}-> {folder}", "")
    })?;
    listed(&done.kept, out, |problem| {
        format!("{warning}left as it is{warning:#}  {}", found(problem, 15))
    })?;
    let changed = done.mended.len() + done.swept.len() + done.quarantined.len();
    let kept = count(done.kept.len() as u64, "problem");
    match (done.is_unchanged(), done.kept.is_empty()) {
        (true, true) => out.summary(format!("{good}nothing to do{good:#}")),
        (_, true) => out.summary(format!("{would}set right: {}", count(changed as u64, "problem"))),
        (_, false) => out.summary(format!("{kept} left for somebody to decide")),
    }
}

/// What was found and where, without the remedy: that is what was done.
fn about(problem: &Problem, right: usize) -> String {
    found(&Problem { remedy: String::new(), ..problem.clone() }, right)
}

fn to_json(done: &RepairReport) -> Value {
    let list = |problems: &[Problem]| problems.iter().map(problem).collect::<Vec<_>>();
    let aside = done.quarantined.iter().map(|aside| {
        let mut object = problem(&aside.problem);
        object["folder"] = json!(aside.folder);
        object
    });
    json!({
        "dry_run": done.dry_run,
        "rebuilt": done.rebuilt,
        "mended": list(&done.mended),
        "swept": list(&done.swept),
        "quarantined": aside.collect::<Vec<_>>(),
        "kept": list(&done.kept),
    })
}
