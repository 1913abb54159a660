//! Clocks of this process, and two mappings of one file, which stand for two processes.

use std::fs::File;

use super::*;

fn clock() -> (tempfile::NamedTempFile, ClockFile) {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let clock = again(&file);
    (file, clock)
}

fn again(file: &tempfile::NamedTempFile) -> ClockFile {
    let file = File::options().read(true).write(true).open(file.path()).expect("just made");
    ClockFile::open(&file.into(), [7; 16]).expect("it can be mapped")
}

#[test]
fn what_was_remembered_before_a_write_is_old_after_it_in_every_process() {
    let (file, writer) = clock();
    let reader = again(&file);
    let before = reader.version(9).expect("nobody writes");
    assert!(!writer.begin(9));
    assert_eq!(reader.version(9), None);
    assert!(reader.version(10).is_some());
    writer.finish(9);
    assert_ne!(reader.version(9).expect("the write is over"), before);
}

#[test]
fn a_writer_that_died_is_noticed_and_leaves_nothing_fresh() {
    let (file, writer) = clock();
    let before = writer.version(9);
    writer.begin(9);
    drop(writer);
    let next = again(&file);
    assert!(next.is_odd(9));
    next.set_diverged(false);
    assert!(next.begin(9));
    assert!(next.diverged());
    next.finish(9);
    assert!(next.version(9).is_some());
    assert_ne!(next.version(9), before);
    assert!(!next.begin(9));
}

#[test]
fn threads_with_one_clock_never_get_a_generation_twice_and_see_each_write() {
    let (threads, rounds) = if cfg!(miri) { (3, 6) } else { (8, 1_000) };
    let clock = ClockFile::private([7; 16]).expect("there is memory");
    let work = |stripe: usize| {
        let write = |_| {
            let before = clock.version(stripe).expect("nobody else writes here");
            assert!(!clock.begin(stripe));
            let generation = clock.next_generation(1);
            clock.finish(stripe);
            assert_ne!(clock.version(stripe), Some(before));
            generation
        };
        (0..rounds).map(write).collect::<Vec<_>>()
    };
    let given: Vec<u64> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|n| scope.spawn(move || work(n))).collect();
        all.into_iter().flat_map(|one| one.join().expect("no panic")).collect()
    });
    let different: std::collections::HashSet<_> = given.iter().collect();
    assert_eq!(different.len(), threads * rounds);
}

#[test]
fn a_generation_is_never_given_twice_though_the_wall_clock_goes_back() {
    let (file, clock) = clock();
    let first = clock.next_generation(5_000);
    assert_eq!(first, 5_000);
    assert_eq!(again(&file).next_generation(10), 5_001);
    clock.raise_generation(9_000);
    assert_eq!(clock.next_generation(10), 9_001);
}

#[test]
fn a_damaged_generation_leaves_room_for_the_next() {
    let (file, clock) = clock();
    clock.raise_generation(u64::MAX);
    assert_eq!(clock.next_generation(5_000), 5_000);
    clock.word(GENERATION).store(u64::MAX - 1, Ordering::Release);
    let clock = again(&file);
    assert!(clock.diverged());
    assert_eq!(clock.next_generation(5_000), 5_000);
    assert_eq!(clock.next_generation(5_000), 5_001);
}

#[test]
fn another_epoch_makes_every_remembered_value_old() {
    let (_file, clock) = clock();
    let before = clock.version(3);
    clock.next_epoch();
    assert_ne!(clock.version(3), before);
}

#[test]
fn how_a_store_was_left_is_known_to_whoever_opens_it_next() {
    let (_file, clock) = clock();
    assert_eq!(clock.enter(1, true), Found::InOrder);
    assert_eq!(clock.enter(1, false), Found::InUse);
    assert_eq!(clock.enter(1, true), Found::Abandoned);
    assert_eq!(clock.enter(2, true), Found::WentDown);
    clock.set_left();
    assert_eq!(clock.enter(2, true), Found::InOrder);
    clock.set_left();
    assert_eq!(clock.enter(3, true), Found::WentDown);
    clock.set_closed();
    assert_eq!(clock.enter(4, true), Found::InOrder);
    clock.set_closed();
    clock.set_in_use();
    assert_eq!(clock.enter(5, true), Found::WentDown);
}

#[test]
fn a_torn_clock_file_is_made_anew() {
    let (file, clock) = clock();
    clock.next_generation(77);
    drop(clock);
    file.as_file().set_len(100).expect("truncated");
    let clock = again(&file);
    assert!(clock.diverged() && clock.is_made);
    clock.leap_if_made(false);
    assert!(clock.epoch() > 1_000);
}

#[test]
fn nobody_sees_a_moment_of_calm_when_a_scan_ends_that_could_not_tell_which_value_is_newer() {
    let rounds = if cfg!(miri) { 20 } else { 100_000 };
    let clock = ClockFile::private([7; 16]).expect("there is memory");
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Acquire) {
                assert!(clock.diverged());
            }
        });
        for _ in 0..rounds {
            clock.set_diverged(true);
            clock.end_scan(false, true);
        }
        is_over.store(true, Ordering::Release);
    });
    assert!(clock.diverged() && !clock.needs_scan());
    clock.end_scan(true, true);
    assert!(clock.needs_scan());
    clock.end_scan(false, false);
    assert!(!clock.diverged());
}
