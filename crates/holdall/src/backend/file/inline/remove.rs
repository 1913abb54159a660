//! Removing inline values, and changing how long they live.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

use super::super::full::make_room_for_removal;
use super::super::open::{Live, Opened};
use super::super::remove::{Doomed, GONE, Removal};
use super::write::InlineRecord;
use crate::error::{Error, ErrorKind, Result};
use crate::index::{Change, Kept, Standing};
use crate::key::Key;
use crate::record::Record;

/// The inline values of a batch that is removed.
pub(crate) struct Inlines {
    /// Of each key; `None` where there are no inline values at all.
    standing: Option<Result<Vec<Standing>>>,
    /// Which of them are to go, with their places in the batch.
    doomed: Vec<(usize, Key)>,
    /// Their keys: one that comes twice is gone when it comes again.
    gone: HashSet<Key>,
}

impl Inlines {
    /// What there is of keys whose locks the caller holds.
    pub(crate) fn of(opened: &Opened, doomed: &[(Key, Doomed)]) -> Self {
        let keys = || doomed.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>();
        let standing = opened.may_have_inline().then(|| {
            let live = opened.live()?;
            live.inline.standing(&keys())
        });
        Self { standing, doomed: Vec::new(), gone: HashSet::new() }
    }

    /// What there is of one of them.
    ///
    /// # Errors
    /// If that cannot be found out.
    pub(crate) fn take(&mut self, at: usize, key: &Key) -> Result<InlineRecord> {
        if self.gone.contains(key) {
            return Ok(InlineRecord::default());
        }
        match &mut self.standing {
            None => Ok(InlineRecord::default()),
            Some(Err(error)) => Err(error.again()),
            Some(Ok(standing)) => {
                let one = standing.get_mut(at).map(|one| std::mem::replace(one, Standing::Absent));
                Ok(InlineRecord::of(one.unwrap_or(Standing::Absent)))
            }
        }
    }

    /// Has one removed by the commit that follows.
    pub(crate) fn doom(&mut self, at: usize, key: &Key) {
        self.doomed.push((at, key.clone()));
        self.gone.insert(key.clone());
    }

    /// Removes one that is older than the file of its key, which is to go. It must be gone for good
    /// before, or a failure or a power cut would bring it back; only dead writers leave two, so
    /// that happens at once and under the lock.
    ///
    /// # Errors
    /// If it may still be there.
    pub(crate) fn remove_older(&mut self, live: &Live, key: &Key) -> Result<()> {
        live.inline.remove(&[key]).pop().unwrap_or(Ok(()))?;
        live.inline.flush()?;
        self.gone.insert(key.clone());
        Ok(())
    }

    /// Removes them with one commit, or each by itself where some cannot be removed.
    pub(crate) fn commit(&mut self, live: &Live, results: &mut [Result<Removal>]) {
        let keys: Vec<&Key> = self.doomed.iter().map(|(_, key)| key).collect();
        if keys.is_empty() {
            return;
        }
        let mut removed = live.inline.remove(&keys);
        if removed.iter().any(|one| one.as_ref().is_err_and(Error::is_disk_full)) {
            // The index may have taken what was kept for this, and is a copy.
            make_room_for_removal(live);
            removed = live.inline.remove(&keys);
        }
        for ((at, _), removed) in self.doomed.iter().zip(removed) {
            if let Err(error) = removed {
                results[*at] = Err(error);
            }
        }
    }

    /// Makes it survive a power cut that there is nothing in these places of the batch.
    pub(crate) fn flush(&self, live: &Live, places: &[usize], results: &mut [Result<Removal>]) {
        if places.is_empty() || self.standing.is_none() {
            return;
        }
        let Err(error) = live.inline.flush() else { return };
        let is_doomed = |at: &usize| self.doomed.iter().any(|(doomed, _)| doomed == at);
        // A file does not suffer from a database that is damaged.
        let suffers = |at: &&usize| error.kind() != ErrorKind::Corrupt || is_doomed(at);
        for at in places.iter().filter(suffers) {
            results[*at] = Err(error.again().after(GONE));
        }
    }
}

impl Opened {
    /// Gives an inline value, which the caller has locked, another record.
    pub(crate) fn restamp_inline(&self, live: &Live, key: &Key, record: &Record) -> Result<()> {
        let found = live.inline.ask(|values| values.value(key.as_str()))?;
        let Some((old, content)) = found else {
            return Err(Error::new(ErrorKind::Io, "the inline value was removed from outside")
                .remedy("look for programs that open .holdall/inline, and save the value again"));
        };
        let row = self.row(key, record);
        let kept = Kept { row, content: Bytes::from(content), old: Some(old), mends: false };
        live.inline.commit(vec![Change::Keep(Arc::new(kept))])
    }
}
