//! On a full disk the index makes room for values: it is a copy of what they know.

use std::time::Duration;

use super::open::{Live, Opened};
use super::scan::remove_all_but;
use super::write::Terms;
use crate::backend::{Placed, Put};
use crate::error::{Error, Result};
use crate::index::{Index, SqliteIndex};

impl Opened {
    /// Writes values; where that finds the disk full, the next write may find room.
    pub(super) fn write_or_make_room(
        &self,
        puts: Vec<Put>,
        terms: Terms<'_>,
    ) -> Vec<Result<Placed>> {
        let placed = self.write(puts, terms);
        let is_full = |one: &Result<_>| one.as_ref().is_err_and(Error::is_disk_full);
        if placed.iter().any(is_full)
            && let Ok(live) = self.live()
        {
            give_index_room_back(live, terms.lock_timeout);
        }
        placed
    }
}

/// Gives back to values what the log of the index has taken of a full disk, or all of the index if
/// that fails: it is a copy, but for the names of foreign files, which are looked for first, and for the
/// records of files whose stamps are damaged or lost (rules 1.12 and 1.13). To find those would take
/// a look at every file, so they go: repair cannot heal the one any more, and the other is read as a
/// foreign file.
fn give_index_room_back(live: &Live, patience: Duration) {
    if !give_log_back(live)
        && !has_foreign(live)
        && let Ok(_stripe) = live.locks.lock(vec![0], patience)
    {
        discard_index(live);
    }
}

/// As for values that are written, for one that is removed. The caller holds a stripe.
pub(super) fn make_room_for_removal(live: &Live) {
    if !give_log_back(live) && !has_foreign(live) {
        discard_index(live);
    }
}

/// Gives back what the log of the index has taken; answers whether there was room for that.
pub(super) fn give_log_back(live: &Live) -> bool {
    let trimmed = live.catalog.ask(&live.clock, SqliteIndex::give_back_log);
    !trimmed.is_err_and(|error| error.is_disk_full())
}

/// Whether the index knows what no file tells, or may: on a full disk it cannot always be asked.
fn has_foreign(live: &Live) -> bool {
    match live.catalog.ask(&live.clock, |index| index.totals()) {
        Ok(totals) => totals.foreign > 0,
        Err(error) => error.is_disk_full() && live.catalog.has_index(&live.clock),
    }
}

/// Gives the room of the index back; it is filled anew when there is some. The caller holds a
/// stripe, so that nobody fills one at this moment.
pub(super) fn discard_index(live: &Live) {
    // First, or the next one could pass for complete.
    live.clock.set_diverged(true);
    live.clock.next_epoch();
    live.catalog.drop_index();
    let next = live.catalog.folder(live.clock.epoch());
    if let Err(error) = remove_all_but(live.catalog.folders(), &next) {
        tracing::warn!("the index was not removed from a full disk: {error}");
    }
}
