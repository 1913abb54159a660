//! Makes, opens and recognises the database file.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags, TransactionBehavior, ffi};

use super::super::row::damaged;
use super::checksums::{self, Damage};
use super::read::Counters;
use super::role::Role;
use super::{Fault, PATIENCE_MILLIS, fault};
use crate::error::{Error, ErrorKind, Result};
use crate::flush::flush;

/// What SQLite has beside a database that is open, or that is being made.
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];
const QUEUE: &str = "writers.lock";
/// Raised whenever the tables or the rows' bytes change.
pub(crate) const VERSION: i64 = 2;
/// `hol`; with the version added the `application_id`, a second witness of it: a flipped bit of
/// the version is damage, and not a database of a later release.
const APPLICATION: u32 = 0x686f_6c00;
/// What [`later_version`] needs of the beginning of a database.
pub(crate) const HEAD: usize = 72;

/// The folder with every symbolic link resolved, made 0700 whatever the umask.
pub(super) fn folder(folder: &Path) -> Result<PathBuf> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => fs::set_permissions(folder, Permissions::from_mode(0o700)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
    .and_then(|()| fs::canonicalize(folder))
    .map_err(|error| Error::io(error, folder))
}

/// The file at which the writers of all processes queue.
pub(super) fn queue(folder: &Path) -> Result<File> {
    let path = folder.join(QUEUE);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC);
    options
        .open(&path)
        .and_then(|file| {
            file.set_permissions(Permissions::from_mode(0o600))?;
            Ok(file)
        })
        .map_err(|error| Error::io(error, path))
}

/// The database file, 0600 whatever the umask; `-wal` and `-shm` inherit that from it.
///
/// It is made under another name and linked: a file that SQLite may have open must never be opened
/// and closed by us, because a close drops all of the process's POSIX locks on it. One that holds
/// the only copy gets its tables before its name, so that an empty file is never taken for a new one.
pub(super) fn database(folder: &Path, role: &Role) -> Result<PathBuf> {
    let path = folder.join(role.name);
    let made = match fs::symlink_metadata(&path) {
        Ok(found) if !found.is_file() => {
            let cause = "the database is not a regular file";
            return Err(Error::new(ErrorKind::Corrupt, cause).at(path));
        }
        Ok(_) => fs::set_permissions(&path, Permissions::from_mode(0o600))
            .map_err(|error| Error::io(error, &path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match make(folder, &path, role) {
            // A peer was faster, and has removed the draft of this one.
            Err(_) if fs::symlink_metadata(&path).is_ok_and(|found| found.is_file()) => Ok(()),
            made => made,
        },
        Err(error) => Err(Error::io(error, &path)),
    };
    made?;
    Ok(path)
}

fn make(folder: &Path, path: &Path, role: &Role) -> Result<()> {
    let io = |error| Error::io(error, path);
    let number = getrandom::u64().map_err(|error| io(error.into()))?;
    let draft = folder.join(format!("{}.{number:016x}", role.name));
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o600);
    let file = options.open(&draft).map_err(io)?;
    let linked = file.set_permissions(Permissions::from_mode(0o600)).map_err(io).and_then(|()| {
        if role.is_truth {
            fill(&draft, role)?;
            flush(file.as_fd()).map_err(|error| io(error.into()))?;
        }
        drop(file);
        match fs::hard_link(&draft, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked.map_err(io),
        }
    });
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    if linked.is_err() {
        for end in BESIDE {
            let mut beside = draft.clone().into_os_string();
            beside.push(end);
            let _ = fs::remove_file(beside);
        }
    }
    linked?;
    if role.is_truth {
        sync_folder(folder)?;
        folder.parent().map_or(Ok(()), sync_folder)?;
    }
    Ok(())
}

/// Whether a file has the name of a draft, or of what SQLite puts beside it.
pub(super) fn is_draft(name: &str, role: &Role) -> bool {
    let number = name.strip_prefix(role.name).and_then(|rest| rest.strip_prefix('.'));
    let number =
        number.map(|rest| BESIDE.iter().find_map(|end| rest.strip_suffix(end)).unwrap_or(rest));
    number.is_some_and(|number| number.len() == 16 && u64::from_str_radix(number, 16).is_ok())
}

/// Makes the tables in a file that nobody else knows, and leaves no log beside it.
fn fill(draft: &Path, role: &Role) -> Result<()> {
    let connection = connect(draft, role, Damage::Refused)?;
    create(&connection, role).map_err(|error| fault::explain(error, draft))?;
    connection.close().map_err(|(_, error)| fault::explain(error, draft))
}

/// A connection with our settings; touches the database only when it is first asked.
pub(super) fn connect(database: &Path, role: &Role, damage: Damage) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    settings(flags, database, role, damage).map_err(|error| fault::explain(error, database))
}

fn settings(
    flags: OpenFlags,
    database: &Path,
    role: &Role,
    damage: Damage,
) -> rusqlite::Result<Connection> {
    let connection = checksums::open(database, flags, damage)?;
    if connection.is_readonly("main")? {
        // SQLite makes do with that where the system refuses more, for want of descriptors too.
        return Err(refused(ffi::SQLITE_CANTOPEN, "it could only be opened for reading"));
    }
    // Reached only around recovery and checkpoints: writers have queued at our own lock before.
    connection.busy_timeout(Duration::from_millis(PATIENCE_MILLIS))?;
    bound(&connection)?;
    connection.execute_batch(role.settings)?;
    Ok(connection)
}

/// Settings for a database of which nothing is believed.
pub(super) fn bound(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, 1 << 20)?;
    connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    connection.set_prepared_statement_cache_capacity(32);
    connection.execute_batch(
        "PRAGMA mmap_size = 0; PRAGMA cache_size = -4096; PRAGMA cell_size_check = ON; \
         PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY;",
    )
}

fn refused(code: i32, cause: &str) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some(cause.to_owned()))
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

fn application(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA application_id", [], |row| row.get(0))
}

/// The `application_id` of a database of this version.
fn application_of(version: i64) -> i64 {
    i64::from(APPLICATION).wrapping_add(version)
}

/// The version in the beginning of a database file, if it is later than ours.
pub(crate) fn later_version(head: &[u8; HEAD]) -> Option<u32> {
    let [.., v0, v1, v2, v3, _, _, _, _, a0, a1, a2, a3] = *head;
    let version = u32::from_be_bytes([v0, v1, v2, v3]);
    let application = u32::from_be_bytes([a0, a1, a2, a3]);
    let is_ours = head.starts_with(b"SQLite format 3\0")
        && i64::from(application) == application_of(version.into());
    (is_ours && i64::from(version) > VERSION).then_some(version)
}

/// Whether the database is still without tables.
pub(super) fn is_new(connection: &Connection) -> rusqlite::Result<bool> {
    let objects: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(objects == 0 && version(connection)? == 0)
}

/// Makes the tables unless a peer has; the caller holds the writers' lock.
pub(super) fn create(connection: &Connection, role: &Role) -> rusqlite::Result<()> {
    let mut mode = String::new();
    checksums::reserve(connection)?;
    let mut pragma = connection.prepare("PRAGMA journal_mode = WAL")?;
    let mut rows = pragma.query([])?;
    // To its end, at which it is written down.
    while let Some(columns) = rows.next()? {
        mode = columns.get(0)?;
    }
    if mode != "wal" {
        return Err(refused(ffi::SQLITE_IOERR, "its log could not be begun"));
    }
    let transaction =
        rusqlite::Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    if is_new(&transaction)? {
        for (_, sql) in role.schema {
            transaction.execute(sql, [])?;
        }
        let empty = Counters::default().encode();
        transaction.execute("INSERT INTO meta(id, value) VALUES(0, ?1)", [empty.as_slice()])?;
        transaction.pragma_update(None, "user_version", VERSION)?;
        transaction.pragma_update(None, "application_id", application_of(VERSION))?;
    }
    transaction.commit()
}

/// Refuses what is not our database word for word: another version, a missing table, a trigger
/// that somebody else put there.
pub(super) fn verify(connection: &Connection, database: &Path, role: &Role) -> Result<()> {
    let found = recognise(connection, role).and_then(|()| can_be_written(connection));
    let found = found.map_err(|fault| fault.at(database));
    found.map_err(|error| match error.kind() {
        ErrorKind::Corrupt if !role.is_truth => {
            error.remedy("the index has to be rebuilt from the files")
        }
        _ => error,
    })
}

/// Whether it is our database, in a layout of this release.
pub(super) fn recognise(connection: &Connection, role: &Role) -> Result<(), Fault> {
    let version = version(connection)?;
    if version > VERSION && application(connection)? == application_of(version) {
        let cause =
            format!("the database has layout {version}, this release reads up to {VERSION}");
        let error = Error::new(ErrorKind::Version, cause);
        return Err(error.remedy("use a later release of holdall").into());
    }
    if is_new(connection)? {
        return Err(Error::new(ErrorKind::Corrupt, "the database is empty").into());
    }
    if version != VERSION {
        let cause = format!("the database has version {version}, not {VERSION}");
        return Err(Error::new(ErrorKind::Corrupt, cause).into());
    }
    if !checksums::are_there(connection) {
        let cause = "the first page of the database does not say that pages have checksums";
        return Err(Error::new(ErrorKind::Corrupt, cause).into());
    }
    let mut statement = connection.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name")?;
    let mut rows = statement.query([])?;
    for (name, sql) in role.schema {
        let row = rows.next()?.ok_or_else(damaged)?;
        if row.get_ref(0)?.as_bytes_or_null().ok().flatten() != Some(name.as_bytes())
            || row.get_ref(1)?.as_bytes_or_null().ok().flatten() != Some(sql.as_bytes())
        {
            return Err(damaged().into());
        }
    }
    if rows.next()?.is_some() {
        return Err(damaged().into());
    }
    Ok(())
}

fn can_be_written(connection: &Connection) -> Result<(), Fault> {
    if connection.is_readonly("main")? {
        // It can be read, and nothing could ever be changed.
        let cause = "the header of the database says that it cannot be written";
        return Err(Error::new(ErrorKind::Corrupt, cause).into());
    }
    let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(Error::new(ErrorKind::Corrupt, "the database is not in WAL mode").into());
    }
    Ok(())
}

/// Makes the names in the folder survive a power cut.
pub(super) fn sync_folder(folder: &Path) -> Result<()> {
    let flushed = File::open(folder).and_then(|folder| Ok(flush(folder.as_fd())?));
    flushed.map_err(|error| Error::io(error, folder))
}
