//! `holdall export`: values as plain files in a new folder, with a list of what else is known.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use holdall::key::{CaseRule, Key};
use holdall::{BlobManager, BlobMetadata, BlobOptions, Trust};

use super::{Context, done};
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt;
use crate::output::progress::Progress;
use crate::output::{count, shown, size, value};
use crate::select::Filter;
use crate::store;

/// The list; each line is what `holdall ls --json` says, and `file`.
pub(crate) const LIST: &str = "holdall-export.jsonl";

/// Arguments of `export`.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// A folder that is not there yet, or is empty
    folder: PathBuf,

    #[command(flatten)]
    filter: Filter,

    /// Say what would be written, and write nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

impl Export {
    pub(crate) fn run(self, context: &mut Context) -> Outcome {
        // Nothing is run, so nothing has to be trusted.
        let options =
            BlobOptions { base_path: context.folder()?, trust: Trust::Any, ..Default::default() };
        let blobs = store::open_with(options)?;
        let folder = self.folder.as_path();
        let mut list = if self.dry_run { None } else { Some(begin(folder)?) };
        interrupt::listen();
        let total = blobs.get_stats()?.entries;
        let mut bar = Progress::begin("exporting", Some(total), !context.out.quiet);
        let (mut written, mut bytes, mut failed) = (0, 0, Vec::new());
        for about in self.filter.values(&blobs, None) {
            let about = about?;
            if interrupt::is_asked() {
                break;
            }
            bar.advance();
            match list.as_mut().map_or(Ok(about.size), |list| one(&blobs, &about, folder, list)) {
                Ok(length) => {
                    written += 1;
                    bytes += length;
                }
                Err(what) => failed.push((about.key, what)),
            }
        }
        bar.finish();
        if let Some(mut list) = list {
            list.flush().map_err(|error| unwritten(&folder.join(LIST), error))?;
        }
        for (key, what) in &failed {
            context.out.line(format!("{}: {what}", shown(key)))?;
        }
        let verb = if self.dry_run { "would write" } else { "wrote" };
        let place = folder.display();
        let line = format!("{verb} {}, {}, to {place}", count(written, "file"), size(bytes));
        if context.out.json {
            context.out.document(&serde_json::json!({
                "files": written, "bytes": bytes, "failed": failed.len(), "dry_run": self.dry_run,
                "interrupted": interrupt::is_asked(),
            }))?;
        }
        context.out.summary(line)?;
        Ok(if interrupt::is_asked() { Exit::Interrupted } else { done(failed.len() as u64) })
    }
}

fn begin(folder: &Path) -> Result<BufWriter<File>, Failure> {
    std::fs::create_dir_all(folder).map_err(|error| unwritten(folder, error))?;
    let is_empty = folder.read_dir().map(|mut entries| entries.next().is_none());
    if !is_empty.map_err(|error| unwritten(folder, error))? {
        let message = format!("{} is not empty; name a new folder", folder.display());
        return Err(Failure::new(Exit::Usage, message));
    }
    let list = folder.join(LIST);
    let file = File::create_new(&list).map_err(|error| unwritten(&list, error))?;
    Ok(BufWriter::new(file))
}

/// Writes a value, named as the store names its files, and its line.
fn one(
    blobs: &BlobManager,
    about: &BlobMetadata,
    folder: &Path,
    list: &mut impl Write,
) -> Result<u64, String> {
    let blob = blobs.load_bytes(&about.key, None).map_err(|error| error.to_string())?;
    let key = Key::new(&about.key).map_err(|error| error.to_string())?;
    let format = blob.metadata.record().format;
    let name = format!("{}{}", key.name(CaseRule::Sensitive), format.suffix());
    let path = folder.join(&name);
    let mut write = || {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        File::create_new(&path)?.write_all(&blob.payload)?;
        let mut line = value::to_json(&blob.metadata);
        line["file"] = name.clone().into();
        writeln!(list, "{line}")
    };
    write().map_err(|error: std::io::Error| format!("{}: {error}", path.display()))?;
    Ok(blob.payload.len() as u64)
}

fn unwritten(path: &Path, error: std::io::Error) -> Failure {
    Failure::new(Exit::System, format!("could not write {}: {error}", path.display()))
}
