//! Small files of the store's own: keys that are too long for a stamp, and who signs.

use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, linkat};
use rustix::io::Errno;

use super::dir::{open_file, open_folder, read_small};
use super::layout::{OWN, own_folder};
use super::open::Live;
use crate::error::{Error, Result};
use crate::flush::flush;
use crate::key::Key;

const SIGNER: &str = "signer";

impl Live {
    /// The fingerprint of the key that signs here.
    pub(crate) fn signer(&self) -> Result<Option<String>> {
        let text = read_small(self.own.as_fd(), SIGNER, 64)
            .map_err(|error| Error::io(error, format!("{OWN}/{SIGNER}")))?;
        Ok(text.and_then(|text| String::from_utf8(text).ok()).map(|text| text.trim().to_owned()))
    }

    /// Notes who signs, unless that is known; of two processes at once the first one counts.
    pub(crate) fn note_signer(&self, fingerprint: &str) -> Result<()> {
        if self.signer()?.is_some() {
            return Ok(());
        }
        self.add(&self.own, SIGNER, format!("{fingerprint}\n").as_bytes())
    }

    /// Notes who signs from now on; a reader sees the old or the new one.
    pub(crate) fn replace_signer(&self, fingerprint: &str) -> Result<()> {
        let io = |error: std::io::Error| Error::io(error, format!("{OWN}/{SIGNER}"));
        // What was signed anew must be there when the old key is thrown away.
        rustix::fs::syncfs(&self.own).map_err(|error| io(error.into()))?;
        let mut temp = self.temp()?;
        let mut file = std::fs::File::from(temp.file().try_clone_to_owned().map_err(io)?);
        let written = file.write_all(format!("{fingerprint}\n").as_bytes());
        written.and_then(|()| file.sync_all()).map_err(io)?;
        temp.place(self.own.as_fd(), SIGNER).map_err(|error| io(error.into()))?;
        flush(self.own.as_fd()).map_err(|error| io(error.into()))
    }

    /// Keeps the text of a key that neither a name nor a stamp can hold.
    pub(crate) fn keep_long_key(&self, key: &Key, name: &str) -> Result<()> {
        let folder = own_folder(&self.own, "keys")?;
        let io = |error: Errno| Error::io(error.into(), format!("{OWN}/keys"));
        if open_file(folder.as_fd(), digest(name)).map_err(io)?.is_some() {
            // By somebody who may not have flushed its name yet.
            return flush(folder.as_fd()).map_err(io);
        }
        self.add(&folder, digest(name), key.as_str().as_bytes())
    }

    /// Adds a small file, flushed, unless it is there already.
    fn add(&self, folder: &OwnedFd, name: &str, content: &[u8]) -> Result<()> {
        let io = |error: std::io::Error| Error::io(error, format!("{OWN}/{name}"));
        let temp = self.temp()?;
        let mut file = std::fs::File::from(temp.file().try_clone_to_owned().map_err(io)?);
        file.write_all(content).and_then(|()| file.sync_all()).map_err(io)?;
        match linkat(&self.temporary, temp.name(), folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(io(error.into())),
        }
        flush(folder.as_fd()).map_err(|error| io(error.into()))
    }

    /// The text of a long key.
    pub(crate) fn long_key(&self, name: &str) -> Option<String> {
        const LONGEST: u64 = 64 * 1_024 * 1_024;
        let folder: OwnedFd = open_folder(self.own.as_fd(), "keys").ok()?;
        let text = read_small(folder.as_fd(), digest(name), LONGEST).ok()??;
        String::from_utf8(text).ok()
    }
}

/// The part of a hashed name that is the hash.
fn digest(name: &str) -> &str {
    name.rsplit_once("%=").map_or(name, |(_, digest)| digest)
}
