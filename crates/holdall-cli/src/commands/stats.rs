//! `holdall stats`: how much there is.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::Context;
use crate::exit::{Exit, Outcome};
use crate::output::{count, size};
use crate::store;

/// Arguments of `stats`.
#[derive(Debug, Args)]
#[command(
    after_help = "Values whose time is over count until they are removed, as by `holdall expire`."
)]
pub(crate) struct Stats {
    /// The folder, in place of --store
    dir: Option<PathBuf>,
}

impl Stats {
    pub(crate) fn run(self, context: &mut Context) -> Outcome {
        let folder = context.folder_or(self.dir)?;
        let stats = store::open(&folder)?.get_stats()?;
        if context.out.json {
            context.out.document(&json!({
                "folder": folder,
                "entries": stats.entries,
                "total_size": stats.total_size,
            }))?;
        } else {
            let (entries, bytes) = (count(stats.entries, "value"), size(stats.total_size));
            context.out.line(format!("{entries}, {bytes}, in {}", folder.display()))?;
        }
        Ok(Exit::Success)
    }
}
