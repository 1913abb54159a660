//! Values that are read and written piece by piece.

use std::fmt;

use super::{Placed, Put};
use crate::error::Result;

/// The content of one value as it was when it was opened; later writes to its key do not change it.
pub trait Reading: Send + Sync + fmt::Debug {
    /// Fills `buffer` from `position` on; answers how many bytes that were, 0 at the end and
    /// behind it. Nothing is checked.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Io`].
    fn read_at(&self, buffer: &mut [u8], position: u64) -> Result<usize>;
}

/// A value that is being written and that nobody sees yet. Dropped, it leaves nothing behind.
pub trait Writing: Send + fmt::Debug {
    /// Appends bytes.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Io`]; what was written before is still there.
    fn write(&mut self, piece: &[u8]) -> Result<()>;

    /// Places what was written under the key and with the record of `put`, whose parts are
    /// ignored; whole or not at all.
    ///
    /// # Errors
    /// As for [`super::Backend::put`].
    fn finish(self: Box<Self>, put: Put) -> Result<Placed>;
}

/// A value that is in memory as a whole.
impl Reading for Vec<u8> {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> Result<usize> {
        let start = usize::try_from(position).unwrap_or(usize::MAX).min(self.len());
        let count = buffer.len().min(self.len() - start);
        buffer[..count].copy_from_slice(&self[start..start + count]);
        Ok(count)
    }
}
