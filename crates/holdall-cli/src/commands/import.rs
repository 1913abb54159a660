//! `holdall import`: takes values out of another library's store, which is only read.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use holdall::format::Codec;
use holdall::{BlobManager, BlobOptions, Condition, ErrorKind, Save, SaveOptions, Ttl};
use serde_json::json;

use super::{Context, put};
use crate::batch::{Batch, Placed};
use crate::describe::pickle::Pickle;
use crate::exit::{self, Exit, Failure, Outcome};
use crate::import::{self, Entry, Item, Kind};
use crate::interrupt;
use crate::output::progress::Progress;
use crate::output::{count, shown};
use crate::store;
use crate::words;

/// Arguments of `import`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  holdall -s new import cache --dry-run    what would be taken, and what not
  holdall -s new import cache              a diskcache or joblib.Memory
  holdall -s new import values.sqlite      a sqlitedict
  holdall -s new import backup             what `holdall export` has written")]
pub(crate) struct Import {
    /// The directory or file of the other library; only read
    source: PathBuf,

    /// What it is; without it that is told by what lies there
    #[arg(long = "as", value_enum, value_name = "KIND")]
    kind: Option<Kind>,

    /// Only this table of a sqlitedict file
    #[arg(long, value_name = "TABLE")]
    table: Option<String>,

    /// Put before every key
    #[arg(long, default_value = "", hide_default_value = true, value_name = "PREFIX")]
    prefix: String,

    /// Take and sign pickles that import classes, too: loading them runs their code
    #[arg(long)]
    trust_pickles: bool,

    /// Replace values that are there; without it they are kept
    #[arg(long)]
    overwrite: bool,

    /// Say what would be taken, and take nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// What was done so far.
#[derive(Default)]
struct Done {
    seen: u64,
    taken: u64,
    bytes: u64,
    kept: u64,
    expired: u64,
    /// Pickles that name classes.
    untrusted: u64,
    /// The classes, and how many pickles name each.
    classes: BTreeMap<String, u64>,
    refused: Vec<(String, String)>,
    is_interrupted: bool,
}

impl Done {
    /// What has become of values that were saved together.
    fn note(&mut self, placed: Vec<Placed>) -> Result<(), Failure> {
        for (key, size, result) in placed {
            match result {
                Ok(()) => {
                    self.taken += 1;
                    self.bytes += size;
                }
                Err(error) if error.kind() == ErrorKind::Conflict => self.kept += 1,
                Err(error) if exit::is_final(&error) => return Err(error.into()),
                Err(error) => self.refused.push((key, words::told(&error))),
            }
        }
        Ok(())
    }
}

impl Import {
    pub(crate) fn run(self, context: &mut Context) -> Outcome {
        let (kind, mut source) = import::open(&self.source, self.kind, self.table.as_deref())?;
        let folder = context.folder()?;
        let options = BlobOptions { base_path: folder.clone(), ..BlobOptions::default() };
        let blobs = store::open_or_make(options)?;
        let mut bar = Progress::begin("importing", source.total(), !context.out.quiet);
        let mut done = Done::default();
        let mut batch = Batch::new(folder);
        interrupt::listen();
        let outcome = source.each(&mut |entry| {
            done.seen += 1;
            bar.at(done.seen, None);
            match self.checked(entry, &mut done) {
                Some((save, _)) if self.dry_run => {
                    let size = save.parts[0].bytes().len() as u64;
                    let result = self.would_take(&blobs, &save.key);
                    done.note(vec![(save.key, size, result)])?;
                }
                Some((save, codec)) => done.note(batch.add(save, codec))?,
                None => {}
            }
            match interrupt::is_asked() {
                true => Err(Failure::new(Exit::Interrupted, "interrupted")),
                false => Ok(()),
            }
        });
        let outcome = match interrupt::is_asked() {
            true => done.note(batch.place()),
            false => outcome.and_then(|()| done.note(batch.place())),
        };
        bar.finish();
        done.is_interrupted = interrupt::is_asked();
        outcome.map_err(|failure| {
            let taken = count(done.taken, "value");
            failure.after(format!("{taken} came over, and another run goes on from there"))
        })?;
        if !self.dry_run {
            blobs.close()?;
        }
        self.tell(kind, &done, context)?;
        Ok(match done.is_interrupted {
            true => Exit::Interrupted,
            false => super::done(done.refused.len() as u64 + done.untrusted),
        })
    }

    /// What is to be saved of an entry, if anything.
    fn checked(&self, entry: Entry, done: &mut Done) -> Option<(Save, Codec)> {
        let item = match entry {
            Entry::Value(item) => item,
            Entry::Expired => {
                done.expired += 1;
                return None;
            }
            Entry::Refused(name, what) => {
                done.refused.push((name, what));
                return None;
            }
        };
        let key = format!("{}{}", self.prefix, item.key);
        let Item { format, payload, ttl, tags, metadata, codec, .. } = item;
        if format.is_signed() {
            let found = Pickle::read(&payload);
            if !found.is_data(format) {
                let stopped = found.stopped.map(|why| format!("({why})"));
                for class in found.strange().into_iter().map(str::to_owned).chain(stopped) {
                    *done.classes.entry(class).or_default() += 1;
                }
                if !self.trust_pickles {
                    done.untrusted += 1;
                    return None;
                }
            }
        } else if let Err(what) = put::fault(format, &payload) {
            done.refused.push((key, what));
            return None;
        }
        let ttl = ttl.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let condition = if self.overwrite { Condition::Any } else { Condition::Absent };
        let options = SaveOptions {
            ttl: ttl.map_or(Ttl::Never, Ttl::After),
            tags,
            metadata: metadata.map(|note| note.to_string().into_bytes()),
            condition,
            durability: None,
        };
        Some((Save { key, format, parts: vec![payload.into()], options }, codec))
    }

    fn would_take(&self, blobs: &BlobManager, key: &str) -> holdall::Result<()> {
        let is_store = blobs.backend().folder().is_some_and(crate::store::holds_store);
        if is_store && !self.overwrite && blobs.exists(key)? {
            return Err(holdall::Error::new(ErrorKind::Conflict, "it is there"));
        }
        Ok(())
    }

    fn tell(&self, kind: Kind, done: &Done, context: &mut Context) -> Result<(), Failure> {
        let out = &mut context.out;
        if out.json {
            let refused = done.refused.iter().map(|(key, what)| json!({"key": key, "what": what}));
            return out.document(&json!({
                "kind": format!("{kind:?}").to_lowercase(),
                "dry_run": self.dry_run,
                "imported": done.taken,
                "bytes": done.bytes,
                "kept": done.kept,
                "expired": done.expired,
                "untrusted": done.untrusted,
                "classes": done.classes,
                "refused": refused.collect::<Vec<_>>(),
                "interrupted": done.is_interrupted,
            }));
        }
        const LISTED: usize = 20;
        for (key, what) in done.refused.iter().take(LISTED) {
            out.trouble(format!("not taken: {}: {what}", shown(key)))?;
        }
        if done.refused.len() > LISTED {
            out.trouble(format!("and {} more; --json has all", done.refused.len() - LISTED))?;
        }
        if done.untrusted > 0 {
            let pickles = count(done.untrusted, "pickle");
            out.line(format!("{pickles} not taken, for loading may run code of:"))?;
            for (class, times) in done.classes.iter().take(LISTED) {
                out.line(format!("  {times:>6} x {}", shown(class)))?;
            }
            out.line("if you trust whoever wrote them, run it again with --trust-pickles")?;
        }
        let verb = if self.dry_run { "would import" } else { "imported" };
        let (taken, bytes) = (count(done.taken, "value"), crate::output::size(done.bytes));
        let mut line = format!("{verb} {taken}, {bytes}");
        for (number, what) in [(done.kept, "were there already"), (done.expired, "had expired")] {
            if number > 0 {
                line += &format!("; {number} {what}");
            }
        }
        if done.is_interrupted {
            line += "; interrupted: run it again to go on";
        }
        out.summary(line)
    }
}
