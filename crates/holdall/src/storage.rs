//! `StorageManager`: a store with memory over it.

mod tier;

pub use tier::{Gone, Held, Hit, Seen, Tier};
