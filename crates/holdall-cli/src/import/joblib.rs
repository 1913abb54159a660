//! What `joblib.Memory` keeps: `<location>/joblib/<module>/<function>/<hash>/output.pkl`, with the
//! arguments in `metadata.json` beside it. The key is `<module>/<function>/<hash>`.

use std::path::{Path, PathBuf};

use holdall::Format;
use serde_json::{Map, Value, json};

use super::{Entry, Item, Source, Take, told, unreadable};
use crate::exit::{Exit, Failure};

const OUTPUT: &str = "output.pkl";
/// Of the arguments, which are texts of any length: longer ones are cut, bytes.
const LONGEST_NOTE: usize = 1_500;

pub(crate) struct Memory {
    folder: PathBuf,
    /// Folders with an output, sorted.
    results: Vec<PathBuf>,
}

impl Memory {
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let inner = path.join("joblib");
        let folder = if inner.is_dir() { inner } else { path.to_path_buf() };
        let results = results(&folder)?;
        if results.is_empty() {
            let message = format!("{} holds no {OUTPUT} of joblib.Memory", path.display());
            return Err(Failure::new(Exit::NoStore, message));
        }
        Ok(Self { folder, results })
    }
}

/// The folders with a result below a folder, as deep as joblib lays them.
pub(crate) fn results(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut results = Vec::new();
    collect(folder, &mut results, 0)?;
    results.sort();
    Ok(results)
}

fn collect(folder: &Path, results: &mut Vec<PathBuf>, depth: usize) -> Result<(), Failure> {
    // A package of many parts has a folder for each.
    const DEEPEST: usize = 32;
    let entries = std::fs::read_dir(folder).map_err(|error| unreadable(folder, error))?;
    for entry in entries {
        let entry = entry.map_err(|error| unreadable(folder, error))?;
        let kind = entry.file_type().map_err(|error| unreadable(folder, error))?;
        if kind.is_file() && entry.file_name() == OUTPUT {
            results.push(folder.to_path_buf());
        } else if kind.is_dir() && depth < DEEPEST {
            collect(&entry.path(), results, depth + 1)?;
        }
    }
    Ok(())
}

impl Source for Memory {
    fn total(&self) -> Option<u64> {
        Some(self.results.len() as u64)
    }

    fn each(&mut self, take: &mut Take<'_>) -> Result<(), Failure> {
        for folder in &self.results {
            let below = folder.strip_prefix(&self.folder).unwrap_or(folder);
            let Some(key) = below.to_str().map(str::to_owned) else {
                let name = below.to_string_lossy().into_owned();
                take(Entry::Refused(name, "its path is no UTF-8".into()))?;
                continue;
            };
            take(match std::fs::read(folder.join(OUTPUT)) {
                Ok(bytes) => {
                    let (metadata, created) = note(folder).unzip();
                    let created = created.flatten();
                    Item { metadata, created, ..Item::new(key, Format::Joblib, bytes) }.into()
                }
                Err(error) => Entry::Refused(key, format!("its {OUTPUT}: {}", told(error))),
            })?;
        }
        Ok(())
    }
}

/// The arguments of the call, and when it was made.
fn note(folder: &Path) -> Option<(Value, Option<u64>)> {
    let text = std::fs::read(folder.join("metadata.json")).ok()?;
    let found: Value = serde_json::from_slice(&text).ok()?;
    let seconds = found.get("time").and_then(Value::as_f64).filter(|seconds| *seconds > 0.0);
    let arguments = found.get("input_args")?;
    let mut note = json!({ "input_args": arguments });
    if arguments.to_string().len() > LONGEST_NOTE {
        let arguments = arguments.as_object()?;
        let room = LONGEST_NOTE / arguments.len().max(1) / 4;
        let cut = |(name, text): (&String, &Value)| {
            let text = text.as_str().map_or_else(|| text.to_string(), str::to_owned);
            (name.clone(), text.chars().take(room).collect::<String>().into())
        };
        note =
            json!({ "input_args": arguments.iter().map(cut).collect::<Map<_, _>>(), "cut": true });
    }
    Some((note, seconds.map(|seconds| (seconds * 1e3) as u64)))
}
