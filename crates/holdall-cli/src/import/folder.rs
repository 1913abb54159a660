//! A folder of files, as programs write them by hand, with aiofiles or without: `users/42.json` is the
//! value of `users/42`. Files with other endings are left alone.

use std::path::{Path, PathBuf};

use holdall::Format;

use super::{Entry, Item, Source, Take, unreadable};
use crate::exit::{Exit, Failure};
use crate::store;

pub(crate) struct Folder {
    folder: PathBuf,
    files: Vec<PathBuf>,
}

impl Folder {
    pub(crate) fn open(folder: &Path) -> Result<Self, Failure> {
        if store::holds_store(folder) {
            let message = format!("{} is a holdall store; use `holdall copy`", folder.display());
            return Err(Failure::new(Exit::Usage, message));
        }
        let mut files = Vec::new();
        collect(folder, &mut files)?;
        files.sort();
        Ok(Self { folder: folder.to_path_buf(), files })
    }
}

/// Regular files; links are not followed, and hidden files are nobody's values.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        let entries = std::fs::read_dir(&folder).map_err(|error| unreadable(&folder, error))?;
        for entry in entries {
            let entry = entry.map_err(|error| unreadable(&folder, error))?;
            let kind = entry.file_type().map_err(|error| unreadable(&folder, error))?;
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    Ok(())
}

impl Source for Folder {
    fn total(&self) -> Option<u64> {
        Some(self.files.len() as u64)
    }

    fn each(&mut self, take: &mut Take<'_>) -> Result<(), Failure> {
        for path in &self.files {
            let below = path.strip_prefix(&self.folder).unwrap_or(path);
            let Some(name) = below.to_str() else {
                let name = below.to_string_lossy().into_owned();
                take(Entry::Refused(name, "its name is no UTF-8".into()))?;
                continue;
            };
            let Some((key, format)) = split(name) else {
                take(Entry::Refused(name.into(), "its ending is none of a format".into()))?;
                continue;
            };
            take(match std::fs::read(path) {
                Ok(bytes) => Entry::Value(Item::new(key.to_owned(), format, bytes)),
                Err(error) => Entry::Refused(name.into(), error.to_string()),
            })?;
        }
        Ok(())
    }
}

/// The key, and the format by the ending; `.pickle` and `.text` are usual too.
fn split(name: &str) -> Option<(&str, Format)> {
    let (key, ending) = name.rsplit_once('.')?;
    let format = match ending {
        "pickle" => Some(Format::Pickle),
        "text" => Some(Format::String),
        _ => Format::from_suffix(&format!(".{ending}")),
    };
    Some((key, format?))
}
