//! Questions to the index. Each is one statement, so each sees one commit.

use rusqlite::{Connection, OptionalExtension as _, Params};

use super::super::row::{Fields, Listed, MAX_KEY, checksum, damaged};
use super::super::{Row, Totals};
use super::Fault;
use super::role::Role;
use crate::error::Error;
use crate::key::KeyPage;

/// No byte of a UTF-8 key is this high, so it ends every range.
const END: &[u8] = &[0xff];

/// The counters as they are stored, one row for the whole index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counters {
    pub(super) entries: u64,
    pub(super) total_size: u128,
    pub(super) foreign: u64,
    pub(super) complete: bool,
}

impl Counters {
    pub(super) fn totals(self) -> Totals {
        Totals {
            entries: self.entries,
            total_size: u64::try_from(self.total_size).unwrap_or(u64::MAX),
            foreign: self.foreign,
        }
    }

    pub(super) fn encode(self) -> Vec<u8> {
        let (low, high) = (self.total_size as u64, (self.total_size >> 64) as u64);
        let numbers = [self.entries, low, high, self.foreign, u64::from(self.complete)];
        let fields: Vec<u8> = numbers.into_iter().flat_map(u64::to_le_bytes).collect();
        let mut bytes = checksum(b"", &fields).to_le_bytes().to_vec();
        bytes.extend_from_slice(&fields);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = Fields(bytes);
        if rest.number()? != checksum(b"", rest.0) {
            return None;
        }
        let (entries, low, high) = (rest.number()?, rest.number()?, rest.number()?);
        let (foreign, complete) = (rest.number()?, rest.number()? != 0);
        let total_size = u128::from(low) | u128::from(high) << 64;
        Some(Self { entries, total_size, foreign, complete })
    }

    /// Counts `row` in; `None` if the counters cannot be right.
    pub(super) fn add(&mut self, row: &Row) -> Option<()> {
        self.entries = self.entries.checked_add(1)?;
        self.total_size = self.total_size.checked_add(u128::from(row.size))?;
        self.foreign = self.foreign.checked_add(u64::from(row.foreign))?;
        Some(())
    }

    /// Counts `row` out; `None` if the counters cannot be right.
    pub(super) fn subtract(&mut self, row: &Row) -> Option<()> {
        self.entries = self.entries.checked_sub(1)?;
        self.total_size = self.total_size.checked_sub(u128::from(row.size))?;
        self.foreign = self.foreign.checked_sub(u64::from(row.foreign))?;
        Some(())
    }
}

pub(super) fn counters(connection: &Connection) -> Result<Counters, Fault> {
    let mut statement = connection.prepare_cached("SELECT value FROM meta WHERE id = 0")?;
    let bytes: Vec<u8> = statement.query_row([], |row| row.get(0))?;
    Ok(Counters::decode(&bytes).ok_or_else(damaged)?)
}

/// The counters. Where the rows are the only copy and the counters are damaged, they are counted
/// anew.
pub(super) fn counted(connection: &Connection, role: &Role) -> Result<Counters, Fault> {
    match counters(connection) {
        Err(fault) if role.is_truth && fault.is_damage() => count(connection),
        counters => counters,
    }
}

/// Counts all values; takes time in proportion to their number.
pub(super) fn count(connection: &Connection) -> Result<Counters, Fault> {
    let mut statement = connection
        .prepare_cached("SELECT count(*), coalesce(sum(length(content)), 0) FROM entry")?;
    let (entries, size): (i64, i64) =
        statement.query_row([], |columns| Ok((columns.get(0)?, columns.get(1)?)))?;
    Ok(Counters {
        entries: u64::try_from(entries).unwrap_or(0),
        total_size: u128::try_from(size).unwrap_or(0),
        ..Counters::default()
    })
}

pub(super) fn get(connection: &Connection, key: &str) -> Result<Option<Row>, Fault> {
    if key.len() > MAX_KEY {
        return Ok(None);
    }
    let mut statement = connection.prepare_cached("SELECT row FROM entry WHERE key = ?1")?;
    let found = statement.query_row([key.as_bytes()], |columns| {
        let bytes = columns.get_ref(0)?.as_blob().map_err(|_| damaged().on_key(key));
        Ok(bytes.and_then(|bytes| Row::decode(key.as_bytes(), bytes)))
    });
    Ok(found.optional()?.transpose()?)
}

/// The expiry as a column that SQLite can order.
pub(super) fn column(expires_at: u64) -> i64 {
    i64::try_from(expires_at).unwrap_or(i64::MAX)
}

/// Runs a statement whose columns are key, expiry and row, and believes none of them; at most
/// `limit` rows. Where they are the only copy, one that is damaged does not stop the others: it is
/// left out, and whoever loads its key is told.
fn rows(
    connection: &Connection,
    sql: &str,
    values: impl Params,
    limit: usize,
    role: &Role,
) -> Result<Vec<Row>, Fault> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut found = statement.query(values)?;
    let mut list: Vec<Row> = Vec::new();
    while list.len() < limit
        && let Some(columns) = found.next()?
    {
        match decoded(columns) {
            Ok(row) => list.push(row),
            Err(fault) if role.is_truth && fault.is_damage() => {
                tracing::warn!("a damaged inline value is not listed");
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok(list)
}

fn decoded(columns: &rusqlite::Row<'_>) -> Result<Row, Fault> {
    let key = columns.get_ref(0)?.as_blob().map_err(|_| damaged())?;
    let bytes = columns.get_ref(2)?.as_blob().map_err(|_| damaged())?;
    let row = Row::decode(key, bytes)?;
    if columns.get::<_, Option<i64>>(1)? != row.expires_at.map(column) {
        return Err(damaged().on_key(&row.key).into());
    }
    Ok(row)
}

/// Rows in strictly rising order: a damaged tree may lead to the same page twice.
fn rising(rows: Vec<Row>) -> Result<Vec<Row>, Error> {
    if rows.is_sorted_by(|one, next| one.key < next.key) { Ok(rows) } else { Err(damaged()) }
}

/// The first key that may follow `after`; what is longer than any key has the same followers as
/// its beginning.
fn first(after: Option<&str>) -> Vec<u8> {
    let Some(after) = after else { return Vec::new() };
    [&after.as_bytes()[..after.len().min(MAX_KEY)], &[0]].concat()
}

/// The keys that begin with `prefix` and come after `after`: from the first, up to the second.
fn range(prefix: &str, after: Option<&str>) -> Option<(Vec<u8>, Vec<u8>)> {
    if prefix.len() > MAX_KEY {
        return None;
    }
    let start = first(after).max(prefix.as_bytes().to_vec());
    let mut end = prefix.as_bytes().to_vec();
    match end.last_mut() {
        Some(last) => *last += 1,
        None => end.extend_from_slice(END),
    }
    Some((start, end))
}

pub(super) fn page(
    connection: &Connection,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
    role: &Role,
) -> Result<Vec<Row>, Fault> {
    let Some((start, end)) = range(prefix, after) else { return Ok(Vec::new()) };
    let list = rows(
        connection,
        "SELECT key, expires_at, row FROM entry WHERE key >= ?1 AND key < ?2 ORDER BY key",
        (&start, &end),
        limit,
        role,
    )?;
    let within = |row: &Row| row.key.as_bytes() >= &start[..] && row.key.as_bytes() < &end[..];
    if !list.iter().all(within) {
        return Err(damaged().into());
    }
    Ok(rising(list)?)
}

/// Steps until there are enough keys, so that a page costs one statement however much has expired.
///
/// Each column and each comparison that SQLite is asked for costs every row some 20 ns. So the end of
/// the range is looked for here, and the expiry is read from the row, which the checksum covers; that
/// its column says the same is seen to by whoever orders by it.
pub(super) fn keys(
    connection: &Connection,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
    expired: &dyn Fn(&[u8]) -> bool,
    role: &Role,
) -> Result<KeyPage, Fault> {
    let mut page = KeyPage::default();
    let Some((start, end)) = range(prefix, after) else { return Ok(page) };
    let mut statement =
        connection.prepare_cached("SELECT key, row FROM entry WHERE key >= ?1 ORDER BY key")?;
    let mut found = statement.query([&start])?;
    let mut last: Option<Vec<u8>> = None;
    while page.len() < limit
        && let Some(columns) = found.next()?
    {
        let key = columns.get_ref(0)?.as_blob().map_err(|_| damaged())?;
        let is_next = last.as_ref().map_or(key >= &start[..], |last| key > &last[..]);
        let bytes = columns.get_ref(1)?.as_blob().map_err(|_| damaged())?;
        let listed = match Listed::decode(key, bytes) {
            Ok(listed) => listed,
            Err(_) if role.is_truth => {
                tracing::warn!("a damaged inline value is not listed");
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if !is_next {
            return Err(damaged().on_key(listed.key).into());
        }
        if key >= &end[..] {
            break;
        }
        let last = last.get_or_insert_default();
        last.clear();
        last.extend_from_slice(key);
        if !listed.stamp_of_expiry.is_some_and(expired) {
            page.push(listed.key);
        }
    }
    Ok(page)
}

pub(super) fn expired(
    connection: &Connection,
    now: u64,
    after: Option<(u64, &str)>,
    limit: usize,
    role: &Role,
) -> Result<Vec<Row>, Fault> {
    let (from, key) = after.map_or((-1, ""), |(expires_at, key)| (column(expires_at), key));
    let mut list = rows(
        connection,
        "SELECT key, expires_at, row FROM entry WHERE expires_at <= ?1 \
         AND (expires_at, key) > (?2, ?3) ORDER BY expires_at, key",
        (column(now), from, key.as_bytes()),
        limit,
        role,
    )?;
    // The column stops at i64::MAX, beyond which it cannot tell the times apart.
    list.retain(|row| row.expires_at.is_some_and(|expires_at| expires_at <= now));
    Ok(list)
}

pub(super) fn tagged(
    connection: &Connection,
    tag: &str,
    after: Option<&str>,
    limit: usize,
    role: &Role,
) -> Result<Vec<Row>, Fault> {
    if tag.len() > MAX_KEY {
        return Ok(Vec::new());
    }
    let list = rows(
        connection,
        "SELECT tag.key, entry.expires_at, entry.row FROM tag LEFT JOIN entry USING(key) \
         WHERE tag.tag = ?1 AND tag.key >= ?2 ORDER BY tag.key",
        (tag.as_bytes(), first(after)),
        limit,
        role,
    )?;
    if !list.iter().all(|row| row.tags.iter().any(|its| its == tag)) {
        return Err(damaged().into());
    }
    Ok(rising(list)?)
}

/// How many tags a row has, and how many of them the table of tags does not know.
pub(super) fn tags_of(connection: &Connection, row: &Row) -> rusqlite::Result<(u64, u64)> {
    let mut distinct: Vec<&String> = row.tags.iter().collect();
    distinct.sort_unstable();
    distinct.dedup();
    let mut missing = 0;
    for tag in &distinct {
        let mut known =
            connection.prepare_cached("SELECT count(*) FROM tag WHERE tag = ?1 AND key = ?2")?;
        let found: i64 =
            known.query_row((tag.as_bytes(), row.key.as_bytes()), |columns| columns.get(0))?;
        missing += u64::from(found != 1);
    }
    Ok((distinct.len() as u64, missing))
}

/// Reads everything: the pages by SQLite's own check, then every row, tag and counter.
pub(super) fn check(connection: &Connection, role: &Role) -> Result<(), Fault> {
    // One transaction, so that a peer's commit cannot come between the count and the counters.
    let transaction = connection.unchecked_transaction()?;
    let verdict: String = transaction.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Err(damaged().into());
    }
    let stored = counters(&transaction)?;
    let mut counted = Counters { complete: stored.complete, ..Counters::default() };
    let (mut tags, mut expiring) = (0_u64, 0_u64);
    let mut after: Option<String> = None;
    loop {
        let list = page(&transaction, "", after.as_deref(), 1_000, role)?;
        let Some(last) = list.last() else { break };
        after = Some(last.key.clone());
        for row in &list {
            counted.add(row).ok_or_else(damaged)?;
            expiring += u64::from(row.expires_at.is_some());
            let (distinct, missing) = tags_of(&transaction, row)?;
            if missing > 0 {
                return Err(damaged().on_key(&row.key).into());
            }
            tags += distinct;
        }
    }
    let count = |sql| transaction.query_row(sql, [], |row| row.get::<_, i64>(0));
    let indexed = count("SELECT count(*) FROM entry WHERE expires_at <= 9223372036854775807")?;
    if counted != stored
        || u64::try_from(count("SELECT count(*) FROM tag")?) != Ok(tags)
        || u64::try_from(indexed) != Ok(expiring)
    {
        return Err(damaged().into());
    }
    Ok(())
}
