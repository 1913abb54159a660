//! Listings beside writers: what readers have seen already is not missing.

use std::os::fd::AsFd as _;
use std::thread;

use super::open::{Live, OpenOptions, Opened};
use super::*;
use crate::lock::ofd;
use crate::lock::stripes::StripeGuard;

/// Milliseconds.
const SOON: u64 = 200;

/// The store as another process has it open.
fn another_opening(it: &Fixture) -> Arc<Opened> {
    let options = OpenOptions { allow_network_fs: false, lock_timeout: Duration::from_secs(5) };
    Opened::open(it.dir.path(), options).expect("opened")
}

/// A backend in this process that waits this long for others.
fn patient(it: &Fixture, lock_timeout: Duration) -> FileBackend {
    FileBackend::new(it.dir.path(), FileOptions { lock_timeout, ..FileOptions::default() })
}

fn listed(backend: &FileBackend) -> Vec<String> {
    let rows = backend.list("", None, 10).expect("listed");
    rows.iter().map(|(key, _)| key.as_str().to_owned()).collect()
}

/// Begins a write of `k` as another process would; it holds the key's stripe.
fn begin_write(live: &Live) -> StripeGuard<'_> {
    let stripe = key("k").stripe();
    let held = live.locks.lock(vec![stripe], Duration::ZERO).expect("free");
    live.clock.begin(stripe);
    held
}

/// Gives a call a moment in which it could end too soon.
fn let_run<T>(call: &thread::ScopedJoinHandle<'_, T>) {
    let clock = Clock::system();
    let end = clock.boot_millis() + SOON;
    while !call.is_finished() && clock.boot_millis() < end {
        thread::yield_now();
    }
}

#[test]
fn a_listing_has_what_a_reader_has_seen_of_a_write_that_is_under_way() {
    let it = fixture();
    it.put("before", Format::Json, "1");
    assert_eq!(listed(&it.backend), ["before"]);
    let folder = fs::read_dir(it.path(".holdall/index")).expect("there").next();
    let queue = folder.expect("one").expect("read").path().join("writers.lock");
    let queue = fs::File::options().write(true).open(queue).expect("there");
    assert!(ofd::try_lock(queue.as_fd(), 0, 1, true).expect("asked"));
    thread::scope(|scope| {
        // It has its name, and waits for its turn to tell the index.
        let saving = scope.spawn(|| it.backend.put(put("k", Format::Json, "2")));
        while it.get("k").expect("read").is_none() {
            thread::yield_now();
        }
        let listing = scope.spawn(|| listed(&it.backend));
        let counting = scope.spawn(|| it.backend.totals().expect("counted").entries);
        let_run(&listing);
        drop(queue);
        assert_eq!(listing.join().expect("no panic"), ["before", "k"]);
        assert_eq!(counting.join().expect("no panic"), 2);
        assert!(saving.join().expect("no panic").is_ok());
    });
}

#[test]
fn a_listing_gives_a_write_under_way_a_second_though_it_waits_for_no_lock() {
    let it = fixture();
    it.put("k", Format::Json, "1");
    let there = another_opening(&it);
    let live = there.live().expect("writable");
    let stripe = key("k").stripe();
    let hasty = patient(&it, Duration::ZERO);
    let at_work = begin_write(live);
    thread::scope(|scope| {
        let listing = scope.spawn(|| hasty.list("", None, 10).map(|rows| rows.len()));
        let_run(&listing);
        live.clock.finish(stripe);
        drop(at_work);
        assert_eq!(listing.join().expect("no panic").expect("listed"), 1);
    });
}

#[test]
fn a_listing_has_what_a_reader_has_seen_of_a_writer_that_is_dying() {
    let it = fixture();
    it.put("calm", Format::Json, "1");
    it.put("k", Format::Json, "1");
    let there = another_opening(&it);
    let live = there.live().expect("writable");
    let dying = begin_write(live);
    // As a delete that the index is not told of; the locks of a killed process go a little later.
    fs::remove_file(it.path("k.json")).expect("removed");
    thread::scope(|scope| {
        let reading = scope.spawn(|| it.get("k").expect("read").is_some());
        let listing = scope.spawn(|| listed(&it.backend));
        let_run(&listing);
        drop(dying);
        assert!(!reading.join().expect("no panic"));
        assert_eq!(listing.join().expect("no panic"), ["calm"]);
    });
}

#[test]
fn a_clear_takes_what_a_write_places_that_was_under_way_when_it_began() {
    let it = fixture();
    let older = it.put("k", Format::Json, "1");
    let there = another_opening(&it);
    let live = there.live().expect("writable");
    let writing = begin_write(live);
    thread::scope(|scope| {
        let clearing = scope.spawn(|| it.backend.clear(Durability::Process));
        let_run(&clearing);
        // What it places has a generation that nobody has seen before.
        let generation = live.clock.next_generation(older.generation);
        let record = Record { generation, ..older };
        let stamp = there.stamp_for(live, &key("k"), record.clone(), false).expect("made").encode();
        super::verify::set_stamp(&it.path("k.json"), &stamp);
        write::commit(live, vec![crate::index::Change::Put(there.row(&key("k"), &record))]);
        live.clock.finish(key("k").stripe());
        drop(writing);
        assert_eq!(clearing.join().expect("no panic").expect("cleared"), 1);
    });
    assert!(!it.path("k.json").exists());
}

#[test]
fn a_listing_does_not_wait_for_writes_that_began_after_it() {
    let it = fixture();
    it.put("k", Format::Json, "1");
    let there = another_opening(&it);
    let live = there.live().expect("writable");
    let stripe = key("k").stripe();
    let _writing = begin_write(live);
    let here = patient(&it, Duration::from_secs(5));
    thread::scope(|scope| {
        let listing = scope.spawn(|| listed(&here));
        while !listing.is_finished() {
            live.clock.finish(stripe);
            live.clock.begin(stripe);
            thread::yield_now();
        }
        assert_eq!(listing.join().expect("no panic"), ["k"]);
    });
}

#[test]
fn a_listing_waits_for_a_stopped_writer_no_longer_than_it_may() {
    let it = fixture();
    it.put("k", Format::Json, "1");
    let there = another_opening(&it);
    let live = there.live().expect("writable");
    let stripe = key("k").stripe();
    let _writing = begin_write(live);
    let here = patient(&it, Duration::from_millis(20));
    let error = here.list("", None, 10).expect_err("a write is under way");
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.to_string().contains("stopped"), "{error}");
    // Loads do not wait at all.
    assert!(here.get(&key("k"), None).expect("read").is_some());
    live.clock.finish(stripe);
    assert_eq!(listed(&here), ["k"]);
}

#[test]
fn what_a_dead_writer_has_left_is_over_for_nobody_before_the_new_index_is_the_current_one() {
    let it = fixture();
    it.put("k", Format::Json, "1");
    let (here, there) = (another_opening(&it), another_opening(&it));
    let live = here.live().expect("writable");
    let seen = &there.live().expect("writable").clock;
    for _ in 0..20 {
        let all = live.locks.lock_all(Duration::from_secs(30)).expect("free");
        live.clock.begin(0);
        let epoch = live.clock.epoch();
        thread::scope(|scope| {
            let watching = scope.spawn(|| {
                while seen.is_odd(0) {
                    std::hint::spin_loop();
                }
                // Whoever waited for that write asks the index now.
                assert_ne!(seen.epoch(), epoch, "the old index has nothing of it");
            });
            here.rebuild(live).expect("filled");
            watching.join().expect("in order");
        });
        drop(all);
    }
}
