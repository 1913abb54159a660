//! A folder of this process alone, for what must not lie on a network file system.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::fork;

/// A folder in the system's temporary directory, 0700, removed when dropped.
pub(crate) struct PrivateFolder {
    path: PathBuf,
    /// A forked child must not remove its parent's.
    made_in: u64,
}

impl PrivateFolder {
    /// Makes one; `seed` is random.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Io`] if there is no room or no right to make it.
    pub(crate) fn new(seed: u64) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("holdall-{seed:016x}"));
        // It fails if somebody has made one of that name.
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| Error::io(error, &path))?;
        Ok(Self { path, made_in: fork::generation() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        if self.made_in == fork::generation()
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            tracing::debug!("a temporary folder was not removed: {error}");
        }
    }
}
