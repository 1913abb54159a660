//! `holdall rm`: removes values.

use clap::Args;
use serde_json::json;

use super::Context;
use crate::exit::{Exit, Failed, Failure, Outcome};
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
    #[arg(required_unless_present_any = ["prefix", "all"], value_name = "KEY")]
    keys: Vec<String>,

    /// All keys that start so, in place of keys
    #[arg(short, long, conflicts_with = "keys", value_name = "PREFIX")]
    prefix: Option<String>,

    /// All keys of the store, in place of keys
    #[arg(long, conflicts_with_all = ["keys", "prefix"])]
    all: bool,

    /// Say what would be removed, and remove nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

impl Rm {
    pub(crate) fn run(self, context: &mut Context) -> Outcome {
        if self.prefix.as_deref() == Some("") {
            // More likely a variable that is not set than a wish.
            let message = "an empty prefix is that of every key; to remove all, say --all";
            return Err(Failure::new(Exit::Usage, message));
        }
        let blobs = context.open()?;
        let keys = match self.prefix.or_else(|| self.all.then(String::new)) {
            Some(prefix) => {
                let values = Filter { prefix, tag: None }.values(&blobs, None);
                values.map(|value| Ok(value?.key)).collect::<Result<Vec<_>, Failure>>()?
            }
            None => self.keys,
        };
        let (mut removed, mut missing, mut failed) = (0, 0, Failed::default());
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
                    Err(error) if error.stops_all() => return Err(error.into()),
                    Err(error) => (failed.count(&error), words::told(&error)),
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
            let left = count(keys.len() as u64 - removed - missing - failed.all, "key");
            let line = format!("{verb} {}; interrupted with {left} to go", count(removed, "value"));
            context.out.summary(line)?;
            return Ok(Exit::Interrupted);
        }
        if removed > 0 || missing + failed.all == 0 {
            context.out.summary(format!("{verb} {}", count(removed, "value")))?;
        }
        Ok(if missing > 0 && failed.all == 0 { Exit::NotFound } else { failed.code(removed) })
    }
}
