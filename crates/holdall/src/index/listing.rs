//! Rows in memory that are asked as an index is, where there is no room for one.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::PoisonError;

use super::{Change, Index, Row, Totals};
use crate::error::Result;
use crate::key::KeyPage;
use crate::sync::{Mutex, MutexGuard};

/// What a scan has found, for the questions of one call.
#[derive(Debug, Default)]
pub(crate) struct Listing(Mutex<BTreeMap<String, Row>>);

impl Listing {
    fn rows(&self) -> MutexGuard<'_, BTreeMap<String, Row>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// At most `limit` of those that suit, in the order of their keys.
    fn some(&self, after: Option<&str>, limit: usize, suits: impl Fn(&Row) -> bool) -> Vec<Row> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = self.rows();
        let rest = rows.range::<str, _>((from, Bound::Unbounded)).map(|(_, row)| row);
        rest.filter(|row| suits(row)).take(limit).cloned().collect()
    }
}

impl FromIterator<Row> for Listing {
    fn from_iter<T: IntoIterator<Item = Row>>(rows: T) -> Self {
        Self(Mutex::new(rows.into_iter().map(|row| (row.key.clone(), row)).collect()))
    }
}

impl Index for Listing {
    fn apply(&self, changes: &[Change]) -> Result<()> {
        let mut rows = self.rows();
        for change in changes {
            match change {
                Change::Put(row) => rows.insert(row.key.clone(), row.clone()),
                Change::Keep(kept) => rows.insert(kept.row.key.clone(), kept.row.clone()),
                Change::Remove { key, .. } => rows.remove(key),
            };
        }
        Ok(())
    }

    fn get(&self, key: &str) -> Result<Option<Row>> {
        Ok(self.rows().get(key).cloned())
    }

    fn page(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Row>> {
        Ok(self.some(after, limit, |row| row.key.starts_with(prefix)))
    }

    fn keys(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        expired: &dyn Fn(&[u8]) -> bool,
    ) -> Result<KeyPage> {
        let suits = |row: &Row| {
            row.key.starts_with(prefix) && !(row.expires_at.is_some() && expired(&row.record))
        };
        let rows = self.some(after, limit, suits);
        Ok(rows.iter().map(|row| row.key.as_str()).collect())
    }

    fn expired(&self, now: u64, after: Option<(u64, &str)>, limit: usize) -> Result<Vec<Row>> {
        let suits = |row: &Row| {
            row.expires_at.is_some_and(|end| {
                end <= now && after.is_none_or(|after| (end, row.key.as_str()) > after)
            })
        };
        let mut rows = self.some(None, usize::MAX, suits);
        rows.sort_by(|one, other| (one.expires_at, &one.key).cmp(&(other.expires_at, &other.key)));
        rows.truncate(limit);
        Ok(rows)
    }

    fn tagged(&self, tag: &str, after: Option<&str>, limit: usize) -> Result<Vec<Row>> {
        Ok(self.some(after, limit, |row| row.tags.iter().any(|one| one == tag)))
    }

    fn totals(&self) -> Result<Totals> {
        let mut totals = Totals::default();
        for row in self.rows().values() {
            totals.entries += 1;
            totals.total_size = totals.total_size.saturating_add(row.size);
            totals.foreign += u64::from(row.foreign);
        }
        Ok(totals)
    }

    fn is_complete(&self) -> Result<bool> {
        Ok(true)
    }

    fn set_complete(&self, _complete: bool) -> Result<()> {
        Ok(())
    }

    fn check(&self) -> Result<()> {
        Ok(())
    }

    fn close(&self) -> Result<()> {
        Ok(())
    }
}
