//! Going through the files, one key after the other.

use std::sync::Arc;

use super::super::open::Opened;
use super::walk::Group;
use super::{FileVerifying, window};
use crate::backend::health::{Examiner, Problem, ProblemKind};
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Key, ParsedName, parse_name};

impl FileVerifying {
    /// Reads the files of one key, or lists the next folder; `false` when there are no more.
    pub(super) fn read_files(&mut self, examiner: Examiner<'_>) -> Result<bool> {
        let Some(group) = self.groups.pop() else {
            let Some(folder) = self.folders.pop() else { return Ok(false) };
            let listed = self.opened.list_folder(&folder)?;
            self.report.foreign += listed.foreign;
            self.groups = listed.groups;
            self.open_to_others = listed.open_to_others;
            self.folders.extend(listed.below.into_iter().rev());
            for inode in &listed.inodes {
                self.stampless.remove(inode);
            }
            self.add_all(listed.problems);
            return Ok(true);
        };
        self.read_group(group, None, examiner)?;
        Ok(true)
    }

    /// Reads a file whose key was looked for; `false` when there are no more.
    pub(super) fn read_nameless(&mut self, examiner: Examiner<'_>) -> Result<bool> {
        let Some((group, key)) = self.nameless.pop() else { return Ok(false) };
        self.read_group(group, Some(key), examiner)?;
        Ok(true)
    }

    /// Reads the files of one key; `named` is the key that others know, once they were asked.
    fn read_group(
        &mut self,
        group: Group,
        named: Option<Option<Key>>,
        examiner: Examiner<'_>,
    ) -> Result<()> {
        let opened = Arc::clone(&self.opened);
        let context = self.context(examiner);
        let known = named.as_ref().and_then(Option::as_ref);
        let stripe = known.map(Key::stripe);
        let stripe = stripe.or_else(|| opened.stripe_of_name(&group.stem, &group.paths));
        let mut is_first = true;
        let look = || {
            if std::mem::take(&mut is_first) {
                return opened.look(&group.stem, &group.paths, known, context);
            }
            // It may have moved to another format meanwhile.
            opened.look(&group.stem, &Opened::paths_of(&group.stem), known, context)
        };
        let look = match window(&opened, stripe, look, |look| look.problems.is_empty()) {
            // A record is damaged, and whether the index has it could not be asked.
            Err(error) if matches!(error.kind(), ErrorKind::Io | ErrorKind::Version) => {
                self.add(opened.unjudged(&group, &error));
                return Ok(());
            }
            look => look?,
        };
        if look.is_nameless && named.is_none() {
            self.nameless.push(group);
            return Ok(());
        }
        if let Some(error) = self.nameless.unasked.as_ref().filter(|_| look.is_nameless) {
            let problem = opened.unjudged(&group, error);
            self.add(problem);
            return Ok(());
        }
        self.report.checked += look.checked;
        self.report.bytes += look.bytes;
        self.report.foreign += look.foreign;
        self.note_generation(look.generation);
        if look.has_long_key
            && let Some((_, digest)) = group.stem.rsplit_once("%=")
        {
            self.keyless.remove(digest);
        }
        if look.generation > 0
            && let Some(problem) = self.open_to_others.take()
        {
            self.add(problem);
        }
        if let (Some(key), Some(record)) = (&look.key, &look.adopt) {
            opened.note_foreign(key, record);
            self.report.adopted.push(key.clone());
        }
        if look.problems.iter().any(|one| one.kind == ProblemKind::RowDamaged) {
            self.has_index = false;
        }
        self.add_all(look.problems);
        Ok(())
    }
}

impl Opened {
    /// What is said of files that could not be judged.
    fn unjudged(&self, group: &Group, error: &Error) -> Problem {
        let what = format!("it could not be judged: {}", error.cause());
        let path = group.paths.first().unwrap_or(&group.stem);
        let problem = Problem::new(ProblemKind::Unreadable, what).at(path);
        match parse_name(&group.stem, self.case_rule()) {
            Some(ParsedName::Key(key)) => problem.on_key(key.as_str()),
            _ => problem,
        }
    }
}
