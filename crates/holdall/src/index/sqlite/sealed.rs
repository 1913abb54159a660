//! Values of a database where nothing can be written: not even the pages that SQLite has beside one
//! that is open.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::checksums::{self, Damage};
use super::search::{self, Searcher, is_of_page};
use super::{Fault, SqliteIndex, open, role, values};
use crate::error::{Error, ErrorKind, Result};
use crate::index::Row;
use crate::sync::thread;

/// How often it is asked again because somebody has written to it meanwhile.
const RETRIES: usize = 16;

impl SqliteIndex {
    /// As [`SqliteIndex::value`], of the database in a folder that this process cannot write to, and
    /// has not open; others may be at work there.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if it cannot be read, or has a log that cannot be read for want of what lies
    /// beside it; [`ErrorKind::Corrupt`] if it is damaged or gone; [`ErrorKind::Busy`].
    pub(crate) fn sealed_value(folder: &Path, key: &str) -> Result<Option<(Row, Vec<u8>)>> {
        let database = folder.join(role::VALUES.name);
        for _ in 0..RETRIES {
            let before = State::of(&database)?;
            let answer = ask(&database, before.has_log, key);
            let after = State::of(&database)?;
            // Without a log nobody keeps others from writing to it while it is read.
            if before == after || before.has_log && (after.has_log || answer.is_ok()) {
                return answer;
            }
            thread::yield_now();
        }
        let cause = "the database of inline values is changed all the time";
        Err(Error::new(ErrorKind::Busy, cause).at(database).remedy("try again"))
    }
}

/// What shows whether somebody writes to a database.
#[derive(PartialEq, Eq)]
struct State {
    has_log: bool,
    file: (u64, u64, u64, i64, i64),
}

impl State {
    fn of(database: &Path) -> Result<Self> {
        let io = |error| Error::io(error, database);
        let file = match fs::symlink_metadata(database) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let cause = "the database of inline values is gone";
                return Err(Error::new(ErrorKind::Corrupt, cause).at(database));
            }
            found => found.map_err(io)?,
        };
        let mut log = database.to_path_buf().into_os_string();
        log.push("-wal");
        let has_log = match fs::symlink_metadata(log) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            found => found.map_err(io)?.len() > 0,
        };
        let file = (file.dev(), file.ino(), file.len(), file.mtime(), file.mtime_nsec());
        Ok(Self { has_log, file })
    }
}

fn ask(database: &Path, has_log: bool, key: &str) -> Result<Option<(Row, Vec<u8>)>> {
    let explained = |fault: Fault| match &fault {
        Fault::Sqlite(rusqlite::Error::SqliteFailure(failure, _))
            if has_log && failure.code == rusqlite::ErrorCode::CannotOpen =>
        {
            let cause = "the database of inline values has a log, which cannot be read here";
            let error = Error::new(ErrorKind::Io, cause).at(database);
            error.remedy("open and close the store once where it can be written")
        }
        _ => fault.at(database),
    };
    let connected = || {
        let connection = connect(database, has_log).map_err(Fault::from);
        let connection = connection.map_err(explained)?;
        open::recognise(&connection, &role::VALUES).map_err(explained)?;
        Ok::<_, Error>(connection)
    };
    match values::value(&connected()?, key).map_err(explained) {
        Err(error) if is_of_page(&error) => search::check_size(database)
            .and_then(|()| connected())
            .and_then(|connection| Searcher::on(connection).find(key).map_err(explained))
            .map_err(|_| error),
        answer => answer,
    }
}

/// A connection that writes nothing, and without a log needs nothing beside the database.
fn connect(database: &Path, has_log: bool) -> rusqlite::Result<Connection> {
    let mut name = String::from("file:");
    for byte in database.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                name.push(char::from(*byte));
            }
            _ => name.push_str(&format!("%{byte:02X}")),
        }
    }
    name.push_str(if has_log { "?mode=ro" } else { "?mode=ro&immutable=1" });
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let connection = checksums::open(name, flags, Damage::Refused)?;
    open::bound(&connection)?;
    Ok(connection)
}
