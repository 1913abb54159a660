//! A folder of files, as programs write them by hand, with aiofiles or without: `users/42.json` is the
//! value of `users/42`, and `users/42.meta` has what is known of it. Files with other endings are left
//! alone.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use holdall::Format;
use holdall::clock::Clock;

use super::sidecar::{self, Sidecar};
use super::{Entry, Item, Source, Take, told, unreadable};
use crate::exit::{Exit, Failure};
use crate::store;

pub(crate) struct Folder {
    folder: PathBuf,
    /// The files with values, by their keys without the ending.
    values: BTreeMap<String, Vec<Value>>,
    /// Sidecars, by the key or the name of the file that they are about.
    sidecars: BTreeMap<String, String>,
    /// What is nobody's value: its name, and why, a clause.
    others: Vec<(String, String)>,
    keeps_endings: bool,
}

/// A file with a value.
struct Value {
    /// Its path below the folder.
    name: String,
    format: Format,
}

impl Folder {
    /// With `keeps_endings` the ending of a file is a part of its key.
    pub(crate) fn open(folder: &Path, keeps_endings: bool) -> Result<Self, Failure> {
        if store::holds_store(folder) {
            let message = format!("{} is a holdall store; use `holdall copy`", folder.display());
            return Err(Failure::new(Exit::Usage, message));
        }
        let mut files = Vec::new();
        collect(folder, &mut files)?;
        files.sort();
        let mut found = Self {
            folder: folder.to_path_buf(),
            values: BTreeMap::new(),
            sidecars: BTreeMap::new(),
            others: Vec::new(),
            keeps_endings,
        };
        found.sort(&files);
        Ok(found)
    }

    /// Tells values, sidecars and others apart.
    fn sort(&mut self, files: &[PathBuf]) {
        let mut names = Vec::with_capacity(files.len());
        for path in files {
            let below = path.strip_prefix(&self.folder).unwrap_or(path);
            match below.to_str() {
                Some(name) => names.push(name.to_owned()),
                None => {
                    let name = below.to_string_lossy().into_owned();
                    self.others.push((name, "its name is no UTF-8".into()));
                }
            }
        }
        let mut about: HashSet<&str> = HashSet::new();
        for name in &names {
            if let Some((key, _)) = split(name) {
                about.extend([key, name.as_str()]);
            }
        }
        for name in &names {
            let of = sidecar::about(name).filter(|of| about.contains(of));
            let is_one = |_: &&str| {
                sidecar::is_certain(name) || Sidecar::read(&self.folder.join(name)).is_ok()
            };
            if let Some(of) = of.filter(is_one) {
                if let Some(other) = self.sidecars.get(of) {
                    let what = format!("{other} says what is known of {of} already");
                    self.others.push((name.clone(), what));
                } else {
                    self.sidecars.insert(of.to_owned(), name.clone());
                }
            } else if let Some((key, format)) = split(name) {
                let value = Value { name: name.clone(), format };
                self.values.entry(key.to_owned()).or_default().push(value);
            } else {
                let what = match sidecar::about(name) {
                    Some(of) => format!("there is no value of {of} beside it"),
                    None => "its ending is none of a format".to_owned(),
                };
                self.others.push((name.clone(), what));
            }
        }
    }

    /// The values under one key without the ending: one of them, or with the endings all.
    fn group(
        &self,
        key: &str,
        values: &[Value],
        now: u64,
        take: &mut Take<'_>,
    ) -> Result<(), Failure> {
        let shared = self.sidecars.get(key).map(|name| (name, self.sidecar(name)));
        let fits = |value: &&Value| match &shared {
            Some((_, Ok(sidecar))) => sidecar.fits(value.format),
            _ => false,
        };
        let mut fitting = values.iter().filter(fits);
        let chosen = match values {
            [only] => Some(only),
            // The sidecar of the last save says which of them that was.
            _ => fitting.next().filter(|_| fitting.next().is_none()),
        };
        for value in values {
            let name = &value.name;
            let is_chosen = chosen.is_some_and(|chosen| std::ptr::eq(chosen, value));
            if !self.keeps_endings && !is_chosen {
                let what = match (chosen, &shared) {
                    (Some(chosen), Some((sidecar, _))) => {
                        format!("{sidecar} says that the value of {key} is {}", chosen.name)
                    }
                    _ => {
                        let other = values.iter().find(|other| other.name != *name);
                        let other = other.map_or("another file", |other| &other.name);
                        format!("it and {other} lead to one key, {key}; add --keep-endings")
                    }
                };
                take(Entry::Refused(name.clone(), what))?;
                continue;
            }
            let own = self.sidecars.get(name).map(|name| (name, self.sidecar(name)));
            let of_key = || shared.clone().filter(|_| values.len() == 1 || fits(&value));
            take(self.entry(key, value, own.or_else(of_key), now))?;
        }
        Ok(())
    }

    fn sidecar(&self, name: &str) -> Result<Sidecar, String> {
        Sidecar::read(&self.folder.join(name))
    }

    fn entry(
        &self,
        key: &str,
        value: &Value,
        sidecar: Option<(&String, Result<Sidecar, String>)>,
        now: u64,
    ) -> Entry {
        let path = self.folder.join(&value.name);
        let payload = match std::fs::read(&path) {
            Ok(payload) => payload,
            Err(error) => return Entry::Refused(value.name.clone(), told(error)),
        };
        let key = if self.keeps_endings { &value.name } else { key };
        let mut item = Item::new(key.to_owned(), value.format, payload);
        match sidecar {
            None => item.into(),
            Some((_, Ok(mut sidecar))) => {
                if let Some(named) = sidecar.key.take().filter(|_| !self.keeps_endings) {
                    item.key = key_of(item.key, named);
                }
                sidecar.onto(item, changed(&path, now), now).map_or(Entry::Expired, Entry::from)
            }
            Some((name, Err(what))) => {
                item.lacks = Some(format!("what {name} says: {what}"));
                item.into()
            }
        }
    }
}

/// When a file was last written to, milliseconds since 1970.
fn changed(path: &Path, now: u64) -> u64 {
    let time = path.metadata().and_then(|found| found.modified()).ok();
    let since = time.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    since.and_then(|since| u64::try_from(since.as_millis()).ok()).unwrap_or(now)
}

/// The key that a sidecar names, where the file could not be called so; one that lies deeper than its
/// program had it keeps its path.
fn key_of(path: String, named: String) -> String {
    let is_same = named.is_empty() || path == named || path.ends_with(&format!("/{named}"));
    if is_same { path } else { named }
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
        let values: usize = self.values.values().map(Vec::len).sum();
        Some((values + self.others.len()) as u64)
    }

    fn each(&mut self, take: &mut Take<'_>) -> Result<(), Failure> {
        let now = Clock::system().wall_micros() / 1_000;
        for (name, what) in std::mem::take(&mut self.others) {
            take(Entry::Refused(name, what))?;
        }
        for (key, values) in &self.values {
            self.group(key, values, now, take)?;
        }
        Ok(())
    }
}

/// Whether a file could be a value.
pub(crate) fn has_ending(path: &Path) -> bool {
    path.to_str().is_some_and(|name| split(name).is_some())
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
