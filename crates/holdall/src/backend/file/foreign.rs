//! What listings know of files of other programs, and of files that others have removed.

use std::os::fd::AsFd as _;

use super::find::{Candidate, Search};
use super::open::Opened;
use super::remove::Doomed;
use super::write::{Terms, commit};
use crate::backend::Durability;
use crate::error::ErrorKind;
use crate::index::{Change, Index as _, Row};
use crate::key::Key;
use crate::record::{Record, Stamp};

impl Opened {
    /// Remembers, for listings, a file that another program put there or changed.
    pub(super) fn note_foreign(&self, key: &Key, record: &Record) {
        let Some(live) = self.maybe_live() else { return };
        let known = live.catalog.ask(&live.clock, |index| index.get(key.as_str()));
        if matches!(&known, Ok(Some(row)) if row.foreign && row.generation == record.generation) {
            return;
        }
        // Of a file that has lost its stamp the row knows more, and it may be there.
        if known.as_ref().is_err_and(|error| error.kind() != ErrorKind::Corrupt) {
            return;
        }
        // Under the lock, and only if it is still there: a row without a file would stay.
        let Ok(Some(_guard)) = live.locks.try_lock(key.stripe()) else { return };
        let found = self.find(key, None, Search::All).unwrap_or_default();
        let current = found.first().and_then(|found| found.current().ok());
        if let (Some(first), Ok(Some(row))) = (found.first(), &known)
            && self.has_lost_stamp(first, row)
        {
            return;
        }
        let is_value =
            self.inline_record(key).is_ok_and(|inline| !inline.is_there && !inline.is_lost);
        if is_value && current.is_some_and(|current| current.generation == record.generation) {
            // The clock that dates files may be behind the generations of this store.
            let forget = Change::Remove { key: key.as_str().to_owned(), generation: None };
            commit(live, vec![forget, Change::Put(self.row(key, record))]);
        }
    }

    /// Whether a file is one of ours that has lost its stamp: all else is as the index knows it. What
    /// that knows beyond the file, repair can give back.
    fn has_lost_stamp(&self, found: &Candidate, row: &Row) -> bool {
        let known = Stamp::decode(&row.record).filter(|known| {
            !row.foreign && known.store == self.mark() && found.looks_untouched(&known.record)
        });
        known.is_some_and(|Stamp { record, .. }| {
            record.ending().looks_like(found.ending)
                && matches!(self.stamps.bytes(found.file.as_fd(), found.stat.st_ino), Ok(None))
                && found.measure().is_ok_and(|it| it == (record.length, record.checksum))
        })
    }

    /// Forgets the row of a key whose file is gone.
    pub(super) fn forget_gone(&self, key: &Key, terms: Terms<'_>) {
        let Some(live) = self.maybe_live() else { return };
        if let Ok(Some(_)) = live.catalog.ask(&live.clock, |index| index.get(key.as_str())) {
            let gone = [(key.clone(), Doomed::NotAfter(0))];
            let _ = self.remove(&gone, Durability::Process, terms);
        }
    }
}
