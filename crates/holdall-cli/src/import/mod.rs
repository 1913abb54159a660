//! Values out of other libraries' stores, which are only read.
//!
//! A source gives its values one after the other, as they lie there. Nothing is unpickled: a pickle of
//! plain data is taken byte for byte, one that names classes only if that was asked for.

mod compressed;
mod database;
mod diskcache;
mod export;
mod folder;
mod joblib;
mod kind;
pub(crate) mod report;
mod sidecar;
mod sqlitedict;

use std::path::Path;

use holdall::format::Codec;
use holdall::record::{MAX_ANNOTATIONS, MAX_TAGS};
use holdall::{Error, Format};

pub(crate) use compressed::{name as compression, plain};
pub(crate) use folder::has_ending as is_value;
pub(crate) use kind::Kind;

use crate::exit::{Exit, Failure};
use crate::output::grouped;
use crate::words;

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
    /// When it was first saved, milliseconds since 1970.
    pub(crate) created: Option<u64>,
    /// How it is kept, where that makes it smaller.
    pub(crate) codec: Codec,
    /// A key of ours has signed these bytes.
    pub(crate) is_own: bool,
    /// What of that was in a file beside it.
    pub(crate) has_sidecar: bool,
    /// What is known of it and does not come along, a clause.
    pub(crate) lacks: Option<String>,
}

impl Item {
    pub(crate) fn new(key: String, format: Format, payload: Vec<u8>) -> Self {
        Self {
            key,
            format,
            payload,
            ttl: None,
            tags: Vec::new(),
            metadata: None,
            created: None,
            codec: Codec::None,
            is_own: false,
            has_sidecar: false,
            lacks: None,
        }
    }

    /// The same without tags and notes that no store takes: the value is worth more than they are.
    pub(crate) fn fitted(mut self) -> Self {
        let before = self.tags.len();
        self.tags.retain(|tag| !tag.is_empty() && !tag.contains('\0'));
        self.tags.truncate(MAX_TAGS);
        let length = |tags: &[String]| tags.iter().map(String::len).sum::<usize>();
        let noted = self.metadata.as_ref().map_or(0, |note| note.to_string().len());
        let mut what = Vec::new();
        if length(&self.tags) + noted > MAX_ANNOTATIONS {
            let most = grouped(MAX_ANNOTATIONS as u64);
            if noted > 0 {
                what.push(format!("a note of {} bytes; {most} are allowed", grouped(noted as u64)));
                self.metadata = None;
            }
            while length(&self.tags) > MAX_ANNOTATIONS {
                self.tags.pop();
            }
        }
        if self.tags.len() < before {
            what.push(format!("{} of its {before} tags", before - self.tags.len()));
        }
        if !what.is_empty() {
            what.extend(self.lacks.take());
            self.lacks = Some(what.join(", "));
        }
        self
    }
}

/// What a source says of one of its entries.
pub(crate) enum Entry {
    Value(Box<Item>),
    /// Its life is over.
    Expired,
    /// It cannot be taken: its name, and why, a clause.
    Refused(String, String),
}

impl From<Item> for Entry {
    fn from(item: Item) -> Self {
        Self::Value(Box::new(item))
    }
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

/// What was asked for.
#[derive(Debug, Default)]
pub(crate) struct Wanted<'a> {
    pub(crate) kind: Option<Kind>,
    /// Of a sqlitedict file.
    pub(crate) table: Option<&'a str>,
    /// Of a folder of files.
    pub(crate) keeps_endings: bool,
}

/// Opens a source; without a kind it is told by what lies there.
pub(crate) fn open(path: &Path, wanted: &Wanted<'_>) -> Result<(Kind, Box<dyn Source>), Failure> {
    let found = path.metadata().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Failure::new(Exit::NoStore, format!("{} does not exist", path.display()))
        }
        _ => unreadable(path, error),
    })?;
    let kind = match wanted.kind {
        Some(kind) => kind,
        None if found.is_dir() => kind::of_folder(path)?,
        None => kind::of_file(path)?,
    };
    if wanted.keeps_endings && kind != Kind::Folder {
        let message = format!("--keep-endings is for a folder of files; {}", kind.is(path));
        return Err(Failure::new(Exit::Usage, message));
    }
    if wanted.table.is_some() && kind != Kind::Sqlitedict {
        let message = format!("--table is for a sqlitedict file; {}", kind.is(path));
        return Err(Failure::new(Exit::Usage, message));
    }
    let source: Box<dyn Source> = match kind {
        Kind::Diskcache => Box::new(diskcache::Diskcache::open(path)?),
        Kind::Joblib => Box::new(joblib::Memory::open(path)?),
        Kind::Sqlitedict => Box::new(sqlitedict::Sqlitedict::open(path, wanted.table)?),
        Kind::Export => Box::new(export::Export::open(path)?),
        Kind::Folder => Box::new(folder::Folder::open(path, wanted.keeps_endings)?),
    };
    Ok((kind, source))
}

/// An error of reading a source.
pub(crate) fn unreadable(path: &Path, error: std::io::Error) -> Failure {
    Failure::new(Exit::System, format!("could not read {}: {}", path.display(), told(error)))
}

/// The same of a database.
pub(crate) fn undone(path: &Path, error: &rusqlite::Error) -> Failure {
    let exit = match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
            Exit::Damaged
        }
        _ => Exit::System,
    };
    Failure::new(exit, format!("could not read {}: {error}", path.display()))
}

/// What the system says, without its number.
pub(crate) fn told(error: std::io::Error) -> String {
    words::of(Error::io(error, "").cause())
}

/// A path that stays within its folder.
pub(crate) fn is_inside(name: &str) -> bool {
    let is_plain = |part| matches!(part, std::path::Component::Normal(_));
    Path::new(name).components().all(is_plain)
}
