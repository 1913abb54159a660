//! Locks between processes.

pub(crate) mod byte;
pub(crate) mod ofd;
pub(crate) mod stripes;
pub(crate) mod wait;
