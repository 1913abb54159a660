//! Values that get another key.

use super::{Blob, BlobManager, BlobMetadata, SaveOptions, Trust, missing, named};
use crate::backend::Condition;
use crate::cancel;
use crate::error::{Error, ErrorKind, Result, shown_key};
use crate::key::Key;

impl BlobManager {
    /// Copies a value to another key. With `overwrite` a value there is replaced.
    ///
    /// A value of a signed format is verified first, whatever this manager trusts, and signed anew
    /// for its new key.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::Conflict`] if the target has a value,
    /// [`ErrorKind::Untrusted`], [`ErrorKind::Corrupt`], [`ErrorKind::Io`].
    pub fn copy(&self, source: &str, target: &str, overwrite: bool) -> Result<BlobMetadata> {
        named(self.copy_value(source, target, overwrite), "copy", source).map(|(copied, _)| copied)
    }

    fn copy_value(
        &self,
        source: &str,
        target: &str,
        overwrite: bool,
    ) -> Result<(BlobMetadata, String)> {
        Key::new(target)?;
        // The copy is signed: who trusts all must not vouch for a stranger's pickle by that.
        let found = self.load_trusting(Trust::Own, source, None)?;
        let Blob { payload, metadata } = found.ok_or_else(missing)?;
        let options = SaveOptions {
            condition: if overwrite { Condition::Any } else { Condition::Absent },
            ..metadata.save_options(&self.options.clock)
        };
        let format = metadata.record().format;
        let copied = self.save_parts(target, format, vec![payload.into()], options);
        let copied = copied.map_err(|error| match error.kind() {
            ErrorKind::Conflict if !overwrite => {
                let target = shown_key(target);
                Error::new(ErrorKind::Conflict, format!("there is a value under {target} already"))
                    .remedy("choose another key, or overwrite it")
            }
            _ => error,
        })?;
        Ok((copied, metadata.etag))
    }

    /// Gives a value another key. Readers may see it under both for a moment, and under neither
    /// never; a crash in between leaves both. With `overwrite` a value there is replaced.
    ///
    /// # Errors
    /// As for [`BlobManager::copy`].
    pub fn rename(&self, source: &str, target: &str, overwrite: bool) -> Result<BlobMetadata> {
        if source == target {
            return self.metadata(source);
        }
        let copy = |overwrite| named(self.copy_value(source, target, overwrite), "rename", source);
        let (mut copied, mut etag) = copy(overwrite)?;
        // Once the target is there, the source has to go.
        cancel::shielded(|| {
            loop {
                match self.delete(source, Some(&etag)) {
                    // It was saved anew meanwhile: the target follows.
                    Err(error) if error.kind() == ErrorKind::Conflict && self.exists(source)? => {
                        (copied, etag) = copy(true)?;
                    }
                    Err(error) if error.kind() != ErrorKind::Conflict => return Err(error),
                    _ => return Ok(copied),
                }
            }
        })
    }
}
