//! A `sqlitedict.SqliteDict`: tables of `key` and `value`, each value a pickle.

use std::path::{Path, PathBuf};

use holdall::Format;
use rusqlite::types::Value;

use super::database::Database;
use super::{Entry, Item, Source, Take, undone};
use crate::exit::{Exit, Failure};

pub(crate) struct Sqlitedict {
    path: PathBuf,
    database: Database,
    tables: Vec<String>,
}

const TABLES: &str = "SELECT m.name FROM sqlite_master m WHERE m.type = 'table' \
    AND (SELECT group_concat(name) FROM pragma_table_info(m.name)) = 'key,value' ORDER BY m.name";

impl Sqlitedict {
    /// With `table` only that one; else all, each below its name unless there is but one.
    pub(crate) fn open(path: &Path, table: Option<&str>) -> Result<Self, Failure> {
        let database = Database::open(path)?;
        let failed = |error: rusqlite::Error| undone(path, &error);
        let mut statement = database.connection.prepare(TABLES).map_err(failed)?;
        let names = statement.query_map([], |row| row.get(0)).map_err(failed)?;
        let mut tables = names.collect::<Result<Vec<String>, _>>().map_err(failed)?;
        drop(statement);
        if let Some(table) = table {
            tables.retain(|name| name == table);
        }
        if tables.is_empty() {
            let what = match table {
                Some(table) => format!("no table {table} of sqlitedict"),
                None => "no table of sqlitedict, of keys and values".to_owned(),
            };
            let message = format!("{} has {what}", path.display());
            return Err(Failure::new(Exit::NoStore, message));
        }
        Ok(Self { path: path.to_path_buf(), database, tables })
    }
}

impl Source for Sqlitedict {
    fn total(&self) -> Option<u64> {
        let count = |table: &String| {
            let query = format!("SELECT count(*) FROM {}", quoted(table));
            self.database.connection.query_row(&query, [], |row| row.get::<_, i64>(0)).ok()
        };
        self.tables.iter().map(count).sum::<Option<i64>>().and_then(|all| u64::try_from(all).ok())
    }

    fn each(&mut self, take: &mut Take<'_>) -> Result<(), Failure> {
        let failed = |error: rusqlite::Error| undone(&self.path, &error);
        for table in &self.tables {
            let query = format!("SELECT key, value FROM {}", quoted(table));
            let mut statement = self.database.connection.prepare(&query).map_err(failed)?;
            let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
            for row in statement.query_map([], read).map_err(failed)? {
                let (key, value): (Value, Value) = row.map_err(failed)?;
                let key = match (key, self.tables.len()) {
                    (Value::Text(key), 1) => key,
                    (Value::Text(key), _) => format!("{table}/{key}"),
                    (key, _) => {
                        take(Entry::Refused(format!("{key:?}"), "its key is no text".into()))?;
                        continue;
                    }
                };
                take(match value {
                    Value::Blob(bytes) => Item::new(key, Format::Pickle, bytes).into(),
                    // An `encode=` of the program's own, such as json.dumps.
                    Value::Text(text) => Item::new(key, Format::String, text.into_bytes()).into(),
                    _ => Entry::Refused(key, "it is neither a pickle nor text".into()),
                })?;
            }
        }
        Ok(())
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
