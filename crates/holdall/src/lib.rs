//! holdall keeps objects: on disk as plain files, in memory as a bounded cache, in both at once.

pub mod cache;
pub mod clock;
pub mod error;

pub use error::{Error, ErrorKind, Result};
