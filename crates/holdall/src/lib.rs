//! holdall keeps objects: on disk as plain files, in memory as a bounded cache, in both at once.

pub mod cache;
pub mod clock;
pub mod error;
#[allow(dead_code, unused_imports, reason = "used by the parts that are still to come")]
pub(crate) mod index;
#[allow(dead_code, reason = "used by the parts that are still to come")]
pub(crate) mod lock;

pub use error::{Error, ErrorKind, Result};
