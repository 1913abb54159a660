//! What an import has done, for people and as JSON.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};

use holdall::ErrorKind;
use serde_json::json;

use super::Kind;
use crate::batch::{Placed, Unsaved};
use crate::exit::{Exit, Failed, Failure};
use crate::output::{Output, count, shown, size};
use crate::words;

/// The most lines of one kind that people are shown.
const LISTED: usize = 20;
/// The most names of classes in one line.
const NAMED: usize = 3;

/// A pickle that was not taken.
pub(crate) struct Untrusted {
    pub(crate) key: String,
    /// What loading it would import, or why nobody knows.
    pub(crate) imports: Vec<String>,
}

/// What was done so far.
#[derive(Default)]
pub(crate) struct Done {
    pub(crate) seen: u64,
    pub(crate) taken: u64,
    bytes: u64,
    kept: u64,
    pub(crate) expired: u64,
    pub(crate) sidecars: u64,
    /// Pickles that name classes.
    pub(crate) untrusted: Vec<Untrusted>,
    /// Entries that were not taken: the name, and why.
    pub(crate) refused: Vec<(String, String)>,
    /// Values that came without something that was known of them: the key, and what.
    pub(crate) lacking: Vec<(String, String)>,
    /// Those that could not be saved.
    failed: Failed,
    pub(crate) is_interrupted: bool,
}

impl Done {
    /// What has become of values that were saved together.
    pub(crate) fn note(&mut self, placed: Vec<Placed>) -> Result<(), Failure> {
        let mut stopped = Ok(());
        for (key, size, result) in placed {
            match result {
                Ok(()) => {
                    self.taken += 1;
                    self.bytes += size;
                }
                Err(Unsaved::WithAll(error)) => stopped = stopped.and(Err(error.into())),
                Err(Unsaved::Alone(error)) if error.kind() == ErrorKind::Conflict => {
                    self.kept += 1;
                }
                Err(Unsaved::Alone(error)) => {
                    *self.failed.count(&error) += 1;
                    self.refused.push((key, words::told(&error)));
                }
            }
        }
        stopped
    }

    /// The code that says what was left undone.
    pub(crate) fn code(&self) -> Exit {
        if self.is_interrupted {
            return Exit::Interrupted;
        }
        match self.refused.len() + self.untrusted.len() + self.lacking.len() {
            left if left as u64 == self.failed.all => self.failed.code(self.taken),
            _ => Exit::Findings,
        }
    }

    /// Says it.
    pub(crate) fn tell(&self, kind: Kind, is_dry: bool, out: &mut Output) -> Result<(), Failure> {
        if out.json {
            return out.document(&self.document(kind, is_dry));
        }
        let refused =
            self.refused.iter().map(|(key, what)| format!("not taken: {}: {what}", shown(key)));
        listed(refused, out)?;
        let lacking = self.lacking.iter();
        listed(lacking.map(|(key, what)| format!("{} came without {what}", shown(key))), out)?;
        self.tell_pickles(out)?;
        let verb = if is_dry { "would import" } else { "imported" };
        let mut line = format!("{verb} {}, {}", count(self.taken, "value"), size(self.bytes));
        if self.sidecars > 0 {
            line += &format!("; {} read", count(self.sidecars, "sidecar"));
        }
        for (number, what) in [(self.kept, "were there already"), (self.expired, "had expired")] {
            if number > 0 {
                line += &format!("; {number} {what}");
            }
        }
        if self.is_interrupted {
            line += "; interrupted: run it again to go on";
        }
        out.summary(line)
    }

    fn tell_pickles(&self, out: &mut Output) -> Result<(), Failure> {
        if self.untrusted.is_empty() {
            return Ok(());
        }
        let pickles = count(self.untrusted.len() as u64, "pickle");
        out.line(format!("{pickles} not taken, for loading may run code of:"))?;
        for Untrusted { key, imports } in self.untrusted.iter().take(LISTED) {
            let more = imports.len().saturating_sub(NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let named: Vec<_> = imports.iter().take(NAMED).map(|class| shown(class)).collect();
            out.line(format!("  {}: {}{more}", shown(key), named.join(", ")))?;
        }
        if let Some(more) = self.untrusted.len().checked_sub(LISTED + 1) {
            out.line(format!("  and {} more; --json names all", more + 1))?;
        }
        out.line("if you trust whoever wrote them, run it again with --trust-pickles")
    }

    fn document(&self, kind: Kind, is_dry: bool) -> serde_json::Value {
        let mut classes: BTreeMap<&str, u64> = BTreeMap::new();
        for class in self.untrusted.iter().flat_map(|pickle| &pickle.imports) {
            *classes.entry(class).or_default() += 1;
        }
        let pairs = |pairs: &[(String, String)]| {
            let pair = |(key, what): &(String, String)| json!({"key": key, "what": what});
            pairs.iter().map(pair).collect::<Vec<_>>()
        };
        let pickles = self.untrusted.iter();
        let pickles = pickles.map(|pickle| json!({"key": pickle.key, "imports": pickle.imports}));
        json!({
            "kind": kind.word(),
            "dry_run": is_dry,
            "imported": self.taken,
            "bytes": self.bytes,
            "kept": self.kept,
            "expired": self.expired,
            "sidecars": self.sidecars,
            "untrusted": self.untrusted.len(),
            "pickles": pickles.collect::<Vec<_>>(),
            "classes": classes,
            "refused": pairs(&self.refused),
            "lacking": pairs(&self.lacking),
            "interrupted": self.is_interrupted,
        })
    }
}

/// Lines on the standard error; of many the first.
fn listed(lines: impl ExactSizeIterator<Item = String>, out: &mut Output) -> Result<(), Failure> {
    let more = lines.len().saturating_sub(LISTED);
    for line in lines.take(LISTED) {
        out.trouble(line)?;
    }
    if more > 0 { out.trouble(format!("and {more} more; --json has all")) } else { Ok(()) }
}

/// The keys that a source has led to. Of each a hash is kept that nobody can aim at.
#[derive(Default)]
pub(crate) struct Keys {
    hashes: [RandomState; 2],
    seen: HashMap<[u64; 2], u64>,
}

impl Keys {
    /// Whether this is the first value of the source under a key.
    pub(crate) fn is_new(&mut self, key: &str) -> bool {
        let hash = [self.hashes[0].hash_one(key), self.hashes[1].hash_one(key)];
        let times = self.seen.entry(hash).or_default();
        *times += 1;
        *times == 1
    }

    /// A key for another value under one that is taken: `1~2`, and if that is taken too, `1~3`.
    pub(crate) fn another(&mut self, key: &str) -> String {
        let mut number = 2_u64;
        loop {
            let other = format!("{key}~{number}");
            if self.is_new(&other) {
                return other;
            }
            number += 1;
        }
    }
}
