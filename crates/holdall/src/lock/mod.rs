//! Locks between processes.

pub(crate) mod ofd;
