//! Whose a file is whose name is a hash, and whose record, which told the key, is damaged: others may
//! know it. The index lists it, or an inline value that a writer was about to replace has it.
//!
//! All keys are gone through for that, once for all such files and without a lock. What is found needs
//! no second look: a name that is a hash stands for one key alone.

use std::collections::HashMap;

use super::super::open::Opened;
use super::walk::Group;
use super::{FileVerifying, STEP_VALUES};
use crate::error::{Error, ErrorKind, Result};
use crate::index::{Index as _, SqliteIndex};
use crate::key::{Key, KeyPage};

/// Files whose keys are looked for.
#[derive(Default)]
pub(super) struct Nameless {
    groups: Vec<Group>,
    /// By their names without suffix.
    keys: HashMap<String, Option<Key>>,
    /// Why not all keys could be read.
    pub(super) unasked: Option<Error>,
}

/// Who may know keys.
#[derive(Clone, Copy)]
pub(super) enum Witness {
    Index,
    Inline,
}

impl Nameless {
    pub(super) fn push(&mut self, group: Group) {
        self.keys.insert(group.stem.clone(), None);
        self.groups.push(group);
    }

    /// The next file, with its key if that was found.
    pub(super) fn pop(&mut self) -> Option<(Group, Option<Key>)> {
        let group = self.groups.pop()?;
        let key = self.keys.remove(&group.stem).flatten();
        Some((group, key))
    }

    fn is_complete(&self) -> bool {
        self.keys.values().all(Option::is_some)
    }
}

impl FileVerifying {
    /// Goes on through the keys that somebody knows; `false` when that is done.
    pub(super) fn search_names(&mut self, witness: Witness) -> Result<bool> {
        if self.nameless.is_complete() {
            return Ok(false);
        }
        let page = match self.opened.keys_known(witness, self.after.as_deref()) {
            // What could not be asked is no "nobody knows"; what is damaged knows nothing.
            Err(error) if matches!(error.kind(), ErrorKind::Io | ErrorKind::Version) => {
                self.nameless.unasked = Some(error);
                return Ok(false);
            }
            Err(error) if error.kind() == ErrorKind::Corrupt => return Ok(false),
            page => page?,
        };
        for key in page.iter().filter_map(|text| Key::new(text).ok()) {
            if let Some(found) = self.nameless.keys.get_mut(&key.name(self.opened.case_rule())) {
                *found = Some(key);
            }
        }
        self.after = page.iter().last().map(str::to_owned);
        Ok(self.after.is_some())
    }
}

impl Opened {
    fn keys_known(&self, witness: Witness, after: Option<&str>) -> Result<KeyPage> {
        #[cfg(test)]
        tests_support::note_page();
        let Some(live) = self.maybe_live().filter(|live| live.coherent) else {
            return Ok(KeyPage::default());
        };
        let ask = |index: &SqliteIndex| index.keys("", after, STEP_VALUES, &|_| false);
        match witness {
            Witness::Index => live.catalog.ask(&live.clock, ask),
            Witness::Inline if self.has_inline_database() => live.inline.ask(ask),
            Witness::Inline => Ok(KeyPage::default()),
        }
    }
}

#[cfg(test)]
pub(in super::super) mod tests_support {
    use std::cell::Cell;

    thread_local! {
        static PAGES: Cell<usize> = const { Cell::new(0) };
    }

    pub(super) fn note_page() {
        PAGES.set(PAGES.get() + 1);
    }

    /// How many pages of keys this thread has gone through so far.
    pub(in super::super::super) fn pages() -> usize {
        PAGES.get()
    }
}
