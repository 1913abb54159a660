//! What is wrong with a database, as far as it can be read.

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::super::Row;
use super::checksums::Damage;
use super::read::{Counters, column, counters, tags_of};
use super::{Fault, SqliteIndex, open, system, write};
use crate::error::{ErrorKind, Result};

/// Something that is wrong with a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// What SQLite says of its pages and indexes.
    Pages(String),
    /// A row that cannot be read, with its key if that is one.
    Row(Option<String>),
    /// The counters, or the tags and dates by which values are found, do not belong to the rows.
    Counters(String),
}

impl SqliteIndex {
    /// Reads every row and compares all of them with counters, tags and indexes; takes time in
    /// proportion to the size.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if it is no database of ours any more; [`ErrorKind::Busy`],
    /// [`ErrorKind::Io`].
    pub(crate) fn flaws(&self) -> Result<Vec<Flaw>> {
        self.read(|reader| Ok(self.judged(reader, examine)?))
    }

    /// What is wrong with pages that lead to every row as it is: it may cost some when they are used for
    /// more. Reads all pages.
    ///
    /// # Errors
    /// As for [`SqliteIndex::flaws`].
    pub(crate) fn flaws_of_pages(&self) -> Result<Vec<Flaw>> {
        self.with(|handles| {
            let connection = open::connect(&handles.database, self.role, Damage::Told)?;
            self.judged(&connection, pages)
        })
    }

    /// What is wrong as one transaction sees it: a commit must not come between rows and counters.
    fn judged(&self, connection: &Connection, judge: Judge) -> Result<Vec<Flaw>> {
        let found = connection.unchecked_transaction().map_err(Fault::from);
        match found.and_then(|transaction| judge(&transaction)) {
            // Some page on the way to the rows cannot be read.
            Err(fault) => match system::explain(fault, connection, &self.folder) {
                error if error.kind() == ErrorKind::Corrupt => {
                    Ok(vec![Flaw::Pages(error.cause().to_owned())])
                }
                error => Err(error),
            },
            flaws => flaws.map_err(|fault| fault.at(&self.folder)),
        }
    }

    /// Counts the rows anew, and takes from them the tags and dates by which they are found.
    ///
    /// # Errors
    /// As for any change.
    pub(crate) fn recount(&self) -> Result<()> {
        self.write(|writer| {
            let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let complete = counters(&transaction).is_ok_and(|counters| counters.complete);
            transaction.execute("DELETE FROM tag", [])?;
            let mut counted = Counters { complete, ..Counters::default() };
            let mut misdated = Vec::new();
            for_each_row(&transaction, |row| {
                if let Ok((row, expires)) = row {
                    counted.add(&row).ok_or_else(super::super::row::damaged)?;
                    write::tag(&transaction, &row)?;
                    if !expires.is_that_of(&row) {
                        misdated.push(row);
                    }
                }
                Ok(())
            })?;
            for row in misdated {
                transaction.execute(
                    "UPDATE entry SET expires_at = ?2 WHERE key = ?1",
                    (row.key.as_bytes(), row.expires_at.map(column)),
                )?;
            }
            write::store(&transaction, counted)?;
            Ok(transaction.commit()?)
        })
    }
}

type Judge = fn(&Transaction<'_>) -> Result<Vec<Flaw>, Fault>;

fn pages(transaction: &Transaction<'_>) -> Result<Vec<Flaw>, Fault> {
    let verdict: String = transaction.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    Ok(if verdict == "ok" { Vec::new() } else { vec![Flaw::Pages(verdict)] })
}

fn examine(transaction: &Transaction<'_>) -> Result<Vec<Flaw>, Fault> {
    let mut flaws = Vec::new();
    let verdict: String =
        transaction.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        flaws.push(Flaw::Pages(verdict));
    }
    let mut counted = Counters::default();
    let (mut tags, mut missing, mut misdated) = (0_u64, 0_u64, 0_u64);
    for_each_row(transaction, |row| {
        let row = match row {
            Ok((row, expires)) => {
                misdated += u64::from(!expires.is_that_of(&row));
                row
            }
            Err(key) => {
                flaws.push(Flaw::Row(key));
                return Ok(());
            }
        };
        counted.add(&row).ok_or_else(super::super::row::damaged)?;
        let (distinct, unknown) = tags_of(transaction, &row)?;
        tags += distinct;
        missing += unknown;
        Ok(())
    })?;
    if !flaws.is_empty() {
        // Nobody knows what those rows counted for.
        return Ok(flaws);
    }
    match counters(transaction) {
        Ok(stored) if Counters { complete: stored.complete, ..counted } == stored => {}
        Ok(stored) => {
            let (found, said) = (counted.totals(), stored.totals());
            flaws.push(Flaw::Counters(format!(
                "there are {} values of {} bytes, counted were {} of {}",
                found.entries, found.total_size, said.entries, said.total_size
            )));
        }
        Err(fault) if fault.is_damage() => {
            flaws.push(Flaw::Counters("the counters cannot be read".into()));
        }
        Err(fault) => return Err(fault),
    }
    let all: i64 = transaction.query_row("SELECT count(*) FROM tag", [], |row| row.get(0))?;
    if missing > 0 || u64::try_from(all) != Ok(tags) {
        flaws.push(Flaw::Counters("the tags are not those of the values".into()));
    }
    if misdated > 0 {
        let what = format!("{misdated} values are listed as if they expired at another time");
        flaws.push(Flaw::Counters(what));
    }
    Ok(flaws)
}

/// When a row expires as listings see it; `None` if that is no date.
struct Expires(Option<Option<i64>>);

impl Expires {
    fn is_that_of(&self, row: &Row) -> bool {
        self.0 == Some(row.expires_at.map(column))
    }
}

/// Gives every row, or the key of one that cannot be read.
fn for_each_row(
    connection: &Connection,
    mut each: impl FnMut(std::result::Result<(Row, Expires), Option<String>>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut statement = connection.prepare("SELECT key, expires_at, row FROM entry")?;
    let mut rows = statement.query([])?;
    while let Some(columns) = rows.next()? {
        let bytes = |at| Ok::<_, rusqlite::Error>(columns.get_ref(at)?.as_blob().ok());
        let (key, row) = (bytes(0)?, bytes(2)?);
        let expires = Expires(columns.get(1).ok());
        let decoded = key.zip(row).and_then(|(key, row)| Row::decode(key, row).ok());
        let text = || key.and_then(|key| std::str::from_utf8(key).ok()).map(str::to_owned);
        each(decoded.map(|row| (row, expires)).ok_or_else(text))?;
    }
    Ok(())
}
