//! `holdall put`: a file, or the standard input, as a value.

use std::io::{ErrorKind, Read};
use std::path::PathBuf;

use clap::Args;
use holdall::key::Key;
use holdall::{BlobManager, BlobOptions, Condition, Durability, Format, SaveOptions, Ttl};
use serde::de::IgnoredAny;
use serde_json::json;

use super::Context;
use crate::describe::{json, npy};
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{count, shown, value};
use crate::parse;
use crate::store;

/// Arguments of `put`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  holdall put users/42 user.json --ttl 7d --tag users
  date | holdall put started --format string")]
pub(crate) struct Put {
    /// The key
    key: String,

    /// The file; without one the standard input
    file: Option<PathBuf>,

    /// json, custom_json, string, bytes or npy; without it what the file's name says, else bytes
    #[arg(short, long, value_parser = parse::format, value_name = "FORMAT")]
    format: Option<Format>,

    /// How long it lives: seconds, or 90m, 12h, 7d; without it for ever
    #[arg(long, value_parser = parse::ttl, value_name = "TIME")]
    ttl: Option<Ttl>,

    /// A word to find or evict it by; may be given again
    #[arg(short, long, value_name = "TAG")]
    tag: Vec<String>,

    /// A note beside it, as JSON
    #[arg(short, long, value_parser = parse::note, value_name = "JSON")]
    metadata: Option<serde_json::Value>,

    /// Only if there is no such key
    #[arg(long, conflicts_with = "if_match")]
    if_absent: bool,

    /// Only if the value that is there has this ETag
    #[arg(long, value_name = "ETAG")]
    if_match: Option<String>,

    /// Say what would be saved or replaced, and save nothing
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// Answer when it survives a power cut
    #[arg(long)]
    durable: bool,
}

impl Put {
    pub(crate) fn run(mut self, context: &mut Context) -> Outcome {
        let format = self.format.or_else(|| self.by_name()).unwrap_or(Format::Bytes);
        if format.is_signed() {
            let message = format!(
                "a {format} is not taken from outside: loading it runs what it holds; \
                 save it from Python, or put it into the folder and look at `holdall trust`"
            );
            return Err(Failure::new(Exit::Usage, message));
        }
        let payload = self.read()?;
        fault(format, &payload).map_err(|what| Failure::new(Exit::Usage, what))?;
        let condition = match (self.if_absent, self.if_match.take()) {
            (true, _) => Condition::Absent,
            (false, Some(etag)) => Condition::Matches(etag),
            (false, None) => Condition::Any,
        };
        let options = SaveOptions {
            ttl: self.ttl.unwrap_or(Ttl::Never),
            tags: std::mem::take(&mut self.tag),
            metadata: self.metadata.take().map(|noted| noted.to_string().into_bytes()),
            condition,
            durability: self.durable.then_some(Durability::Disk),
            ..SaveOptions::default()
        };
        // As in the library, the first value makes the store.
        let options_of_store =
            BlobOptions { base_path: context.folder()?, ..BlobOptions::default() };
        let blobs = store::open_or_make(options_of_store)?;
        if self.dry_run {
            return self.foretell(&blobs, &options.condition, payload.len() as u64, context);
        }
        let saved = blobs.save_parts(&self.key, format, vec![payload.into()], options)?;
        blobs.close()?;
        if context.out.json {
            context.out.document(&value::to_json(&saved))?;
        }
        let size = count(saved.size, "byte");
        context.out.summary(format!("saved {} as {format}, {size}", shown(&self.key)))?;
        Ok(Exit::Success)
    }

    /// Says what would be saved, and what it would replace.
    fn foretell(
        &self,
        blobs: &BlobManager,
        condition: &Condition,
        bytes: u64,
        context: &mut Context,
    ) -> Outcome {
        let key = Key::new(&self.key)?;
        let is_store = blobs.backend().folder().is_some_and(store::holds_store);
        let current = if is_store { blobs.backend().head(&key)? } else { None };
        condition.check(current.as_ref()).map_err(|error| error.on_key(&self.key))?;
        let replaced = current.map(|record| (record.format, record.length));
        if context.out.json {
            context.out.document(&json!({
                "dry_run": true,
                "key": self.key,
                "size": bytes,
                "replaces": replaced.map(|(format, size)| json!({"format": format.name(), "size": size})),
            }))?;
        }
        let key = shown(&self.key);
        context.out.summary(match replaced {
            Some((format, size)) => format!(
                "would replace {key} ({format}, {}) with {}",
                count(size, "byte"),
                count(bytes, "byte")
            ),
            None => format!("would save {key}, {}; there is no value yet", count(bytes, "byte")),
        })?;
        Ok(Exit::Success)
    }

    fn by_name(&self) -> Option<Format> {
        let name = self.file.as_ref()?.extension()?.to_str()?;
        Format::from_suffix(&format!(".{name}"))
    }

    fn read(&self) -> Result<Vec<u8>, Failure> {
        let (read, name) = match &self.file {
            Some(path) if path.as_os_str() != "-" => {
                (std::fs::read(path), path.display().to_string())
            }
            _ => {
                let mut bytes = Vec::new();
                let read = std::io::stdin().lock().read_to_end(&mut bytes);
                (read.map(|_| bytes), "the standard input".to_owned())
            }
        };
        read.map_err(|error| match error.kind() {
            ErrorKind::NotFound => Failure::new(Exit::Usage, format!("there is no file {name}")),
            ErrorKind::IsADirectory => {
                let message = format!("{name} is a folder; name a file, or use `holdall import`");
                Failure::new(Exit::Usage, message)
            }
            _ => Failure::system(format!("could not read {name}"), error),
        })
    }
}

/// Why bytes are not what they are said to be, a clause: nobody could load them.
pub(crate) fn fault(format: Format, payload: &[u8]) -> Result<(), String> {
    let fault = match format {
        Format::Json => json::fault(payload),
        // A decoder of the caller's own reads texts and depths that no other takes.
        Format::CustomJson => {
            serde_json::from_slice::<IgnoredAny>(payload).err().map(|error| error.to_string())
        }
        Format::String => std::str::from_utf8(payload).err().map(|error| error.to_string()),
        Format::Npy if npy::has_objects(payload) => {
            let what = "an array of Python objects is a pickle: if you trust it, load it with \
                        numpy.load(allow_pickle=True) and save it from Python in the format pickle";
            return Err(what.into());
        }
        Format::Npy => npy::describe(payload).err().map(str::to_owned),
        _ => None,
    };
    fault.map_or(Ok(()), |fault| Err(format!("it is no {format}: {fault}")))
}
