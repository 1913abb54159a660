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

/// How far files and inline values were compared.
#[derive(Clone, Copy, PartialEq, Eq)]
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
        let (mut is_settled, mut is_now) = (true, true);
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
            let Some(last) = page.last() else {
                return Ok(match (is_settled, is_now) {
                    (true, true) => Settled::Whole,
                    (true, false) => Settled::NotNow,
                    (false, _) => Settled::Never,
                });
            };
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
            match self.settle_files(live, &older_files) {
                Ok(all_gone) => is_now &= all_gone,
                Err(error) => {
                    tracing::warn!("outdated files were not removed: {error}");
                    is_settled = false;
                }
            }
            is_settled &= self.settle_values(live, &older_values)?;
        }
    }

    /// Removes files that are older than the inline values of their keys, which may not be on the
    /// disk yet; answers whether all are gone.
    ///
    /// # Errors
    /// If the values could not be flushed.
    fn settle_files(&self, live: &Live, older: &[Seen]) -> Result<bool> {
        if !older.is_empty() {
            live.inline.flush()?;
        }
        let left = older.iter().filter(|file| !self.remove_outdated(file)).count();
        Ok(left == 0)
    }

    /// Removes inline values that are older than the files of their keys, which may not be on the
    /// disk yet; answers whether that could be done.
    fn settle_values(&self, live: &Live, older: &[(Key, String)]) -> Result<bool> {
        let paths: Vec<&str> = older.iter().map(|(_, path)| path.as_str()).collect();
        let flushed: Vec<Result<()>> = paths.iter().map(|path| self.flush_file(path)).collect();
        let named = self.flushed.flush_names(self.base.as_fd(), &self.path, &paths);
        let mut is_settled = true;
        let mut gone = Vec::with_capacity(older.len());
        for ((key, _), flushed) in
            older.iter().zip(flushed.into_iter().zip(named).map(|(file, name)| file.and(name)))
        {
            match flushed {
                Ok(()) => gone.push(key),
                Err(error) => {
                    tracing::warn!("an outdated inline value was not removed: {error}");
                    is_settled = false;
                }
            }
        }
        for removed in live.inline.remove(&gone) {
            match removed {
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    tracing::warn!("an outdated inline value was not removed: {error}");
                    is_settled = false;
                }
                removed => removed?,
            }
        }
        Ok(is_settled)
    }

    fn flush_file(&self, path: &str) -> Result<()> {
        let flushed = match open_file(self.base.as_fd(), path) {
            Ok(Some(file)) => flush(file.as_fd()),
            Ok(None) => Err(Errno::NOENT),
            Err(error) => Err(error),
        };
        flushed.map_err(|error| Error::io(error.into(), self.path.join(path)))
    }
}
