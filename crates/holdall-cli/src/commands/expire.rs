//! `holdall expire`: removes values whose time is over.

use std::path::PathBuf;

use clap::Args;
use holdall::BlobManager;
use holdall::clock::Clock;
use serde_json::json;

use super::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt;
use crate::output::{count, shown};
use crate::store;

/// Arguments of `expire`.
#[derive(Debug, Args)]
pub(crate) struct Expire {
    /// The folder, in place of --store
    dir: Option<PathBuf>,

    /// Say what would be removed, and remove nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

impl Expire {
    pub(crate) fn run(self, context: &mut Context) -> Outcome {
        let folder = context.folder_or(self.dir)?;
        let blobs = store::open(&folder)?;
        let mut keys = Vec::new();
        let removed = match self.dry_run {
            true => over(&blobs, context, &mut keys)?,
            false => interrupt::listen().run(|| blobs.expire())?,
        };
        if context.out.json {
            let mut document = json!({"expired": removed, "dry_run": self.dry_run});
            if self.dry_run {
                document["keys"] = keys.into();
            }
            context.out.document(&document)?;
        }
        let verb = if self.dry_run { "would remove" } else { "removed" };
        context.out.summary(format!("{verb} {}", count(removed, "expired value")))?;
        Ok(Exit::Success)
    }
}

/// Names what is over and was not removed yet; with JSON in `keys`.
fn over(
    blobs: &BlobManager,
    context: &mut Context,
    keys: &mut Vec<String>,
) -> Result<u64, Failure> {
    const PAGE: usize = 1_000;
    let (clock, mut found, mut after) = (Clock::system(), 0, None);
    loop {
        let page = blobs.backend().every(after.as_ref(), PAGE)?;
        for (key, record) in &page {
            if !record.as_ref().is_some_and(|record| record.is_expired(&clock)) {
                continue;
            }
            found += 1;
            if context.out.json {
                keys.push(key.as_str().to_owned());
            } else if !context.out.quiet {
                context.out.line(shown(key.as_str()))?;
            }
        }
        match page.into_iter().next_back() {
            Some((last, _)) => after = Some(last),
            None => return Ok(found),
        }
    }
}
