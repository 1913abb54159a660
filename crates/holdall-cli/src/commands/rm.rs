//! `holdall rm`: removes values.

use clap::Args;
use serde_json::json;

use super::{Context, done};
use crate::exit::{self, Exit, Failure, Outcome};
use crate::interrupt;
use crate::output::{count, shown};
use crate::select::Filter;
use crate::words;

/// How many are removed together.
const TOGETHER: usize = 256;

/// Arguments of `rm`.
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// The keys
    #[arg(required_unless_present = "prefix", value_name = "KEY")]
    keys: Vec<String>,

    /// All keys that start so, in place of keys
    #[arg(short, long, conflicts_with = "keys", value_name = "PREFIX")]
    prefix: Option<String>,

    /// Say what would be removed, and remove nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

impl Rm {
    pub(crate) fn run(self, context: &mut Context) -> Outcome {
        let blobs = context.open()?;
        let keys = match self.prefix {
            Some(prefix) => {
                let values = Filter { prefix, tag: None }.values(&blobs, None);
                values.map(|value| Ok(value?.key)).collect::<Result<Vec<_>, Failure>>()?
            }
            None => self.keys,
        };
        let (mut removed, mut missing, mut failed) = (0, 0, 0);
        interrupt::listen();
        for keys in keys.chunks(TOGETHER).take_while(|_| !interrupt::is_asked()) {
            let results = match self.dry_run {
                true => keys.iter().map(|key| blobs.exists(key)).collect(),
                false => blobs.delete_many(keys),
            };
            for (key, result) in keys.iter().zip(results) {
                let is_there = matches!(result, Ok(true));
                let (count, what) = match result {
                    Ok(true) if self.dry_run => (&mut removed, "would be removed".to_owned()),
                    Ok(true) => (&mut removed, "removed".to_owned()),
                    Ok(false) => (&mut missing, format!("there is no value under {}", shown(key))),
                    Err(error) if exit::is_final(&error) => return Err(error.into()),
                    Err(error) => (&mut failed, words::told(&error)),
                };
                *count += 1;
                if context.out.json {
                    context.out.object(
                        &json!({"key": key, "removed": is_there && !self.dry_run, "what": what}),
                    )?;
                } else if !is_there {
                    context.out.trouble(what)?;
                } else if self.dry_run {
                    context.out.line(shown(key))?;
                }
            }
        }
        if !self.dry_run {
            blobs.close()?;
        }
        let verb = if self.dry_run { "would remove" } else { "removed" };
        if interrupt::is_asked() {
            let left = count(keys.len() as u64 - removed - missing - failed, "key");
            let line = format!("{verb} {}; interrupted with {left} to go", count(removed, "value"));
            context.out.summary(line)?;
            return Ok(Exit::Interrupted);
        }
        if removed > 0 || missing + failed == 0 {
            context.out.summary(format!("{verb} {}", count(removed, "value")))?;
        }
        Ok(if missing > 0 && failed == 0 { Exit::NotFound } else { done(failed) })
    }
}
