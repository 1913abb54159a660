//! `holdall evict`: removes the values with a tag.

use clap::Args;
use serde_json::json;

use super::Context;
use crate::exit::{Exit, Failed, Failure, Outcome};
use crate::interrupt;
use crate::output::{count, shown};
use crate::select::Filter;
use crate::words;

/// Arguments of `evict`.
#[derive(Debug, Args)]
pub(crate) struct Evict {
    /// The tag
    tag: String,

    /// Say what would be removed, and remove nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

impl Evict {
    pub(crate) fn run(self, context: &mut Context) -> Outcome {
        if self.tag.is_empty() {
            return Err(Failure::new(Exit::Usage, "an empty tag is none; name one"));
        }
        let blobs = context.open()?;
        let filter = Filter { prefix: String::new(), tag: Some(self.tag) };
        let (mut evicted, mut failed) = (0, Failed::default());
        interrupt::listen();
        for about in filter.values(&blobs, None) {
            let about = about?;
            if interrupt::is_asked() {
                break;
            }
            // What was saved again meanwhile, perhaps without the tag, stays.
            let result = match self.dry_run {
                true => Ok(true),
                false => blobs.delete(&about.key, Some(&about.etag)),
            };
            let is_evicted = match result {
                Ok(is_evicted) => is_evicted,
                Err(error) if error.kind() == holdall::ErrorKind::Conflict => false,
                Err(error) if error.stops_all() => return Err(error.into()),
                Err(error) => {
                    *failed.count(&error) += 1;
                    context.out.trouble(words::told(&error))?;
                    continue;
                }
            };
            evicted += u64::from(is_evicted);
            if context.out.json {
                context.out.object(&json!({
                    "key": about.key, "evicted": is_evicted && !self.dry_run,
                }))?;
            } else if self.dry_run {
                context.out.line(shown(&about.key))?;
            }
        }
        let verb = if self.dry_run { "would evict" } else { "evicted" };
        let mut line = format!("{verb} {}", count(evicted, "value"));
        if interrupt::is_asked() {
            line += "; interrupted: run it again to go on";
        }
        context.out.summary(line)?;
        Ok(if interrupt::is_asked() { Exit::Interrupted } else { failed.code(evicted) })
    }
}
