//! Large values, read straight to where they are wanted.

use super::watch::Operation;
use super::{Blob, BlobManager, BlobReader, Trust, fits, named, wrong_format};
use crate::backend::Found;
use crate::blocks::LONG;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Codec, Format};
use crate::key::Key;

/// A value that was looked for: a small one is there, a large one is open.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one of it, and it is moved once")]
pub enum Loaded {
    /// Checked, as by [`BlobManager::load_bytes`].
    Whole(Blob),
    /// To be read by [`BlobManager::fill`].
    Large(BlobReader),
}

impl BlobManager {
    /// As [`BlobManager::try_load_bytes`], but a value of `large` bytes or more may be left open, so
    /// that it can be read into memory of the caller's.
    ///
    /// # Errors
    /// As there.
    pub fn load_or_open(
        &self,
        key: &str,
        format: Option<Format>,
        large: u64,
    ) -> Result<Option<Loaded>> {
        let look = || {
            let key = Key::new(key)?;
            match self.backend().get_or_open(&key, format, large)? {
                None => Ok(None),
                Some(Found::Whole(object)) => self
                    .unsealed(self.options.trust, key, format, object)
                    .map(Loaded::Whole)
                    .map(Some),
                Some(Found::Open(record, _)) if format.is_some_and(|one| !fits(one, &record)) => {
                    Err(wrong_format(format.unwrap_or(record.format), &record))
                }
                // It becomes another content, so there is nothing to be read straight into.
                Some(Found::Open(record, _)) if record.codec != Codec::None => {
                    let Some(object) = self.backend().get(&key, format)? else { return Ok(None) };
                    self.unsealed(self.options.trust, key, format, object)
                        .map(Loaded::Whole)
                        .map(Some)
                }
                Some(Found::Open(record, reading)) => {
                    self.cleaning.loaded(&key, &record);
                    let most = self.options.max_value_bytes;
                    let reader = BlobReader::new(key, record, reading, most);
                    Ok(Some(Loaded::Large(reader)))
                }
            }
        };
        // One that is left open is counted when it is filled.
        let begun = self.begin(Operation::Load);
        let found = look();
        if !matches!(found, Ok(Some(Loaded::Large(_)))) {
            let bytes = found.as_ref().map(|found| match found {
                Some(Loaded::Whole(blob)) => blob.payload.len() as u64,
                _ => 0,
            });
            self.end(begun, Some(key), bytes.ok());
        }
        self.tolerated(named(found, "load", key))
    }

    /// Reads a value that was left open, as long as `memory`, and checks it: afterwards it is what
    /// was saved, and for signed formats verified.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`], [`ErrorKind::Untrusted`], [`ErrorKind::Io`]; then what is in
    /// `memory` means nothing. [`BlobManager::load_bytes`] says whether the file was damaged or
    /// edited.
    pub fn fill(&self, reader: &mut BlobReader, memory: &mut [u8]) -> Result<()> {
        let key = reader.metadata().key.clone();
        if memory.len() as u64 != reader.len() {
            let error = Error::new(ErrorKind::InvalidArgument, "the memory has another length");
            return named(Err(error), "load", &key);
        }
        let (format, tag) = {
            let record = reader.metadata().record();
            (record.format, record.signature)
        };
        let is_verified = format.is_signed() && self.options.trust == Trust::Own;
        let begun = self.begin(Operation::Load);
        let length = memory.len() as u64;
        let filled = Key::new(&key).and_then(|key| {
            let backend = &**self.backend();
            if is_verified
                && memory.len() >= LONG as usize
                && let Some(tag) = &tag
                && let Some(seal) = self.signer.seal_of(backend, &key, format, tag)?
                && reader.fill_signed(memory, &seal, tag)?
            {
                return Ok(());
            }
            // What is not signed, or not as it should be: then the checksum tells damage from
            // distrust.
            reader.seek_to(0);
            reader.fill(memory)?;
            if is_verified {
                self.signer.check(backend, &key, (format, Codec::None), memory, tag)?;
            }
            Ok(())
        });
        self.end(begun, Some(&key), filled.as_ref().ok().map(|()| length));
        named(filled, "load", &key)
    }
}
