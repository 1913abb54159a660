//! Values out of other libraries' stores, which are only read.
//!
//! A source gives its values one after the other, as they lie there. Nothing is unpickled: a pickle of
//! plain data is taken byte for byte, one that names classes only if that was asked for.

mod database;
mod diskcache;
mod export;
mod folder;
mod joblib;
mod sqlitedict;

use std::path::Path;

use clap::ValueEnum;
use holdall::Format;
use holdall::format::Codec;

use crate::exit::{Exit, Failure};

/// A kind of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
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

/// A value of a source.
pub(crate) struct Item {
    pub(crate) key: String,
    pub(crate) format: Format,
    pub(crate) payload: Vec<u8>,
    /// What is left of its life, seconds.
    pub(crate) ttl: Option<f64>,
    pub(crate) tags: Vec<String>,
    /// A note beside it.
    pub(crate) metadata: Option<serde_json::Value>,
    /// How it is kept, where that makes it smaller.
    pub(crate) codec: Codec,
}

impl Item {
    pub(crate) fn new(key: String, format: Format, payload: Vec<u8>) -> Self {
        let (tags, codec) = (Vec::new(), Codec::None);
        Self { key, format, payload, ttl: None, tags, metadata: None, codec }
    }
}

/// What a source says of one of its entries.
pub(crate) enum Entry {
    Value(Item),
    /// Its life is over.
    Expired,
    /// It cannot be taken: its name, and why, a clause.
    Refused(String, String),
}

/// Takes what a source gives; an error ends it.
pub(crate) type Take<'a> = dyn FnMut(Entry) -> Result<(), Failure> + 'a;

/// Something that values come out of.
pub(crate) trait Source {
    /// How many entries there are, where that is known at once.
    fn total(&self) -> Option<u64>;
    /// Gives every entry.
    fn each(&mut self, take: &mut Take<'_>) -> Result<(), Failure>;
}

/// Opens a source; without a kind it is told by what lies there.
pub(crate) fn open(
    path: &Path,
    kind: Option<Kind>,
    table: Option<&str>,
) -> Result<(Kind, Box<dyn Source>), Failure> {
    let found = path.metadata().map_err(|error| unreadable(path, error))?;
    let kind = kind.unwrap_or_else(|| guess(path, found.is_dir()));
    let source: Box<dyn Source> = match kind {
        Kind::Diskcache => Box::new(diskcache::Diskcache::open(path)?),
        Kind::Joblib => Box::new(joblib::Memory::open(path)?),
        Kind::Sqlitedict => Box::new(sqlitedict::Sqlitedict::open(path, table)?),
        Kind::Export => Box::new(export::Export::open(path)?),
        Kind::Folder => Box::new(folder::Folder::open(path)?),
    };
    Ok((kind, source))
}

fn guess(path: &Path, is_dir: bool) -> Kind {
    let has = |name: &str| path.join(name).exists();
    match is_dir {
        false => Kind::Sqlitedict,
        true if export::is_export(path) => Kind::Export,
        true if has("cache.db") || has("000/cache.db") => Kind::Diskcache,
        true if has("joblib") || joblib::is_memory(path) => Kind::Joblib,
        true => Kind::Folder,
    }
}

/// An error of reading a source.
pub(crate) fn unreadable(path: &Path, error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::System, format!("could not read {}: {error}", path.display()))
}

/// A path that stays within its folder.
pub(crate) fn is_inside(name: &str) -> bool {
    let is_plain = |part| matches!(part, std::path::Component::Normal(_));
    Path::new(name).components().all(is_plain)
}
