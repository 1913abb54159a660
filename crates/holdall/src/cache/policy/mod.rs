//! Which entry has to go when there is no room: one file per policy, one line each in the table.
//!
//! A policy sees slot numbers and hashes, never keys or values, so it needs neither type
//! parameters nor `unsafe`. To add one: a file beside these with a [`PolicyKind`] in it, and a
//! line in [`POLICIES`]; the conformance tests then run over it.

#[cfg(test)]
mod conformance;
mod fifo;
mod ghost;
mod lru;
mod s3_fifo;
mod sketch;
mod w_tinylfu;

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};

pub use super::list::Slot;
pub(crate) use super::list::SlotLists;

/// All policies; the first is the default.
pub const POLICIES: &[PolicyKind] = &[w_tinylfu::KIND, s3_fifo::KIND, lru::KIND, fifo::KIND];

/// Chooses what is evicted. The cache guarantees the order of calls that each method names.
///
/// A policy that judges candidates before they displace others (as `w-tinylfu` does) keeps the
/// hash given at `inserted`, and lets `victim` choose between its newest entries and the rest.
pub trait Policy: Send {
    /// An entry came into `slot`, which held none. Called after room was made for it.
    fn inserted(&mut self, slot: Slot, hash: u64);

    /// The entry in `slot` was read or overwritten. Called often, so it should be a few
    /// nanoseconds.
    fn hit(&mut self, slot: Slot);

    /// The entry in `slot` has gone; `evicted` tells whether it was this policy's victim, or else
    /// was deleted or has expired.
    fn removed(&mut self, slot: Slot, hash: u64, evicted: bool);

    /// The entry that should go next; `None` only if there is none. The entry stays until
    /// `removed` is called, which may never be. Must take bounded time, whatever the number of
    /// entries.
    fn victim(&mut self) -> Option<Slot>;

    /// All entries have gone.
    fn clear(&mut self);
}

/// A policy by name.
#[derive(Clone, Copy)]
pub struct PolicyKind {
    /// What it is called in options and configuration.
    pub name: &'static str,
    /// What it is good for, in one line.
    pub description: &'static str,
    /// Makes one with nothing in it.
    pub build: fn() -> Box<dyn Policy>,
}

impl PolicyKind {
    /// Frequency and recency in shares that adapt to the workload; the default.
    pub const W_TINYLFU: Self = w_tinylfu::KIND;
    /// Scan-resistant, with little memory.
    pub const S3_FIFO: Self = s3_fifo::KIND;
    /// Exact least recently used.
    pub const LRU: Self = lru::KIND;
    /// First in, first out.
    pub const FIFO: Self = fifo::KIND;

    /// The policy of that name.
    ///
    /// # Errors
    /// `InvalidArgument` for an unknown name; the message lists the known ones.
    pub fn named(name: &str) -> Result<Self> {
        POLICIES.iter().find(|kind| kind.name == name).copied().ok_or_else(|| {
            let known: Vec<_> = POLICIES.iter().map(|kind| kind.name).collect();
            let name = crate::error::shown_key(name);
            Error::new(ErrorKind::InvalidArgument, format!("{name} is not an eviction policy"))
                .remedy(format!("choose one of: {}", known.join(", ")))
        })
    }
}

impl Default for PolicyKind {
    fn default() -> Self {
        POLICIES[0]
    }
}

impl FromStr for PolicyKind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::named(name)
    }
}

impl PartialEq for PolicyKind {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for PolicyKind {}

impl fmt::Debug for PolicyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PolicyKind({})", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_is_found_by_its_own_name() {
        for kind in POLICIES {
            assert_eq!(PolicyKind::named(kind.name).unwrap(), *kind);
            assert!(!kind.description.is_empty());
        }
        assert_eq!(PolicyKind::default(), PolicyKind::W_TINYLFU);
    }

    #[test]
    fn an_unknown_name_is_an_error_that_lists_the_known_ones() {
        let error = "lru2".parse::<PolicyKind>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert_eq!(
            error.to_string(),
            "\"lru2\" is not an eviction policy; choose one of: w-tinylfu, s3-fifo, lru, fifo"
        );
    }
}
