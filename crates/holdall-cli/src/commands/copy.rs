//! `holdall copy`: a value under another key, or values into another store.

use std::path::PathBuf;

use clap::Args;
use holdall::clock::Clock;
use holdall::format::Codec;
use holdall::{Blob, BlobManager, BlobOptions, Condition, ErrorKind, Save, SaveOptions};
use serde_json::json;

use super::Context;
use crate::exit::{self, Exit, Failure, Outcome};
use crate::interrupt;
use crate::output::progress::Progress;
use crate::output::{count, shown, size};
use crate::select::Filter;
use crate::store;
use crate::words;

/// How much is saved together.
const TOGETHER: usize = 256;
const TOGETHER_BYTES: usize = 16 << 20;

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
        // Whatever keeps the other store from being opened is known before the first value.
        drop(store::open_or_make(target(folder.clone(), Codec::None))?);
        interrupt::listen();
        let filter = Filter { prefix, tag: self.tag.clone() };
        let total = from.get_stats()?.entries;
        let mut bar = Progress::begin("copying", Some(total), !context.out.quiet);
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
                Ok(Some(blob)) => self.add(&mut batch, blob, &mut done)?,
                // Somebody has removed it meanwhile.
                Ok(None) => {}
                Err(error) => done.failed.push((about.key, words::told(&error))),
            }
        }
        batch.place(&mut done)?;
        bar.finish();
        self.tell(&done, context)
    }

    /// A value that was checked and verified; it is saved with those before it, where need be signed
    /// anew.
    fn add(&self, batch: &mut Batch, blob: Blob, done: &mut Done) -> Result<(), Failure> {
        let Blob { payload, metadata } = blob;
        let record = metadata.record();
        if !batch.takes(record.codec) {
            batch.place(done)?;
        }
        let options = SaveOptions {
            condition: if self.overwrite { Condition::Any } else { Condition::Absent },
            ..metadata.save_options(&Clock::system())
        };
        batch.codec = record.codec;
        batch.bytes += payload.len();
        let format = record.format;
        batch.saves.push(Save { key: metadata.key, format, parts: vec![payload.into()], options });
        Ok(())
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
            false => super::done(done.failed.len() as u64),
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
}

/// Values that are saved together, all with one compression.
struct Batch {
    folder: PathBuf,
    codec: Codec,
    saves: Vec<Save>,
    bytes: usize,
}

impl Batch {
    fn new(folder: PathBuf) -> Self {
        Self { folder, codec: Codec::None, saves: Vec::new(), bytes: 0 }
    }

    fn takes(&self, codec: Codec) -> bool {
        let has_room = self.saves.len() < TOGETHER && self.bytes < TOGETHER_BYTES;
        self.saves.is_empty() || (codec == self.codec && has_room)
    }

    fn place(&mut self, done: &mut Done) -> Result<(), Failure> {
        let saves = std::mem::take(&mut self.saves);
        self.bytes = 0;
        let about: Vec<_> = saves
            .iter()
            .map(|save| (save.key.clone(), save.parts[0].bytes().len() as u64))
            .collect();
        // A store is opened once in a process, whatever the number of managers.
        let results = store::manager(target(self.folder.clone(), self.codec)).save_many(saves);
        for ((key, bytes), result) in about.into_iter().zip(results) {
            match result {
                Ok(_) => {
                    done.copied += 1;
                    done.bytes += bytes;
                }
                Err(error) if error.kind() == ErrorKind::Conflict => done.kept += 1,
                Err(error) if exit::is_final(&error) => {
                    let before = count(done.copied, "value");
                    let before =
                        format!("{before} came over before, and another run goes on from there");
                    return Err(Failure::from(error).after(before));
                }
                Err(error) => done.failed.push((key, words::told(&error))),
            }
        }
        Ok(())
    }
}

fn target(base_path: PathBuf, compression: Codec) -> BlobOptions {
    BlobOptions { base_path, compression, ..BlobOptions::default() }
}
