//! What `holdall export` has written: plain files, and a list with the rest that is known of each.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use holdall::Format;
use holdall::clock::Clock;
use holdall::format::Codec;
use holdall::signing::KeySource;
use serde::Deserialize;

use super::{Entry, Item, Source, Take, is_inside, told, unreadable};
use crate::commands::export::{LIST, PART};
use crate::exit::{Exit, Failure};
use crate::signature::Signature;

pub(crate) struct Export {
    folder: PathBuf,
    values: u64,
    keys: KeySource,
}

/// A line of the list.
#[derive(Deserialize)]
struct Line {
    key: String,
    file: String,
    format: String,
    #[serde(default)]
    compression: Option<String>,
    #[serde(default)]
    bytes: Option<u64>,
    #[serde(default)]
    created_at: Option<String>,
    #[serde(default)]
    expires_at: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    metadata: Option<serde_json::Value>,
    #[serde(default)]
    signature: Option<Signature>,
}

/// Whether an export lies there, be it one that was stopped.
pub(crate) fn is_export(folder: &Path) -> bool {
    folder.join(LIST).is_file() || folder.join(PART).is_file()
}

impl Export {
    pub(crate) fn open(folder: &Path) -> Result<Self, Failure> {
        let list = folder.join(LIST);
        if !list.exists() && folder.join(PART).exists() {
            let message = format!(
                "{} holds an export that was stopped; run that again first, or take it --as folder",
                folder.display()
            );
            return Err(Failure::new(Exit::NoStore, message));
        }
        let file = File::open(&list).map_err(|error| unreadable(&list, error))?;
        let values = BufReader::new(file).lines().map_while(Result::ok).count() as u64;
        let keys = KeySource::discovered();
        Ok(Self { folder: folder.to_path_buf(), values, keys })
    }
}

impl Source for Export {
    fn total(&self) -> Option<u64> {
        Some(self.values)
    }

    fn each(&mut self, take: &mut Take<'_>) -> Result<(), Failure> {
        let list = self.folder.join(LIST);
        let now = Clock::system().wall_micros() as f64 / 1e6;
        let file = File::open(&list).map_err(|error| unreadable(&list, error))?;
        for (number, line) in BufReader::new(file).lines().enumerate() {
            let line = line.map_err(|error| unreadable(&list, error))?;
            take(match serde_json::from_str(&line) {
                Ok(line) => self.entry(line, now),
                Err(error) => Entry::Refused(format!("{LIST}:{}", number + 1), error.to_string()),
            })?;
        }
        Ok(())
    }
}

impl Export {
    fn entry(&self, line: Line, now: f64) -> Entry {
        let Line { key, file, .. } = line;
        let format = Format::from_name(&line.format);
        let codec = line.compression.as_deref().map_or(Ok(Codec::None), Codec::from_name);
        let (format, codec) = match (format, codec) {
            (Ok(format), Ok(codec)) => (format, codec),
            (Err(error), _) | (_, Err(error)) => {
                return Entry::Refused(key, error.cause().to_owned());
            }
        };
        let end = line.expires_at.as_deref().map(humantime::parse_rfc3339);
        let Ok(end) = end.transpose() else {
            return Entry::Refused(key, "its time of expiry is no time".into());
        };
        let since = |end: std::time::SystemTime| {
            end.duration_since(std::time::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
        };
        let ttl = end.map(|end| since(end) - now);
        if ttl.is_some_and(|ttl| ttl <= 0.0) {
            return Entry::Expired;
        }
        let created = line.created_at.as_deref().map(humantime::parse_rfc3339);
        let created = created.and_then(Result::ok).map(|at| (since(at) * 1e3).round() as u64);
        let path = self.folder.join(&file);
        if !is_inside(&file) || !path.symlink_metadata().is_ok_and(|found| found.is_file()) {
            return Entry::Refused(key, format!("its file {file} is not there"));
        }
        match std::fs::read(&path) {
            Ok(payload) if line.bytes.is_some_and(|bytes| bytes != payload.len() as u64) => {
                Entry::Refused(key, format!("its file {file} was cut off or changed"))
            }
            Ok(payload) => {
                let is_own = |signature: &Signature| {
                    format.is_signed() && signature.is_of(&self.keys, format, &key, &payload)
                };
                let item = Item {
                    ttl,
                    codec,
                    created,
                    is_own: line.signature.as_ref().is_some_and(is_own),
                    tags: line.tags,
                    metadata: line.metadata,
                    ..Item::new(key.clone(), format, Vec::new())
                };
                Item { payload, ..item }.into()
            }
            Err(error) => Entry::Refused(key, format!("its file {file}: {}", told(error))),
        }
    }
}
