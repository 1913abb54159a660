//! `holdall get`: a value, readably. What could run code when it is loaded is described only.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use holdall::{BlobOptions, Trust};

use super::Context;
use crate::describe;
use crate::exit::{Exit, Failure, Outcome};
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

    /// Write the bytes to a file, which must not be there yet
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
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
            write_new(&path, &blob.payload)?;
        } else if self.raw {
            context.out.bytes(&blob.payload)?;
        } else {
            describe::show(&blob, &mut context.out)?;
        }
        Ok(Exit::Success)
    }
}

/// Writes a file that is not there yet.
fn write_new(path: &std::path::Path, bytes: &[u8]) -> Result<(), Failure> {
    let written = File::create_new(path).and_then(|mut file| {
        // Half of a value is no value.
        file.write_all(bytes).inspect_err(|_| drop(std::fs::remove_file(path)))
    });
    written.map_err(|error| {
        Failure::new(Exit::System, format!("could not write {}: {error}", path.display()))
    })
}
