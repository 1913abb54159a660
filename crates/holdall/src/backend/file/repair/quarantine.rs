//! Taking damaged values out of the store: the note first, then one rename, so that a repair which
//! is killed in between has lost nothing and finds the value where it was.

use std::os::fd::AsFd as _;
use std::path::PathBuf;

use rustix::fs::{AtFlags, renameat, statat};
use rustix::io::Errno;

use super::super::dir::{open_file, parent, prune_parents};
use super::super::find::Candidate;
use super::super::inline::removal;
use super::super::layout::OWN;
use super::super::open::{Live, Opened};
use super::super::verify::{Context, Look};
use super::super::write::{Terms, begin, commit, finish};
use super::items::{Item, Note, hex};
use super::records;
use super::step;
use crate::backend::health::{Cure, Problem, ProblemKind, Quarantined, RepairReport};
use crate::error::{Error, Result};
use crate::flush::flush;
use crate::format::split_suffix;
use crate::key::{Key, STRIPES};
use crate::record::{Record, Stamp};

impl Opened {
    /// Takes a damaged file out of the store, or gives it its record back, if it is still as it was
    /// found.
    pub(super) fn mend_file(
        &self,
        live: &Live,
        problem: &Problem,
        context: Context<'_>,
        terms: Terms<'_>,
        report: &mut RepairReport,
    ) -> Result<()> {
        let Some(path) = self.below(problem) else { return Ok(()) };
        let Some((stem, ..)) = split_suffix(path) else { return Ok(()) };
        let paths = Self::paths_of(stem);
        // Found by a search through all keys, maybe, which is not to be made once more.
        let known = problem.key.as_deref().and_then(|text| Key::new(text).ok());
        let known = known.filter(|key| key.name(self.case_rule()) == stem);
        let stripe = known.as_ref().map(Key::stripe);
        let stripe = stripe.or_else(|| self.stripe_of_name(stem, &paths));
        let guard = match stripe {
            Some(stripe) => live.locks.lock(vec![stripe], terms.lock_timeout)?,
            None => live.locks.lock_all(terms.lock_timeout)?,
        };
        let look = self.look(stem, &paths, known.as_ref(), context)?;
        let stripe = stripe.or_else(|| look.key.as_ref().map(Key::stripe));
        let still = |one: &&Problem| one.kind == problem.kind && self.names(one, path);
        let Some(now) = look.problems.iter().find(still) else { return Ok(()) };
        let is_known = records::can_be_restored(now);
        if records::can_be_restored(problem) && !is_known {
            // Nothing is taken out of the store that was not found to need it.
            let what = format!("{} any more; run repair again", now.what);
            report.kept.push(Problem { what, ..problem.clone() });
            return Ok(());
        }
        // A memory may have the value of a key that nobody knows any more: all of them ask anew.
        let stripes = stripe.map_or_else(|| (0..STRIPES).collect(), |stripe| vec![stripe]);
        begin(live, &stripes);
        let done = if is_known {
            let restored = self.restore_record(live, path, look.key.as_ref());
            restored.map(|()| report.mended.push(problem.clone()))
        } else {
            self.set_aside_files(live, path, problem, &look, report)
        };
        finish(live, &stripes);
        drop(guard);
        done
    }

    /// Whether a problem that a look has told is about the file at this path.
    fn names(&self, problem: &Problem, path: &str) -> bool {
        problem.path.as_deref().is_some_and(|it| it == std::path::Path::new(path))
    }

    fn set_aside_files(
        &self,
        live: &Live,
        path: &str,
        problem: &Problem,
        look: &Look,
        report: &mut RepairReport,
    ) -> Result<()> {
        let older: Vec<&Problem> =
            look.problems.iter().filter(|one| one.kind == ProblemKind::Outdated).collect();
        let is_older = older.iter().any(|one| self.names(one, path));
        let folder = self.set_aside(live, path, problem)?;
        report.quarantined.push(Quarantined { problem: problem.clone(), folder });
        if is_older {
            return Ok(());
        }
        // Or an older value would come back in place of the damaged one.
        for one in older {
            let Some(below) = one.path.as_deref().and_then(|path| path.to_str()) else { continue };
            let is_damaged = look
                .problems
                .iter()
                .any(|other| other.kind.cure() == Cure::Quarantine && self.names(other, below));
            if !is_damaged {
                let folder = self.set_aside(live, below, one)?;
                let problem = Problem { path: Some(self.path.join(below)), ..one.clone() };
                report.quarantined.push(Quarantined { problem, folder });
            }
        }
        if let Some(key) = &look.key {
            self.set_older_inline_aside(live, key, look, problem, report)?;
            // A file of this store that is left is the value, and listed as it was.
            let left = self.find(key, None, super::super::find::Search::All)?;
            if !left.iter().any(Candidate::is_ours) {
                commit(live, vec![removal(key)]);
            }
            if left.is_empty() {
                self.forget_key(live, key);
            }
            step();
        }
        Ok(())
    }

    /// Moves a file into quarantine; the stripe of its key is held.
    fn set_aside(&self, live: &Live, path: &str, problem: &Problem) -> Result<PathBuf> {
        let io = |error: Errno| Error::io(error.into(), self.path.join(path));
        let (stem, ending) = match split_suffix(path) {
            Some((stem, ..)) => path.split_at(stem.len()),
            None => (path, ""),
        };
        let file = format!("value{ending}");
        let open =
            open_file(self.base.as_fd(), path).map_err(io)?.ok_or_else(|| io(Errno::NOENT))?;
        let stat = rustix::fs::fstat(&open).map_err(io)?;
        let stamp = self.stamps.bytes(open.as_fd(), stat.st_ino).ok().flatten();
        let note = Note {
            kind: problem.kind.name(),
            key: problem.key.as_deref(),
            path: Some(path),
            what: &problem.what,
            file: &file,
            stamp: stamp.as_deref().map(hex),
        };
        let item = Item::make(live, problem.key.as_deref().unwrap_or(stem), &note)?;
        let Some((folder, name)) = parent(self.base.as_fd(), path).map_err(io)? else {
            return Err(io(Errno::NOENT));
        };
        let now = statat(folder.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW).map_err(io)?;
        if (now.st_dev, now.st_ino) != (stat.st_dev, stat.st_ino) {
            return Err(io(Errno::STALE).remedy("run repair again: somebody has replaced the file"));
        }
        renameat(folder.as_fd(), name, &item.folder, &*file).map_err(io)?;
        step();
        item.flush()?;
        flush(folder.as_fd()).map_err(io)?;
        self.stamps.forget(stat.st_ino);
        prune_parents(self.base.as_fd(), path);
        Ok(self.path.join(&item.path))
    }

    /// Moves one of the store's own files into quarantine.
    pub(super) fn set_aside_own(
        &self,
        live: &Live,
        name: &str,
        problem: &Problem,
    ) -> Result<PathBuf> {
        let io = |error: Errno| Error::io(error.into(), self.path.join(OWN).join(name));
        let path = format!("{OWN}/{name}");
        let note = Note {
            kind: problem.kind.name(),
            key: None,
            path: Some(&path),
            what: &problem.what,
            file: name,
            stamp: None,
        };
        let item = Item::make(live, name, &note)?;
        renameat(&live.own, name, &item.folder, name).map_err(io)?;
        step();
        item.flush()?;
        flush(live.own.as_fd()).map_err(io)?;
        Ok(self.path.join(&item.path))
    }

    /// Takes a damaged inline value out of the database, if it is still as it was found: it is
    /// copied into quarantine, and removed once that is on the disk.
    pub(super) fn mend_inline(
        &self,
        live: &Live,
        problem: &Problem,
        context: Context<'_>,
        terms: Terms<'_>,
        report: &mut RepairReport,
    ) -> Result<()> {
        let Some(key) = problem.key.as_deref().and_then(|text| Key::new(text).ok()) else {
            return Ok(());
        };
        let stripe = key.stripe();
        let guard = live.locks.lock(vec![stripe], terms.lock_timeout)?;
        let look = self.look_inline(&key, context)?;
        if !look.problems.iter().any(|one| one.kind == problem.kind) {
            return Ok(());
        }
        begin(live, &[stripe]);
        let done = self.set_inline_aside(live, &key, problem, report).and_then(|()| {
            // Or an older file would come back in place of the damaged value.
            let files = self.find(&key, None, super::super::find::Search::Known)?;
            for file in &files {
                let older = file.stamp.as_ref().is_some_and(|stamp| {
                    problem.kind != ProblemKind::InlineRecordDamaged
                        && stamp.record.generation < look.generation
                });
                if older {
                    let what = "it is older than the damaged inline value of its key";
                    let one = Problem::new(ProblemKind::Outdated, what)
                        .on_key(key.as_str())
                        .at(self.path.join(&file.path));
                    let folder = self.set_aside(live, &file.path, &one)?;
                    report.quarantined.push(Quarantined { problem: one, folder });
                    commit(live, vec![removal(&key)]);
                }
            }
            Ok(())
        });
        finish(live, &[stripe]);
        drop(guard);
        done
    }

    fn set_inline_aside(
        &self,
        live: &Live,
        key: &Key,
        problem: &Problem,
        report: &mut RepairReport,
    ) -> Result<()> {
        let Some(raw) = live.inline.ask(|values| values.raw(key.as_str()))? else { return Ok(()) };
        let record = raw.decoded.as_ref().and_then(|row| Stamp::decode(&row.record));
        let record = record.map(|stamp| stamp.record);
        let format = record.as_ref().map_or("", |record| record.format.suffix());
        let codec = record.as_ref().map_or("", |record| record.codec.suffix());
        let file = format!("value{format}{codec}");
        let note = Note {
            kind: problem.kind.name(),
            key: Some(key.as_str()),
            path: None,
            what: &problem.what,
            file: &file,
            stamp: Some(hex(&raw.row)),
        };
        let item = Item::make(live, key.as_str(), &note)?;
        item.write(&file, &raw.content)?;
        step();
        item.flush()?;
        step();
        for removed in live.inline.remove(&[key]) {
            removed?;
        }
        step();
        live.inline.flush()?;
        let folder = self.path.join(&item.path);
        report.quarantined.push(Quarantined { problem: problem.clone(), folder });
        Ok(())
    }

    /// Takes an inline value aside that is older than the damaged file of its key.
    fn set_older_inline_aside(
        &self,
        live: &Live,
        key: &Key,
        look: &Look,
        problem: &Problem,
        report: &mut RepairReport,
    ) -> Result<()> {
        let inline = self.inline_record(key)?;
        // A file whose generation nobody can read may be the newer one.
        let is_unknown = problem.kind == ProblemKind::StampDamaged && self.is_in_doubt();
        let is_older = |record: Record| is_unknown || record.generation < look.generation;
        let older = inline.record.is_some_and(is_older);
        if !older {
            return Ok(());
        }
        let what = format!("it is older than the file of its key: {}", problem.what);
        let one = Problem::new(ProblemKind::InTwoPlaces, what).on_key(key.as_str());
        self.set_inline_aside(live, key, &one, report)
    }
}
