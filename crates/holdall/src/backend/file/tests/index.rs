//! When the index is believed, and when it is filled from the files.

use super::open::{OpenOptions, Opened};
use super::*;

/// Writes into the state that the clock file keeps of how the store was left.
fn abandon(it: &Fixture) {
    use std::os::unix::fs::FileExt as _;
    let clock = fs::File::options().write(true).open(it.path(".holdall/clock")).expect("there");
    clock.write_all_at(&0_u32.to_le_bytes(), 28).expect("written");
}

/// Takes a row away as damage would: nothing but a check of the whole index notices.
fn lose_a_row(it: &Fixture) {
    let folder = fs::read_dir(it.path(".holdall/index")).expect("there").next();
    let file = folder.expect("one").expect("read").path().join("index.sqlite");
    let index = crate::index::open_to_change(file).expect("opened");
    index.execute("DELETE FROM entry WHERE key = x'6b'", []).expect("removed");
}

#[test]
fn an_index_that_a_process_died_with_is_read_whole_before_it_is_believed() {
    let it = fixture();
    it.put("k", Format::Json, "1");
    it.put("other", Format::Json, "1");
    let it = reopened(it);
    lose_a_row(&it);
    // Left in order, so it is believed.
    assert_eq!(it.backend.list("", None, 10).expect("listed").len(), 1);
    let it = reopened(it);
    abandon(&it);
    assert_eq!(it.backend.list("", None, 10).expect("listed").len(), 2);
    assert_eq!(it.backend.totals().expect("counted").entries, 2);
}

#[test]
fn doubt_that_nobody_has_resolved_outlives_a_clean_close() {
    let it = fixture();
    it.put("k", Format::Json, "1");
    it.put("other", Format::Json, "1");
    let it = reopened(it);
    lose_a_row(&it);
    abandon(&it);
    it.put("third", Format::Json, "1");
    it.backend.close().expect("closed");
    let it = reopened(it);
    assert_eq!(it.backend.list("", None, 10).expect("listed").len(), 3);
}

#[test]
fn a_store_that_is_used_after_its_close_is_not_closed() {
    let it = fixture();
    it.put("k", Format::Json, "1");
    it.backend.close().expect("closed");
    let opened = it.backend.opened().expect("open");
    let live = opened.live().expect("writable");
    assert!(live.clock.is_closed());
    it.put("k", Format::Json, "2");
    assert!(!live.clock.is_closed());
    it.backend.close().expect("closed");
    fs::write(it.path("found.txt"), "foreign").expect("written");
    assert!(it.get("found").expect("read").is_some());
    assert!(!live.clock.is_closed(), "the index has changed");
}

#[test]
fn a_dead_writer_that_nobody_met_is_noticed_by_a_listing() {
    let it = fixture();
    it.put("k", Format::Json, "1");
    assert_eq!(it.backend.list("", None, 10).expect("listed").len(), 1);
    let opened = it.backend.opened().expect("open");
    let live = opened.live().expect("writable");
    // Placed, and then killed before the index knew.
    fs::remove_file(it.path("k.json")).expect("removed");
    live.clock.begin(key("k").stripe());
    assert_eq!(it.backend.list("", None, 10).expect("listed").len(), 0);
}

#[test]
fn a_lost_clock_leaves_no_index_behind_and_no_generation_is_given_twice() {
    let it = fixture();
    let before = it.put("k", Format::Json, "1");
    let far = Record { generation: before.generation + (1 << 50), ..before };
    let opened = it.backend.opened().expect("open");
    opened.live().expect("writable").clock.raise_generation(far.generation);
    let last = it.put("k", Format::Json, "2");
    for _ in 0..3 {
        opened.live().expect("writable").clock.set_diverged(true);
        it.backend.totals().expect("filled again");
    }
    drop(opened);
    let it = reopened(it);
    fs::remove_file(it.path(".holdall/clock")).expect("lost");
    assert_eq!(it.backend.totals().expect("counted").entries, 1);
    assert_eq!(fs::read_dir(it.path(".holdall/index")).expect("there").count(), 1);
    assert!(it.put("other", Format::Json, "1").generation > last.generation);
}

/// Damages the row of `k`.
fn damage_a_row(it: &Fixture) {
    let folder = fs::read_dir(it.path(".holdall/index")).expect("there").next();
    let file = folder.expect("one").expect("read").path().join("index.sqlite");
    let index = crate::index::open_to_change(file).expect("opened");
    let damage = "UPDATE entry SET row = x'00' WHERE key = x'6b'";
    assert_eq!(index.execute(damage, []).expect("written"), 1);
}

#[test]
fn the_listing_that_meets_a_damaged_index_answers_from_the_files() {
    let listings: [fn(&FileBackend) -> usize; 3] = [
        |backend| backend.keys("", None, 10).expect("keys").iter().count(),
        |backend| backend.list("", None, 10).expect("listed").len(),
        |backend| backend.every(None, 10).expect("every").len(),
    ];
    for listing in listings {
        let it = fixture();
        it.put("k", Format::Json, "1");
        it.put("other", Format::Json, "1");
        let it = reopened(it);
        damage_a_row(&it);
        assert_eq!(listing(&it.backend), 2);
    }
}

/// Two openings of one store, as of two processes.
fn two_openings(it: &Fixture) -> [Arc<Opened>; 2] {
    let options =
        OpenOptions { allow_network_fs: false, lock_timeout: std::time::Duration::from_secs(5) };
    [(); 2].map(|()| Opened::open(it.dir.path(), options).expect("opened"))
}

#[test]
fn a_close_after_others_have_replaced_the_index_is_no_failure_and_leaves_no_folder() {
    let it = fixture();
    let [one, two] = two_openings(&it);
    let options = FileOptions::default();
    one.write(vec![put("k", Format::Json, "1")], options.terms());
    two.live().expect("writable").clock.set_diverged(true);
    two.ensure_index(options.terms()).expect("filled");
    let close =
        |opened: &Opened| opened.live().expect("writable").close(std::time::Duration::from_secs(1));
    close(&one).expect("closed");
    close(&two).expect("closed");
    assert_eq!(fs::read_dir(it.path(".holdall/index")).expect("there").count(), 1);
}

#[test]
fn the_last_who_closes_writes_down_what_others_have_left_in_the_index() {
    use crate::flush::tests_support::FlushLog;
    let it = fixture();
    it.put("k", Format::Json, "1");
    // The writer goes without a close; the next one only reads.
    let it = reopened(it);
    assert!(it.get("k").expect("read").is_some());
    let log = FlushLog::begin();
    it.backend.close().expect("closed");
    let is_index = |path: &PathBuf| path.to_string_lossy().contains(".holdall/index/");
    assert!(log.end().iter().any(is_index), "called closed, and was not flushed");
    // Nothing was written since, so there is nothing to write down.
    let it = reopened(it);
    assert!(it.get("k").expect("read").is_some());
    let log = FlushLog::begin();
    it.backend.close().expect("closed");
    assert!(!log.end().iter().any(is_index));
    assert!(it.backend.opened().expect("open").live().expect("writable").clock.is_closed());
}

#[test]
fn an_index_of_another_epoch_goes_when_the_store_is_next_opened_alone() {
    let it = fixture();
    it.put("k", Format::Json, "1");
    let left = it.path(".holdall/index/77");
    fs::create_dir(&left).expect("made");
    fs::write(left.join("index.sqlite"), "half").expect("written");
    let it = reopened(it);
    assert_eq!(it.backend.list("", None, 10).expect("listed").len(), 1);
    assert!(!left.exists());
}
