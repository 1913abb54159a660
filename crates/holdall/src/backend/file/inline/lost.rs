//! A database of inline values that was there and is gone.

use rustix::fs::{AtFlags, statat};
use rustix::io::Errno;

use super::{FOLDER, Inline, lost};
use crate::error::{Error, ErrorKind, Result};
use crate::index::VALUES_FILE;

impl Inline {
    /// Whether somebody has removed the database. It is never taken away by us: a repair exchanges it
    /// for another.
    pub(crate) fn is_gone(&self) -> bool {
        // The note comes after the file.
        self.coherent && self.clock.had_database() && {
            let name = format!("{FOLDER}/{VALUES_FILE}");
            let found = statat(&self.own, name, AtFlags::SYMLINK_NOFOLLOW);
            matches!(found, Err(Errno::NOENT))
        }
    }

    /// Refuses to make an empty database in the place of one that is gone: its values would be misses,
    /// and nobody would ever know.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if it is gone.
    pub(super) fn refuse_gone(&self) -> Result<()> {
        if !self.is_gone() {
            return Ok(());
        }
        let cause = "the database of inline values is gone";
        Err(lost(Error::new(ErrorKind::Corrupt, cause).at(self.path.join(VALUES_FILE))))
    }
}
