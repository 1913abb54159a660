//! `holdall copy`: a value under another key, or values into another store.

use std::path::PathBuf;

use clap::Args;
use holdall::clock::Clock;
use holdall::format::Codec;
use holdall::{Blob, BlobManager, BlobOptions, Condition, ErrorKind, Save, SaveOptions};
use serde_json::json;

use super::Context;
use crate::batch::{Batch, Placed, Unsaved};
use crate::exit::{Exit, Failed, Failure, Outcome};
use crate::interrupt;
use crate::output::progress::Progress;
use crate::output::{count, shown, size};
use crate::select::Filter;
use crate::store;
use crate::words;

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
        } else {
            blobs.metadata(key).map_err(|error| error.during("copy"))?;
            if !self.overwrite && blobs.exists(new)? {
                let message =
                    format!("there is a value under {} already; add --overwrite", shown(new));
                return Err(Failure::new(Exit::Busy, message));
            }
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
        store::apart(&context.folder()?, &folder)?;
        // Whatever keeps the other store from being opened is known before the first value.
        let options = BlobOptions { base_path: folder.clone(), ..BlobOptions::default() };
        drop(store::open_or_make(options)?);
        interrupt::listen();
        let filter = Filter { prefix, tag: self.tag.clone() };
        let total = filter.total(from)?;
        let mut bar = Progress::begin("copying", total, !context.out.quiet);
        let mut done = Done::default();
        let mut batch = Batch::new(folder);
        for about in filter.values(from, None) {
            let about = about?;
            if interrupt::is_asked() {
                break;
            }
            bar.advance();
            if self.dry_run {
                done.copied += 1;
                done.bytes += about.size;
                continue;
            }
            match from.try_load_bytes(&about.key, None) {
                Ok(Some(blob)) => {
                    let (save, codec) = self.save(blob);
                    done.note(batch.add(save, codec))?;
                }
                // Somebody has removed it meanwhile.
                Ok(None) => {}
                // Of all that is left none could be checked either.
                Err(error) if store::lacks_key(&error) => {
                    done.note(batch.place())?;
                    return Err(done.stopped(error));
                }
                Err(error) => done.fail(about.key, &error),
            }
        }
        done.note(batch.place())?;
        bar.finish();
        self.tell(&done, context)
    }

    /// What is saved of a value that was checked and verified; where need be it is signed anew.
    fn save(&self, blob: Blob) -> (Save, Codec) {
        let Blob { payload, metadata } = blob;
        let (format, codec) = (metadata.record().format, metadata.record().codec);
        let options = SaveOptions {
            condition: if self.overwrite { Condition::Any } else { Condition::Absent },
            created: Some(metadata.created_at),
            ..metadata.save_options(&Clock::system())
        };
        (Save { key: metadata.key, format, parts: vec![payload.into()], options }, codec)
    }

    fn tell(&self, done: &Done, context: &mut Context) -> Outcome {
        let is_interrupted = interrupt::is_asked();
        for (_, what) in &done.failed {
            context.out.trouble(what)?;
        }
        if context.out.json {
            let failed = done.failed.iter().map(|(key, what)| json!({"key": key, "error": what}));
            context.out.document(&json!({
                "dry_run": self.dry_run,
                "copied": done.copied,
                "bytes": done.bytes,
                "kept": done.kept,
                "failed": failed.collect::<Vec<_>>(),
                "interrupted": is_interrupted,
            }))?;
        }
        let verb = if self.dry_run { "would copy" } else { "copied" };
        let mut line = format!("{verb} {}, {}", count(done.copied, "value"), size(done.bytes));
        if done.kept > 0 {
            line += &format!("; {} were there already", done.kept);
        }
        if is_interrupted {
            line += "; interrupted: run it again to go on";
        }
        context.out.summary(line)?;
        Ok(match is_interrupted {
            true => Exit::Interrupted,
            false => done.codes.code(done.copied),
        })
    }
}

/// What was done so far.
#[derive(Default)]
struct Done {
    copied: u64,
    bytes: u64,
    kept: u64,
    failed: Vec<(String, String)>,
    codes: Failed,
}

impl Done {
    fn fail(&mut self, key: String, error: &holdall::Error) {
        *self.codes.count(error) += 1;
        self.failed.push((key, words::told(error)));
    }

    /// What has become of values that were saved together.
    fn note(&mut self, placed: Vec<Placed>) -> Result<(), Failure> {
        let mut stopped = None;
        for (key, bytes, result) in placed {
            match result {
                Ok(()) => {
                    self.copied += 1;
                    self.bytes += bytes;
                }
                Err(Unsaved::WithAll(error)) => drop(stopped.get_or_insert(error)),
                Err(Unsaved::Alone(error)) if error.kind() == ErrorKind::Conflict => {
                    self.kept += 1;
                }
                Err(Unsaved::Alone(error)) => self.fail(key, &error),
            }
        }
        stopped.map_or(Ok(()), |error| Err(self.stopped(error)))
    }

    /// What has kept all that are left from coming over.
    fn stopped(&self, error: holdall::Error) -> Failure {
        let before = count(self.copied, "value");
        let so_far = format!("{before} came over, and another run goes on from there");
        Failure::from(error).after(so_far)
    }
}
