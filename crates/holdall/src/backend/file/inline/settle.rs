//! Ending what dead writers left half done: of a file and an inline value the older goes, as soon as
//! the newer one is on the disk.

use std::collections::HashMap;
use std::os::fd::AsFd as _;

use rustix::io::Errno;

use super::super::dir::open_file;
use super::super::open::{Live, Opened};
use super::super::scan::Seen;
use crate::error::{Error, ErrorKind, Result};
use crate::flush::flush;
use crate::index::Index as _;
use crate::key::Key;

/// How many rows are read at a time.
const BATCH: usize = 2_000;

/// How far files and inline values were compared; the later, the worse.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Settled {
    /// No key is in two places.
    Whole,
    /// Something was in the way that may be gone the next time.
    NotNow,
    /// Another scan would meet the same damage.
    Never,
}

impl Opened {
    /// Compares the files that a scan has found, which holds every lock, with the inline values. A
    /// database that cannot be read keeps nobody from the files.
    pub(crate) fn settle_inline(
        &self,
        live: &Live,
        files: &mut HashMap<Key, Seen>,
    ) -> Result<Settled> {
        if !live.clock.has_inline() || !live.coherent {
            return Ok(Settled::Whole);
        }
        let mut after: Option<String> = None;
        let mut settled = Settled::Whole;
        loop {
            let page = live.inline.ask(|values| values.page("", after.as_deref(), BATCH));
            let page = match page {
                Ok(page) => page,
                Err(error) if error.kind() == ErrorKind::Busy => return Err(error),
                Err(error) => {
                    tracing::warn!("the inline values were not compared with the files: {error}");
                    let is_damage = error.kind() == ErrorKind::Corrupt;
                    return Ok(if is_damage { Settled::Never } else { Settled::NotNow });
                }
            };
            let Some(last) = page.last() else { return Ok(settled) };
            after = Some(last.key.clone());
            let mut older_values: Vec<(Key, String)> = Vec::new();
            let mut older_files: Vec<Seen> = Vec::new();
            for row in page {
                live.clock.raise_generation(row.generation);
                let Ok(key) = Key::new(&row.key) else { continue };
                match files.get(&key) {
                    Some(file) if file.record.generation > row.generation => {
                        older_values.push((key, file.path.clone()));
                    }
                    Some(_) => older_files.extend(files.remove(&key)),
                    None => {}
                }
            }
            settled = settled.max(self.settle_files(live, &older_files));
            settled = settled.max(self.settle_values(live, &older_values)?);
        }
    }

    /// Removes files that are older than the inline values of their keys, which may not be on the
    /// disk yet.
    fn settle_files(&self, live: &Live, older: &[Seen]) -> Settled {
        if !older.is_empty()
            && let Err(error) = live.inline.flush()
        {
            tracing::warn!("outdated files were not removed: {error}");
            return Settled::Never;
        }
        let left = older.iter().filter(|file| !self.remove_outdated(file)).count();
        if left == 0 { Settled::Whole } else { Settled::NotNow }
    }

    /// Removes inline values that are older than the files of their keys, which may not be on the
    /// disk yet.
    fn settle_values(&self, live: &Live, older: &[(Key, String)]) -> Result<Settled> {
        let paths: Vec<&str> = older.iter().map(|(_, path)| path.as_str()).collect();
        let flushed: Vec<_> = paths.iter().map(|path| self.flush_file(path)).collect();
        let named = self.flushed.flush_names(self.base.as_fd(), &self.path, &paths);
        let mut settled = Settled::Whole;
        let mut gone = Vec::with_capacity(older.len());
        let mut stays = |error: Error, how| {
            tracing::warn!("an outdated inline value was not removed: {error}");
            settled = settled.max(how);
        };
        for ((key, _), (flushed, named)) in older.iter().zip(flushed.into_iter().zip(named)) {
            match (flushed, named) {
                (Ok(()), Ok(())) => gone.push(key),
                (Err((error, how)), Ok(())) => stays(error, how),
                // Whatever the file itself comes to the next time.
                (Err((error, _)), Err(_)) | (Ok(()), Err(error)) => stays(error, Settled::Never),
            }
        }
        for removed in live.inline.remove(&gone) {
            match removed {
                Err(error) if error.kind() == ErrorKind::Corrupt => stays(error, Settled::Never),
                removed => removed?,
            }
        }
        Ok(settled)
    }

    /// What fails to open may open the next time; what could not be flushed is never trusted again.
    fn flush_file(&self, path: &str) -> Result<(), (Error, Settled)> {
        let at = |error: Errno| Error::io(error.into(), self.path.join(path));
        let file = open_file(self.base.as_fd(), path).and_then(|file| file.ok_or(Errno::NOENT));
        let file = file.map_err(|error| (at(error), Settled::NotNow))?;
        flush(file.as_fd()).map_err(|error| (at(error), Settled::Never))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::file::{FileBackend, FileOptions};
    use crate::flush::tests_support::fail_flush;

    #[test]
    fn of_a_file_that_did_not_open_and_a_name_that_could_not_be_flushed_the_worse_counts() {
        let dir = tempfile::tempdir().expect("a folder");
        let backend = FileBackend::new(dir.path(), FileOptions::default());
        let opened = backend.writable().expect("made");
        let live = opened.live().expect("writable");
        let older = [(Key::new("k").expect("a valid key"), "k.json".to_owned())];
        assert!(opened.settle_values(live, &older).expect("asked") == Settled::NotNow);
        fail_flush(0);
        assert!(opened.settle_values(live, &older).expect("asked") == Settled::Never);
    }
}
