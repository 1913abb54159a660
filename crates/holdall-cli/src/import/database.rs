//! A SQLite database of another library, read without a trace in its folder.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::{undone, unreadable};
use crate::exit::Failure;

/// A database, or a copy of it.
pub(crate) struct Database {
    pub(crate) connection: Connection,
    _copy: Option<tempfile::TempDir>,
}

impl Database {
    /// Opens it for reading.
    ///
    /// Whoever opens a database with a log beside it writes to its folder, even to read. So one with
    /// a log, and with it what was not folded in yet, is copied first and read there.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let mut name = path.as_os_str().to_owned();
        name.push("-wal");
        let log = Path::new(&name);
        let mut journal = path.as_os_str().to_owned();
        journal.push("-journal");
        let mut copy = None;
        let mut from = path.to_path_buf();
        if [log, Path::new(&journal)]
            .iter()
            .any(|beside| beside.metadata().is_ok_and(|m| m.len() > 0))
        {
            let folder = tempfile::tempdir().map_err(|error| unreadable(path, error))?;
            from = folder.path().join("source.db");
            for (beside, suffix) in [(path, ""), (log, "-wal"), (Path::new(&journal), "-journal")] {
                if beside.exists() {
                    let to = folder.path().join(format!("source.db{suffix}"));
                    std::fs::copy(beside, to).map_err(|error| unreadable(beside, error))?;
                }
            }
            copy = Some(folder);
        }
        let connection = if copy.is_some() {
            Connection::open(&from)
        } else {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
            Connection::open_with_flags(uri(&from), flags)
        };
        let connection = connection.map_err(|error| undone(path, &error))?;
        Ok(Self { connection, _copy: copy })
    }
}

/// Without locks and without a log of its own: nothing beside the file is made or looked at.
fn uri(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                uri.push(char::from(*byte));
            }
            _ => uri += &format!("%{byte:02x}"),
        }
    }
    uri + "?mode=ro&immutable=1"
}
