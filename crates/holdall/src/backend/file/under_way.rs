//! Writes that are under way, and those that dead writers have left so.

use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use super::open::Opened;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::lock::wait;

/// How long a listing waits at least for writes under way, milliseconds. They end by themselves, a
/// durable one too, and somebody who waits for no lock at all has still to get an answer.
const LEAST: u64 = 1_000;

impl Opened {
    /// If the writer of a stripe died in the middle of its work, ends that work: what it placed
    /// stays, and the index is compared with the files before it is next asked.
    pub(crate) fn bury_dead_writer(&self, stripe: usize) -> Result<()> {
        let live = self.live()?;
        if let Some(_guard) = live.locks.try_lock(stripe)?
            && live.clock.is_odd(stripe)
        {
            tracing::info!(stripe, "a writer died in the middle of its work");
            // First past every remembered value, then even.
            live.clock.begin(stripe);
            live.clock.finish(stripe);
        }
        Ok(())
    }

    /// Waits until the writes that are under way have ended, and ends those of dead writers.
    ///
    /// Readers see a file as soon as it has its name, and the index is told after that. A listing that
    /// did not wait could lack what somebody has already loaded. Of what begins later nobody can
    /// have seen anything before the listing began. The counts are watched and no lock is waited
    /// for, so neither do writers wait for it nor does it wait for those that come next.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] if one has not ended after `timeout`, at least a second: its process was
    /// stopped.
    pub(super) fn outlast_writers(&self, timeout: Duration) -> Result<()> {
        let live = self.live()?;
        // A write whose begin is not seen below sees that it was cancelled, if it was before this.
        fence(Ordering::SeqCst);
        let time = Clock::system();
        let timeout = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).max(LEAST);
        let deadline = time.boot_millis().saturating_add(timeout);
        let counted = live.clock.odd_stripes().map(|stripe| (stripe, live.clock.count(stripe)));
        let under_way: Vec<_> = counted.filter(|(_, count)| count % 2 == 1).collect();
        for (stripe, count) in under_way {
            let has_ended = wait::until(&time, deadline, || {
                self.bury_dead_writer(stripe)?;
                Ok(live.clock.count(stripe) != count)
            })?;
            if !has_ended {
                let cause = "a write of another call, which may be seen in part, has not ended";
                return Err(Error::new(ErrorKind::Busy, cause).remedy(
                    "try again, look for a stopped process that uses this store, or raise lock_timeout",
                ));
            }
        }
        Ok(())
    }
}
