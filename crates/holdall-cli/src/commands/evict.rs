//! `holdall evict`: removes the values with a tag.

use clap::Args;
use serde_json::json;

use super::{Context, done};
use crate::exit::Outcome;
use crate::output::{count, shown};
use crate::select::Filter;

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
        let blobs = context.open()?;
        let filter = Filter { prefix: String::new(), tag: Some(self.tag) };
        let (mut evicted, mut failed) = (0, 0);
        for about in filter.values(&blobs, None) {
            let about = about?;
            // What was saved again meanwhile, perhaps without the tag, stays.
            let result = match self.dry_run {
                true => Ok(true),
                false => blobs.delete(&about.key, Some(&about.etag)),
            };
            let is_evicted = match result {
                Ok(is_evicted) => is_evicted,
                Err(error) if error.kind() == holdall::ErrorKind::Conflict => false,
                Err(error) => {
                    failed += 1;
                    context.out.summary(error)?;
                    continue;
                }
            };
            evicted += u64::from(is_evicted);
            if context.out.json {
                context.out.object(&json!({"key": about.key, "evicted": is_evicted}))?;
            } else if self.dry_run {
                context.out.line(shown(&about.key))?;
            }
        }
        let verb = if self.dry_run { "would evict" } else { "evicted" };
        context.out.summary(format!("{verb} {}", count(evicted, "value")))?;
        Ok(done(failed))
    }
}
