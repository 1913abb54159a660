//! Changes to the index, each call one transaction.

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::super::row::damaged;
use super::super::{Change, Kept, Row};
use super::read::{Counters, column, count, counted, counters, get};
use super::role::Role;
use super::{Fault, room};
use crate::error::Result;

/// A change with its row already in bytes, so that a refusal comes before any lock.
pub(super) enum Prepared<'c> {
    Put { row: &'c Row, bytes: Vec<u8> },
    Keep { kept: &'c Kept, bytes: Vec<u8> },
    Remove { key: &'c str, generation: Option<u64> },
}

pub(super) fn prepare(changes: &[Change]) -> Result<Vec<Prepared<'_>>> {
    changes.iter().map(Prepared::new).collect()
}

impl<'c> Prepared<'c> {
    fn new(change: &'c Change) -> Result<Self> {
        match change {
            Change::Put(row) => {
                let bytes = row.encode().map_err(|error| error.on_key(&row.key))?;
                Ok(Self::Put { row, bytes })
            }
            Change::Keep(kept) => {
                let bytes = kept.row.encode().map_err(|error| error.on_key(&kept.row.key))?;
                Ok(Self::Keep { kept, bytes })
            }
            Change::Remove { key, generation } => Ok(Self::Remove { key, generation: *generation }),
        }
    }
}

/// Makes all changes or none.
pub(super) fn apply(
    writer: &mut Connection,
    changes: &[Prepared<'_>],
    role: &Role,
) -> Result<(), Fault> {
    let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let before = counted(&transaction, role)?;
    let mut totals = before;
    let mut mended = false;
    for change in changes {
        match change {
            Prepared::Put { row, bytes } => put(&transaction, &mut totals, row, bytes)?,
            Prepared::Keep { kept, bytes } => {
                mended |= kept.mends;
                keep(&transaction, &mut totals, kept, bytes)?;
            }
            Prepared::Remove { key, generation } => {
                match remove(&transaction, &mut totals, key, *generation) {
                    Err(fault) if role.is_truth && fault.is_damage() => {
                        mended = true;
                        forget(&transaction, key)?;
                    }
                    removed => removed?,
                }
            }
        }
    }
    if mended {
        totals = count(&transaction)?;
    }
    if totals != before {
        store(&transaction, totals)?;
    }
    if role.is_truth && changes.iter().any(|change| matches!(change, Prepared::Keep { .. })) {
        room::take(&transaction)?;
    }
    Ok(transaction.commit()?)
}

fn put(
    transaction: &Transaction<'_>,
    totals: &mut Counters,
    row: &Row,
    bytes: &[u8],
) -> Result<(), Fault> {
    if let Some(old) = get(transaction, &row.key)? {
        if old.generation > row.generation {
            return Ok(());
        }
        totals.subtract(&old).ok_or_else(damaged)?;
        if old.tags != row.tags {
            untag(transaction, &old)?;
        }
    }
    totals.add(row).ok_or_else(damaged)?;
    let mut statement = transaction.prepare_cached(
        "INSERT INTO entry(key, expires_at, row) VALUES(?1, ?2, ?3) \
         ON CONFLICT(key) DO UPDATE SET expires_at = excluded.expires_at, row = excluded.row",
    )?;
    statement.execute((row.key.as_bytes(), row.expires_at.map(column), bytes))?;
    tag(transaction, row)
}

pub(super) fn tag(transaction: &Transaction<'_>, row: &Row) -> Result<(), Fault> {
    for tag in &row.tags {
        let mut statement =
            transaction.prepare_cached("INSERT OR IGNORE INTO tag(tag, key) VALUES(?1, ?2)")?;
        statement.execute((tag.as_bytes(), row.key.as_bytes()))?;
    }
    Ok(())
}

pub(super) fn keep(
    transaction: &Transaction<'_>,
    totals: &mut Counters,
    kept: &Kept,
    bytes: &[u8],
) -> Result<(), Fault> {
    let Kept { row, content, old, mends } = kept;
    if *mends {
        forget(transaction, &row.key)?;
    }
    if let Some(old) = old {
        totals.subtract(old).ok_or_else(damaged)?;
        if old.tags != row.tags {
            untag(transaction, old)?;
        }
    }
    totals.add(row).ok_or_else(damaged)?;
    let mut statement = transaction.prepare_cached(
        "INSERT INTO entry(key, expires_at, row, content) VALUES(?1, ?2, ?3, ?4) \
         ON CONFLICT(key) DO UPDATE \
         SET expires_at = excluded.expires_at, row = excluded.row, content = excluded.content",
    )?;
    let key = row.key.as_bytes();
    statement.execute((key, row.expires_at.map(column), bytes, &content[..]))?;
    tag(transaction, row)
}

/// Removes what is left of a damaged row; its tags are looked for one by one.
fn forget(transaction: &Transaction<'_>, key: &str) -> Result<(), Fault> {
    for sql in ["DELETE FROM tag WHERE key = ?1", "DELETE FROM entry WHERE key = ?1"] {
        transaction.prepare_cached(sql)?.execute([key.as_bytes()])?;
    }
    Ok(())
}

fn remove(
    transaction: &Transaction<'_>,
    totals: &mut Counters,
    key: &str,
    generation: Option<u64>,
) -> Result<(), Fault> {
    let Some(old) = get(transaction, key)? else { return Ok(()) };
    if generation.is_some_and(|generation| old.generation > generation) {
        return Ok(());
    }
    totals.subtract(&old).ok_or_else(damaged)?;
    untag(transaction, &old)?;
    transaction.prepare_cached("DELETE FROM entry WHERE key = ?1")?.execute([key.as_bytes()])?;
    Ok(())
}

fn untag(transaction: &Transaction<'_>, row: &Row) -> Result<(), Fault> {
    for tag in &row.tags {
        transaction
            .prepare_cached("DELETE FROM tag WHERE tag = ?1 AND key = ?2")?
            .execute((tag.as_bytes(), row.key.as_bytes()))?;
    }
    Ok(())
}

pub(super) fn store(transaction: &Transaction<'_>, totals: Counters) -> Result<(), Fault> {
    let changed = transaction
        .prepare_cached("UPDATE meta SET value = ?1 WHERE id = 0")?
        .execute([totals.encode()])?;
    if changed == 1 { Ok(()) } else { Err(damaged().into()) }
}

pub(super) fn set_complete(writer: &mut Connection, complete: bool) -> Result<(), Fault> {
    let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let totals = Counters { complete, ..counters(&transaction)? };
    store(&transaction, totals)?;
    Ok(transaction.commit()?)
}

/// Moves everything from the log into the database and flushes it. The counters are written once
/// more, because a checkpoint that finds nothing to move does not flush either.
pub(super) fn flush(writer: &mut Connection, role: &Role) -> Result<(), Fault> {
    writer.pragma_update(None, "synchronous", "FULL")?;
    let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let totals = counted(&transaction, role)?;
    store(&transaction, totals)?;
    transaction.commit()?;
    writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    Ok(())
}
