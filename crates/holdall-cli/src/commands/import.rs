//! `holdall import`: takes values out of another library's store, which is only read.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use holdall::format::Codec;
use holdall::key::Key;
use holdall::{BlobManager, BlobOptions, Condition, ErrorKind, Format, Save, SaveOptions, Ttl};

use super::{Context, put};
use crate::batch::{Batch, Unsaved};
use crate::describe::pickle::Pickle;
use crate::exit::{Exit, Failure, Outcome};
use crate::import::report::{Done, Keys, Untrusted};
use crate::import::{self, Entry, Item, Kind, Wanted};
use crate::interrupt;
use crate::output::count;
use crate::output::progress::Progress;
use crate::store;
use crate::words;

/// Arguments of `import`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  holdall -s new import cache --dry-run    what would be taken, and what not
  holdall -s new import cache              a diskcache or joblib.Memory
  holdall -s new import values.sqlite      a sqlitedict
  holdall -s new import data --as folder   files, whatever else lies there
  holdall -s new import backup             what `holdall export` has written

Two entries that lead to one key are named and not both taken.")]
pub(crate) struct Import {
    /// The directory or file of the other library; only read
    source: PathBuf,

    /// What it is; without it that is told by what lies there, and refused if that is not plain
    #[arg(long = "as", value_enum, value_name = "KIND")]
    kind: Option<Kind>,

    /// Only this table of a sqlitedict file
    #[arg(long, value_name = "TABLE")]
    table: Option<String>,

    /// Put before every key
    #[arg(long, default_value = "", hide_default_value = true, value_name = "PREFIX")]
    prefix: String,

    /// Of a folder of files: make the ending a part of the key, `a.json` of a.json
    #[arg(long)]
    keep_endings: bool,

    /// Take the second entry that leads to a key under KEY~2, the third under KEY~3
    #[arg(long)]
    rename_doubles: bool,

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

/// Why a pickle is not taken.
enum NotTaken {
    /// What loading it would import.
    Untrusted(Vec<String>),
    /// Why nobody can load it, a clause.
    Damaged(&'static str),
}

impl Import {
    pub(crate) fn run(self, context: &mut Context) -> Outcome {
        let wanted = Wanted {
            kind: self.kind,
            table: self.table.as_deref(),
            keeps_endings: self.keep_endings,
        };
        let (kind, mut source) = import::open(&self.source, &wanted)?;
        let folder = context.folder()?;
        // A file is read beside the store that is written.
        if self.source.is_dir() {
            store::apart(&self.source, &folder)?;
        }
        let options = BlobOptions { base_path: folder.clone(), ..BlobOptions::default() };
        let most = options.max_value_bytes;
        let blobs = store::open_or_make(options)?;
        if self.kind.is_none() {
            context.out.summary(kind.is(&self.source))?;
            context.out.flush()?;
        }
        let mut bar = Progress::begin("importing", source.total(), !context.out.quiet);
        let mut done = Done::default();
        let mut keys = Keys::default();
        let mut batch = Batch::new(folder);
        interrupt::listen();
        let outcome = source.each(&mut |entry| {
            done.seen += 1;
            bar.at(done.seen, None);
            match self.checked(entry, most, &mut keys, &mut done) {
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
        done.tell(kind, self.dry_run, &mut context.out)?;
        Ok(done.code())
    }

    /// What is to be saved of an entry, if anything.
    fn checked(
        &self,
        entry: Entry,
        most: u64,
        keys: &mut Keys,
        done: &mut Done,
    ) -> Option<(Save, Codec)> {
        let item = match entry {
            Entry::Value(item) => item.fitted(),
            Entry::Expired => {
                done.expired += 1;
                return None;
            }
            Entry::Refused(name, what) => {
                done.refused.push((name, what));
                return None;
            }
        };
        let Item { format, payload, ttl, tags, metadata, created, codec, is_own, .. } = item;
        let mut key = format!("{}{}", self.prefix, item.key);
        if let Err(error) = Key::new(&key) {
            done.refused.push((key, words::told(&error)));
            return None;
        }
        if !keys.is_new(&key) {
            if !self.rename_doubles {
                let what = "another entry of the source has led to this key; add --rename-doubles";
                done.refused.push((key, what.into()));
                return None;
            }
            key = keys.another(&key);
        }
        let (format, payload) = match format.is_signed() && !is_own {
            true => match self.looked_into(format, payload, most) {
                Ok(found) => found,
                Err(NotTaken::Untrusted(imports)) => {
                    done.untrusted.push(Untrusted { key, imports });
                    return None;
                }
                Err(NotTaken::Damaged(why)) => {
                    let what = format!("it is damaged, and no {format} that can be loaded: {why}");
                    done.refused.push((key, what));
                    return None;
                }
            },
            false => (format, payload),
        };
        if let Err(what) = put::fault(format, &payload) {
            done.refused.push((key, what));
            return None;
        }
        if let Some(what) = item.lacks {
            done.lacking.push((key.clone(), what));
        }
        done.sidecars += u64::from(item.has_sidecar);
        let ttl = ttl.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let condition = if self.overwrite { Condition::Any } else { Condition::Absent };
        let options = SaveOptions {
            ttl: ttl.map_or(Ttl::Never, Ttl::After),
            tags,
            metadata: metadata.map(|note| note.to_string().into_bytes()),
            created,
            condition,
            ..SaveOptions::default()
        };
        Some((Save { key, format, parts: vec![payload.into()], options }, codec))
    }

    /// A pickle that is to be taken, unpacked into at most `most` bytes, or why it is not.
    fn looked_into(
        &self,
        format: Format,
        payload: Vec<u8>,
        most: u64,
    ) -> Result<(Format, Vec<u8>), NotTaken> {
        let payload = import::plain(payload, most).map_err(NotTaken::Damaged)?;
        let found = Pickle::read(&payload);
        if let Some(why) = found.fault().filter(|_| import::compression(&payload).is_none()) {
            return Err(NotTaken::Damaged(why));
        }
        // Many name by .pkl what joblib has written, which joblib alone reads.
        let format = match found.is_of_joblib() || import::compression(&payload).is_some() {
            true => Format::Joblib,
            false => format,
        };
        if self.trust_pickles || found.is_data(format) {
            return Ok((format, payload));
        }
        let unknown = match import::compression(&payload) {
            Some(name) => Some(format!("(compressed by joblib with {name}, so nobody knows)")),
            None => found.stopped.map(|why| format!("({why})")),
        };
        let strange = found.strange().into_iter().map(str::to_owned);
        Err(NotTaken::Untrusted(strange.chain(unknown).collect()))
    }

    fn would_take(&self, blobs: &BlobManager, key: &str) -> Result<(), Unsaved> {
        let is_store = blobs.backend().folder().is_some_and(crate::store::holds_store);
        if is_store && !self.overwrite && blobs.exists(key).map_err(Unsaved::Alone)? {
            return Err(Unsaved::Alone(holdall::Error::new(ErrorKind::Conflict, "it is there")));
        }
        Ok(())
    }
}
