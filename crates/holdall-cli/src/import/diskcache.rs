//! A `diskcache.Cache`, or the shards of a `FanoutCache`.
//!
//! The table `Cache` has a row for each value: `mode` says how it is kept (1 in the row, 2 a file of
//! bytes, 3 a file of text, 4 a pickle in either), `raw` whether the key is one of SQLite's types or a
//! pickle. The code is `diskcache/core.py`, class `Disk`.

use std::path::{Path, PathBuf};

use holdall::Format;
use holdall::clock::Clock;
use rusqlite::types::Value;

use super::database::Database;
use super::{Entry, Item, Source, Take, is_inside, told, undone};
use crate::describe::pickle::{self, Pickle};
use crate::exit::{Exit, Failure};

pub(crate) struct Diskcache {
    /// Folders with a `cache.db`.
    shards: Vec<(PathBuf, Database)>,
}

/// A row, as it is.
struct Row {
    key: Value,
    raw: bool,
    store_time: Option<f64>,
    expire_time: Option<f64>,
    tag: Value,
    mode: i64,
    filename: Option<String>,
    value: Value,
}

const ROWS: &str = "SELECT key, raw, store_time, expire_time, tag, mode, filename, value FROM Cache ORDER BY rowid";

impl Diskcache {
    pub(crate) fn open(folder: &Path) -> Result<Self, Failure> {
        let mut folders = vec![folder.to_path_buf()];
        if !folder.join("cache.db").exists() {
            let shard = |number: u32| folder.join(format!("{number:03}"));
            let exists = |shard: &PathBuf| shard.join("cache.db").exists();
            folders = (0..1_000).map(shard).take_while(exists).collect();
        }
        if folders.is_empty() {
            let message = format!("{} holds no cache.db of diskcache", folder.display());
            return Err(Failure::new(Exit::NoStore, message));
        }
        let open = |folder: PathBuf| {
            let database = Database::open(&folder.join("cache.db"))?;
            Ok((folder, database))
        };
        let shards = folders.into_iter().map(open).collect::<Result<_, Failure>>()?;
        Ok(Self { shards })
    }
}

impl Source for Diskcache {
    fn total(&self) -> Option<u64> {
        let count = |(_, database): &(PathBuf, Database)| {
            database
                .connection
                .query_row("SELECT count(*) FROM Cache", [], |row| row.get::<_, i64>(0))
                .ok()
        };
        self.shards.iter().map(count).sum::<Option<i64>>().and_then(|all| u64::try_from(all).ok())
    }

    fn each(&mut self, take: &mut Take<'_>) -> Result<(), Failure> {
        let now = Clock::system().wall_micros() as f64 / 1e6;
        for (folder, database) in &self.shards {
            let failed = |error: rusqlite::Error| undone(&folder.join("cache.db"), &error);
            let mut statement = database.connection.prepare(ROWS).map_err(failed)?;
            let rows = statement.query_map([], read).map_err(failed)?;
            for row in rows {
                take(entry(row.map_err(failed)?, folder, now))?;
            }
        }
        Ok(())
    }
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        key: row.get(0)?,
        raw: row.get(1)?,
        store_time: row.get(2)?,
        expire_time: row.get(3)?,
        tag: row.get(4)?,
        mode: row.get(5)?,
        filename: row.get(6)?,
        value: row.get(7)?,
    })
}

fn entry(row: Row, folder: &Path, now: f64) -> Entry {
    if row.expire_time.is_some_and(|end| end <= now) {
        return Entry::Expired;
    }
    let Some(key) = key(&row) else {
        return Entry::Refused(nameless(&row.key), "its key cannot be written as text".into());
    };
    let content = match &row.filename {
        Some(name) if is_inside(name) => match std::fs::read(folder.join(name)) {
            Ok(bytes) => Value::Blob(bytes),
            Err(error) => {
                let what = format!("its file {name}: {}", told(error));
                return Entry::Refused(key, what);
            }
        },
        Some(name) => return Entry::Refused(key, format!("its file {name} lies elsewhere")),
        None => row.value,
    };
    let (format, payload) = match (row.mode, content) {
        (1, Value::Text(text)) => (Format::String, text.into_bytes()),
        (1, Value::Integer(number)) => (Format::Json, number.to_string().into_bytes()),
        (1, Value::Real(number)) => match serde_json::to_vec(&number) {
            Ok(json) if number.is_finite() => (Format::Json, json),
            _ => return Entry::Refused(key, "it is a number that JSON does not have".into()),
        },
        (1 | 2, Value::Blob(bytes)) => (Format::Bytes, bytes),
        (3, Value::Blob(bytes)) => (Format::String, bytes),
        (4, Value::Blob(bytes)) => (Format::Pickle, bytes),
        (mode, _) => return Entry::Refused(key, format!("it is kept in the unknown mode {mode}")),
    };
    let ttl = row.expire_time.map(|end| end - now);
    let (tag, has_tag) = match row.tag {
        Value::Null => (None, false),
        Value::Text(tag) => (Some(tag), true),
        Value::Integer(tag) => (Some(tag.to_string()), true),
        Value::Real(tag) => (pickle::float(tag), true),
        Value::Blob(tag) => (String::from_utf8(tag).ok(), true),
    };
    let lacks = (has_tag && tag.is_none()).then(|| "its tag, which is no text".to_owned());
    let tags = Vec::from_iter(tag);
    let created = row.store_time.filter(|time| *time > 0.0).map(|time| (time * 1e3) as u64);
    Item { ttl, tags, created, lacks, ..Item::new(key, format, payload) }.into()
}

/// What a key is called that cannot be written.
fn nameless(key: &Value) -> String {
    match key {
        Value::Blob(bytes) => format!("(a key: {})", Pickle::read(bytes).holds),
        _ => "(a key)".into(),
    }
}

/// Text as it is, numbers in digits, bytes if they are text, tuples of those as Python writes them.
fn key(row: &Row) -> Option<String> {
    match &row.key {
        Value::Text(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Real(number) => pickle::float(*number),
        Value::Blob(bytes) if row.raw => String::from_utf8(bytes.clone()).ok(),
        Value::Blob(bytes) => Pickle::read(bytes).literal().map(str::to_owned),
        _ => None,
    }
}
