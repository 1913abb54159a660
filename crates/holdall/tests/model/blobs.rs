//! `BlobManager` against a map: whatever this store, its neighbours and the clock do.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use holdall::clock::{ManualClock, Ttl};
use holdall::key::{CaseRule, Key};
use holdall::signing::KeySource;
use holdall::{
    BlobManager, BlobMetadata, BlobOptions, Condition, ErrorKind, Format, Save, SaveOptions,
};
use proptest::prelude::*;

use super::steps::{Saving, Step, Wish, inline_below, step};
use super::{config, folder};

pub(super) const KEYS: [&str; 6] = ["a", "b.c", "f/a", "f/g/Ä b", "f/g/c", "nul"];
pub(super) const FORMATS: [Format; 5] =
    [Format::Json, Format::CustomJson, Format::String, Format::Bytes, Format::Pickle];
const SECRET: &str = "a secret of the tests alone";

/// What lies under a key, expired or not.
#[derive(Debug, Clone, PartialEq)]
struct Entry {
    payload: Vec<u8>,
    format: Format,
    ends: Option<u64>,
    tags: Vec<String>,
    metadata: Option<Vec<u8>>,
    foreign: bool,
    inline: bool,
}

impl Entry {
    /// The bytes that are stored.
    fn stored(&self) -> u64 {
        let signature = if self.format.is_signed() && !self.foreign { 64 } else { 0 };
        self.payload.len() as u64 + signature
    }
}

struct World {
    folder: tempfile::TempDir,
    hands: ManualClock,
    store: BlobManager,
    model: BTreeMap<&'static str, Entry>,
    /// The ETags that the store has told.
    etags: BTreeMap<&'static str, String>,
    values: u64,
    inline_below: u64,
}

fn open(folder: &Path, hands: &ManualClock, inline_below: u64) -> BlobManager {
    BlobManager::with_options(BlobOptions {
        base_path: folder.into(),
        clock: hands.clock(),
        signing_key: KeySource::text(SECRET).expect("long enough"),
        inline_below,
        ..BlobOptions::default()
    })
}

impl World {
    /// With `ahead` the store's clock is years before that of the file system.
    fn new(ahead: bool, inline_below: u64) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let hands = ManualClock::new();
        if ahead {
            const NEW_YEAR_2100: u64 = 4_102_444_800_000_000;
            hands.set_wall_micros(NEW_YEAR_2100);
        }
        let store = open(folder.path(), &hands, inline_below);
        let (model, etags) = (BTreeMap::new(), BTreeMap::new());
        Self { folder, hands, store, model, etags, values: 0, inline_below }
    }

    fn now(&self) -> u64 {
        self.hands.clock().wall_micros() / 1_000
    }

    fn alive(&self, key: &str) -> Option<&Entry> {
        let now = self.now();
        self.model.get(key).filter(|entry| entry.ends.is_none_or(|ends| ends > now))
    }

    /// What a load must fail with, though there is a value.
    fn untrusted(&self, key: &str) -> bool {
        self.alive(key).is_some_and(|entry| entry.foreign && entry.format.is_signed())
    }

    fn path(&self, key: &str, format: Format) -> PathBuf {
        let name = Key::new(key).expect("valid").name(CaseRule::Sensitive);
        self.folder.path().join(format!("{name}{}", format.suffix()))
    }

    fn next_payload(&mut self) -> Vec<u8> {
        self.values += 1;
        format!("{}", self.values).into_bytes()
    }

    fn condition(&self, key: &str, wish: Wish) -> (Condition, bool) {
        let alive = self.alive(key).is_some();
        match wish {
            Wish::Any => (Condition::Any, true),
            Wish::Absent => (Condition::Absent, !alive),
            Wish::Match => {
                let etag = self.etags.get(key).cloned();
                (Condition::Matches(etag.unwrap_or_default()), alive)
            }
            Wish::Mismatch => (Condition::Matches("0".into()), false),
        }
    }

    /// The save, the entry that it makes, and whether its condition holds now.
    fn prepare(&mut self, saving: &Saving) -> (Save, Entry, bool) {
        let Saving { key, format, ttl, tags, noted, condition } = saving;
        let (key, format) = (KEYS[*key], FORMATS[*format]);
        let payload = self.next_payload();
        let metadata = noted.then(|| payload.clone());
        let (condition, holds) = self.condition(key, *condition);
        let options = SaveOptions {
            ttl: ttl.map_or(Ttl::Default, |ms| Ttl::After(Duration::from_millis(ms))),
            tags: tags.clone(),
            metadata: metadata.clone(),
            condition,
            ..SaveOptions::default()
        };
        let parts = vec![payload.clone().into()];
        let save = Save { key: key.into(), format, parts, options };
        let ends = ttl.map(|ms| self.now() + ms);
        let (tags, foreign, inline) = (tags.clone(), false, false);
        let entry = Entry { payload, format, ends, tags, metadata, foreign, inline };
        (save, entry, holds)
    }

    fn saved(
        &mut self,
        key: &'static str,
        saved: holdall::Result<BlobMetadata>,
        entry: Entry,
        holds: bool,
    ) {
        match saved {
            Ok(_) => {
                assert!(holds, "the condition did not hold");
                let inline = entry.stored() < self.inline_below;
                self.model.insert(key, Entry { inline, ..entry });
            }
            Err(error) => {
                assert!(!holds, "{error}");
                assert_eq!(error.kind(), ErrorKind::Conflict);
            }
        }
    }

    fn save_many(&mut self, savings: &[Saving]) {
        let mut saves = Vec::new();
        let mut expected: Vec<(&'static str, Entry)> = Vec::new();
        for saving in savings {
            // One batch is a list of saves that see each other; only what needs no ETag here.
            let saving = Saving { condition: Wish::Any, ..saving.clone() };
            let (save, entry, _) = self.prepare(&saving);
            expected.push((KEYS[saving.key], entry));
            saves.push(save);
        }
        let results = self.store.save_many(saves);
        assert_eq!(results.len(), savings.len());
        for (saved, (key, entry)) in results.into_iter().zip(expected) {
            self.saved(key, saved, entry, true);
        }
    }

    fn transfer(&mut self, from: &'static str, to: &'static str, overwrite: bool, keep: bool) {
        let moved = if keep {
            self.store.copy(from, to, overwrite)
        } else {
            self.store.rename(from, to, overwrite)
        };
        let Some(entry) = self.alive(from).cloned() else {
            return assert_eq!(moved.expect_err("missing").kind(), ErrorKind::NotFound);
        };
        if !keep && from == to {
            return assert_eq!(moved.expect("nothing to do").key, to);
        }
        if self.untrusted(from) {
            return assert_eq!(moved.expect_err("unsigned").kind(), ErrorKind::Untrusted);
        }
        let holds = overwrite || self.alive(to).is_none();
        self.saved(to, moved, Entry { foreign: false, ..entry }, holds);
        if holds && !keep {
            self.model.remove(from);
        }
    }

    fn edit(&mut self, key: &'static str) {
        if self.model.get(key).is_some_and(|entry| entry.inline) {
            // There is no file to be edited.
            return;
        }
        let payload = self.next_payload();
        let format = self.model.get(key).map_or(Format::String, |entry| entry.format);
        let path = self.path(key, format);
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("made");
        std::fs::write(path, &payload).expect("written");
        let (ends, tags, metadata) = (None, Vec::new(), None);
        let (foreign, inline) = (true, false);
        let entry = Entry { payload, format, ends, tags, metadata, foreign, inline };
        self.model.insert(key, entry);
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Save(saving) => {
                let (save, entry, holds) = self.prepare(saving);
                let Save { key, format, parts, options } = save;
                let saved = self.store.save_parts(&key, format, parts, options);
                self.saved(KEYS[saving.key], saved, entry, holds);
            }
            Step::SaveMany(savings) => self.save_many(savings),
            Step::Delete(key, wish) => {
                let key = KEYS[*key];
                let (condition, holds) = self.condition(key, *wish);
                let etag = match &condition {
                    Condition::Matches(etag) => Some(etag.as_str()),
                    _ => None,
                };
                let was_alive = self.alive(key).is_some();
                match self.store.delete(key, etag) {
                    Ok(deleted) => {
                        assert_eq!(deleted, was_alive);
                        assert!(etag.is_none() || holds);
                        self.model.remove(key);
                    }
                    Err(error) => {
                        assert!(etag.is_some() && !holds, "{error}");
                        assert_eq!(error.kind(), ErrorKind::Conflict);
                    }
                }
            }
            Step::DeleteMany(keys) => {
                let keys: Vec<_> = keys.iter().map(|key| KEYS[*key]).collect();
                for (key, deleted) in keys.iter().zip(self.store.delete_many(&keys)) {
                    assert_eq!(deleted.expect("deleted"), self.alive(key).is_some());
                    self.model.remove(key);
                }
            }
            Step::Touch(key, ttl) => {
                let key = KEYS[*key];
                let ends = ttl.map(|ms| self.now() + ms);
                let life = ttl.map_or(Ttl::Never, |ms| Ttl::After(Duration::from_millis(ms)));
                let touched = self.store.touch(key, life).map_err(|error| error.kind());
                match self.alive(key) {
                    None => assert_eq!(touched, Err(ErrorKind::NotFound)),
                    Some(entry) if entry.foreign => {
                        assert_eq!(touched, Err(ErrorKind::InvalidArgument));
                    }
                    Some(_) => {
                        assert_eq!(touched.expect("touched").expires_at, ends);
                        self.model.get_mut(key).expect("alive").ends = ends;
                    }
                }
            }
            Step::Move { from, to, overwrite, keep } => {
                self.transfer(KEYS[*from], KEYS[*to], *overwrite, *keep);
            }
            Step::Advance(millis) => self.hands.advance(Duration::from_millis(*millis)),
            Step::Expire => {
                let before = self.model.len();
                let now = self.now();
                self.model.retain(|_, entry| entry.ends.is_none_or(|ends| ends > now));
                let gone = (before - self.model.len()) as u64;
                assert_eq!(self.store.expire().expect("removed"), gone);
            }
            Step::Clear => {
                let before = self.model.len();
                self.model.retain(|_, entry| entry.foreign);
                let gone = (before - self.model.len()) as u64;
                assert_eq!(self.store.clear().expect("cleared"), gone);
            }
            Step::Edit(key) => self.edit(KEYS[*key]),
            Step::Remove(key) => {
                let key = KEYS[*key];
                if let Some(entry) = self.model.get(key).filter(|entry| !entry.inline).cloned() {
                    self.model.remove(key);
                    std::fs::remove_file(self.path(key, entry.format)).expect("there");
                }
            }
            Step::Reopen { close, lose_index, inline_below } => {
                if *close {
                    self.store.close().expect("closed");
                }
                self.store = BlobManager::new("nowhere");
                if *lose_index {
                    let index = self.folder.path().join(".holdall/index");
                    let _ = std::fs::remove_dir_all(index);
                }
                self.inline_below = *inline_below;
                self.store = open(self.folder.path(), &self.hands, *inline_below);
            }
        }
    }

    /// Every answer about every key must be the model's.
    fn check(&mut self) {
        let mut listed = Vec::new();
        for key in KEYS {
            let loaded = self.store.try_load_bytes(key, None);
            let head = self.store.metadata(key);
            let expected = self.alive(key);
            assert_eq!(self.store.exists(key).expect("asked"), expected.is_some());
            let Some(expected) = expected else {
                assert!(loaded.expect("read").is_none(), "{key} is there");
                assert_eq!(head.expect_err("missing").kind(), ErrorKind::NotFound);
                self.etags.remove(key);
                continue;
            };
            let head = head.expect("there");
            if self.untrusted(key) {
                assert_eq!(loaded.expect_err("unsigned").kind(), ErrorKind::Untrusted);
            } else {
                let loaded = loaded.expect("read").expect("there");
                let record = loaded.metadata.record();
                let found = Entry {
                    payload: loaded.payload.clone(),
                    format: record.format,
                    ends: loaded.metadata.expires_at,
                    tags: record.tags.clone(),
                    metadata: record.metadata.clone(),
                    foreign: record.foreign,
                    inline: self.store.locate(key, None).is_err(),
                };
                assert_eq!(&found, expected);
                assert_eq!(loaded.metadata.etag, head.etag);
            }
            assert_eq!((head.format, head.expires_at), (expected.format.name(), expected.ends));
            self.etags.insert(key, head.etag.clone());
            listed.push(head);
        }
        self.check_listings(&listed);
        let mut files = folder::files(self.folder.path());
        files.sort();
        let entries = self.model.iter().filter(|(_, entry)| !entry.inline);
        let mut expected: Vec<_> =
            entries.map(|(key, entry)| self.path(key, entry.format)).collect();
        expected.sort();
        assert_eq!(files, expected);
        assert_eq!(folder::temporary_files(self.folder.path()), [""; 0]);
        let size: u64 = files.iter().map(|path| path.metadata().expect("there").len()).sum();
        let inline = self.model.values().filter(|entry| entry.inline);
        let size = size + inline.map(Entry::stored).sum::<u64>();
        let stats = self.store.get_stats().expect("counted");
        assert_eq!((stats.entries, stats.total_size), (self.model.len() as u64, size));
    }

    fn check_listings(&self, heads: &[BlobMetadata]) {
        let mut heads: Vec<_> = heads.iter().collect();
        heads.sort_by_key(|head| head.key.as_bytes());
        for prefix in ["", "f/", "f/g/", "z"] {
            let expected: Vec<_> =
                heads.iter().filter(|head| head.key.starts_with(prefix)).collect();
            let mut found: Vec<BlobMetadata> = Vec::new();
            loop {
                let after = found.last().map(|last| last.key.clone());
                let page = self.store.list(prefix, after.as_deref(), 2).expect("listed");
                let is_last = page.len() < 2;
                found.extend(page);
                if is_last {
                    break;
                }
            }
            let keys: Vec<String> =
                self.store.keys(prefix).map(|key| key.expect("listed")).collect();
            assert!(keys.iter().eq(expected.iter().map(|head| &head.key)));
            let told = |head: &BlobMetadata| {
                let record = head.record();
                (head.key.clone(), head.etag.clone(), head.size, record.foreign, head.expires_at)
            };
            assert_eq!(
                found.iter().map(told).collect::<Vec<_>>(),
                expected.iter().map(|head| told(head)).collect::<Vec<_>>()
            );
        }
        for tag in ["x", "y"] {
            let with = |head: &&&BlobMetadata| head.record().tags.iter().any(|one| one == tag);
            let found = self.store.tagged(tag, None, 10).expect("listed");
            let found: Vec<_> = found.iter().map(|head| head.key.as_str()).collect();
            let expected: Vec<_> =
                heads.iter().filter(with).map(|head| head.key.as_str()).collect();
            assert_eq!(found, expected, "{tag}");
        }
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_store_answers_as_a_map_would(
        ahead: bool,
        inline_below in inline_below(),
        steps in prop::collection::vec(step(), 1..50),
    ) {
        let mut world = World::new(ahead, inline_below);
        for step in &steps {
            world.take(step);
            world.check();
        }
    }
}
