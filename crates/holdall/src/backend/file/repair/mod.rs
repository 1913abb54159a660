//! Setting right what a verification has found.
//!
//! Each step is whole by itself, and leaves the rest to be found by another verification: a repair
//! that was killed anywhere is run again. What is damaged is moved aside (`quarantine`), never
//! deleted; what can be known is put back (`records`); what nobody needs goes (`sweep`); a damaged
//! database of inline values is made anew from what can be read of it (`database`). In the end the
//! index is made anew from the files, if it needs that, by the scan of every crash.

#[cfg(test)]
pub(super) mod killed;

mod database;
mod items;
mod quarantine;
mod records;
mod sweep;

pub(super) use self::database::DRAFT;
pub(super) use self::items::NOTE;

use std::path::Path;

use super::open::Opened;
use super::verify::{Context, database};
use super::write::Terms;
use crate::backend::health::{
    Cure, Inspect, Problem, ProblemKind, Quarantined, RepairReport, VerifyReport,
};
use crate::cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::index::SqliteIndex;
use crate::key::Key;

/// The folder of what was taken out of the store, below the store's own.
pub(super) const FOLDER: &str = "quarantine";

/// What is to be done, in this order.
#[derive(Default)]
struct Plan<'a> {
    files: Vec<&'a Problem>,
    inline: Vec<&'a Problem>,
    database: Option<&'a Problem>,
    signer: Option<&'a Problem>,
    recount: Vec<&'a Problem>,
    rights: Vec<&'a Problem>,
    keys: Vec<&'a Problem>,
    sweep: Vec<&'a Problem>,
    rebuild: Vec<&'a Problem>,
    is_rebuilt: bool,
    kept: Vec<&'a Problem>,
}

impl<'a> Plan<'a> {
    fn of(found: &'a VerifyReport, opened: &Opened) -> Self {
        let mut plan = Self::default();
        let inline = opened.path.join(database());
        let is_root = rustix::process::geteuid().is_root();
        for one in &found.problems {
            let is_inline = one.path.as_deref() == Some(&*inline);
            match (one.kind, one.kind.cure()) {
                (ProblemKind::InlineDamaged | ProblemKind::InlineMissing, _) => {
                    plan.database = plan.database.or(Some(one));
                }
                (ProblemKind::SignerDamaged, _) => plan.signer = Some(one),
                (ProblemKind::CountersWrong, _) if is_inline => plan.recount.push(one),
                // Nobody can ask for a row by what is no key.
                (_, Cure::Quarantine) if is_inline && !has_key(one) => {
                    plan.database = plan.database.or(Some(one));
                }
                (_, Cure::Quarantine) if is_inline => plan.inline.push(one),
                (ProblemKind::StampMissing, _) | (_, Cure::Quarantine) => plan.files.push(one),
                (ProblemKind::Owner, _) if !is_root => plan.kept.push(one),
                (ProblemKind::Permissions | ProblemKind::Owner, _) => plan.rights.push(one),
                (ProblemKind::KeyRecordMissing, _) if one.key.is_some() => plan.keys.push(one),
                (ProblemKind::KeyRecordMissing, _) => plan.kept.push(one),
                (_, Cure::Sweep) => plan.sweep.push(one),
                (_, Cure::Rebuild | Cure::Mend) => plan.rebuild.push(one),
                (_, Cure::Keep | Cure::Nothing) => plan.kept.push(one),
            }
        }
        let is_doubted =
            |one: &Problem| matches!(one.kind, ProblemKind::IndexBehind | ProblemKind::DeadWriter);
        plan.is_rebuilt = !plan.rebuild.is_empty() || found.notices.iter().any(is_doubted);
        if plan.database.is_some() {
            // It is made anew as a whole.
            plan.inline.clear();
            plan.recount.clear();
        }
        plan
    }

    /// What would be done.
    fn foretold(&self, opened: &Opened) -> RepairReport {
        let folder = opened.path.join(super::layout::OWN).join(FOLDER);
        let mut report = RepairReport { dry_run: true, ..RepairReport::default() };
        let (aside, restored): (Vec<&Problem>, Vec<&Problem>) =
            self.files.iter().partition(|one| !records::can_be_restored(one));
        let aside = aside.into_iter().chain(self.inline.iter().copied());
        for one in aside.chain(self.database).chain(self.signer) {
            report.quarantined.push(Quarantined { problem: one.clone(), folder: folder.clone() });
        }
        let mended = restored.iter().chain(&self.recount).chain(&self.rights).chain(&self.keys);
        report.mended = mended.chain(&self.rebuild).map(|one| (*one).clone()).collect();
        report.swept = self.sweep.iter().map(|one| (*one).clone()).collect();
        report.kept = self.kept.iter().map(|one| (*one).clone()).collect();
        report.rebuilt = self.is_rebuilt;
        report
    }
}

impl Opened {
    /// Sets right what was found, as far as it is still there.
    pub(super) fn mend(
        &self,
        found: &VerifyReport,
        inspect: &Inspect<'_>,
        dry_run: bool,
        terms: Terms<'_>,
    ) -> Result<RepairReport> {
        let plan = Plan::of(found, self);
        if dry_run {
            return Ok(plan.foretold(self));
        }
        let live = self.live()?;
        if !live.coherent {
            return Err(Error::new(
                ErrorKind::Io,
                "a store on a network file system cannot be repaired: locks mislead there",
            )
            .remedy("repair it on the machine that has the disk"));
        }
        let owner = rustix::fs::fstat(&live.own).map_or(0, |stat| stat.st_uid);
        let context = Context { inspect, has_index: false, owner };
        let mut report = RepairReport::default();
        report.kept.extend(plan.kept.iter().map(|one| (*one).clone()));
        let stuck = self.mend_values(live, &plan, context, terms, &mut report)?;
        for one in &plan.rights {
            cancel::check()?;
            match self.set_rights(live, one, owner) {
                Ok(()) => report.mended.push((*one).clone()),
                Err(error) => report.kept.push(unmended(one, &error)),
            }
        }
        for one in &plan.keys {
            if self.restore_key(live, one, terms)? {
                report.mended.push((*one).clone());
            }
        }
        self.sweep(live, &plan.sweep, terms, &mut report)?;
        // A scan removes the older of two, which is all that is left if the newer one is damaged.
        let is_kept = |one: &&Problem| {
            matches!(one.kind, ProblemKind::Outdated | ProblemKind::InTwoPlaces)
                && (one.key.is_none() || stuck.contains(&one.key.as_deref()))
        };
        if plan.rebuild.iter().any(is_kept) {
            report.kept.extend(plan.rebuild.iter().map(|one| (*one).clone()));
        } else if plan.is_rebuilt || live.clock.needs_scan() {
            let all = live.locks.lock_all(terms.lock_timeout)?;
            step();
            report.rebuilt = self.rebuild(live)?.is_none();
            step();
            drop(all);
            // On a full disk there is no index until there is room for one.
            let told = if report.rebuilt { &mut report.mended } else { &mut report.kept };
            told.extend(plan.rebuild.iter().map(|one| (*one).clone()));
            for key in &found.adopted {
                if let Ok(Some((_, record))) = self.read_head(key, u64::MAX)
                    && record.foreign
                {
                    self.note_foreign(key, &record);
                }
            }
        }
        Ok(report)
    }

    /// Sets values and their databases right. Answers with the keys of those that the system does
    /// not let be moved, which are kept.
    fn mend_values<'p>(
        &self,
        live: &super::open::Live,
        plan: &Plan<'p>,
        context: Context<'_>,
        terms: Terms<'_>,
        report: &mut RepairReport,
    ) -> Result<Vec<Option<&'p str>>> {
        let mut stuck = Vec::new();
        let mut note = |one: &'p Problem, done, report: &mut RepairReport| match done {
            // It ends one value, not the repair.
            Err(error) if Error::kind(&error) == ErrorKind::Io => {
                report.kept.push(unmended(one, &error));
                stuck.push(one.key.as_deref());
                Ok(())
            }
            done => done,
        };
        for one in &plan.files {
            cancel::check()?;
            let done = self.mend_file(live, one, context, terms, report);
            note(one, done, report)?;
        }
        for one in &plan.inline {
            cancel::check()?;
            let done = self.mend_inline(live, one, context, terms, report);
            note(one, done, report)?;
        }
        if let Some(one) = plan.database {
            self.mend_database(live, one, terms, report)?;
        }
        if let Some(one) = plan.signer {
            let folder = self.set_aside_own(live, "signer", one)?;
            report.quarantined.push(Quarantined { problem: one.clone(), folder });
        }
        // What a row counted for that cannot be read is known once it is gone.
        let is_unread = |one: &&Problem| one.kind == ProblemKind::InlineRecordDamaged;
        if !plan.recount.is_empty() || plan.inline.iter().any(is_unread) {
            live.inline.ask(SqliteIndex::recount)?;
            report.mended.extend(plan.recount.iter().map(|one| (*one).clone()));
        }
        Ok(stuck)
    }

    /// A path of a problem, below the base.
    fn below<'p>(&self, problem: &'p Problem) -> Option<&'p str> {
        let path: &Path = problem.path.as_deref()?;
        path.strip_prefix(&self.path).ok()?.to_str()
    }
}

/// A moment at which tests kill the process.
fn step() {
    #[cfg(test)]
    killed::here();
}

/// Whether a problem names a key by which somebody can ask.
fn has_key(problem: &Problem) -> bool {
    problem.key.as_deref().is_some_and(|text| Key::new(text).is_ok())
}

/// What could not be set right, and why.
fn unmended(problem: &Problem, error: &Error) -> Problem {
    Problem {
        what: format!("{}; not set right: {}", problem.what, error.cause()),
        ..problem.clone()
    }
}
