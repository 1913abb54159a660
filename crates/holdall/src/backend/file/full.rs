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
/// that fails: it is a copy, but for the names of foreign files.
fn give_index_room_back(live: &Live, patience: Duration) {
    let trimmed = live.catalog.ask(&live.clock, SqliteIndex::give_back_log);
    let has_foreign = || {
        let totals = live.catalog.ask(&live.clock, |index| index.totals());
        totals.is_ok_and(|totals| totals.foreign > 0)
    };
    if trimmed.is_err_and(|error| error.is_disk_full())
        && !has_foreign()
        && let Ok(_stripe) = live.locks.lock(vec![0], patience)
    {
        discard_index(live);
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
