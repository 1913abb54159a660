//! `holdall migrate`: brings values to another format or compression, while the store is in use.

use clap::Args;
use holdall::format::Codec;
use holdall::{BlobManager, Error, ErrorKind, Format, Migrate as Asked, MigrationReport};
use serde_json::{Value, json};

use super::Context;
use crate::exit::{self, Exit, Failure, Outcome};
use crate::interrupt;
use crate::output::progress::Progress;
use crate::output::{Output, count, size};
use crate::parse;
use crate::python;
use crate::select::Filter;
use crate::words;

/// Arguments of `migrate`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  holdall migrate --to json --from pickle users/
  holdall migrate --compression zstd     what gets smaller by it
  holdall migrate --to json --dry-run    what would be done, and what cannot be")]
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
    /// It was given up, for nothing more can be written there.
    pub(crate) is_full: bool,
}

impl Done {
    /// What was done by somebody else after this.
    fn add(&mut self, rest: Self) {
        self.converted += rest.converted;
        self.bytes = (self.bytes.0 + rest.bytes.0, self.bytes.1 + rest.bytes.1);
        self.failed.extend(rest.failed);
        self.is_interrupted = rest.is_interrupted;
    }
}

impl Migrate {
    pub(crate) fn run(self, context: &mut Context) -> Outcome {
        let blobs = context.open()?;
        let total = self.filter.total(&blobs)?;
        let begin = || Progress::begin("migrating", total, !context.out.quiet);
        let (mut done, foreign) = self.here(&blobs, begin())?;
        let mut without_python = None;
        if foreign > 0 && !done.is_interrupted && !done.is_full {
            // What is done already is passed over there.
            match python::migrate(&self.asked(), &context.folder()?, begin()) {
                Ok(rest) => done.add(rest),
                Err(failure) => {
                    without_python = Some(
                        failure.after(format!("{} would have needed it", count(foreign, "value"))),
                    );
                }
            }
        }
        tell(&done, self.dry_run, &mut context.out)?;
        match (without_python, done.is_interrupted, done.is_full) {
            (Some(failure), ..) => Err(failure),
            (_, true, _) => Ok(Exit::Interrupted),
            (.., true) => Ok(Exit::System),
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
        }
    }

    /// What can be done without Python; and how many values take it.
    fn here(&self, blobs: &BlobManager, mut bar: Progress) -> Result<(Done, u64), Failure> {
        let mut migration = blobs.migration(self.asked());
        let token = interrupt::listen();
        let mut full = false;
        let outcome = token.run(|| -> holdall::Result<()> {
            let mut is_more = true;
            while is_more {
                let failures = migration.so_far().failed.len();
                is_more = migration.step()?;
                let so_far = migration.so_far();
                bar.at(so_far.checked, None);
                full |= so_far.failed[failures..].iter().any(|(_, error)| exit::is_final(error));
                if full {
                    break;
                }
            }
            Ok(())
        });
        bar.finish();
        let is_interrupted = match outcome {
            Ok(()) => false,
            Err(error) if error.kind() == ErrorKind::Cancelled => true,
            Err(error) => return Err(error.into()),
        };
        let MigrationReport { checked, converted, unchanged, bytes, failed, foreign, .. } =
            migration.finish();
        blobs.close()?;
        let told = |(key, error): (String, Error)| (key, words::told(&error));
        let failed = failed.into_iter().map(told).collect();
        let done =
            Done { checked, converted, unchanged, bytes, failed, is_interrupted, is_full: full };
        Ok((done, foreign))
    }
}

fn tell(done: &Done, dry_run: bool, out: &mut Output) -> Result<(), Failure> {
    if out.json {
        return out.document(&to_json(done, dry_run));
    }
    // On a full disk the others say the same.
    let listed = if done.is_full { 1 } else { 20 };
    for (_, error) in done.failed.iter().take(listed) {
        out.trouble(error)?;
    }
    if done.failed.len() > listed && !done.is_full {
        out.trouble(format!("and {} more; --json has all", done.failed.len() - listed))?;
    }
    let verb = if dry_run { "would convert" } else { "converted" };
    let (before, after) = (size(done.bytes.0), size(done.bytes.1));
    let converted = count(done.converted, "value");
    let mut line = format!("{verb} {converted}");
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
    if done.is_full {
        line += "; given up: make room and run it again to go on";
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
    })
}
