//! Making commits survive a power cut: one flush of the log for all that wait.
//!
//! A commit is in the log when it returns, and nobody holds a lock while the log is flushed. A
//! checkpoint that comes between does no harm: it flushes the log and then the database before
//! the log is written anew.

use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};

/// Flushes of one database's log.
#[derive(Debug, Default)]
pub(super) struct SharedFlush {
    /// How many have asked.
    asked: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Those who asked up to here have their answer.
    done: u64,
    /// The last flush that failed answers for all who had asked by then: the kernel reports a
    /// failure once, and a second try would succeed without the data being on the disk.
    failed: Option<(u64, Error)>,
    /// The log whose name is known to be on the disk.
    named: Option<(u64, u64)>,
}

impl SharedFlush {
    /// Flushes what was committed before the call.
    pub(super) fn flush(&self, database: &Path) -> Result<()> {
        let mine = self.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.done < mine {
            // Whoever has asked by now has committed before this flush begins.
            let all = self.asked.load(Ordering::Acquire);
            if let Err(error) = flush(database, &mut state.named) {
                state.failed = Some((all, Error::io(error, database)));
            }
            state.done = all;
        }
        match &state.failed {
            Some((until, error)) if mine <= *until => Err(error.again()),
            _ => Ok(()),
        }
    }
}

fn flush(database: &Path, named: &mut Option<(u64, u64)>) -> io::Result<()> {
    let mut log = database.as_os_str().to_owned();
    log.push("-wal");
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC;
    let log = match File::options().read(true).custom_flags(flags).open(log) {
        // Folded in and flushed, when the last connection was closed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // SQLite has no locks on this file that closing it could drop.
        log => log?,
    };
    log.sync_data()?;
    let found = log.metadata()?;
    let identity = Some((found.dev(), found.ino()));
    if *named != identity {
        let folder = database.parent().unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()?;
        *named = identity;
    }
    Ok(())
}
