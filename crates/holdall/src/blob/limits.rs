//! How much a store may hold, and what goes first if it is more.

use std::num::NonZeroU64;
use std::time::Duration;

use super::options::not_one_of;
use crate::backend::Totals;
use crate::error::Result;

/// Which values go first when there are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Eviction {
    /// Those whose last save is the longest ago.
    #[default]
    LeastRecentlySaved,
    /// Those whose last load or save is the longest ago, as far as a table of loads tells, which may
    /// forget. A backend that has none, as memory, goes by saves alone.
    LeastRecentlyUsed,
}

impl Eviction {
    /// The order with this name.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) naming them.
    pub fn from_name(name: &str) -> Result<Self> {
        match name {
            "least-recently-saved" => Ok(Self::LeastRecentlySaved),
            "least-recently-used" => Ok(Self::LeastRecentlyUsed),
            _ => {
                let allowed = "\"least-recently-saved\" and \"least-recently-used\"";
                Err(not_one_of("eviction", name, allowed))
            }
        }
    }
}

/// How much a store may hold. The default sets no limit, so that nothing is ever evicted.
///
/// A limit is one of the manager, not of the store: a process that has none evicts nothing.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The most values. Default: any number.
    pub max_entries: Option<NonZeroU64>,
    /// The most bytes of all values together, as [`BlobStats`](crate::BlobStats) counts them.
    /// Default: any number.
    pub max_bytes: Option<NonZeroU64>,
    /// What goes first. Default: what was saved first.
    pub eviction: Eviction,
    /// How often at least, while there is a reason, the store is cleaned in the background: what has
    /// expired goes, and what is too much. `None` is never. Default: a minute.
    pub clean_every: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_entries: None,
            max_bytes: None,
            eviction: Eviction::default(),
            clean_every: Some(Duration::from_secs(60)),
        }
    }
}

impl Limits {
    /// Whether there is one.
    pub(super) fn any(&self) -> bool {
        self.max_entries.is_some() || self.max_bytes.is_some()
    }

    /// What has to go if there is this much: down to 95 % of the limit, so that looking for it is
    /// rare; `None` if nothing has to.
    pub(super) fn excess(&self, totals: Totals) -> Option<Totals> {
        let over = |there: u64, most: Option<NonZeroU64>| match most.map(NonZeroU64::get) {
            Some(most) if there > most => there - (most - most / 20),
            _ => 0,
        };
        let entries = over(totals.entries, self.max_entries);
        let total_size = over(totals.total_size, self.max_bytes);
        (entries > 0 || total_size > 0).then_some(Totals { entries, total_size })
    }

    /// Whether there is so much more than the limit that cleaning may take all the time it needs.
    pub(super) fn is_urgent(&self, totals: Totals) -> bool {
        let over = |there: u64, most: Option<NonZeroU64>| {
            most.is_some_and(|most| there > most.get().saturating_add(most.get() / 10))
        };
        over(totals.entries, self.max_entries) || over(totals.total_size, self.max_bytes)
    }

    /// Whether a value alone is more than the store may hold: it goes before all others.
    pub(super) fn never_fits(&self, bytes: u64) -> bool {
        self.max_bytes.is_some_and(|most| bytes > most.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(entries: u64, bytes: u64) -> Limits {
        let (max_entries, max_bytes) = (NonZeroU64::new(entries), NonZeroU64::new(bytes));
        Limits { max_entries, max_bytes, ..Limits::default() }
    }

    fn totals(entries: u64, total_size: u64) -> Totals {
        Totals { entries, total_size }
    }

    #[test]
    fn without_limits_nothing_is_too_much() {
        assert!(!Limits::default().any());
        assert_eq!(Limits::default().excess(totals(u64::MAX, u64::MAX)), None);
        assert!(!Limits::default().is_urgent(totals(u64::MAX, u64::MAX)));
    }

    #[test]
    fn what_is_over_a_limit_goes_down_to_nineteen_twentieths_of_it() {
        let limits = limits(100, 1_000);
        assert_eq!(limits.excess(totals(100, 1_000)), None);
        assert_eq!(limits.excess(totals(101, 1_000)), Some(totals(6, 0)));
        assert_eq!(limits.excess(totals(99, 1_001)), Some(totals(0, 51)));
        assert!(!limits.is_urgent(totals(110, 1_100)));
        assert!(limits.is_urgent(totals(111, 0)) && limits.is_urgent(totals(0, 1_101)));
    }

    #[test]
    fn a_small_limit_is_reached_exactly() {
        assert_eq!(limits(1, 0).excess(totals(2, 9)), Some(totals(1, 0)));
        assert_eq!(limits(10, 0).excess(totals(12, 9)), Some(totals(2, 0)));
    }
}
