//! Memory over a store: slow reads and newer writes, values that are made once, and batches.

use std::cell::Cell;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use super::{Number, Tally, Work, together};
use crate::backend::memory::MemoryBackend;
use crate::cache::{CacheLimits, NewEntry, PolicyKind};
use crate::clock::ManualClock;
use crate::key::Key;
use crate::storage::{Gone, MemoryOptions, Seen, Tier};
use crate::sync::{Mutex, step};
use crate::{
    BlobManager, BlobMetadata, BlobOptions, CancelToken, Format, Save, SaveOptions, StorageManager,
};

pub(super) fn in_memory() -> BlobManager {
    BlobManager::on(Arc::new(MemoryBackend::default()), BlobOptions::default())
}

/// Another memory over the store, of so many entries.
fn memory_over(blobs: &BlobManager, max_size: usize) -> StorageManager {
    let clock = Some(ManualClock::new().clock());
    let options = MemoryOptions { clock, max_size, ..MemoryOptions::default() };
    StorageManager::with_memory(blobs.clone(), options)
}

/// After a write was acknowledged, or somebody has seen it, nobody is answered with what was there
/// before, and no memory is left with it. In one of the memories there is room for one key.
pub(super) fn readers_never_see_the_past(blobs: &BlobManager, writes: u64) {
    let (one, two) = (memory_over(blobs, 10), memory_over(blobs, 1));
    for key in ["k", "beside"] {
        one.set(key, 0_u64, Format::Json).unwrap();
    }
    one.cache_delete("k");
    let known = Number::default();
    let read = |storage: &StorageManager| {
        let (storage, known) = (storage.clone(), known.clone());
        Box::new(move || {
            for _ in 0..2 {
                let floor = known.get();
                let value = *storage.get::<u64>("k").unwrap().unwrap();
                assert!(value >= floor, "{value} was answered after {floor} was known");
                known.raise(value);
            }
            assert_eq!(*storage.get::<u64>("beside").unwrap().unwrap(), 0);
        }) as Work
    };
    let (writer, noted) = (one.clone(), known.clone());
    let write = move || {
        for n in 1..=writes {
            writer.set("k", n, Format::Json).unwrap();
            noted.raise(n);
            assert_eq!(*writer.get::<u64>("k").unwrap().unwrap(), n);
        }
    };
    together(vec![read(&one), read(&two), read(&two), Box::new(write)]);
    for storage in [&one, &two] {
        assert!(storage.cache_get::<u64>("k").is_none_or(|value| *value == writes));
        assert_eq!(*storage.get::<u64>("k").unwrap().unwrap(), writes);
    }
    assert!(two.get_stats().unwrap().cache.entries <= 1);
}

pub fn a_slow_read_is_not_admitted_after_a_newer_write() {
    readers_never_see_the_past(&in_memory(), 2);
}

/// A value that says how often it was decoded.
#[derive(Serialize)]
struct Read(u64);

thread_local! {
    /// All threads of a schedule are one thread of the system.
    static READS: Cell<u64> = const { Cell::new(0) };
}

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        step();
        READS.set(READS.get() + 1);
        step();
        u64::deserialize(from).map(Self)
    }
}

/// Readers of one value that is not in memory read the disk once.
pub fn concurrent_readers_read_once() {
    let blobs = in_memory();
    blobs.save("k", &7, Format::Json).unwrap();
    READS.set(0);
    let storage = memory_over(&blobs, 10);
    let call = |_| {
        let storage = storage.clone();
        Box::new(move || assert_eq!(storage.get::<Read>("k").unwrap().unwrap().0, 7)) as Work
    };
    together((0..3).map(call).collect());
    assert_eq!(READS.get(), 1);
}

/// A value that a delete overtook while it was made is not what anybody gets after that, nor what
/// stays.
pub(super) fn what_was_made_is_overtaken_by(
    blobs: &BlobManager,
    remove: fn(&StorageManager) -> crate::Result<()>,
) {
    // Opening takes more steps than all the rest.
    blobs.save("beside", &0, Format::Json).unwrap();
    let storage = memory_over(blobs, 10);
    let truth = Number::new(1);
    let (reader, seen) = (storage.clone(), truth.clone());
    let (writer, changed) = (storage.clone(), truth.clone());
    together(vec![
        Box::new(move || {
            let value = reader.get_or_set("k", || Ok(seen.get()), Format::Json).unwrap();
            assert!((1..=2).contains(&*value));
        }),
        Box::new(move || {
            changed.set(2);
            remove(&writer).unwrap();
            let value = writer.get_or_set("k", || Ok(changed.get()), Format::Json).unwrap();
            assert_eq!(*value, 2, "made before it was removed");
        }),
    ]);
    assert_eq!(*storage.get::<u64>("k").unwrap().unwrap(), 2);
}

pub fn what_was_made_before_a_delete_is_not_kept_after_it() {
    what_was_made_is_overtaken_by(&in_memory(), |storage| storage.delete("k").map(drop));
}

pub fn what_was_made_before_a_clear_is_not_kept_after_it() {
    what_was_made_is_overtaken_by(&in_memory(), |storage| storage.clear().map(drop));
}

/// A memory of those who save in batches and are told one by one, in whatever order.
#[derive(Clone)]
struct Told(Arc<Mutex<Tier<Key, u64>>>);

impl Told {
    fn new() -> Self {
        let limits = CacheLimits { max_entries: 10, max_bytes: None };
        Self(Arc::new(Mutex::new(Tier::new(limits, PolicyKind::default(), 1_000))))
    }

    fn admit(&self, value: u64, saved: &BlobMetadata) {
        step();
        let Some(version) = saved.version() else { return };
        let seen = Seen { version, generation: saved.record().generation, checked: 0 };
        let key = Key::new(&saved.key).unwrap();
        let entry = NewEntry { hash: 0, key, value, bytes: 1, expires_at: None };
        let mut tier = self.0.lock().unwrap();
        tier.put(entry, Some(seen), |one, other| one == other, 0, &mut Gone::new());
    }

    fn newest(&self, blobs: &BlobManager, key: &str) -> Option<u64> {
        let key = Key::new(key).unwrap();
        let version = blobs.backend().version(&key);
        self.0.lock().unwrap().peek(0, |held| *held == key, 0, version).copied()
    }
}

/// Of several values for one key in one batch, and beside other saves of it, memory answers with
/// none but the one that stays.
pub(super) fn a_batch_with_a_key_twice_leaves_no_older_value(blobs: &BlobManager) {
    blobs.save("k", &0, Format::Json).unwrap();
    let (told, over) = (Told::new(), Tally::default());
    for value in 1..=2 {
        let (told, over) = (told.clone(), over.clone());
        blobs.save_soon(save("k", value), CancelToken::new(), move |saved| {
            told.admit(value, &saved.unwrap());
            over.add();
        });
    }
    let saves = vec![save("k", 3), save("beside", 9), save("k", 4)];
    let mut saved: Vec<_> = blobs.save_many(saves).into_iter().map(Result::unwrap).collect();
    saved.remove(1);
    let admit = |(value, saved)| {
        let told = told.clone();
        Box::new(move || told.admit(value, &saved)) as Work
    };
    together([3, 4].into_iter().zip(saved).map(admit).collect());
    over.wait_for(2);
    let stays = blobs.load::<u64>("k").unwrap();
    assert!(told.newest(blobs, "k").is_none_or(|value| value == stays));
    assert_ne!(stays, 3, "the last of a batch is the one that stays");
}

pub fn a_batch_with_a_key_twice_leaves_no_older_value_in_memory() {
    a_batch_with_a_key_twice_leaves_no_older_value(&in_memory());
}

pub(super) fn save(key: &str, value: u64) -> Save {
    let parts = vec![value.to_string().into_bytes().into()];
    Save { key: key.into(), format: Format::Json, parts, options: SaveOptions::default() }
}
