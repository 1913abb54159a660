//! Judging inline values: rows, contents, and files beside them.

use xxhash_rust::xxh3::xxh3_64;

use super::super::find::{Candidate, Search};
use super::super::inline::FOLDER;
use super::super::layout::OWN;
use super::super::open::Opened;
use super::content::damage;
use super::value::Context;
use super::window;
use crate::backend::health::{Finding, Problem, ProblemKind};
use crate::error::{Error, ErrorKind, Result};
use crate::index::{Flaw, Index as _, SqliteIndex};
use crate::key::Key;
use crate::record::Stamp;

/// Where the database lies, below the base.
pub(in super::super) fn database() -> String {
    format!("{OWN}/{FOLDER}/values.sqlite")
}

/// What was seen of one inline value.
#[derive(Default)]
pub(in super::super) struct InlineLook {
    pub(in super::super) problems: Vec<Problem>,
    /// Its bytes, if it is there.
    pub(in super::super) bytes: Option<u64>,
    pub(in super::super) generation: u64,
}

impl Opened {
    /// Whether there are inline values to be read; adds what is wrong with all of them together.
    pub(super) fn examine_inline(&self, found: &mut Vec<Problem>) -> Result<bool> {
        if !self.may_have_inline() {
            return Ok(false);
        }
        let Some(live) = self.maybe_live().filter(|live| live.coherent) else {
            let what = "their database cannot be used here";
            found.push(Problem::new(ProblemKind::InlineUnread, what).at(database()));
            return Ok(false);
        };
        if live.inline.is_gone() {
            let gone = "it was there, and is gone with all values in it";
            found.push(Problem::new(ProblemKind::InlineMissing, gone).at(database()));
            return Ok(false);
        }
        if !self.has_inline_database() {
            return Ok(false);
        }
        let flaws = match live.inline.ask(SqliteIndex::flaws) {
            Ok(flaws) => flaws,
            Err(error) => return database_lost(&error, found).map(|()| false),
        };
        for flaw in flaws {
            let (kind, what, key) = match flaw {
                Flaw::Pages(what) => (ProblemKind::InlineDamaged, what, None),
                Flaw::Counters(what) => (ProblemKind::CountersWrong, what, None),
                Flaw::Row(key) => {
                    (ProblemKind::InlineRecordDamaged, "its record cannot be read".into(), key)
                }
            };
            let mut problem = Problem::new(kind, what).at(database());
            problem.key = key;
            found.push(problem);
        }
        Ok(true)
    }

    /// Whether there is a database of inline values: opening it would make it. The note that there were
    /// inline values is never taken back.
    pub(super) fn has_inline_database(&self) -> bool {
        self.may_have_inline() && self.path.join(database()).exists()
    }

    /// Adds what is wrong with pages of which no value suffers yet; where one does, its page is known.
    pub(super) fn examine_pages(&self, known: &[Problem], found: &mut Vec<Problem>) -> Result<()> {
        let Some(live) = self.maybe_live() else { return Ok(()) };
        let place = self.path.join(database());
        let is_damage = |one: &Problem| one.path.as_ref() == Some(&place) && !is_other(one.kind);
        if known.iter().any(is_damage) {
            return Ok(());
        }
        match live.inline.ask(SqliteIndex::flaws_of_pages) {
            Ok(flaws) if flaws.is_empty() => {}
            Ok(_) => {
                let what =
                    "a page of it is not the one that was written, though every value is whole";
                found.push(Problem::new(ProblemKind::InlineDamaged, what).at(database()));
            }
            Err(error) => database_lost(&error, found)?,
        }
        Ok(())
    }

    /// A page of the keys of inline values after this one.
    pub(super) fn inline_keys(
        &self,
        after: Option<&str>,
        limit: usize,
        found: &mut Vec<Problem>,
    ) -> Result<Vec<String>> {
        let Some(live) = self.maybe_live() else { return Ok(Vec::new()) };
        match live.inline.ask(|values| values.page("", after, limit)) {
            Ok(page) => Ok(page.into_iter().map(|row| row.key).collect()),
            Err(error) => database_lost(&error, found).map(|()| Vec::new()),
        }
    }

    /// Judges one inline value, again and again until no writer came between.
    pub(super) fn judge_inline(&self, key: &Key, context: Context<'_>) -> Result<InlineLook> {
        let look = || self.look_inline(key, context);
        window(self, Some(key.stripe()), look, |look| look.problems.is_empty())
    }

    /// Reads one inline value and says what is wrong with it.
    pub(in super::super) fn look_inline(
        &self,
        key: &Key,
        context: Context<'_>,
    ) -> Result<InlineLook> {
        let mut look = InlineLook::default();
        let add = |look: &mut InlineLook, kind, what: &str| {
            let problem = Problem::new(kind, what).on_key(key.as_str()).at(database());
            look.problems.push(problem);
        };
        let unreadable = "its record cannot be read";
        let found = match self.live()?.inline.ask(|values| values.value(key.as_str())) {
            Ok(None) => return Ok(look),
            Ok(Some(found)) => found,
            Err(error) if error.kind() == ErrorKind::Corrupt && error.key().is_some() => {
                add(&mut look, ProblemKind::InlineRecordDamaged, unreadable);
                return Ok(look);
            }
            Err(error) => {
                database_lost(&error, &mut look.problems)?;
                return Ok(look);
            }
        };
        let (row, content) = found;
        let stamp = Stamp::decode(&row.record).filter(|stamp| stamp.key_hash == key.hash());
        look.bytes = Some(content.len() as u64);
        look.generation = row.generation;
        let Some(Stamp { record, store, .. }) = stamp else {
            add(&mut look, ProblemKind::InlineRecordDamaged, unreadable);
            return Ok(look);
        };
        // It is loaded as ever: store.json was lost, or the database came from another store.
        let is_of_another = store != self.mark();
        if is_of_another {
            add(&mut look, ProblemKind::StampOfAnotherStore, "its record is another store's");
        }
        let length = content.len() as u64;
        if length != record.length || xxh3_64(&content) != record.checksum {
            let (kind, what) = damage(&record, length);
            add(&mut look, kind, &what);
        } else if let Some(Finding { kind, what }) = (context.inspect)(key, &record, &content)? {
            // A signature holds in its own store alone; that is what the notice says.
            if !(is_of_another && kind == ProblemKind::SignatureWrong) {
                add(&mut look, kind, &what);
            }
        }
        // Something in the way of a file is told by the look at the files.
        let files = self.find(key, None, Search::Known).unwrap_or_default();
        let may_be_newer =
            |file: &Candidate| file.stamp.is_some() || (file.is_unknown && self.is_in_doubt());
        if files.iter().any(may_be_newer) {
            add(&mut look, ProblemKind::InTwoPlaces, "it has a file, too");
        }
        Ok(look)
    }
}

/// Whether what is wrong with a value is no damage of its bytes.
fn is_other(kind: ProblemKind) -> bool {
    use ProblemKind::{CountersWrong, InTwoPlaces, SignatureWrong, StampOfAnotherStore};
    matches!(kind, CountersWrong | InTwoPlaces | SignatureWrong | StampOfAnotherStore)
}

/// What it means that the database cannot be asked.
fn database_lost(error: &Error, found: &mut Vec<Problem>) -> Result<()> {
    match error.kind() {
        ErrorKind::Corrupt => {
            let problem = Problem::new(ProblemKind::InlineDamaged, error.cause()).at(database());
            found.push(problem);
            Ok(())
        }
        ErrorKind::Busy | ErrorKind::Closed => Err(error.again()),
        // Its values are nowhere else, and cannot be judged unread.
        _ if error.is_disk_full() => Err(error.again()),
        _ => {
            found.push(Problem::new(ProblemKind::Unreadable, error.cause()).at(database()));
            Ok(())
        }
    }
}
