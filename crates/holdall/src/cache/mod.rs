//! The bounded cache in memory: entries with a time to live, evicted by a policy.
//!
//! [`Cache`] is the mechanism: no lock, no clock, no traits asked of keys. [`CacheManager`] is the
//! cache that Rust programs use: string keys, one lock, its own time. Whoever builds another face
//! over [`Cache`] gets what expired freed by implementing [`housekeeping::Sweep`].
//!
//! - `list`, `slab`, `wheel`: the parts, all constant time per entry.
//! - `policy`: who has to go when there is no room.
//! - `single_flight`: one load per missing key.

mod batch;
mod core;
#[cfg(test)]
mod core_tests;
pub mod housekeeping;
mod list;
mod load;
mod manager;
#[cfg(test)]
mod manager_tests;
mod options;
pub mod policy;
mod removed;
pub mod single_flight;
mod slab;
mod wheel;

pub use self::core::{Cache, EntryInfo, NewEntry};
pub use manager::CacheManager;
pub use options::{CacheLimits, CacheOptions, OnEvict, Weigher};
pub use policy::PolicyKind;
pub use removed::{CacheStats, Cause, Cleared, InsertOutcome, Removed};
