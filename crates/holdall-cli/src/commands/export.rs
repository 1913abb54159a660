//! `holdall export`: values as plain files in a new folder, with a list of what else is known.

use std::fs::{DirBuilder, File};
use std::io::{BufWriter, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use clap::Args;
use holdall::key::{CaseRule, Key};
use holdall::signing::{KeySource, Keyring};
use holdall::{Blob, BlobManager, BlobMetadata, BlobOptions, Error, Trust};
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use serde_json::json;

use super::{Context, done};
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt;
use crate::output::progress::Progress;
use crate::output::{count, create_new, size, value};
use crate::select::Filter;
use crate::signature::{self, Signature};
use crate::store;
use crate::words;

/// The list; each line is what `holdall ls --json` says, `file` and its `bytes`.
pub(crate) const LIST: &str = "holdall-export.jsonl";
/// Its name until all is written.
pub(crate) const PART: &str = "holdall-export.jsonl.part";

/// Arguments of `export`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  holdall export backup
  holdall --store new import backup")]
pub(crate) struct Export {
    /// A folder that is not there yet, is empty, or has an export that was stopped
    folder: PathBuf,

    #[command(flatten)]
    filter: Filter,

    /// Say what would be written, and write nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

impl Export {
    pub(crate) fn run(self, context: &mut Context) -> Outcome {
        let (store, folder) = (context.folder()?, self.folder.as_path());
        let blobs = Blobs::open(&store)?;
        store::apart(&store, folder)?;
        let mut target = if self.dry_run { None } else { Some(Target::begin(folder)?) };
        interrupt::listen();
        let total = self.filter.total(&blobs.any)?;
        let mut bar = Progress::begin("exporting", total, !context.out.quiet);
        let (mut written, mut bytes, mut failed) = (0, 0, Vec::new());
        for about in self.filter.values(&blobs.any, None) {
            let about = about?;
            if interrupt::is_asked() {
                break;
            }
            bar.advance();
            match target.as_mut().map_or(Ok(about.size), |target| one(&blobs, &about, target)) {
                Ok(length) => {
                    written += 1;
                    bytes += length;
                }
                Err(Fault::Value(what)) => failed.push((about.key, what)),
                Err(Fault::Folder(failure)) => {
                    bar.finish();
                    return Err(failure.after(format!(
                        "{} written before; make room or name another folder, and run it again",
                        count(written, "file")
                    )));
                }
            }
        }
        bar.finish();
        if let Some(target) = target.filter(|_| !interrupt::is_asked()) {
            target.finish()?;
        }
        for (_, what) in &failed {
            context.out.trouble(what)?;
        }
        let verb = if self.dry_run { "would write" } else { "wrote" };
        let place = folder.display();
        let mut line = format!("{verb} {}, {}, to {place}", count(written, "file"), size(bytes));
        if interrupt::is_asked() {
            line += "; interrupted: run it again for all of them";
        }
        if context.out.json {
            let listed = failed.iter().map(|(key, what)| json!({"key": key, "error": what}));
            context.out.document(&json!({
                "dry_run": self.dry_run,
                "files": written,
                "bytes": bytes,
                "failed": listed.collect::<Vec<_>>(),
                "interrupted": interrupt::is_asked(),
            }))?;
        }
        context.out.summary(line)?;
        Ok(if interrupt::is_asked() { Exit::Interrupted } else { done(failed.len() as u64) })
    }
}

/// The store.
struct Blobs {
    /// Nothing is run, so nothing has to be trusted.
    any: BlobManager,
    /// Of pickles, those that a key of ours has signed.
    own: BlobManager,
    keys: KeySource,
}

impl Blobs {
    fn open(folder: &Path) -> Result<Self, Failure> {
        let keys = KeySource::discovered();
        let open = |trust| {
            let (base_path, signing_key) = (folder.to_path_buf(), keys.clone());
            let options = BlobOptions { base_path, signing_key, trust, ..Default::default() };
            store::open_with(options)
        };
        Ok(Self { any: open(Trust::Any)?, own: open(Trust::Own)?, keys: keys.clone() })
    }

    /// A value; of a pickle of ours also a signature for the list.
    fn load(&self, about: &BlobMetadata) -> holdall::Result<(Blob, Option<Signature>)> {
        if about.record().format.is_signed() {
            let signed = || {
                let blob = self.own.load_bytes(&about.key, None)?;
                let backend = self.own.backend();
                let ring = self.keys.keyring(backend.signer()?.as_deref())?;
                let signature = signed(&ring, &backend.store_id()?, &blob);
                Ok::<_, Error>((blob, signature))
            };
            if let Ok((blob, signature)) = signed() {
                return Ok((blob, Some(signature)));
            }
        }
        Ok((self.any.load_bytes(&about.key, None)?, None))
    }
}

fn signed(ring: &Keyring, store: &[u8; 16], blob: &Blob) -> Signature {
    let format = blob.metadata.record().format;
    signature::sign(ring, store, format, &blob.metadata.key, &blob.payload)
}

/// The folder that is written to.
struct Target {
    folder: PathBuf,
    list: BufWriter<File>,
    /// A run before this one was stopped, and what it wrote is there.
    goes_on: bool,
}

impl Target {
    fn begin(folder: &Path) -> Result<Self, Failure> {
        make(folder).map_err(|error| unwritten(folder, error))?;
        let part = folder.join(PART);
        let goes_on = part.symlink_metadata().is_ok_and(|found| found.is_file());
        let is_empty = folder.read_dir().map(|mut entries| entries.next().is_none());
        if !goes_on && !is_empty.map_err(|error| unwritten(folder, error))? {
            let message = format!("{} is not empty; name a new folder", folder.display());
            return Err(Failure::new(Exit::Usage, message));
        }
        let list = match claim(&part, goes_on).map_err(|error| unwritten(&part, error))? {
            Some(list) => BufWriter::new(list),
            None => {
                let message = format!("another export writes to {}", folder.display());
                return Err(Failure::new(Exit::Busy, message));
            }
        };
        Ok(Self { folder: folder.to_path_buf(), list, goes_on })
    }

    /// Writes a file, unless a run before this one has written just that.
    fn write(&self, path: &Path, payload: &[u8]) -> std::io::Result<()> {
        if let Some(parent) = path.parent() {
            make(parent)?;
        }
        if self.goes_on && path.symlink_metadata().is_ok() {
            if std::fs::read(path).is_ok_and(|there| there == payload) {
                return Ok(());
            }
            std::fs::remove_file(path)?;
        }
        let mut file = create_new(path)?;
        // Half of a value is no value.
        file.write_all(payload).inspect_err(|_| drop(std::fs::remove_file(path)))
    }

    /// All values are there: the list gets its name.
    fn finish(mut self) -> Result<(), Failure> {
        let list = self.folder.join(LIST);
        let named = self.list.flush();
        let named = named.and_then(|()| std::fs::rename(self.folder.join(PART), &list));
        named.map_err(|error| unwritten(&list, error))
    }
}

/// A folder, and those above it; as in the store, nobody else may look into a new one.
fn make(folder: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// The list, empty, for this process alone; `None` if another one has it.
fn claim(part: &Path, goes_on: bool) -> std::io::Result<Option<File>> {
    let list = match goes_on {
        true => File::options().write(true).open(part),
        false => create_new(part),
    };
    let list = match list {
        // It was made, or got its name, since somebody looked.
        Err(error) if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound) => {
            return Ok(None);
        }
        list => list?,
    };
    match rustix::fs::flock(&list, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => return Ok(None),
        // A file system without locks has no others either.
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::NOLCK) | Ok(()) => {}
        Err(error) => return Err(error.into()),
    }
    let is_still = |found: std::fs::Metadata| list.metadata().is_ok_and(|m| m.ino() == found.ino());
    if !part.symlink_metadata().is_ok_and(is_still) {
        return Ok(None);
    }
    list.set_len(0)?;
    Ok(Some(list))
}

/// Why a value was not written.
enum Fault {
    /// It is the value's, and the others go on.
    Value(String),
    /// It is the folder's.
    Folder(Failure),
}

/// Writes a value, named as the store names its files, and its line.
fn one(blobs: &Blobs, about: &BlobMetadata, target: &mut Target) -> Result<u64, Fault> {
    let fault = |error: Error| Fault::Value(words::told(&error));
    let (blob, signature) = blobs.load(about).map_err(fault)?;
    let key = Key::new(&about.key).map_err(fault)?;
    let format = blob.metadata.record().format;
    let name = format!("{}{}", key.name(CaseRule::Sensitive), format.suffix());
    let path = target.folder.join(&name);
    let written = target.write(&path, &blob.payload);
    written.map_err(|error| match error.kind() {
        // Two keys whose names differ by case alone, where the folder's names do not.
        ErrorKind::AlreadyExists => {
            Fault::Value(format!("could not write {}: {error}", path.display()))
        }
        _ => Fault::Folder(unwritten(&path, error)),
    })?;
    let mut line = value::to_json(&blob.metadata);
    line["file"] = name.into();
    line["bytes"] = blob.payload.len().into();
    if let Some(signature) = signature {
        line["signature"] = json!(signature);
    }
    let written = writeln!(target.list, "{line}");
    written.map_err(|error| Fault::Folder(unwritten(&target.folder.join(PART), error)))?;
    Ok(blob.payload.len() as u64)
}

fn unwritten(path: &Path, error: std::io::Error) -> Failure {
    let message = format!("could not write {}", path.display());
    Failure::new(Exit::System, format!("{message}: {}", Error::io(error, path).cause()))
}
