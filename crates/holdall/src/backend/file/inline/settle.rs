//! Ending what dead writers left half done: of a file and an inline value the older goes.

use std::collections::HashMap;

use super::super::open::{Live, Opened};
use super::super::scan::Seen;
use crate::error::{ErrorKind, Result};
use crate::index::Index as _;
use crate::key::Key;

/// How many rows are read at a time.
const BATCH: usize = 2_000;

impl Opened {
    /// Compares the files that a scan has found, which holds every lock, with the inline values;
    /// answers whether that could be done. A database that cannot be read keeps nobody from the
    /// files.
    pub(crate) fn settle_inline(
        &self,
        live: &Live,
        files: &mut HashMap<Key, Seen>,
    ) -> Result<bool> {
        if !live.clock.has_inline() || !live.coherent {
            return Ok(true);
        }
        let mut after: Option<String> = None;
        let mut is_settled = true;
        loop {
            let page = live.inline.ask(|values| values.page("", after.as_deref(), BATCH));
            let page = match page {
                Ok(page) => page,
                Err(error) if error.kind() == ErrorKind::Busy => return Err(error),
                Err(error) => {
                    tracing::warn!("the inline values were not compared with the files: {error}");
                    return Ok(false);
                }
            };
            let Some(last) = page.last() else { return Ok(is_settled) };
            after = Some(last.key.clone());
            let mut changes = Vec::new();
            for row in page {
                live.clock.raise_generation(row.generation);
                let Ok(key) = Key::new(&row.key) else { continue };
                match files.get(&key) {
                    Some(file) if file.record.generation > row.generation => {
                        changes.push(key);
                    }
                    Some(file) => {
                        self.remove_outdated(file);
                        files.remove(&key);
                    }
                    None => {}
                }
            }
            for removed in live.inline.remove(&changes.iter().collect::<Vec<_>>()) {
                match removed {
                    Err(error) if error.kind() == ErrorKind::Corrupt => {
                        tracing::warn!("an outdated inline value was not removed: {error}");
                        is_settled = false;
                    }
                    removed => removed?,
                }
            }
        }
    }
}
