//! The promises of `StorageManager`: disk first, then memory, and nobody gets yesterday's value.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use holdall::backend::memory::MemoryBackend;
use holdall::backend::{Backend, Condition, Durability, Object, Placed, Put, Totals};
use holdall::clock::{Clock, ManualClock, Ttl};
use holdall::key::Key;
use holdall::record::Record;
use holdall::storage::MemoryOptions;
use holdall::{
    BlobManager, BlobOptions, Error, ErrorKind, Format, Result, SaveOptions, StorageManager,
};

fn on_disk() -> (tempfile::TempDir, StorageManager) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let storage = StorageManager::new(BlobManager::new(folder.path()));
    (folder, storage)
}

#[test]
fn what_was_set_is_the_very_object_that_get_answers_with() {
    let (_folder, storage) = on_disk();
    let value = Arc::new(vec![1, 2, 3]);
    let options = SaveOptions::default();
    storage.set_with("k", Arc::clone(&value), Format::Json, options).expect("saved");
    let got = storage.get::<Vec<i32>>("k").expect("read").expect("there");
    assert!(Arc::ptr_eq(&value, &got));
    assert_eq!(storage.get_stats().expect("counted").cache.hits, 1);
}

#[test]
fn a_write_through_another_manager_is_seen_by_the_next_get() {
    let (folder, here) = on_disk();
    let there = StorageManager::new(BlobManager::new(folder.path()));
    here.set("k", 1, Format::Json).expect("saved");
    assert_eq!(there.get::<i32>("k").expect("read").as_deref(), Some(&1));
    for number in 2..50 {
        there.set("k", number, Format::Json).expect("saved");
        assert_eq!(here.get::<i32>("k").expect("read").as_deref(), Some(&number));
    }
    assert!(there.delete("k").expect("deleted"));
    assert!(here.get::<i32>("k").expect("read").is_none());
}

#[test]
fn what_the_disk_refused_is_never_in_memory() {
    let (_folder, storage) = on_disk();
    storage.set("k", vec![1.0], Format::Json).expect("saved");
    let refused = storage.set("k", vec![f64::NAN], Format::Json).expect_err("no JSON");
    assert_eq!(refused.kind(), ErrorKind::Encode);
    assert_eq!(storage.get::<Vec<f64>>("k").expect("read").as_deref(), Some(&vec![1.0]));
    let absent = SaveOptions { condition: Condition::Absent, ..SaveOptions::default() };
    let refused = storage.set_with("k", Arc::new(vec![2.0]), Format::Json, absent);
    assert_eq!(refused.expect_err("it is there").kind(), ErrorKind::Conflict);
    assert_eq!(storage.get::<Vec<f64>>("k").expect("read").as_deref(), Some(&vec![1.0]));
}

#[test]
fn an_edit_by_another_program_reaches_memory() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let hands = ManualClock::new();
    let options = MemoryOptions { clock: Some(hands.clock()), ..MemoryOptions::default() };
    let storage = StorageManager::with_memory(BlobManager::new(folder.path()), options);
    storage.set("k", 1, Format::Json).expect("saved");
    fs::write(folder.path().join("k.json"), "22").expect("edited");
    assert_eq!(storage.get::<i32>("k").expect("read").as_deref(), Some(&1));
    hands.advance(Duration::from_secs(1));
    // This hit starts a look at the file in the background; the edit is seen when it has ended.
    let seen = (0..2_000).any(|_| {
        std::thread::sleep(Duration::from_millis(1));
        storage.get::<i32>("k").expect("read").as_deref() == Some(&22)
    });
    assert!(seen);
}

#[test]
fn a_lifetime_limits_the_value_everywhere_and_the_default_only_the_copy() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let hands = ManualClock::new();
    let blobs = BlobOptions {
        base_path: folder.path().into(),
        clock: hands.clock(),
        ..BlobOptions::default()
    };
    let memory = MemoryOptions {
        clock: Some(hands.clock()),
        default_ttl: Some(Duration::from_secs(60)),
        external_check: Duration::from_secs(1_000_000),
        ..MemoryOptions::default()
    };
    let storage = StorageManager::with_memory(BlobManager::with_options(blobs), memory);
    storage.set("ever", 1, Format::Json).expect("saved");
    let short = SaveOptions { ttl: Ttl::from(Duration::from_secs(5)), ..SaveOptions::default() };
    storage.set_with("short", Arc::new(2), Format::Json, short).expect("saved");
    hands.advance(Duration::from_secs(5));
    assert!(storage.get::<i32>("short").expect("read").is_none());
    assert!(storage.cache_get::<i32>("ever").is_some());
    hands.advance(Duration::from_secs(60));
    assert!(storage.cache_get::<i32>("ever").is_none());
    assert_eq!(storage.get::<i32>("ever").expect("read").as_deref(), Some(&1));
    let stats = storage.get_stats().expect("counted").cache;
    assert_eq!((stats.evictions, stats.expirations), (0, 2));
}

#[test]
fn memory_alone_is_memory_alone() {
    let (folder, storage) = on_disk();
    storage.cache_set("temp", 1, Ttl::Never).expect("kept");
    assert_eq!(storage.get::<i32>("temp").expect("read").as_deref(), Some(&1));
    assert!(storage.exists("temp").expect("asked"));
    assert!(!folder.path().join("temp.json").exists());
    assert!(storage.cache_delete("temp"));
    assert!(!storage.exists("temp").expect("asked"));
    storage.set("k", 2, Format::Json).expect("saved");
    storage.cache_delete("k");
    assert_eq!(storage.get::<i32>("k").expect("read").as_deref(), Some(&2));
}

#[test]
fn many_callers_of_one_missing_key_cause_one_load_and_a_failure_is_not_kept() {
    let (_folder, storage) = on_disk();
    let loads = AtomicUsize::new(0);
    let barrier = Barrier::new(16);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                barrier.wait();
                let got = storage.get_or_set(
                    "k",
                    || Ok(loads.fetch_add(1, Ordering::SeqCst)),
                    Format::Json,
                );
                assert_eq!(*got.expect("loaded"), 0);
            });
        }
    });
    assert_eq!(loads.into_inner(), 1);
    let failing = || -> Result<i32> { Err(Error::new(ErrorKind::Io, "no network")) };
    assert!(storage.get_or_set("bad", failing, Format::Json).is_err());
    assert_eq!(*storage.get_or_set("bad", || Ok(7), Format::Json).expect("loaded"), 7);
}

/// What a [`Slow`] backend does between reading a value and giving it out.
type Interlude = Box<dyn FnOnce() + Send>;

/// A backend on which something happens in the middle of a read.
#[derive(Default)]
struct Slow {
    below: MemoryBackend,
    in_the_middle: Mutex<Option<Interlude>>,
    after_the_save: Mutex<Option<Interlude>>,
    keeps: AtomicBool,
    reads: AtomicUsize,
}

impl std::fmt::Debug for Slow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Slow")
    }
}

impl Backend for Slow {
    fn put(&self, put: Put) -> Result<Placed> {
        let placed = self.below.put(put);
        let interlude = self.after_the_save.lock().expect("not poisoned").take();
        interlude.into_iter().for_each(|interlude| interlude());
        placed
    }
    fn get(&self, key: &Key, wanted: Option<Format>) -> Result<Option<Object>> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let object = self.below.get(key, wanted);
        let interlude = self.in_the_middle.lock().expect("not poisoned").take();
        interlude.into_iter().for_each(|interlude| interlude());
        object
    }
    fn head(&self, key: &Key) -> Result<Option<Record>> {
        self.below.head(key)
    }
    fn set_ttl(
        &self,
        key: &Key,
        ttl: Option<u64>,
        durability: Durability,
    ) -> Result<Option<Record>> {
        self.below.set_ttl(key, ttl, durability)
    }
    fn delete(&self, key: &Key, condition: &Condition, durability: Durability) -> Result<bool> {
        if self.keeps.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Busy, "somebody has the key"));
        }
        self.below.delete(key, condition, durability)
    }
    fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, Record)>> {
        self.below.list(prefix, after, limit)
    }
    fn tagged(&self, tag: &str, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, Record)>> {
        self.below.tagged(tag, after, limit)
    }
    fn expire(&self, durability: Durability) -> Result<u64> {
        self.below.expire(durability)
    }
    fn clear(&self, durability: Durability) -> Result<u64> {
        self.below.clear(durability)
    }
    fn totals(&self) -> Result<Totals> {
        self.below.totals()
    }
    fn version(&self, key: &Key) -> Option<u64> {
        self.below.version(key)
    }
    fn revalidate(&self, key: &Key, generation: u64) -> Result<()> {
        self.below.revalidate(key, generation)
    }
    fn locate(&self, key: &Key) -> Result<Option<(PathBuf, Record)>> {
        self.below.locate(key)
    }
    fn store_id(&self) -> Result<[u8; 16]> {
        self.below.store_id()
    }
    fn folder(&self) -> Option<&Path> {
        None
    }
    fn close(&self) -> Result<()> {
        self.below.close()
    }
}

fn slow() -> (Arc<Slow>, StorageManager, BlobManager) {
    let backend = Arc::new(Slow { below: MemoryBackend::new(Clock::system()), ..Slow::default() });
    let blobs = BlobManager::on(Arc::clone(&backend) as Arc<dyn Backend>, BlobOptions::default());
    (backend, StorageManager::new(blobs.clone()), blobs)
}

#[test]
fn a_slow_read_does_not_put_an_old_value_over_a_newer_write() {
    let (backend, storage, blobs) = slow();
    blobs.save("k", "old", Format::Json).expect("saved");
    let writer = storage.clone();
    *backend.in_the_middle.lock().expect("not poisoned") = Some(Box::new(move || {
        writer.set("k", "new".to_owned(), Format::Json).expect("saved");
    }));
    // The read began before the write, so either value is right for it, but not to be kept.
    storage.get::<String>("k").expect("read").expect("there");
    let got = storage.get::<String>("k").expect("read").expect("there");
    assert_eq!(*got, "new");
}

#[test]
fn a_read_that_began_before_a_write_does_not_answer_who_asks_after_it() {
    let (backend, storage, blobs) = slow();
    blobs.save("k", "old", Format::Json).expect("saved");
    let (second, writer) = (storage.clone(), blobs);
    let answer = Arc::new(Mutex::new(None));
    let answered = Arc::clone(&answer);
    *backend.in_the_middle.lock().expect("not poisoned") = Some(Box::new(move || {
        writer.save("k", "new", Format::Json).expect("saved");
        let asked = std::thread::spawn(move || second.get::<String>("k").expect("read"));
        *answered.lock().expect("not poisoned") = asked.join().expect("no deadlock");
    }));
    storage.get::<String>("k").expect("read").expect("there");
    let answer = answer.lock().expect("not poisoned").clone();
    assert_eq!(answer.as_deref().map(String::as_str), Some("new"));
}

#[test]
fn callers_who_meet_read_the_disk_once() {
    let (backend, storage, blobs) = slow();
    blobs.save("k", "v", Format::Json).expect("saved");
    let waiting = storage.clone();
    let others: Arc<Mutex<Vec<std::thread::JoinHandle<_>>>> = Arc::default();
    let started = Arc::clone(&others);
    *backend.in_the_middle.lock().expect("not poisoned") = Some(Box::new(move || {
        let begun = Arc::new(Barrier::new(5));
        for _ in 0..4 {
            let (waiting, begun) = (waiting.clone(), Arc::clone(&begun));
            let other = std::thread::spawn(move || {
                begun.wait();
                waiting.get::<String>("k").expect("read")
            });
            started.lock().expect("not poisoned").push(other);
        }
        begun.wait();
    }));
    assert_eq!(storage.get::<String>("k").expect("read").as_deref().map(String::as_str), Some("v"));
    for other in others.lock().expect("not poisoned").drain(..) {
        let got = other.join().expect("no deadlock");
        assert_eq!(got.as_deref().map(String::as_str), Some("v"));
    }
    assert_eq!(backend.reads.load(Ordering::SeqCst), 1);
}

#[test]
fn a_value_of_another_type_in_memory_is_read_anew() {
    let (_folder, storage) = on_disk();
    storage.set("k", 5_i32, Format::Json).expect("saved");
    assert_eq!(storage.get::<f64>("k").expect("read").as_deref(), Some(&5.0));
    assert_eq!(storage.get::<i32>("k").expect("read").as_deref(), Some(&5));
}

#[test]
fn callers_who_meet_with_different_types_each_get_their_own() {
    let (backend, storage, blobs) = slow();
    blobs.save("k", &5_i32, Format::Json).expect("saved");
    let second = storage.clone();
    let answer = Arc::new(Mutex::new(None));
    let answered = Arc::clone(&answer);
    *backend.in_the_middle.lock().expect("not poisoned") = Some(Box::new(move || {
        let asked = std::thread::spawn(move || second.get::<f64>("k").expect("read"));
        *answered.lock().expect("not poisoned") = asked.join().expect("no deadlock");
    }));
    // The first one fails, which is no concern of the other.
    assert!(storage.get::<String>("k").is_err());
    assert_eq!(answer.lock().expect("not poisoned").as_deref(), Some(&5.0));
}

#[test]
fn what_is_saved_while_a_load_runs_is_the_value_and_what_is_deleted_stays_away() {
    let folder = tempfile::tempdir().unwrap();
    let storage = StorageManager::new(BlobManager::new(folder.path()));
    let while_it_runs = |then: &dyn Fn()| {
        let loader = || {
            then();
            Ok("loaded".to_owned())
        };
        storage.get_or_set("k", loader, Format::Json).unwrap()
    };
    let saved = while_it_runs(&|| {
        storage.set("k", "newer".to_owned(), Format::Json).unwrap();
    });
    assert_eq!(*saved, "newer");
    assert_eq!(storage.get::<String>("k").unwrap().as_deref(), Some(&"newer".to_owned()));
    storage.delete("k").unwrap();
    for clear in [false, true] {
        let loaded = while_it_runs(&|| {
            if clear {
                storage.clear().unwrap();
            } else {
                storage.delete("k").unwrap();
            }
        });
        assert_eq!(*loaded, "loaded");
        assert!(storage.get::<String>("k").unwrap().is_none(), "an older value was kept");
    }
}

/// A value during whose encoding something else happens.
#[derive(serde::Deserialize)]
struct Interrupted(u8);

thread_local! {
    static MEANWHILE: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

impl serde::Serialize for Interrupted {
    fn serialize<S: serde::Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        MEANWHILE.take().into_iter().for_each(|meanwhile| meanwhile());
        to.serialize_u8(self.0)
    }
}

#[test]
fn what_is_deleted_while_a_loaded_value_is_saved_is_at_no_time_there_again() {
    let backend = Arc::new(MemoryBackend::default());
    let storage = StorageManager::new(BlobManager::on(backend.clone(), BlobOptions::default()));
    let key = Key::new("k").unwrap();
    let (here, writes) = (storage.clone(), backend.version(&key));
    let delete = move || assert!(!here.delete("k").unwrap());
    MEANWHILE.set(Some(Box::new(|| std::thread::spawn(delete).join().unwrap())));
    let loaded = storage.get_or_set("k", || Ok(Interrupted(1)), Format::Json).unwrap();
    assert_eq!(loaded.0, 1);
    assert_eq!(backend.version(&key), writes, "it was placed, and removed once more");
    assert!(!storage.exists("k").unwrap());
}

#[test]
fn a_loaded_value_is_given_back_though_what_a_delete_has_overtaken_cannot_be_removed() {
    let (backend, storage, _) = slow();
    let (here, there) = (storage.clone(), Arc::clone(&backend));
    *backend.after_the_save.lock().expect("not poisoned") = Some(Box::new(move || {
        // A delete on another thread: it begins, and then nobody gets the key any more.
        there.keeps.store(true, Ordering::SeqCst);
        let deleting = std::thread::spawn(move || here.delete("k").map(drop));
        assert_eq!(deleting.join().unwrap().unwrap_err().kind(), ErrorKind::Busy);
    }));
    let loaded = storage.get_or_set("k", || Ok("loaded".to_owned()), Format::Json);
    assert_eq!(*loaded.expect("it was loaded"), "loaded");
}
