//! `holdall doctor`: looks at everything around a store, and says what to do.

use std::path::PathBuf;

use clap::Args;
use holdall::config::Examined;
use serde_json::json;

use super::Context;
use crate::doctor::{self, About, Finding, Level};
use crate::exit::{Exit, Outcome};
use crate::output::{count, style};
use crate::store;

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// The folder, in place of --store
    dir: Option<PathBuf>,
}

impl Doctor {
    pub(crate) fn run(self, context: &mut Context) -> Outcome {
        let configured = Examined::now();
        let named = self.dir.or_else(|| context.named());
        let about = About::new(&configured, named.as_deref());
        let findings = doctor::examine(&about);
        for finding in &findings {
            if context.out.json {
                context.out.object(&json!({
                    "level": name(finding.level),
                    "topic": finding.topic,
                    "what": finding.what,
                    "remedy": finding.remedy,
                }))?;
            } else if !(context.out.quiet && finding.level == Level::Good) {
                context.out.line(line(finding))?;
            }
        }
        let many = |level, what| match findings.iter().filter(|found| found.level == level).count()
        {
            0 => None,
            found => Some(count(found as u64, what)),
        };
        let found = [many(Level::Error, "error"), many(Level::Warning, "warning")];
        let found = found.into_iter().flatten().collect::<Vec<_>>().join(", ");
        match found.is_empty() {
            true => context.out.summary(format!("{0}all is well{0:#}", style::GOOD))?,
            false => context.out.summary(found)?,
        }
        if about.folder.is_some_and(|folder| store::find(folder).is_err()) {
            return Ok(Exit::System);
        }
        let worst = findings.iter().map(|finding| finding.level).max();
        Ok(if worst >= Some(Level::Warning) { Exit::Findings } else { Exit::Success })
    }
}

fn name(level: Level) -> &'static str {
    match level {
        Level::Good => "ok",
        Level::Notice => "notice",
        Level::Warning => "warning",
        Level::Error => "error",
    }
}

fn line(finding: &Finding) -> String {
    let style = match finding.level {
        Level::Good => style::GOOD,
        Level::Notice => style::NAME,
        Level::Warning => style::WARNING,
        Level::Error => style::ERROR,
    };
    let level = name(finding.level);
    let mut line = format!("{style}{level:<7}{style:#}  {:<13}  {}", finding.topic, finding.what);
    if let Some(remedy) = &finding.remedy {
        line += &format!("\n{:>24}-> {remedy}", "");
    }
    line
}
