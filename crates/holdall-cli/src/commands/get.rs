//! `holdall get`: a value, readably. What could run code when it is loaded is described only.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use holdall::{BlobOptions, Trust};

use super::Context;
use crate::describe;
use crate::exit::{Exit, Failure, Outcome};
use crate::output;
use crate::store;

/// Arguments of `get`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  holdall get users/42 | jq .name
  holdall get model --output model.pkl")]
pub(crate) struct Get {
    /// The key
    key: String,

    /// Its bytes as they were saved, without a signature; nothing is run
    #[arg(short, long)]
    raw: bool,

    /// Write the bytes to a file, which must not be there yet unless --overwrite is given
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// With --output: replace a file that is there
    #[arg(long, requires = "output")]
    overwrite: bool,
}

impl Get {
    pub(crate) fn run(self, context: &mut Context) -> Outcome {
        // To look at bytes without running them needs no trust.
        let options = BlobOptions {
            base_path: context.folder()?,
            trust: Trust::Any,
            ..BlobOptions::default()
        };
        let blob = store::open_with(options)?.load_bytes(&self.key, None)?;
        if let Some(path) = self.output {
            write(&path, &blob.payload, self.overwrite)?;
        } else if self.raw {
            context.out.bytes(&blob.payload)?;
        } else {
            describe::show(&blob, &mut context.out)?;
        }
        Ok(Exit::Success)
    }
}

/// Writes a file: a new one, or one that takes the place of another as a whole.
fn write(path: &Path, bytes: &[u8], overwrite: bool) -> Result<(), Failure> {
    let written = match overwrite && path.symlink_metadata().is_ok_and(|found| found.is_file()) {
        true => replace(path, bytes),
        // A device or a pipe is written to.
        false if overwrite => std::fs::write(path, bytes),
        false => output::create_new(path).and_then(|mut file| {
            // Half of a value is no value.
            file.write_all(bytes).inspect_err(|_| drop(std::fs::remove_file(path)))
        }),
    };
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            let message = format!("{} is there already; add --overwrite", path.display());
            Failure::new(Exit::Busy, message)
        }
        _ => Failure::system(format!("could not write {}", path.display()), error),
    })
}

/// The old file stands until the new one is whole.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut file = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
    file.write_all(bytes)?;
    file.as_file().set_permissions(path.metadata()?.permissions())?;
    file.persist(path)?;
    Ok(())
}
