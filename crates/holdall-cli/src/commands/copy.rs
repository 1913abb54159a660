//! `holdall copy`: a value under another key, or values into another store.

use std::path::PathBuf;

use clap::Args;
use holdall::clock::Clock;
use holdall::{Blob, BlobManager, BlobOptions, Condition, ErrorKind, SaveOptions};
use serde_json::json;

use super::{Context, done};
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt;
use crate::output::progress::Progress;
use crate::output::{count, shown, size};
use crate::select::Filter;
use crate::store;

/// Arguments of `copy`.
#[derive(Debug, Args)]
pub(crate) struct Copy {
    /// The key; with --to, the beginning of the keys
    #[arg(required_unless_present = "to")]
    key: Option<String>,

    /// The new key
    #[arg(required_unless_present = "to", conflicts_with = "to")]
    new: Option<String>,

    /// Into the store in this folder, which is made if it is not there
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,

    /// With --to: only values with this tag
    #[arg(short, long, requires = "to", value_name = "TAG")]
    tag: Option<String>,

    /// Replace values that are there
    #[arg(long)]
    overwrite: bool,

    /// Say what would be copied, and copy nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

impl Copy {
    pub(crate) fn run(self, context: &mut Context) -> Outcome {
        let from = context.open()?;
        match (&self.key, &self.new, &self.to) {
            (Some(key), Some(new), None) => self.within(&from, key, new, context),
            (key, _, Some(to)) => {
                let prefix = key.clone().unwrap_or_default();
                self.across(&from, to.clone(), prefix, context)
            }
            // The arguments are declared so that this does not happen.
            _ => Err(Failure::new(Exit::Usage, "name a key and a new one, or --to DIR")),
        }
    }

    fn within(&self, blobs: &BlobManager, key: &str, new: &str, context: &mut Context) -> Outcome {
        if !self.dry_run {
            blobs.copy(key, new, self.overwrite)?;
        } else if !self.overwrite && blobs.exists(new)? {
            let message = format!("there is a value under {} already", shown(new));
            return Err(Failure::new(Exit::Busy, message));
        }
        let verb = if self.dry_run { "would copy" } else { "copied" };
        if context.out.json {
            context.out.document(&json!({"key": key, "new": new, "copied": !self.dry_run}))?;
        }
        context.out.summary(format!("{verb} {} to {}", shown(key), shown(new)))?;
        Ok(Exit::Success)
    }

    fn across(
        &self,
        from: &BlobManager,
        folder: PathBuf,
        prefix: String,
        context: &mut Context,
    ) -> Outcome {
        interrupt::listen();
        let filter = Filter { prefix, tag: self.tag.clone() };
        let total = from.get_stats()?.entries;
        let mut bar = Progress::begin("copying", Some(total), !context.out.quiet);
        let (mut copied, mut bytes, mut kept, mut failed) = (0, 0, 0, Vec::new());
        for about in filter.values(from, None) {
            let about = about?;
            if interrupt::is_asked() {
                break;
            }
            bar.advance();
            let result = match self.dry_run {
                true => Ok(true),
                false => self.one(from, &folder, &about.key),
            };
            match result {
                Ok(true) => {
                    copied += 1;
                    bytes += about.size;
                }
                Ok(false) => {}
                Err(error) if error.kind() == ErrorKind::Conflict => kept += 1,
                Err(error) => failed.push((about.key, error.to_string())),
            }
        }
        bar.finish();
        let is_interrupted = interrupt::is_asked();
        if context.out.json {
            let failed = failed.iter().map(|(key, what)| json!({"key": key, "error": what}));
            context.out.document(&json!({
                "dry_run": self.dry_run,
                "copied": copied,
                "bytes": bytes,
                "kept": kept,
                "failed": failed.collect::<Vec<_>>(),
                "interrupted": is_interrupted,
            }))?;
        } else {
            for (key, what) in &failed {
                context.out.line(format!("{}: {what}", shown(key)))?;
            }
        }
        let verb = if self.dry_run { "would copy" } else { "copied" };
        let mut line = format!("{verb} {}, {}", count(copied, "value"), size(bytes));
        if kept > 0 {
            line += &format!("; {kept} were there already");
        }
        if is_interrupted {
            line += "; interrupted: run it again to go on";
        }
        context.out.summary(line)?;
        Ok(if is_interrupted { Exit::Interrupted } else { done(failed.len() as u64) })
    }

    /// Whether there was one to copy. It is checked, verified and, if need be, signed anew.
    fn one(
        &self,
        from: &BlobManager,
        folder: &std::path::Path,
        key: &str,
    ) -> holdall::Result<bool> {
        let Some(Blob { payload, metadata }) = from.try_load_bytes(key, None)? else {
            return Ok(false);
        };
        let record = metadata.record();
        // A store is opened once in a process, whatever the number of managers.
        let to = store::manager(BlobOptions {
            base_path: folder.to_path_buf(),
            compression: record.codec,
            ..BlobOptions::default()
        });
        let options = SaveOptions {
            condition: if self.overwrite { Condition::Any } else { Condition::Absent },
            ..metadata.save_options(&Clock::system())
        };
        to.save_parts(key, record.format, vec![payload.into()], options).map(|_| true)
    }
}
