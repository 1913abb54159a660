//! `holdall rm`: removes values.

use clap::Args;
use serde_json::json;

use super::{Context, done};
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{count, shown};
use crate::select::Filter;

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
        for keys in keys.chunks(TOGETHER) {
            let results = match self.dry_run {
                true => keys.iter().map(|key| blobs.exists(key)).collect(),
                false => blobs.delete_many(keys),
            };
            for (key, result) in keys.iter().zip(results) {
                let (count, what) = match &result {
                    Ok(true) if self.dry_run => (&mut removed, "would be removed".to_owned()),
                    Ok(true) => (&mut removed, "removed".to_owned()),
                    Ok(false) => (&mut missing, "not there".to_owned()),
                    Err(error) => (&mut failed, error.to_string()),
                };
                *count += 1;
                if context.out.json {
                    let is_done = matches!(result, Ok(true));
                    context.out.object(&json!({"key": key, "removed": is_done, "what": what}))?;
                } else if !matches!(result, Ok(true)) || self.dry_run {
                    context.out.line(format!("{}: {what}", shown(key)))?;
                }
            }
        }
        if !self.dry_run {
            blobs.close()?;
            context.out.summary(format!("removed {}", count(removed, "value")))?;
        }
        Ok(if missing > 0 && failed == 0 { Exit::NotFound } else { done(failed) })
    }
}
