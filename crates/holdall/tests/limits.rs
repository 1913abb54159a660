//! The promises of limits: nothing goes without one, what is over it goes the oldest first, what was
//! saved anew stays, and what went is a miss everywhere.

use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use holdall::backend::memory::MemoryBackend;
use holdall::clock::{ManualClock, Ttl};
use holdall::storage::MemoryOptions;
use holdall::{BlobManager, BlobOptions, Eviction, Format, Limits, SaveOptions, StorageManager};
use proptest::prelude::*;

#[path = "common/helper.rs"]
mod helper;
#[path = "common/mounts.rs"]
mod mounts;

use helper::{Helper, end_with_parent, given, listen, say};
use mounts::{own_mounts, run_in_shell};

fn limits(entries: u64, bytes: u64) -> Limits {
    let (max_entries, max_bytes) = (NonZeroU64::new(entries), NonZeroU64::new(bytes));
    Limits { max_entries, max_bytes, ..Limits::default() }
}

/// Nothing is cleaned up unasked: the clock stands still.
fn limited(folder: &Path, limits: Limits, hands: &ManualClock) -> BlobManager {
    BlobManager::with_options(options(folder, limits, hands))
}

fn options(folder: &Path, limits: Limits, hands: &ManualClock) -> BlobOptions {
    BlobOptions { base_path: folder.into(), limits, clock: hands.clock(), ..BlobOptions::default() }
}

fn save(store: &BlobManager, key: &str, length: usize) {
    let parts = vec![vec![7; length].into()];
    store.save_parts(key, Format::Bytes, parts, SaveOptions::default()).expect("saved");
}

fn keys(store: &BlobManager) -> Vec<String> {
    store.keys("").collect::<Result<_, _>>().expect("listed")
}

/// What is left of values, the oldest first, down to 95 % of what may be there.
fn left(mut values: Vec<(String, u64)>, entries: u64, bytes: u64) -> Vec<String> {
    let over = |there: u64, most: u64| most > 0 && there > most;
    let goal = |most: u64| most - most / 20;
    let sum = |values: &[(String, u64)]| values.iter().map(|(_, size)| size).sum::<u64>();
    // What never fits goes before all others.
    values.sort_by_key(|(_, size)| !(bytes > 0 && *size > bytes));
    let by_entries = over(values.len() as u64, entries);
    let by_bytes = over(sum(&values), bytes);
    while (by_entries && values.len() as u64 > goal(entries))
        || (by_bytes && sum(&values) > goal(bytes))
    {
        values.remove(0);
    }
    let mut keys: Vec<String> = values.into_iter().map(|(key, _)| key).collect();
    keys.sort();
    keys
}

#[derive(Debug, Clone)]
enum Step {
    Save(u8, u16),
    Load(u8),
    Delete(u8),
    CleanUp,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..40_u8, 0..300_u16).prop_map(|(key, size)| Step::Save(key, size)),
        3 => (0..40_u8).prop_map(Step::Load),
        1 => (0..40_u8).prop_map(Step::Delete),
        1 => Just(Step::CleanUp),
    ];
    prop::collection::vec(step, 0..80)
}

fn check_against_the_model(
    store: &BlobManager,
    hands: &ManualClock,
    steps: Vec<Step>,
    most: (u64, u64),
) {
    let mut model: Vec<(String, u64)> = Vec::new();
    let mut evicted = 0;
    for step in steps.into_iter().chain([Step::CleanUp]) {
        // Uses are noted to a second, rounded up.
        hands.advance(Duration::from_secs(2));
        match step {
            Step::Load(key) => {
                let key = format!("k{key:02}");
                let found = store.try_load_bytes(&key, None).expect("read");
                let place = model.iter().position(|(other, _)| *other == key);
                assert_eq!(found.is_some(), place.is_some());
                if let (Some(place), true) = (place, store.notes_uses()) {
                    let used = model.remove(place);
                    model.push(used);
                }
            }
            Step::Save(key, size) => {
                let key = format!("k{key:02}");
                save(store, &key, size.into());
                model.retain(|(other, _)| *other != key);
                model.push((key, size.into()));
            }
            Step::Delete(key) => {
                let key = format!("k{key:02}");
                store.delete(&key, None).expect("deleted or not there");
                model.retain(|(other, _)| *other != key);
            }
            Step::CleanUp => {
                let expected = left(model.clone(), most.0, most.1);
                let done = store.clean_up().expect("cleaned up");
                assert_eq!(done.evicted, (model.len() - expected.len()) as u64);
                evicted += done.evicted;
                model.retain(|(key, _)| expected.contains(key));
                assert_eq!(keys(store), expected);
                let stats = store.get_stats().expect("counted");
                assert!(most.0 == 0 || stats.entries <= most.0);
                assert!(most.1 == 0 || stats.total_size <= most.1);
                assert_eq!(stats.evictions, evicted);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn after_a_clean_up_a_store_is_within_its_limits_and_holds_what_was_saved_last(
        steps in steps(), entries in 0..24_u64, bytes in 0..3_000_u64,
    ) {
        let hands = ManualClock::new();
        let options = BlobOptions { limits: limits(entries, bytes), clock: hands.clock(), ..BlobOptions::default() };
        let store = BlobManager::on(Arc::new(MemoryBackend::new(hands.clock())), options);
        check_against_the_model(&store, &hands, steps, (entries, bytes));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn so_it_is_on_the_disk_with_files_and_inline(
        steps in steps(), entries in 0..24_u64, bytes in 0..3_000_u64,
    ) {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let hands = ManualClock::new();
        let options = options(folder.path(), limits(entries, bytes), &hands);
        let store = BlobManager::with_options(BlobOptions { inline_below: 100, ..options });
        check_against_the_model(&store, &hands, steps, (entries, bytes));
    }

    #[test]
    fn or_what_was_used_last(steps in steps(), entries in 0..24_u64, bytes in 0..3_000_u64) {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let hands = ManualClock::new();
        let eviction = Eviction::LeastRecentlyUsed;
        let limits = Limits { eviction, ..limits(entries, bytes) };
        let options = options(folder.path(), limits, &hands);
        let store = BlobManager::with_options(BlobOptions { inline_below: 100, ..options });
        check_against_the_model(&store, &hands, steps, (entries, bytes));
    }
}

#[test]
fn without_a_limit_nothing_is_evicted() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let hands = ManualClock::new();
    let store = limited(folder.path(), Limits::default(), &hands);
    (0..300).for_each(|at| save(&store, &format!("k{at}"), 10));
    hands.advance(Duration::from_secs(1_000_000_000));
    assert_eq!(store.clean_up().expect("cleaned up"), Default::default());
    assert_eq!(keys(&store).len(), 300);
}

#[test]
fn what_has_expired_goes_before_anything_is_evicted() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let hands = ManualClock::new();
    let store = limited(folder.path(), limits(3, 0), &hands);
    for key in ["a", "b"] {
        save(&store, key, 1);
    }
    for key in ["c", "d"] {
        let options = SaveOptions { ttl: Ttl::After(Duration::from_secs(5)), ..Default::default() };
        store.save_with(key, "1", Format::String, options).expect("saved");
    }
    hands.advance(Duration::from_secs(5));
    let done = store.clean_up().expect("cleaned up");
    assert_eq!((done.expired, done.evicted), (2, 0));
    assert_eq!(keys(&store), ["a", "b"]);
    assert_eq!(store.get_stats().expect("counted").expirations, 2);
}

#[test]
fn files_of_other_programs_neither_count_nor_go() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let hands = ManualClock::new();
    let store = limited(folder.path(), limits(3, 0), &hands);
    for at in 0..5 {
        std::fs::write(folder.path().join(format!("theirs{at}.txt")), "text").expect("written");
        store.load::<String>(&format!("theirs{at}")).expect("found");
    }
    for key in ["a", "b", "c"] {
        save(&store, key, 1);
    }
    assert_eq!(store.get_stats().expect("counted").entries, 8, "they are listed");
    assert_eq!(store.clean_up().expect("cleaned up").evicted, 0);
    hands.advance(Duration::from_secs(1));
    save(&store, "d", 1);
    assert_eq!(store.clean_up().expect("cleaned up").evicted, 1);
    let left = ["b", "c", "d", "theirs0", "theirs1", "theirs2", "theirs3", "theirs4"];
    assert_eq!(keys(&store), left);
}

#[test]
fn a_value_larger_than_the_limit_takes_no_other_with_it() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let hands = ManualClock::new();
    let store = limited(folder.path(), limits(0, 1_000), &hands);
    for key in ["a", "b"] {
        save(&store, key, 400);
    }
    hands.advance(Duration::from_secs(1));
    save(&store, "huge", 1_001);
    assert_eq!(store.clean_up().expect("cleaned up").evicted_bytes, 1_001);
    assert_eq!(keys(&store), ["a", "b"]);
}

/// Waits for what happens without being asked for, a minute at most.
fn wait_for(what: &str, mut happened: impl FnMut() -> bool) {
    let happens = (0..60_000).any(|_| {
        std::thread::sleep(Duration::from_millis(1));
        happened()
    });
    assert!(happens, "{what} has not happened");
}

fn quick(entries: u64) -> Limits {
    Limits { clean_every: Some(Duration::from_millis(1)), ..limits(entries, 0) }
}

fn in_background(folder: &Path, limits: Limits) -> BlobManager {
    BlobManager::with_options(BlobOptions {
        base_path: folder.into(),
        limits,
        ..Default::default()
    })
}

#[test]
fn a_store_over_its_limit_is_cleaned_up_unasked() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    // However long a round may be in coming that nothing is saved for.
    let store = in_background(folder.path(), limits(10, 0));
    (0..200).for_each(|at| save(&store, &format!("k{at:03}"), 10));
    wait_for("the eviction", || store.get_stats().expect("counted").entries <= 10);
    let left = keys(&store);
    assert_eq!(left.last().map(String::as_str), Some("k199"), "the last one stays");
    wait_for("the count", || store.get_stats().expect("counted").evictions >= 190);
    store.close().expect("closed");
    save(&store, "again", 10);
    wait_for("the eviction after a close", || keys(&store).len() <= 10);
}

#[test]
fn what_has_expired_is_removed_unasked_and_without_any_limit() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let store = in_background(folder.path(), quick(0));
    save(&store, "stays", 10);
    let ttl = Ttl::After(Duration::from_millis(1));
    let options = SaveOptions { ttl, ..SaveOptions::default() };
    store.save_with("goes", "1", Format::String, options).expect("saved");
    wait_for("the removal", || store.get_stats().expect("counted").expirations == 1);
    assert_eq!(keys(&store), ["stays"]);
    assert!(!folder.path().join("goes.txt").exists());
}

#[test]
#[ignore = "run by the test below, in its own process"]
fn helper_that_has_a_value_in_memory() {
    let (folder, _) = given();
    let memory = MemoryOptions { external_check: Duration::from_secs(3_600), ..Default::default() };
    let storage = StorageManager::with_memory(BlobManager::new(&folder), memory);
    // The first load opens the store, and is kept nowhere.
    for _ in 0..2 {
        assert!(storage.get::<String>("old").expect("read").is_some());
    }
    assert!(storage.cache_get::<String>("old").is_some(), "it is in memory");
    say("ready");
    assert_eq!(listen().as_deref(), Some("it was evicted"));
    assert!(storage.cache_get::<String>("old").is_none(), "not from memory");
    assert!(storage.get::<String>("old").expect("read").is_none(), "not from the disk");
    assert!(storage.get::<String>("new").expect("read").is_some());
}

#[test]
fn what_was_evicted_is_a_miss_in_the_memory_of_other_processes_too() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    // On the clock of the machine, as the other process.
    let asked = Limits { clean_every: None, ..limits(1, 0) };
    let store = in_background(folder.path(), asked);
    store.save("old", "text", Format::String).expect("saved");
    let mut helper = Helper::start("helper_that_has_a_value_in_memory", folder.path(), 0);
    assert_eq!(helper.hear().as_deref(), Some("ready"));
    store.save("new", "text", Format::String).expect("saved");
    assert_eq!(store.clean_up().expect("cleaned up").evicted, 1);
    helper.tell("it was evicted");
    assert!(helper.finish());
}

#[test]
#[ignore = "run by the test below, in its own process"]
fn helper_that_saves_and_cleans_up() {
    let (folder, number) = given();
    end_with_parent();
    let store = in_background(&folder, quick(20));
    for at in 0..150_usize {
        save(&store, &format!("{number}/{at}"), at);
        if at % 40 == 39 {
            store.clean_up().expect("cleaned up");
        }
        // The newest value of a process that is alone in saving so fast can be evicted by nobody.
        let mine = store.try_load_bytes(&format!("{number}/{at}"), None).expect("whole");
        assert!(mine.is_none_or(|mine| mine.payload.len() == at));
    }
    store.close().expect("closed");
}

#[test]
fn processes_that_clean_up_at_once_evict_what_is_too_much_and_hardly_more() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let start = |number| Helper::start("helper_that_saves_and_cleans_up", folder.path(), number);
    let helpers: Vec<Helper> = (0..3).map(start).collect();
    for helper in helpers {
        assert!(helper.finish());
    }
    let store = in_background(folder.path(), limits(20, 0));
    store.clean_up().expect("cleaned up");
    let left = keys(&store);
    assert!((10..=20).contains(&left.len()), "{left:?}");
    for key in left {
        store.load_bytes(&key, None).expect("whole");
    }
    assert!(store.verify(|_| ()).expect("verified").problems.is_empty());
}

#[test]
fn a_hit_in_memory_is_a_use_too() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let hands = ManualClock::new();
    let limits = Limits { eviction: Eviction::LeastRecentlyUsed, ..limits(2, 0) };
    let storage = StorageManager::new(limited(folder.path(), limits, &hands));
    for key in ["a", "b", "c"] {
        storage.set(key, 1, Format::Json).expect("set");
        hands.advance(Duration::from_secs(2));
    }
    assert!(storage.cache_get::<i32>("a").is_some());
    assert_eq!(storage.blobs().clean_up().expect("cleaned up").evicted, 1);
    assert_eq!(keys(storage.blobs()), ["a", "c"]);
}

#[test]
#[ignore = "run by the test below, in its own process"]
fn helper_without_room_for_uses() {
    let (folder, _) = given();
    let hands = ManualClock::new();
    let limits = Limits { eviction: Eviction::LeastRecentlyUsed, ..limits(2, 0) };
    let store = limited(&folder, limits, &hands);
    for key in ["a", "b", "c"] {
        save(&store, key, 10);
        hands.advance(Duration::from_secs(2));
    }
    store.load_bytes("a", None).expect("read");
    assert_eq!(store.clean_up().expect("cleaned up").evicted, 1);
    assert_eq!(keys(&store), ["b", "c"], "as if nobody had loaded anything");
    assert_eq!(folder.join(".holdall/uses").metadata().expect("there").len(), 0);
}

#[test]
fn without_room_for_uses_values_go_in_the_order_of_their_saves() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let Some(around) = own_mounts(folder.path()) else { return };
    let mount = "mount -t tmpfs -o mode=0700,size=1m tmpfs \"$FOLDER\"";
    let helper = run_in_shell(around, mount, "helper_without_room_for_uses", folder.path());
    assert!(helper.finish());
}

#[test]
#[ignore = "run by the test below, in its own process"]
fn helper_on_a_full_disk() {
    let (folder, _) = given();
    let hands = ManualClock::new();
    let store = limited(&folder, limits(0, 200_000), &hands);
    let mut saved = 0;
    let fill = |key: &str| {
        let parts = vec![vec![7; 20_000].into()];
        store.save_parts(key, Format::Bytes, parts, SaveOptions::default())
    };
    while fill(&format!("k{saved:04}")).is_ok() {
        hands.advance(Duration::from_secs(1));
        saved += 1;
    }
    assert!(saved > 20, "{saved}");
    let done = store.clean_up().expect("cleaned up");
    assert_eq!(keys(&store).len(), 9);
    assert_eq!(done.evicted, saved - 9);
    fill("again").expect("there is room");
}

#[test]
fn a_full_disk_is_cleaned_up_too() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let Some(around) = own_mounts(folder.path()) else { return };
    let mount = "mount -t tmpfs -o mode=0700,size=4m tmpfs \"$FOLDER\"";
    let helper = run_in_shell(around, mount, "helper_on_a_full_disk", folder.path());
    assert!(helper.finish());
}
