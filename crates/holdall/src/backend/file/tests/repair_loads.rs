//! What a repair of damaged inline values leaves as it was: what could be loaded, and the time of day.

use std::os::unix::fs::FileExt as _;

use rustix::time::{ClockId, clock_gettime};

use super::inline::{BELOW, inline_fixture, on};
use super::inline_damage::root;
use super::repair::repaired;
use super::verify::{kinds, verified};
use super::*;
use crate::cancel::CancelToken;
use crate::index::SqliteIndex;

const PAGE: usize = 4_096;
const VALUES: usize = 60;

fn name(number: usize) -> String {
    format!("i/{number}")
}

/// A closed store with inline values, its database, and what that holds.
fn closed(values: usize) -> (Fixture, PathBuf, Vec<u8>) {
    let it = inline_fixture();
    let content = format!("\"{}\"", "x".repeat(90));
    let puts = (0..values).map(|number| put(&name(number), Format::Json, &content));
    it.backend.put_many(puts.collect()).into_iter().for_each(|placed| drop(placed.expect("put")));
    it.backend.close().expect("closed");
    let database = it.path(".holdall/inline/values.sqlite");
    let whole = fs::read(&database).expect("read");
    (it, database, whole)
}

/// Where the last page with rows begins.
fn last_rows(database: &[u8]) -> usize {
    let is_rows = |page: &usize| database[page * PAGE] == 13;
    (1..database.len() / PAGE).rev().find(is_rows).expect("a page with rows") * PAGE
}

/// Every key that a load finds.
fn loaded(backend: &FileBackend) -> Vec<String> {
    let fresh = (0..5).map(|number| format!("fresh/{number}"));
    let names = (0..VALUES).map(name).chain(fresh);
    names.filter(|name| backend.get(&key(name), None).is_ok_and(|found| found.is_some())).collect()
}

#[test]
fn what_could_be_loaded_before_a_repair_is_there_after_it_whichever_bit_was_flipped() {
    let (it, database, whole) = closed(VALUES);
    let page = last_rows(&whole);
    // Head of the page, numbers of its cells, and what lies in one of them.
    let heads = (0..8).chain((8..48).step_by(2)).chain((9..48).step_by(4));
    for (count, at) in heads.chain((3_700..4_096).step_by(57)).enumerate() {
        fs::remove_dir_all(it.path(".holdall/quarantine")).unwrap_or_default();
        for end in ["sqlite-wal", "sqlite-shm"] {
            let _ = fs::remove_file(database.with_extension(end));
        }
        let mut flipped = whole.clone();
        flipped[page + at] ^= 1 << (count % 3);
        fs::write(&database, flipped).expect("damaged");
        let backend = on(it.dir.path(), BELOW);
        for number in 0..5 {
            // Where no row can be appended, nothing was acknowledged.
            let _ = backend.put(put(&format!("fresh/{number}"), Format::Json, "1"));
        }
        let before = loaded(&backend);
        let done = repaired(&backend, false);
        let after = loaded(&backend);
        let lost: Vec<_> = before.iter().filter(|name| !after.contains(name)).collect();
        assert!(lost.is_empty(), "byte {at}: {lost:?} of {}, {done:?}", before.len());
        assert_eq!(kinds(&verified(&backend)), [], "byte {at}: {done:?}");
        backend.close().expect("closed");
    }
}

/// Repairs in less than five seconds of this thread, however busy the machine is.
fn soon_repaired(backend: &FileBackend) -> crate::backend::health::RepairReport {
    let begin = clock_gettime(ClockId::ThreadCPUTime);
    let done = repaired(backend, false);
    let taken = clock_gettime(ClockId::ThreadCPUTime).tv_sec - begin.tv_sec;
    assert!(taken < 5, "{taken} s, {done:?}");
    done
}

#[test]
fn a_repair_ends_soon_where_neither_the_last_row_nor_the_keys_can_be_read() {
    let (it, database, mut damaged) = closed(VALUES);
    for begin in [last_rows(&damaged), (root(&database, "entry_key") as usize - 1) * PAGE] {
        damaged[begin..begin + PAGE].fill(0);
    }
    fs::write(&database, damaged).expect("damaged");
    let done = soon_repaired(&it.backend);
    assert!(done.salvaged.is_some_and(|read| read > 9), "{done:?}");
}

#[test]
fn a_repair_ends_soon_where_another_file_lies_in_place_of_the_inline_values() {
    for other in ["index/1/index.sqlite", "clock"] {
        let it = inline_fixture();
        it.put("inline", Format::Json, "1");
        let content = "x".repeat(2 * BELOW as usize);
        for number in 0..VALUES {
            it.put(&format!("file/{number}"), Format::String, &content);
        }
        it.backend.list("", None, 9).expect("listed");
        it.backend.close().expect("closed");
        let from = it.path(".holdall").join(other);
        fs::copy(from, it.path(".holdall/inline/values.sqlite")).expect("replaced");
        let backend = on(it.dir.path(), BELOW);
        soon_repaired(&backend);
        assert_eq!(backend.list("", None, 99).expect("listed").len(), VALUES, "{other}");
    }
}

#[test]
fn a_repair_of_inline_values_ends_where_it_is_cancelled() {
    let (_it, database, whole) = closed(1_500);
    let file = fs::File::options().write(true).open(&database).expect("opened");
    file.write_all_at(&[9], last_rows(&whole) as u64).expect("damaged");
    let new = tempfile::tempdir().expect("a temporary directory");
    let (token, seen) = (CancelToken::new(), std::cell::Cell::new(0));
    let is_whole = |_: &str, _: &[u8], _: &[u8]| {
        token.cancel();
        seen.set(seen.get() + 1);
        true
    };
    let old = database.parent().expect("a folder");
    let ended = token.run(|| SqliteIndex::salvage(old, new.path(), &is_whole));
    assert_eq!(ended.expect_err("cancelled").kind(), ErrorKind::Cancelled);
    assert!(seen.get() < 600, "{} rows were read", seen.get());
}
