//! The loads of missing values that are under way. A write or a delete of a key that is being loaded
//! overtakes the load: what it brings is older, and is not kept.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::prelude::*;

use crate::gil::GilCell;
use crate::keyed::SoughtKey;

/// The loads of one cache, each with a number of its own.
pub(super) struct Loads {
    under_way: GilCell<HashMap<Box<str>, u64>>,
    /// How many: every write asks.
    count: AtomicUsize,
    last: AtomicUsize,
}

impl Loads {
    pub(super) fn new() -> Self {
        Self {
            under_way: GilCell::new(HashMap::new()),
            count: AtomicUsize::new(0),
            last: AtomicUsize::new(0),
        }
    }

    /// The number of the load of a key that is under way; a new one if there is none.
    pub(super) fn begin(&self, py: Python<'_>, key: &str) -> u64 {
        let mut under_way = self.under_way.lend(py);
        let new = || self.last.fetch_add(1, Ordering::Relaxed) as u64;
        let number = match under_way.get(key) {
            Some(number) => *number,
            None => *under_way.entry(key.into()).or_insert_with(new),
        };
        self.count.store(under_way.len(), Ordering::Relaxed);
        number
    }

    /// Ends a load; whether nothing has overtaken it.
    pub(super) fn end(&self, py: Python<'_>, key: &str, number: u64) -> bool {
        let mut under_way = self.under_way.lend(py);
        let is_current = under_way.get(key) == Some(&number);
        if is_current {
            under_way.remove(key);
        }
        self.count.store(under_way.len(), Ordering::Relaxed);
        is_current
    }

    /// Notes that a key was written or deleted.
    #[inline]
    pub(super) fn overtake(&self, py: Python<'_>, key: &SoughtKey<'_, '_>) {
        if self.count.load(Ordering::Relaxed) != 0 {
            self.forget(py, key);
        }
    }

    #[cold]
    fn forget(&self, py: Python<'_>, key: &SoughtKey<'_, '_>) {
        let mut under_way = self.under_way.lend(py);
        key.text().and_then(|key| under_way.remove(key));
        self.count.store(under_way.len(), Ordering::Relaxed);
    }

    /// Notes that every key was deleted.
    pub(super) fn overtake_all(&self, py: Python<'_>) {
        self.under_way.lend(py).clear();
        self.count.store(0, Ordering::Relaxed);
    }

    pub(super) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}
