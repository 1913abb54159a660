//! What each byte of a store's lock file stands for, behind the stripes.

use super::stripes::STRIPES;

/// Held by the one process that opens the store.
pub(crate) const OPENING: u64 = STRIPES as u64;
/// Shared by all processes that have the store open.
pub(crate) const USERS: u64 = OPENING + 1;
/// Held by the one process that cleans the store up.
pub(crate) const CLEANING: u64 = USERS + 1;
/// Held by the one process that brings the values to another format.
pub(crate) const MIGRATING: u64 = CLEANING + 1;
