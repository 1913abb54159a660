//! `holdall ls`: the keys, in order.

use clap::Args;

use super::Context;
use crate::exit::{Exit, Outcome};
use crate::output::{shown, value};
use crate::select::Filter;

/// Arguments of `ls`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  holdall ls -l users/
  holdall ls --tag old -0 | xargs -0 holdall rm
  holdall ls --json | jq -r 'select(.size > 1000000) | .key'")]
pub(crate) struct Ls {
    #[command(flatten)]
    filter: Filter,

    /// With size, time of the last save, format and end of life
    #[arg(short, long)]
    long: bool,

    /// Begin behind this key
    #[arg(long, value_name = "KEY")]
    after: Option<String>,

    /// At most so many
    #[arg(short = 'n', long, value_name = "COUNT")]
    limit: Option<usize>,

    /// End each key with a NUL and escape nothing, for xargs -0
    #[arg(short = '0', long, conflicts_with_all = ["long", "json"])]
    null: bool,
}

impl Ls {
    pub(crate) fn run(self, context: &mut Context) -> Outcome {
        let blobs = context.open()?;
        let values = self.filter.values(&blobs, self.after);
        // Programs that read lines get nothing but values.
        let mut is_headed = !(self.long && context.out.terminal) || context.out.json;
        for about in values.take(self.limit.unwrap_or(usize::MAX)) {
            let about = about?;
            if !std::mem::replace(&mut is_headed, true) {
                context.out.line(value::long_head())?;
            }
            if context.out.json {
                context.out.object(&value::to_json(&about))?;
            } else if self.null {
                context.out.bytes(about.key.as_bytes())?;
                context.out.bytes(b"\0")?;
            } else if self.long {
                context.out.line(value::long_line(&about))?;
            } else {
                context.out.line(shown(&about.key))?;
            }
        }
        Ok(Exit::Success)
    }
}
