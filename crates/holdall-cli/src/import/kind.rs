//! Which library has written what lies at a path. Where that is not plain nothing is guessed.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::{export, folder, unreadable};
use crate::exit::{Exit, Failure};
use crate::store;

/// A kind of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Kind {
    /// The directory of a diskcache.Cache or FanoutCache
    Diskcache,
    /// The directory that joblib.Memory was made with
    Joblib,
    /// A sqlitedict file
    Sqlitedict,
    /// A folder that `holdall export` has written
    Export,
    /// A folder of .json, .pkl, .joblib, .npy, .txt and .bin files, as one writes by hand
    Folder,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Diskcache => "a diskcache directory",
            Self::Joblib => "a directory of joblib.Memory",
            Self::Sqlitedict => "a sqlitedict file",
            Self::Export => "an export of holdall",
            Self::Folder => "a folder of files",
        })
    }
}

impl Kind {
    /// `cache is a diskcache directory`.
    pub(crate) fn is(self, path: &Path) -> String {
        format!("{} is {self}", path.display())
    }

    /// The word behind `--as`.
    pub(crate) fn word(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// What lies in and below a folder.
#[derive(Default)]
struct Signs {
    kinds: Vec<(Kind, PathBuf)>,
    /// A file that could be a value of a folder of files.
    file: Option<PathBuf>,
    store: Option<PathBuf>,
}

/// The kind of a folder, if it can be but one.
pub(crate) fn of_folder(path: &Path) -> Result<Kind, Failure> {
    if store::holds_store(path) {
        // That has a sentence of its own.
        return Ok(Kind::Folder);
    }
    let mut signs = Signs::default();
    look(path, path, &mut signs)?;
    let Signs { mut kinds, file, store } = signs;
    kinds.sort();
    match &kinds[..] {
        [(Kind::Export, place)] if place == path => return Ok(Kind::Export),
        [(kind, place)] if place == path && file.is_none() && store.is_none() => return Ok(*kind),
        [] if store.is_none() => return Ok(Kind::Folder),
        _ => {}
    }
    let mut found: Vec<_> =
        store.iter().map(|place| format!("a holdall store ({})", place.display())).collect();
    found.extend(kinds.iter().map(|(kind, place)| format!("{kind} ({})", place.display())));
    found.extend(file.iter().map(|place| format!("files ({})", place.display())));
    const SHOWN: usize = 4;
    let more = found.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    found.truncate(SHOWN);
    let words = [Kind::Diskcache, Kind::Joblib, Kind::Export, Kind::Folder].map(Kind::word);
    let message = format!(
        "{} has {}{more}: name one of them, or say what all of it is with --as ({})",
        path.display(),
        found.join(", "),
        words.join(", ")
    );
    Err(Failure::new(Exit::Usage, message))
}

/// The kind of a file.
pub(crate) fn of_file(path: &Path) -> Result<Kind, Failure> {
    if path.file_name().is_some_and(|name| name == "cache.db") {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let message = format!(
            "{} is the database of a diskcache; name its directory, {}",
            path.display(),
            folder.display()
        );
        return Err(Failure::new(Exit::Usage, message));
    }
    if is_database(path).map_err(|error| unreadable(path, error))? {
        return Ok(Kind::Sqlitedict);
    }
    let message = format!(
        "{} is no SQLite database, so no sqlitedict; a single file is saved with `holdall put`",
        path.display()
    );
    Err(Failure::new(Exit::Usage, message))
}

/// Whether a file begins as a database of SQLite does; one without a table is empty.
fn is_database(path: &Path) -> std::io::Result<bool> {
    let mut head = Vec::new();
    File::open(path)?.take(16).read_to_end(&mut head)?;
    Ok(head.is_empty() || head == b"SQLite format 3\0")
}

/// Whether a folder is that of a cache, or has its shards.
pub(crate) fn is_diskcache(folder: &Path) -> bool {
    folder.join("cache.db").is_file() || folder.join("000/cache.db").is_file()
}

/// Notes what lies in a folder. What belongs to one of the libraries is not gone through.
fn look(top: &Path, folder: &Path, signs: &mut Signs) -> Result<(), Failure> {
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        if folder != top && store::holds_store(&folder) {
            signs.store.get_or_insert(folder);
            continue;
        }
        if export::is_export(&folder) {
            signs.kinds.push((Kind::Export, folder));
            continue;
        }
        let is_diskcache = is_diskcache(&folder);
        if is_diskcache {
            signs.kinds.push((Kind::Diskcache, folder.clone()));
        }
        let mut has_results = false;
        let entries = std::fs::read_dir(&folder).map_err(|error| unreadable(&folder, error))?;
        for entry in entries {
            let entry = entry.map_err(|error| unreadable(&folder, error))?;
            let kind = entry.file_type().map_err(|error| unreadable(&folder, error))?;
            let path = entry.path();
            let name = entry.file_name();
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if kind.is_dir() && name == "joblib" && has_output(&path)? {
                signs.kinds.push((Kind::Joblib, folder.clone()));
            } else if kind.is_dir() && !is_diskcache {
                open.push(path);
            } else if kind.is_file() && is_result(&path) {
                has_results = true;
            } else if kind.is_file() && is_sqlitedict(&path) && !is_diskcache {
                signs.kinds.push((Kind::Sqlitedict, path));
            } else if kind.is_file() && folder::has_ending(&path) {
                signs.file.get_or_insert(path);
            }
        }
        if has_results {
            // The folder that joblib was made with is not known, so it is the one that was named.
            let here = (Kind::Joblib, top.to_path_buf());
            if !signs.kinds.contains(&here) {
                signs.kinds.push(here);
            }
        }
    }
    Ok(())
}

/// Whether a result lies anywhere below a folder named `joblib`.
fn has_output(folder: &Path) -> Result<bool, Failure> {
    super::joblib::results(folder).map(|results| !results.is_empty())
}

/// Whether a file is of a result of joblib: `output.pkl` or `metadata.json` in the folder of a call,
/// or the source of the function above it.
fn is_result(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
    let above = path.ancestors().nth(2);
    matches!(name, "output.pkl" | "metadata.json")
        && above.is_some_and(|function| function.join("func_code.py").is_file())
}

fn is_sqlitedict(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    let is_named = matches!(ending, Some("sqlite" | "sqlite3" | "db" | "db3"));
    is_named && is_database(path).is_ok_and(|is_one| is_one)
}
