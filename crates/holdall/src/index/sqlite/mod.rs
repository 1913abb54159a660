//! The index in one SQLite database (decision 0001).
//!
//! Writers of all processes queue at a lock of our own before they begin, because SQLite itself
//! makes the loser sleep for longer and longer and lets the winner run ahead. Readers take no lock
//! and see the last commit. Nothing is mapped but the small `-shm` file, so a truncated database is
//! an error and not a signal.

mod checksums;
mod copied;
mod fault;
mod flush;
mod health;
mod log;
mod open;
mod page;
mod read;
mod role;
mod room;
mod salvage;
mod sealed;
mod search;
mod system;
mod values;
mod write;

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::PoisonError;

use rusqlite::Connection;

#[cfg(test)]
pub(crate) use self::checksums::open_to_change;
pub(crate) use self::health::Flaw;
pub(crate) use self::open::{HEAD, VERSION, later_version};
pub(crate) use self::role::{INDEX_FILE, VALUES_FILE};
pub(crate) use self::values::Standing;

use self::checksums::Damage;
use self::flush::SharedFlush;
use self::role::Role;
use super::{Change, Index, Row, Totals};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::key::KeyPage;
use crate::lock::ofd;
use crate::sigbus;
use crate::sync::{Mutex, MutexGuard, RwLock};

/// How long a writer waits for the writers of other processes.
const PATIENCE_MILLIS: u64 = 5_000;
/// Connections kept open for readers; more are opened while they are needed.
const IDLE_READERS: usize = 4;

/// The index of the folder it was given; opens at the first call.
#[derive(Debug)]
pub(crate) struct SqliteIndex {
    role: &'static Role,
    folder: PathBuf,
    clock: Clock,
    log: values::Log,
    /// Read-locked by every call and write-locked by whoever opens or closes.
    gate: RwLock<Option<Handles>>,
}

/// Everything that must not cross a fork.
#[derive(Debug)]
struct Handles {
    /// How many mappings had been cut when it was opened.
    cuts: u64,
    process: u32,
    database: PathBuf,
    queue: File,
    writer: Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
    /// Only where an index was found damaged.
    searcher: Mutex<Option<search::Searcher>>,
    /// Only where there is something that must survive a power cut.
    log: Option<SharedFlush>,
    /// Last, so that no connection is open any more when it is closed.
    _mapped: Option<File>,
}

impl SqliteIndex {
    /// An index in `folder`, which is made (0700) when missing. Touches nothing yet. Only one
    /// handle for a folder should exist in a process.
    pub(crate) fn new(folder: impl Into<PathBuf>, clock: Clock) -> Self {
        Self::of(&role::INDEX, folder.into(), clock)
    }

    fn of(role: &'static Role, folder: PathBuf, clock: Clock) -> Self {
        Self { role, folder, clock, log: values::Log::default(), gate: RwLock::new(None) }
    }

    fn with<T>(&self, work: impl FnOnce(&Handles) -> Result<T>) -> Result<T> {
        loop {
            let gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(handles) = &*gate {
                handles.not_forked()?;
                self.not_cut(handles)?;
                let answer = work(handles);
                // What was read meanwhile may be nothing.
                return self.not_cut(handles).and(answer);
            }
            drop(gate);
            let mut gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
            if gate.is_none() {
                *gate = Some(self.open()?);
            }
        }
    }

    /// Refuses an index whose mapped file somebody may have cut short while it was open.
    fn not_cut(&self, handles: &Handles) -> Result<()> {
        if self.role.is_truth || handles.cuts == sigbus::cuts() {
            return Ok(());
        }
        let cause = "the shared memory of the database was cut short while it was in use";
        Err(Error::new(ErrorKind::Corrupt, cause).at(&handles.database))
    }

    fn open(&self) -> Result<Handles> {
        let cuts = sigbus::cuts();
        let folder = open::folder(&self.folder)?;
        let queue = open::queue(&folder)?;
        room::check(&folder.join(self.role.name))?;
        let database = open::database(&folder, self.role)?;
        // Before the connection, so that it is closed after it.
        let mut mapped = None;
        let connection = open::connect(&database, self.role, Damage::Refused)?;
        let explained = |error| fault::explain(error, &database);
        let ready = || {
            if !self.role.is_truth && open::is_new(&connection).map_err(explained)? {
                let _turn = self.turn(&queue)?;
                open::create(&connection, self.role).map_err(explained)?;
            }
            open::verify(&connection, &database, self.role)
        };
        ready().map_err(|error| system::unless_unread(error, &connection, &database))?;
        room::take_mapped(&database, &mut mapped)?;
        if self.role.is_truth {
            values::count_pages(&connection);
        }
        let log = self.role.is_truth.then(|| SharedFlush::open(&database)).transpose()?;
        tracing::debug!(path = %database.display(), "opened a database");
        Ok(Handles {
            cuts,
            process: process::id(),
            database,
            queue,
            writer: Mutex::new(connection),
            readers: Mutex::new(Vec::new()),
            searcher: Mutex::new(None),
            log,
            _mapped: mapped,
        })
    }

    fn connect_writer(&self, database: &Path) -> Result<Connection> {
        let connection = open::connect(database, self.role, Damage::Refused)?;
        if self.role.is_truth {
            values::count_pages(&connection);
        }
        Ok(connection)
    }

    /// Waits until no other process writes.
    fn turn<'f>(&self, queue: &'f File) -> Result<ofd::Held<'f>> {
        let deadline = self.clock.boot_millis() + PATIENCE_MILLIS;
        let queue = queue.as_fd();
        ofd::lock_until(queue, 0, 1, true, &self.clock, deadline, "the database of the store")
            .map_err(|error| error.at(&self.folder))
    }

    fn write<T>(&self, work: impl FnOnce(&mut Connection) -> Result<T, Fault>) -> Result<T> {
        let mut only_reads = false;
        let answer = self.with(|handles| {
            let mut writer = locked(&handles.writer);
            let _turn = self.turn(&handles.queue)?;
            work(&mut writer).map_err(|fault| {
                only_reads = system::only_reads_log(&fault, &writer);
                let error = system::explain(fault, &writer, &handles.database);
                if system::failed_read(&writer).is_some()
                    && let Ok(other) = self.connect_writer(&handles.database)
                {
                    // Its next error is another one.
                    *writer = other;
                }
                error
            })
        });
        if only_reads {
            self.let_go();
        }
        answer
    }

    /// Has the next call open everything anew: what one connection could only open for reading all
    /// of the process share, as long as any is open.
    fn let_go(&self) {
        *self.gate.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T> {
        self.with(|handles| {
            handles.read(self.role, |reader| {
                // After an error the connection is not used again.
                work(reader).map_err(|fault| system::explain(fault, reader, &handles.database))
            })
        })
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Handles {
    /// Lends a connection on which nobody writes.
    fn read<T>(&self, role: &Role, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let idle = locked(&self.readers).pop();
        let reader = match idle {
            Some(reader) => reader,
            None => open::connect(&self.database, role, Damage::Refused)?,
        };
        let answer = work(&reader)?;
        let mut idle = locked(&self.readers);
        if idle.len() < IDLE_READERS {
            idle.push(reader);
        }
        Ok(answer)
    }

    /// A child that was forked while they were open must not use these.
    fn not_forked(&self) -> Result<()> {
        if self.process == process::id() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Closed, "the process was forked while the store was open")
            .remedy("open the store anew in the child"))
    }
}

impl Drop for SqliteIndex {
    fn drop(&mut self) {
        let gate = self.gate.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(handles) = gate.take()
            && handles.not_forked().is_err()
        {
            // Closing would checkpoint and clean up behind the parent's back.
            std::mem::forget(handles);
        }
    }
}

impl Index for SqliteIndex {
    fn apply(&self, changes: &[Change]) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let prepared = write::prepare(changes)?;
        self.write(|writer| {
            write::apply(writer, &prepared, self.role)?;
            self.log.has_grown();
            Ok(())
        })
    }

    fn get(&self, key: &str) -> Result<Option<Row>> {
        self.read(|reader| read::get(reader, key))
    }

    fn page(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Row>> {
        self.read(|reader| read::page(reader, prefix, after, limit, self.role))
    }

    fn keys(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        expired: &dyn Fn(&[u8]) -> bool,
    ) -> Result<KeyPage> {
        self.read(|reader| read::keys(reader, prefix, after, limit, expired, self.role))
    }

    fn expired(&self, now: u64, after: Option<(u64, &str)>, limit: usize) -> Result<Vec<Row>> {
        self.read(|reader| read::expired(reader, now, after, limit, self.role))
    }

    fn tagged(&self, tag: &str, after: Option<&str>, limit: usize) -> Result<Vec<Row>> {
        self.read(|reader| read::tagged(reader, tag, after, limit, self.role))
    }

    fn totals(&self) -> Result<Totals> {
        self.read(|reader| Ok(read::counted(reader, self.role)?.totals()))
    }

    fn is_complete(&self) -> Result<bool> {
        self.read(|reader| Ok(read::counters(reader)?.complete))
    }

    fn set_complete(&self, complete: bool) -> Result<()> {
        self.write(|writer| write::set_complete(writer, complete))
    }

    fn check(&self) -> Result<()> {
        self.read(|reader| read::check(reader, self.role))
    }

    fn close(&self) -> Result<()> {
        let mut gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        let Some(handles) = &*gate else { return Ok(()) };
        handles.not_forked()?;
        locked(&handles.readers).clear();
        *locked(&handles.searcher) = None;
        let result = self.turn(&handles.queue).and_then(|_turn| {
            let mut writer = locked(&handles.writer);
            let mut flushed = write::flush(&mut writer, self.role);
            if flushed.as_ref().is_err_and(|fault| system::only_reads_log(fault, &writer)) {
                // The last connection has to be closed, or the next one can do no more.
                *writer = Connection::open_in_memory()
                    .map_err(|error| fault::explain(error, &handles.database))?;
                *writer = self.connect_writer(&handles.database)?;
                flushed = write::flush(&mut writer, self.role);
            }
            flushed.map_err(|fault| system::explain(fault, &writer, &handles.database))
        });
        *gate = None;
        result.and_then(|()| open::sync_folder(&self.folder))
    }
}

/// What can go wrong between SQLite and us, before it has the database's path.
#[derive(Debug)]
enum Fault {
    Sqlite(rusqlite::Error),
    Ours(Error),
}

impl Fault {
    fn is_damage(&self) -> bool {
        matches!(self, Self::Ours(error) if error.kind() == ErrorKind::Corrupt)
    }

    fn at(self, database: &Path) -> Error {
        match self {
            Self::Sqlite(error) => fault::explain(error, database),
            Self::Ours(error) => fault::noted(error.at(database)),
        }
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

#[cfg(test)]
mod tests;
