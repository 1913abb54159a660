//! `holdall migrate`: brings values to another format or compression, while the store is in use.

use std::collections::HashSet;

use clap::Args;
use holdall::format::Codec;
use holdall::{ErrorKind, Format, Migrate as Asked, Migration, MigrationReport};
use serde_json::{Value, json};

use super::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt;
use crate::output::progress::Progress;
use crate::output::{Output, count, size};
use crate::parse;
use crate::python;
use crate::select::Filter;
use crate::words;

/// The most failures that are told one by one.
const LISTED: usize = 20;

/// Arguments of `migrate`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  holdall migrate --to json --from pickle users/
  holdall migrate --compression zstd     what gets smaller by it
  holdall migrate --to json --dry-run    what would be done, and what cannot be

Values of older models (pydantic, dataclasses) become current ones in Python, which has the models:
  await BlobManager(\"DIR\").migrate_all(model_class=Model, upgrade=function)")]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
pub(crate) struct Migrate {
    #[command(flatten)]
    filter: Filter,

    /// The format that they get: json, custom_json, pickle, joblib, string, bytes or npy
    #[arg(long, group = "what", value_parser = parse::format, value_name = "FORMAT")]
    to: Option<Format>,

    /// The compression that they get: zstd, lz4 or none
    #[arg(long, group = "what", value_parser = parse::codec, value_name = "CODEC")]
    compression: Option<Codec>,

    /// Only values of this format
    #[arg(long, value_parser = parse::format, value_name = "FORMAT")]
    from: Option<Format>,

    /// Convert, and write nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// What was done, by whomever.
pub(crate) struct Done {
    pub(crate) checked: u64,
    pub(crate) converted: u64,
    pub(crate) unchanged: u64,
    pub(crate) bytes: (u64, u64),
    /// Keys and what is wrong with them.
    pub(crate) failed: Vec<(String, String)>,
    pub(crate) is_interrupted: bool,
    /// Why it was given up: nothing more can be written there.
    pub(crate) stopped: Option<String>,
    /// How many were not looked at then, if they could be counted.
    pub(crate) left: Option<u64>,
    /// How it ended where that was neither asked for nor in order; the counts are what was told before.
    pub(crate) ended: Option<String>,
}

impl Done {
    /// What was done by somebody else after this, which left `foreign` values to it.
    fn add(&mut self, rest: Self, foreign: u64) {
        self.converted += rest.converted;
        self.bytes = (self.bytes.0 + rest.bytes.0, self.bytes.1 + rest.bytes.1);
        // It has met again what had failed here.
        let known: HashSet<String> = self.failed.iter().map(|(key, _)| key.clone()).collect();
        let before = self.failed.len();
        self.failed.extend(rest.failed.into_iter().filter(|(key, _)| !known.contains(key)));
        if !rest.is_interrupted && rest.stopped.is_none() && rest.ended.is_none() {
            // Somebody else has changed or removed them meanwhile.
            let failed = (self.failed.len() - before) as u64;
            self.unchanged += foreign.saturating_sub(rest.converted + failed);
        }
        self.is_interrupted = rest.is_interrupted;
        (self.stopped, self.left, self.ended) = (rest.stopped, rest.left, rest.ended);
    }
}

impl Migrate {
    pub(crate) fn run(self, context: &mut Context) -> Outcome {
        let blobs = context.open()?;
        // How many are of that format is found out on the way.
        let total = if self.from.is_none() { self.filter.total(&blobs)? } else { None };
        let begin = || Progress::begin("migrating", total, !context.out.quiet);
        // Held until Python has ended, too.
        let mut migration = blobs.migration(self.asked());
        let (mut done, foreign) = Self::here(&mut migration, begin())?;
        let mut without_python = None;
        if foreign > 0 && !done.is_interrupted && done.stopped.is_none() {
            // What is done already is passed over there.
            match python::migrate(&self.asked(), &context.folder()?, begin()) {
                Ok(rest) => done.add(rest, foreign),
                Err(failure) => {
                    without_python = Some(
                        failure.after(format!("{} would have needed it", count(foreign, "value"))),
                    );
                }
            }
        }
        migration.end();
        blobs.close()?;
        tell(&done, self.dry_run, &mut context.out)?;
        match (without_python, done.is_interrupted, done.stopped.or(done.ended)) {
            (Some(failure), ..) => Err(failure),
            (_, true, _) => Ok(Exit::Interrupted),
            (.., Some(_)) => Ok(Exit::System),
            _ => Ok(super::done(done.failed.len() as u64)),
        }
    }

    fn asked(&self) -> Asked {
        Asked {
            prefix: self.filter.prefix.clone(),
            tag: self.filter.tag.clone(),
            from: self.from,
            format: self.to,
            compression: self.compression,
            dry_run: self.dry_run,
            is_part: false,
        }
    }

    /// What can be done without Python; and how many values take it.
    fn here(migration: &mut Migration, mut bar: Progress) -> Result<(Done, u64), Failure> {
        let token = interrupt::listen();
        let outcome = token.run(|| -> holdall::Result<()> {
            while migration.step()? {
                bar.at(migration.so_far().checked, None);
            }
            Ok(())
        });
        bar.finish();
        let (mut is_interrupted, mut stopped, mut left) = (false, None, None);
        match outcome {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Cancelled => is_interrupted = true,
            Err(error) if error.os_error().is_some() && error.stops_all() => {
                stopped = Some(words::told(&error));
                left = migration.left().ok();
            }
            Err(error) => return Err(error.into()),
        }
        let so_far = migration.so_far();
        let &MigrationReport { checked, converted, unchanged, bytes, foreign, .. } = so_far;
        let failed = so_far.failed.iter();
        let failed = failed.map(|(key, error)| (key.clone(), words::told(error))).collect();
        let ended = None;
        let done = Done {
            checked,
            converted,
            unchanged,
            bytes,
            failed,
            is_interrupted,
            stopped,
            left,
            ended,
        };
        Ok((done, foreign))
    }
}

fn tell(done: &Done, dry_run: bool, out: &mut Output) -> Result<(), Failure> {
    if out.json {
        return out.document(&to_json(done, dry_run));
    }
    for (_, error) in done.failed.iter().take(LISTED) {
        out.trouble(error)?;
    }
    if done.failed.len() > LISTED {
        out.trouble(format!("and {} more; --json has all", done.failed.len() - LISTED))?;
    }
    if let Some(why) = done.stopped.as_ref().or(done.ended.as_ref()) {
        out.trouble(why)?;
    }
    let verb = if dry_run { "would convert" } else { "converted" };
    let (before, after) = (size(done.bytes.0), size(done.bytes.1));
    let converted = count(done.converted, "value");
    // Some may have been converted after it had last told.
    let least = if done.ended.is_some() { "at least " } else { "" };
    let mut line = format!("{verb} {least}{converted}");
    // One that was stopped in Python does not say how large they were.
    if done.bytes != (0, 0) {
        line += &format!(", {before} -> {after}");
    }
    line += &format!("; {} as they were", count(done.unchanged, "value"));
    if !done.failed.is_empty() {
        line += &format!("; {} could not be converted", count(done.failed.len() as u64, "value"));
    }
    if done.is_interrupted {
        line += "; interrupted: run it again to go on";
    }
    if done.stopped.is_some() {
        let left = done.left.map_or("the rest".into(), |left| count(left, "value"));
        line += &format!("; {left} left: make room and run it again, which goes on");
    }
    if done.ended.is_some() {
        line += "; it ended early: run it again, which goes on";
    }
    out.summary(line)
}

fn to_json(done: &Done, dry_run: bool) -> Value {
    let failed = done.failed.iter().map(|(key, error)| json!({"key": key, "error": error}));
    json!({
        "dry_run": dry_run,
        "checked": done.checked,
        "converted": done.converted,
        "unchanged": done.unchanged,
        "bytes_before": done.bytes.0,
        "bytes_after": done.bytes.1,
        "failed": failed.collect::<Vec<_>>(),
        "interrupted": done.is_interrupted,
        "stopped": done.stopped,
        "left": done.left,
        "ended_early": done.ended,
    })
}
