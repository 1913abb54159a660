//! One migration of a store at a time, whatever processes use it.

use std::any::Any;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::FileBackend;
use super::open::{Live, Opened};
use crate::error::{Error, ErrorKind, Result};
use crate::fork;
use crate::lock::{byte, ofd};

impl FileBackend {
    /// See `Backend::begin_migrating`. Ends with the process that holds it, however that ends.
    pub(super) fn take_turn_at_migrating(&self) -> Result<Box<dyn Any + Send>> {
        let opened = self.writable()?;
        if !opened.live()?.try_migrate()? {
            return Err(Error::new(ErrorKind::Busy, "another migration is at work in this store")
                .remedy("run it again when that has ended"));
        }
        Ok(Box::new(Turn { opened, made_in: fork::generation() }))
    }
}

/// Keeps other migrations out until it is dropped.
struct Turn {
    opened: Arc<Opened>,
    made_in: u64,
}

impl Drop for Turn {
    fn drop(&mut self) {
        // A forked child has none of what its parent holds.
        if self.made_in == fork::generation()
            && let Some(live) = self.opened.maybe_live()
        {
            live.end_migrating();
        }
    }
}

impl Live {
    /// Whether it is the turn of whoever asks. Managers of one process share the lock, so the first
    /// of them takes it.
    fn try_migrate(&self) -> Result<bool> {
        if self.migrating.swap(true, Ordering::AcqRel) {
            return Ok(false);
        }
        let taken = ofd::try_lock(self.locks.file().as_fd(), byte::MIGRATING, 1, true);
        if !matches!(taken, Ok(true)) {
            self.migrating.store(false, Ordering::Release);
        }
        taken
    }

    fn end_migrating(&self) {
        if let Err(error) = ofd::unlock(self.locks.file().as_fd(), byte::MIGRATING, 1) {
            tracing::debug!(%error, "a lock ends with its descriptor");
        }
        self.migrating.store(false, Ordering::Release);
    }
}
