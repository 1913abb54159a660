//! `holdall du`: how much lies below each part of the keys.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::json;

use super::Context;
use crate::exit::{Exit, Outcome};
use crate::output::{grouped, shown, size, style};
use crate::select::Filter;

/// Arguments of `du`.
#[derive(Debug, Args)]
#[command(
    after_help = "Values whose time is over are told apart, and only of a whole store; `holdall stats` has all."
)]
pub(crate) struct Du {
    #[command(flatten)]
    filter: Filter,

    /// How many parts of a key, between slashes, are told apart
    #[arg(short, long, default_value_t = 1, value_name = "PARTS")]
    depth: usize,
}

impl Du {
    pub(crate) fn run(self, context: &mut Context) -> Outcome {
        let blobs = context.open()?;
        let mut parts: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        let mut all = (0, 0);
        for about in self.filter.values(&blobs, None) {
            let about = about?;
            let part = self.part_of(&about.key);
            let here = parts.entry(part.to_owned()).or_default();
            for sum in [here, &mut all] {
                sum.0 += 1;
                sum.1 += about.size;
            }
        }
        let mut parts: Vec<_> = parts.into_iter().collect();
        parts.sort_by_key(|(_, (_, bytes))| std::cmp::Reverse(*bytes));
        for (part, (entries, bytes)) in parts {
            if context.out.json {
                let line = json!({"prefix": part, "entries": entries, "total_size": bytes});
                context.out.object(&line)?;
            } else {
                let (name, entries) = (style::NAME, grouped(entries));
                let line = format!("{entries:>9}  {name}{}{name:#}", shown(&part));
                context.out.line(format!("{:>11}  {line}", size(bytes)))?;
            }
        }
        context.out.summary(format!("{:>11}  {:>9}  in all", size(all.1), grouped(all.0)))?;
        // `stats` counts them as long as they take room.
        if self.filter.total(&blobs)?.is_some_and(|total| total > all.0) {
            let stats = blobs.get_stats()?;
            let (entries, bytes) = (stats.entries - all.0, stats.total_size.saturating_sub(all.1));
            context.out.summary(format!(
                "{:>11}  {:>9}  more whose time is over; `holdall expire` removes them",
                size(bytes),
                grouped(entries)
            ))?;
        }
        Ok(Exit::Success)
    }

    /// The key up to and with the slash at this depth; the whole key if it has fewer.
    fn part_of<'a>(&self, key: &'a str) -> &'a str {
        let rest = key.get(self.filter.prefix.len()..).unwrap_or_default();
        match rest.match_indices('/').nth(self.depth.saturating_sub(1)) {
            Some((at, _)) => &key[..self.filter.prefix.len() + at + 1],
            None => key,
        }
    }
}
