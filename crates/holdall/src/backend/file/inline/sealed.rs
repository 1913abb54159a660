//! Inline values of a store that can only be read, while others may write to it.
//!
//! Nothing is remembered of it: its first inline value may be saved at any time.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::super::coherence::{NOTES, notes_database};
use super::super::dir::{open_beneath, open_file};
use super::super::layout::OWN;
use super::super::open::Opened;
use super::{FOLDER, lost};
use crate::error::Result;
use crate::index::{Row, SqliteIndex, VALUES_FILE};
use crate::key::Key;

impl Opened {
    /// What lies inline under a key.
    pub(super) fn sealed_value(&self, key: &Key) -> Result<Option<(Row, Vec<u8>)>> {
        let folder = self.path.join(OWN).join(FOLDER);
        SqliteIndex::sealed_value(&folder, key.as_str()).map_err(lost)
    }

    /// Whether there may be inline values at this moment; a database that is gone is asked for too.
    /// Without one a look at the disk, and a read of the clock file.
    pub(super) fn may_have_sealed(&self) -> bool {
        let database = format!("{OWN}/{FOLDER}/{VALUES_FILE}");
        match open_beneath(self.base.as_fd(), &database, OFlags::PATH) {
            // A folder alone is what an opening leaves that finds the disk full.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => self.had_sealed_database(),
            // Who may not even enter the store's own folder reads its files alone, as ever.
            Err(Errno::ACCESS) if self.store.is_none() => false,
            // Where it cannot be looked at, a value must not seem to be missing.
            _ => true,
        }
    }

    /// Whether the clock file says that there was a database.
    fn had_sealed_database(&self) -> bool {
        let Ok(Some(clock)) = open_file(self.base.as_fd(), &format!("{OWN}/clock")) else {
            return false;
        };
        let mut head = [0; NOTES];
        File::from(clock).read_exact_at(&mut head, 0).is_ok() && notes_database(&head)
    }
}
