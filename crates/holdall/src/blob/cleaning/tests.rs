use std::num::NonZeroU64;

use super::super::{BlobManager, BlobOptions, SaveOptions};
use super::*;
use crate::clock::{ManualClock, Ttl};
use crate::fork::tests_support::in_child;
use crate::format::Format;

const MINUTE: Duration = Duration::from_secs(60);

fn store(folder: &tempfile::TempDir, limits: Limits, clock: Clock) -> BlobManager {
    let base_path = folder.path().into();
    BlobManager::with_options(BlobOptions { base_path, limits, clock, ..BlobOptions::default() })
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn at_most(entries: u64) -> Limits {
    Limits { max_entries: NonZeroU64::new(entries), ..Limits::default() }
}

fn save(store: &BlobManager, key: &str, ttl: Ttl) {
    let options = SaveOptions { ttl, ..SaveOptions::default() };
    store.save_with(key, "text", Format::String, options).expect("saved");
}

fn due(store: &BlobManager) -> u64 {
    store.cleaning.due.load(Ordering::Acquire)
}

fn entries(store: &BlobManager) -> u64 {
    store.get_stats().expect("counted").entries
}

#[test]
fn values_that_expire_have_rounds_made_until_the_last_of_them_has_gone() {
    let (folder, hands) = (folder(), ManualClock::new());
    let store = store(&folder, Limits::default(), hands.clock());
    save(&store, "ever", Ttl::Never);
    assert_eq!(due(&store), NEVER, "no round for nothing");
    save(&store, "k", Ttl::After(MINUTE * 3 / 2));
    let begun = hands.clock().boot_millis();
    assert_eq!(due(&store), begun + 60_000);
    store.cleaning.run_if_due();
    assert_eq!(due(&store), begun + 60_000, "not before it is time");
    for minute in 1..=2 {
        assert_eq!((entries(&store), due(&store)), (2, begun + minute * 60_000));
        hands.advance(MINUTE);
        store.cleaning.run_if_due();
    }
    assert_eq!(entries(&store), 1);
    assert_eq!(store.get_stats().expect("counted").expirations, 1);
    hands.advance(MINUTE);
    store.cleaning.run_if_due();
    assert_eq!(due(&store), NEVER, "nothing is left that ends");
}

#[test]
fn a_round_that_came_a_moment_too_early_is_not_the_last_one() {
    let (folder, hands) = (folder(), ManualClock::new());
    let often = Limits { clean_every: Some(Duration::from_millis(1)), ..Limits::default() };
    let store = store(&folder, often, hands.clock());
    save(&store, "k", Ttl::After(Duration::from_millis(1)));
    let wall = hands.clock().wall_micros();
    // By the time since boot it is over, by the wall clock not yet.
    hands.advance(Duration::from_millis(2));
    hands.set_wall_micros(wall);
    store.cleaning.run_if_due();
    assert_eq!((entries(&store), due(&store)), (1, hands.clock().boot_millis() + PAUSE));
    hands.advance(Duration::from_millis(PAUSE));
    store.cleaning.run_if_due();
    assert_eq!(entries(&store), 0);
}

#[test]
fn a_process_that_only_loads_removes_what_it_saw_to_expire() {
    let (folder, hands) = (folder(), ManualClock::new());
    let off = Limits { clean_every: None, ..Limits::default() };
    let writer = store(&folder, off, hands.clock());
    save(&writer, "k", Ttl::After(MINUTE));
    assert_eq!(due(&writer), NEVER, "it was told never to");
    let reader = store(&folder, Limits::default(), hands.clock());
    reader.load::<String>("k").expect("read");
    hands.advance(MINUTE * 2);
    writer.cleaning.run_if_due();
    assert_eq!(entries(&writer), 1);
    reader.cleaning.run_if_due();
    assert_eq!(entries(&writer), 0);
}

#[test]
fn a_save_over_the_limit_has_a_round_made_at_once_and_one_below_it_has_none() {
    let (folder, hands) = (folder(), ManualClock::new());
    let store = store(&folder, at_most(20), hands.clock());
    let saves = |count| (0..count).for_each(|at| save(&store, &format!("k{at}"), Ttl::Never));
    saves(1);
    assert_eq!(due(&store), hands.clock().boot_millis(), "it is not known how much there is");
    store.cleaning.run_if_due();
    saves(19);
    assert_eq!((entries(&store), due(&store)), (19, NEVER));
    hands.advance(MINUTE);
    saves(25);
    assert_eq!(due(&store), hands.clock().boot_millis());
    store.cleaning.run_if_due();
    assert_eq!((entries(&store), due(&store)), (19, NEVER));
    // Not one after the other without an end.
    saves(25);
    assert_eq!(due(&store), hands.clock().boot_millis() + PAUSE);
}

#[test]
fn while_others_clean_up_nobody_else_does_and_looks_again_later() {
    let (folder, hands) = (folder(), ManualClock::new());
    let store = store(&folder, at_most(1), hands.clock());
    for key in ["a", "b"] {
        save(&store, key, Ttl::Never);
    }
    let turn = store.cleaning.backend.begin_cleaning(false).expect("asked").expect("nobody has it");
    store.cleaning.run_if_due();
    assert_eq!((entries(&store), due(&store)), (2, hands.clock().boot_millis() + OTHERS));
    drop(turn);
    hands.advance(Duration::from_millis(OTHERS));
    store.cleaning.run_if_due();
    assert_eq!(entries(&store), 1);
}

#[test]
fn a_value_that_cannot_be_removed_does_not_keep_the_others() {
    let (folder, hands) = (folder(), ManualClock::new());
    let store = store(&folder, at_most(1), hands.clock());
    for key in ["a", "b", "c"] {
        save(&store, key, Ttl::Never);
        hands.advance(MINUTE);
    }
    let file = folder.path().join("a.txt");
    std::fs::remove_file(&file).expect("there");
    std::fs::create_dir(&file).expect("in its place");
    let done = store.clean_up();
    assert!(!folder.path().join("b.txt").exists(), "{done:?}");
    assert!(folder.path().join("c.txt").exists());
}

#[test]
fn a_close_ends_the_background_until_the_next_save() {
    let (folder, hands) = (folder(), ManualClock::new());
    let store = store(&folder, at_most(1), hands.clock());
    save(&store, "a", Ttl::After(MINUTE));
    store.close().expect("closed");
    assert_eq!(due(&store), NEVER);
    hands.advance(MINUTE * 5);
    store.cleaning.run_if_due();
    assert_eq!(entries(&store), 1);
    save(&store, "b", Ttl::Never);
    store.cleaning.run_if_due();
    assert_eq!(entries(&store), 1);
    assert!(store.exists("b").expect("looked for"));
}

/// Waits for what the thread does.
fn soon(mut happened: impl FnMut() -> bool) -> bool {
    (0..20_000).any(|_| {
        std::thread::sleep(Duration::from_millis(1));
        happened()
    })
}

#[test]
fn a_forked_child_cleans_up_by_itself_whatever_its_parent_had_planned() {
    let folder = folder();
    let store = store(&folder, at_most(5), Clock::system());
    let save_some = |name: &str| {
        (0..20).for_each(|at| save(&store, &format!("{name}{at}"), Ttl::Never));
    };
    save_some("parent");
    assert!(soon(|| entries(&store) <= 5), "the parent has its thread");
    let is_clean = in_child(|| {
        // A plan of the parent, which nobody is there to follow.
        store.cleaning.due.store(0, Ordering::Release);
        save_some("child");
        let is_clean = soon(|| entries(&store) <= 5);
        store.close().is_ok() && is_clean
    });
    assert!(is_clean);
    save_some("parent again");
    assert!(soon(|| entries(&store) <= 5));
}
