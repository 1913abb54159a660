//! holdall keeps objects: on disk as plain files, in memory as a bounded cache, in both at once.

pub mod clock;
pub mod config;
pub mod error;
pub mod format;
pub mod key;
pub mod signing;

pub use error::{Error, ErrorKind, Result};
