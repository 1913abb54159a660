//! Listings of files and inline values as one.

use std::cell::Cell;
use std::cmp::Ordering;

use super::super::open::Opened;
use super::super::write::Terms;
use crate::error::{ErrorKind, Result};
use crate::index::{Index, Row, Totals};
use crate::key::KeyPage;
use crate::sync::thread;

/// How often both are asked again because a value has moved from one to the other meanwhile.
const RETRIES: usize = 16;

/// Rows of both, in order.
pub(crate) struct Page {
    pub(crate) rows: Vec<Row>,
    /// There are no more behind it.
    pub(crate) is_last: bool,
}

/// By key.
pub(crate) fn by_key(one: &Row, other: &Row) -> Ordering {
    one.key.cmp(&other.key)
}

/// By the end of their lives, and then by key.
pub(crate) fn by_end(one: &Row, other: &Row) -> Ordering {
    (one.expires_at, &one.key).cmp(&(other.expires_at, &other.key))
}

impl Opened {
    /// Asks the index, filled if it is in doubt, and the inline values for a page of `limit` rows,
    /// which both give in `order`.
    pub(crate) fn page(
        &self,
        terms: Terms<'_>,
        limit: usize,
        order: fn(&Row, &Row) -> Ordering,
        question: impl Fn(&dyn Index) -> Result<Vec<Row>>,
    ) -> Result<Page> {
        let (files, inline) = self.both(terms, false, question)?;
        Ok(merge(files, inline, limit, order))
    }

    /// As `page`, of keys alone.
    pub(crate) fn keys(
        &self,
        terms: Terms<'_>,
        limit: usize,
        question: impl Fn(&dyn Index) -> Result<KeyPage>,
    ) -> Result<KeyPage> {
        let (files, inline) = self.both(terms, false, question)?;
        Ok(merge_keys(files, inline, limit))
    }

    /// What files and inline values are together.
    pub(crate) fn totals(&self, terms: Terms<'_>) -> Result<(u64, u64)> {
        let (files, inline): (Totals, Totals) = self.both(terms, true, |index| index.totals())?;
        let size = files.total_size.saturating_add(inline.total_size);
        Ok((files.entries + inline.entries, size))
    }

    /// Asks both without a move between the two questions, in which a value could be missed; with
    /// `once`, at a moment at which none is in both.
    ///
    /// An index that turns out to be damaged is filled anew and asked once more: the files are whole.
    fn both<T: Default>(
        &self,
        terms: Terms<'_>,
        once: bool,
        question: impl Fn(&dyn Index) -> Result<T>,
    ) -> Result<(T, T)> {
        let is_index_damaged = Cell::new(false);
        match self.both_as_they_are(terms, once, &question, &is_index_damaged) {
            // For inline values that are damaged another scan would be in vain.
            Err(error) if is_index_damaged.get() => {
                tracing::warn!("the index is damaged: {error}");
                self.both_as_they_are(terms, once, &question, &is_index_damaged)
            }
            answers => answers,
        }
    }

    fn both_as_they_are<T: Default>(
        &self,
        terms: Terms<'_>,
        once: bool,
        question: &impl Fn(&dyn Index) -> Result<T>,
        is_index_damaged: &Cell<bool>,
    ) -> Result<(T, T)> {
        let apart = self.ensure_index(terms)?;
        let live = self.live()?;
        if let Some(apart) = apart {
            let files = question(&apart.rows)?;
            let has_inline = live.clock.has_inline();
            let inline = has_inline.then(|| live.inline.ask(|values| question(values)));
            return Ok((files, inline.transpose()?.unwrap_or_default()));
        }
        let ask_files = || {
            let files = live.catalog.ask(&live.clock, |index| question(index));
            let is_damage = files.as_ref().is_err_and(|error| error.kind() == ErrorKind::Corrupt);
            is_index_damaged.set(is_damage);
            files
        };
        if !live.clock.has_inline() {
            let files = ask_files()?;
            // One that came first may have been the first of all.
            if !live.clock.has_inline() {
                return Ok((files, T::default()));
            }
        }
        let ask = || Ok((ask_files()?, live.inline.ask(|values| question(values))?));
        for _ in 0..RETRIES {
            let (before, is_moving) = live.clock.moves();
            if once && is_moving {
                thread::yield_now();
                continue;
            }
            let answers = ask()?;
            if live.clock.moves().0 == before {
                return Ok(answers);
            }
        }
        let _all = live.locks.lock_all(terms.lock_timeout)?;
        ask()
    }
}

/// The first keys of two pages. What a full page does not reach is not among so many.
fn merge_keys(files: KeyPage, inline: KeyPage, limit: usize) -> KeyPage {
    if inline.is_empty() {
        return files;
    }
    let (mut files, mut inline) = (files.iter().peekable(), inline.iter().peekable());
    let next = || match (files.peek(), inline.peek()) {
        (Some(one), Some(other)) if one == other => {
            files.next();
            inline.next()
        }
        (Some(one), Some(other)) if other < one => inline.next(),
        (None, _) => inline.next(),
        _ => files.next(),
    };
    std::iter::from_fn(next).take(limit).collect()
}

fn merge(
    files: Vec<Row>,
    inline: Vec<Row>,
    limit: usize,
    order: fn(&Row, &Row) -> Ordering,
) -> Page {
    if inline.is_empty() || files.is_empty() {
        let rows = if inline.is_empty() { files } else { inline };
        return Page { is_last: rows.len() < limit, rows };
    }
    let is_last = files.len() < limit && inline.len() < limit;
    // Behind the end of a full page there may be more of its kind.
    let ends: Vec<Row> = [&files, &inline]
        .into_iter()
        .filter(|rows| rows.len() >= limit)
        .filter_map(|rows| rows.last().cloned())
        .collect();
    let mut rows = files;
    rows.extend(inline);
    rows.retain(|row| ends.iter().all(|end| order(row, end) != Ordering::Greater));
    // Of two with one key the newer comes first and stays.
    rows.sort_by(|one, other| {
        order(one, other).then_with(|| other.generation.cmp(&one.generation))
    });
    rows.dedup_by(|later, earlier| later.key == earlier.key);
    Page { rows, is_last }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::file::{FileBackend, FileOptions};
    use crate::backend::{Backend as _, Part, Put};
    use crate::error::Error;
    use crate::format::Format;
    use crate::key::Key;

    #[test]
    fn damaged_inline_values_have_no_index_filled_anew_whoever_wants_that_meanwhile() {
        let dir = tempfile::tempdir().expect("a folder");
        let options = FileOptions { inline_below: 100, ..FileOptions::default() };
        let backend = FileBackend::new(dir.path(), options);
        let part = Part::Stable(bytes::Bytes::from_static(b"1"));
        let key = Key::new("k").expect("a valid key");
        backend.put(Put::new(key, Format::Json, vec![part])).expect("put");
        backend.totals().expect("filled");
        let opened = backend.writable().expect("open");
        let clock = &opened.live().expect("writable").clock;
        let (before, asked) = (clock.epoch(), Cell::new(0));
        let answer = opened.both(backend.terms(), true, |index| {
            asked.set(asked.get() + 1);
            if asked.get() == 1 {
                return index.totals();
            }
            clock.set_diverged(true);
            Err(Error::new(ErrorKind::Corrupt, "the inline values are damaged"))
        });
        assert_eq!(answer.expect_err("damaged").kind(), ErrorKind::Corrupt);
        assert_eq!((asked.get(), clock.epoch()), (2, before));
    }
}
