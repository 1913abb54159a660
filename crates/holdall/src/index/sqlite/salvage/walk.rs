//! The ways to the rows of a damaged database. None takes longer than its size allows, whatever
//! numbers and ways its damaged pages claim.

mod keyed;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior};

use super::super::super::{Kept, Row};
use super::super::read::{self, Counters};
use super::super::{Fault, fault, write};
use super::{IsWhole, unless_damaged};
use crate::error::Result;

/// How many rows are read before they are written.
const BATCH: usize = 512;

/// No page of 4 KiB has more rows.
const ROWS_OF_A_PAGE: u64 = 512;

const FORWARD: &str =
    "SELECT id, key, row, content FROM entry WHERE id BETWEEN ?1 AND ?2 ORDER BY id";
const BACKWARD: &str =
    "SELECT id, key, row, content FROM entry WHERE id BETWEEN ?1 AND ?2 ORDER BY id DESC";

pub(super) struct Salvage<'a> {
    pub(super) source: Connection,
    /// The same database, of which nothing damaged is believed: asked for what the index of the keys has.
    pub(super) judge: Option<Connection>,
    pub(super) target: &'a mut Connection,
    is_whole: IsWhole<'a>,
    scope: Scope,
    /// Rows that the index of the keys does not have are taken too.
    takes_unlisted: bool,
    /// How many of those were left, and how many of them it has under another number.
    unlisted: u64,
    elsewhere: u64,
    /// All rows that were seen.
    walked: Numbers,
    /// How many rows may still be seen: damaged pages may lead in a circle.
    rows_left: u64,
    /// How many times damage may still be met.
    tries_left: u64,
    /// The highest number that the index of the keys has.
    highest: Option<i64>,
}

/// How many rows there are, and which, in any order.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Numbers {
    count: u64,
    sum: u64,
}

impl Numbers {
    fn and(self, id: i64) -> Self {
        let one = xxhash_rust::xxh3::xxh3_64(&id.to_le_bytes());
        Self { count: self.count + 1, sum: self.sum.wrapping_add(one) }
    }
}

/// What is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// All to which the tree leads.
    Tree,
    /// One page of rows, to which nothing may lead: only what the index of the keys has too.
    Leaf,
}

/// A value that was read.
struct Found {
    row: Row,
    bytes: Vec<u8>,
    content: Bytes,
}

/// What was read, unless damage was in the way; every other error stays one.
fn readable<T>(read: rusqlite::Result<T>) -> Result<Option<T>> {
    read.map(Some).or_else(|error| unless_damaged(fault::explain(error, Path::new("")), None))
}

impl<'a> Salvage<'a> {
    pub(super) fn new(
        source: Connection,
        target: &'a mut Connection,
        is_whole: IsWhole<'a>,
        scope: Scope,
    ) -> Result<Self, Fault> {
        let pages = match scope {
            Scope::Tree => readable(source.query_row("PRAGMA page_count", [], |row| row.get(0)))?,
            Scope::Leaf => Some(1_u32),
        };
        if pages.is_none() {
            tracing::warn!("the size of a damaged database cannot be read, nor much else of it");
        }
        let pages = u64::from(pages.unwrap_or(0));
        Ok(Self {
            source,
            judge: None,
            target,
            is_whole,
            scope,
            takes_unlisted: false,
            unlisted: 0,
            elsewhere: 0,
            walked: Numbers::default(),
            rows_left: 8 * ROWS_OF_A_PAGE * (pages + 1),
            tries_left: 256 + 16 * pages,
            highest: None,
        })
    }

    /// Copies first what a load finds, then what the index of the keys has too: a damaged tree may lead
    /// to a page that is not used, on which removed values still lie. The others follow if it is the
    /// index that is damaged. Answers whether no damage was in the way.
    pub(super) fn listed(&mut self, expected: Option<u64>) -> Result<bool, Fault> {
        let is_each_whole = self.by_key()?;
        if is_each_whole && expected == Some(read::counters(self.target)?.entries) {
            return Ok(true);
        }
        let is_sound = self.all()?;
        if self.unlisted == 0 || !self.is_index_wrong(is_sound, expected)? {
            return Ok(is_sound);
        }
        self.takes_unlisted = true;
        self.all()
    }

    /// Whether the index of the keys, where it can be read, is not the one of these rows: it is out of
    /// order, has another number of keys than there are, has the very rows that were read, under
    /// other keys, or has one wrong number. Of a page to which nothing leads any more there are more.
    fn is_index_wrong(&self, is_sound: bool, expected: Option<u64>) -> Result<bool, Fault> {
        let mut listed = Numbers::default();
        let mut read = || -> rusqlite::Result<bool> {
            let mut statement = self.source.prepare_cached(keyed::FORWARD)?;
            let mut rows = statement.query([keyed::most_of(self.rows_left)])?;
            let mut before: Option<Vec<u8>> = None;
            while let Some(columns) = rows.next()? {
                let key = columns.get_ref(0)?.as_blob().unwrap_or_default();
                if before.as_deref().is_some_and(|before| before >= key) {
                    return Ok(true);
                }
                before = Some(key.to_vec());
                listed = listed.and(columns.get(1)?);
            }
            Ok(expected.is_some_and(|expected| expected != listed.count)
                || (is_sound && listed == self.walked)
                || (is_sound
                    && expected == Some(listed.count)
                    && listed.count == self.walked.count
                    && (self.unlisted, self.elsewhere) == (1, 1)))
        };
        // What cannot be read of it tells nothing of the rest, in which a key was looked up.
        Ok(readable(read())?.unwrap_or(false))
    }

    /// Copies all that can be read, from both ends and then between; whether no damage was in the way.
    pub(super) fn all(&mut self) -> Result<bool, Fault> {
        self.walked = Numbers::default();
        (self.unlisted, self.elsewhere) = (0, 0);
        let (seen, is_damaged) = self.batch(FORWARD, i64::MIN, i64::MAX)?;
        if !is_damaged {
            return Ok(true);
        }
        let begin = seen.map_or(1, |seen| seen.saturating_add(1)).max(1);
        let (seen, _) = self.batch(BACKWARD, i64::MIN, i64::MAX)?;
        if let Some(end) = seen.map(|seen| seen.saturating_sub(1)).or(self.highest) {
            self.halves(begin, end)?;
        }
        Ok(false)
    }

    /// Reads a range in ever smaller parts, down to single rows that cannot be read; the large parts
    /// first, for a page that is lost must not use up all tries.
    fn halves(&mut self, begin: i64, end: i64) -> Result<(), Fault> {
        let mut ranges = VecDeque::from([(begin, end)]);
        while let Some((begin, end)) = ranges.pop_front() {
            if begin > end || self.tries_left == 0 {
                continue;
            }
            let (seen, is_damaged) = self.batch(FORWARD, begin, end)?;
            let rest = seen.map_or(begin, |seen| seen.saturating_add(1));
            // A damaged page may tell of numbers that nobody has asked for.
            let rest = rest.max(begin);
            if !is_damaged || rest > end || (seen.is_none() && begin == end) {
                continue;
            }
            let middle = rest + (end - rest) / 2;
            ranges.push_back((rest, middle));
            ranges.push_back((middle + 1, end));
        }
        Ok(())
    }

    /// Copies rows from `begin` to `end`, in the order of the statement; answers with the one that was
    /// seen last, and whether damage came next.
    fn batch(&mut self, sql: &str, begin: i64, end: i64) -> Result<(Option<i64>, bool), Fault> {
        crate::cancel::check()?;
        let (mut found, mut last, mut is_damaged) = (Vec::new(), None, true);
        if let Some(mut statement) = readable(self.source.prepare_cached(sql))?
            && let Some(mut rows) = readable(statement.query((begin, end)))?
        {
            while self.rows_left > 0
                && let Some(next) = readable(rows.next())?
            {
                let Some(columns) = next else {
                    is_damaged = false;
                    break;
                };
                self.rows_left -= 1;
                let Ok(id) = columns.get(0) else { break };
                last = Some(id);
                self.walked = self.walked.and(id);
                let bytes = |at| columns.get_ref(at).ok().and_then(|value| value.as_blob().ok());
                let (Some(key), Some(row), Some(content)) = (bytes(1), bytes(2), bytes(3)) else {
                    continue;
                };
                let Some(one) = whole(self.is_whole, key, row, content) else { continue };
                if !self.takes_unlisted {
                    match listed(self.judge.as_ref().unwrap_or(&self.source), key)? {
                        Some(Some(listed)) if listed == id => {}
                        // It may have had it; no page to which nothing leads is believed for that.
                        None if self.scope == Scope::Tree => {}
                        other => {
                            self.unlisted += 1;
                            self.elsewhere += u64::from(matches!(other, Some(Some(_))));
                            continue;
                        }
                    }
                }
                found.push(one);
                if found.len() >= BATCH {
                    crate::cancel::check()?;
                    keep(self.target, std::mem::take(&mut found))?;
                }
            }
        }
        if is_damaged {
            self.tries_left = self.tries_left.saturating_sub(1);
        }
        keep(self.target, found)?;
        Ok((last, is_damaged))
    }
}

/// The value that a row is, if it is whole.
fn whole(is_whole: IsWhole<'_>, key: &[u8], row: &[u8], content: &[u8]) -> Option<Found> {
    let decoded = Row::decode(key, row).ok()?;
    let content = is_whole(&decoded.key, row, content).then(|| Bytes::copy_from_slice(content))?;
    Some(Found { row: decoded, bytes: row.to_vec(), content })
}

/// The number that the index of the keys has for a key, if it has one; `None` where it cannot be read.
fn listed(source: &Connection, key: &[u8]) -> Result<Option<Option<i64>>> {
    let sql = "SELECT id FROM entry INDEXED BY entry_key WHERE key = ?1";
    let asked = source.prepare_cached(sql);
    let asked = asked.and_then(|mut sql| sql.query_row([key], |row| row.get(0)).optional());
    readable(asked)
}

fn keep(target: &mut Connection, found: Vec<Found>) -> Result<(), Fault> {
    if found.is_empty() {
        return Ok(());
    }
    let transaction = target.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut totals: Counters = read::counters(&transaction)?;
    for Found { row, bytes, content } in found {
        // It is found in more than one way, and a damaged tree may lead to a row twice.
        let old = read::get(&transaction, &row.key)?;
        if old.as_ref().is_some_and(|old| old.generation >= row.generation) {
            continue;
        }
        let kept = Arc::new(Kept { row, content, old, mends: false });
        write::keep(&transaction, &mut totals, &kept, &bytes)?;
    }
    write::store(&transaction, totals)?;
    Ok(transaction.commit()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_database_whose_size_cannot_be_asked_for_is_not_taken_for_an_empty_one() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("old.sqlite");
        let other = Connection::open(&path).expect("made");
        other.execute_batch("CREATE TABLE one (id); BEGIN EXCLUSIVE").expect("locked");
        let source = Connection::open(&path).expect("opened");
        source.busy_timeout(std::time::Duration::ZERO).expect("set");
        let mut target = Connection::open_in_memory().expect("made");
        let salvage = Salvage::new(source, &mut target, &|_, _, _| true, Scope::Tree);
        let error = salvage.err().expect("in use").at(&path);
        assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    }

    #[test]
    fn a_file_that_is_no_database_has_no_pages() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("old.sqlite");
        std::fs::write(&path, "no database".repeat(1_000)).expect("written");
        let source = Connection::open(&path).expect("opened");
        let mut target = Connection::open_in_memory().expect("made");
        let salvage = Salvage::new(source, &mut target, &|_, _, _| true, Scope::Tree);
        assert_eq!(salvage.ok().map(|salvage| salvage.tries_left), Some(256));
    }
}
