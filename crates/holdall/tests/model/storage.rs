//! `StorageManager` against a map: memory and disk, two managers, and values in memory alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use holdall::clock::{ManualClock, Ttl};
use holdall::storage::MemoryOptions;
use holdall::{
    BlobManager, BlobOptions, Condition, ErrorKind, Format, SaveOptions, StorageManager,
};
use proptest::prelude::*;

use super::config;

const KEYS: [&str; 4] = ["a", "b", "f/a", "f/b"];

/// How long a copy stays in memory, which nobody may notice but by its speed.
const COPY: u64 = 25;

#[derive(Debug, Clone)]
enum Step {
    Set {
        key: usize,
        ttl: Option<u64>,
        absent: bool,
        text: bool,
    },
    Get(usize),
    GetOrSet {
        key: usize,
        fails: bool,
    },
    Delete(usize),
    Pin {
        key: usize,
        ttl: Option<u64>,
    },
    Unpin(usize),
    Advance(u64),
    Sweep,
    Clear,
    Expire,
    Reopen,
    /// The same by somebody else, past this memory.
    OtherSave {
        key: usize,
        ttl: Option<u64>,
    },
    OtherDelete(usize),
    OtherTouch {
        key: usize,
        ttl: Option<u64>,
    },
    OtherRename {
        from: usize,
        to: usize,
    },
    OtherClear,
}

fn ttl() -> impl Strategy<Value = Option<u64>> {
    prop::option::of(1..40_u64)
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0..KEYS.len();
    prop_oneof![
        6 => (key(), ttl(), any::<bool>(), any::<bool>())
            .prop_map(|(key, ttl, absent, text)| Step::Set { key, ttl, absent, text }),
        3 => key().prop_map(Step::Get),
        2 => (key(), any::<bool>()).prop_map(|(key, fails)| Step::GetOrSet { key, fails }),
        2 => key().prop_map(Step::Delete),
        2 => (key(), ttl()).prop_map(|(key, ttl)| Step::Pin { key, ttl }),
        1 => key().prop_map(Step::Unpin),
        3 => (1..30_u64).prop_map(Step::Advance),
        1 => Just(Step::Sweep),
        1 => Just(Step::Clear),
        1 => Just(Step::Expire),
        1 => Just(Step::Reopen),
        4 => (key(), ttl()).prop_map(|(key, ttl)| Step::OtherSave { key, ttl }),
        2 => key().prop_map(Step::OtherDelete),
        2 => (key(), ttl()).prop_map(|(key, ttl)| Step::OtherTouch { key, ttl }),
        2 => (key(), key()).prop_map(|(from, to)| Step::OtherRename { from, to }),
        1 => Just(Step::OtherClear),
    ]
}

/// A value and when it ends.
type Entry = (u64, Option<u64>);

struct World {
    folder: tempfile::TempDir,
    hands: ManualClock,
    max_size: usize,
    storage: StorageManager,
    other: BlobManager,
    disk: BTreeMap<&'static str, Entry>,
    /// Values in memory alone, which hide those on the disk.
    pinned: BTreeMap<&'static str, Entry>,
    values: u64,
    /// Of this storage; the other manager keeps all values in files.
    inline_below: u64,
}

fn blobs(folder: &std::path::Path, hands: &ManualClock, inline_below: u64) -> BlobManager {
    BlobManager::with_options(BlobOptions {
        base_path: folder.into(),
        inline_below,
        clock: hands.clock(),
        ..BlobOptions::default()
    })
}

fn storage(blobs: BlobManager, hands: &ManualClock, max_size: usize) -> StorageManager {
    let memory = MemoryOptions {
        max_size,
        default_ttl: Some(Duration::from_millis(COPY)),
        external_check: Duration::from_secs(1_000_000),
        clock: Some(hands.clock()),
        ..MemoryOptions::default()
    };
    StorageManager::with_memory(blobs, memory)
}

fn life(ttl: Option<u64>) -> Ttl {
    ttl.map_or(Ttl::Never, |ms| Ttl::After(Duration::from_millis(ms)))
}

impl World {
    fn new(max_size: usize, inline_below: u64) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let hands = ManualClock::new();
        let other = blobs(folder.path(), &hands, 0);
        let storage = storage(blobs(folder.path(), &hands, inline_below), &hands, max_size);
        let (disk, pinned) = (BTreeMap::new(), BTreeMap::new());
        Self { folder, hands, max_size, storage, other, disk, pinned, values: 0, inline_below }
    }

    fn end(&self, ttl: Option<u64>) -> Option<u64> {
        ttl.map(|ms| self.hands.clock().boot_millis() + ms)
    }

    fn alive(&self, (value, ends): Entry) -> Option<u64> {
        ends.is_none_or(|ends| ends > self.hands.clock().boot_millis()).then_some(value)
    }

    fn on_disk(&self, key: &str) -> Option<u64> {
        self.disk.get(key).and_then(|entry| self.alive(*entry))
    }

    fn in_memory_alone(&self, key: &str) -> Option<u64> {
        self.pinned.get(key).and_then(|entry| self.alive(*entry))
    }

    fn expected(&self, key: &str) -> Option<u64> {
        self.in_memory_alone(key).or_else(|| self.on_disk(key))
    }

    fn next(&mut self) -> u64 {
        self.values += 1;
        self.values
    }

    fn got(&self, key: &str) -> Option<u64> {
        self.storage.get::<u64>(key).expect("read").map(|value| *value)
    }

    fn set(&mut self, key: &'static str, ttl: Option<u64>, absent: bool, text: bool) {
        let value = self.next();
        let condition = if absent { Condition::Absent } else { Condition::Any };
        let options = SaveOptions { ttl: life(ttl), condition, ..SaveOptions::default() };
        // Text is no number: what the format refuses changes nothing anywhere.
        let format = if text { Format::String } else { Format::Json };
        let saved = self.storage.set_with(key, Arc::new(value), format, options);
        match saved.map_err(|error| error.kind()) {
            Ok(_) => {
                assert!(!text && (!absent || self.on_disk(key).is_none()));
                self.disk.insert(key, (value, self.end(ttl)));
                self.pinned.remove(key);
            }
            Err(kind) if text => assert_eq!(kind, ErrorKind::Encode),
            Err(kind) => {
                assert_eq!(kind, ErrorKind::Conflict);
                assert!(absent && self.on_disk(key).is_some());
            }
        }
    }

    fn get_or_set(&mut self, key: &'static str, fails: bool) {
        let value = self.next();
        let load = || {
            let failure = || holdall::Error::new(ErrorKind::Io, "no network");
            if fails { Err(failure()) } else { Ok(value) }
        };
        let got = self.storage.get_or_set(key, load, Format::Json);
        match self.expected(key) {
            Some(there) => assert_eq!(*got.expect("there"), there),
            None if fails => assert_eq!(got.expect_err("failed").cause(), "no network"),
            None => {
                assert_eq!(*got.expect("loaded"), value);
                self.disk.insert(key, (value, None));
            }
        }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Set { key, ttl, absent, text } => self.set(KEYS[key], ttl, absent, text),
            Step::Get(key) => assert_eq!(self.got(KEYS[key]), self.expected(KEYS[key])),
            Step::GetOrSet { key, fails } => self.get_or_set(KEYS[key], fails),
            Step::Delete(key) => {
                let there = self.expected(KEYS[key]).is_some();
                assert_eq!(self.storage.delete(KEYS[key]).expect("deleted"), there);
                self.disk.remove(KEYS[key]);
                self.pinned.remove(KEYS[key]);
            }
            Step::Pin { key, ttl } => {
                // With little room nobody knows how long it stays.
                if self.max_size >= KEYS.len() {
                    let value = self.next();
                    self.storage.cache_set(KEYS[key], value, life(ttl)).expect("kept");
                    self.pinned.insert(KEYS[key], (value, self.end(ttl)));
                }
            }
            Step::Unpin(key) => {
                self.storage.cache_delete(KEYS[key]);
                self.pinned.remove(KEYS[key]);
            }
            Step::Advance(millis) => self.hands.advance(Duration::from_millis(millis)),
            Step::Sweep => self.storage.sweep_expired(),
            Step::Clear => {
                assert_eq!(self.storage.clear().expect("cleared"), self.disk.len() as u64);
                self.disk.clear();
                self.pinned.clear();
            }
            Step::Expire => {
                let now = self.hands.clock().boot_millis();
                let before = self.disk.len();
                self.disk.retain(|_, (_, ends)| ends.is_none_or(|ends| ends > now));
                let gone = (before - self.disk.len()) as u64;
                assert_eq!(self.storage.blobs().expire().expect("removed"), gone);
            }
            Step::Reopen => {
                let blobs = blobs(self.folder.path(), &self.hands, self.inline_below);
                self.storage = storage(blobs, &self.hands, self.max_size);
                self.pinned.clear();
            }
            Step::OtherSave { key, ttl } => {
                let value = self.next();
                let options = SaveOptions { ttl: life(ttl), ..SaveOptions::default() };
                self.other.save_with(KEYS[key], &value, Format::Json, options).expect("saved");
                self.disk.insert(KEYS[key], (value, self.end(ttl)));
            }
            Step::OtherDelete(key) => {
                let there = self.on_disk(KEYS[key]).is_some();
                assert_eq!(self.other.delete(KEYS[key], None).expect("deleted"), there);
                self.disk.remove(KEYS[key]);
            }
            Step::OtherTouch { key, ttl } => {
                let touched = self.other.touch(KEYS[key], life(ttl));
                assert_eq!(touched.is_ok(), self.on_disk(KEYS[key]).is_some());
                if touched.is_ok() {
                    let end = self.end(ttl);
                    self.disk.get_mut(KEYS[key]).expect("touched").1 = end;
                }
            }
            Step::OtherRename { from, to } => {
                let renamed = self.other.rename(KEYS[from], KEYS[to], true);
                assert_eq!(renamed.is_ok(), self.on_disk(KEYS[from]).is_some());
                if renamed.is_ok()
                    && let Some(entry) = self.disk.remove(KEYS[from])
                {
                    self.disk.insert(KEYS[to], entry);
                }
            }
            Step::OtherClear => {
                assert_eq!(self.other.clear().expect("cleared"), self.disk.len() as u64);
                self.disk.clear();
            }
        }
    }

    fn check(&self) {
        for key in KEYS {
            let expected = self.expected(key);
            assert_eq!(self.storage.exists(key).expect("asked"), expected.is_some());
            // Memory may have forgotten, but what it has is the newest.
            let held = self.storage.cache_get::<u64>(key).map(|value| *value);
            assert!(held.is_none() || held == expected, "{key}: {held:?}, not {expected:?}");
            if let Some(pinned) = self.in_memory_alone(key) {
                assert_eq!(held, Some(pinned));
            }
        }
        let stats = self.storage.get_stats().expect("counted");
        assert_eq!(stats.blobs.entries, self.disk.len() as u64);
        assert!(stats.cache.entries <= self.max_size);
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn disk_and_memory_answer_as_one_map_would(
        max_size in prop_oneof![Just(0_usize), Just(2), Just(100)],
        inline_below in prop_oneof![Just(0_u64), Just(2), Just(100)],
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut world = World::new(max_size, inline_below);
        for step in &steps {
            world.take(step);
            world.check();
        }
        for key in KEYS {
            assert_eq!(world.got(key), world.expected(key));
        }
    }
}
