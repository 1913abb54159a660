//! Flipped bits and lost sectors of the database of inline values: no other value looks missing, and
//! none is another one.

use super::inline::{BELOW, inline_fixture, on};
use super::repair::cured;
use super::verify::verified;
use super::*;

const VALUES: usize = 300;
const PAGE: usize = 4_096;

fn name(number: usize) -> String {
    // Some keys are so long that a part of them lies in a page of its own.
    let length = if number.is_multiple_of(97) { 3_000 } else { 40 };
    format!("inline/{number:03}/{}", "k".repeat(length)).chars().take(4_000).collect()
}

fn text(number: usize) -> String {
    format!("value {number} {}", "v".repeat(number % 90))
}

/// A closed store of inline values, some of which were overwritten and removed, and its database.
fn filled() -> (tempfile::TempDir, PathBuf, Vec<u8>) {
    let Fixture { dir, backend } = inline_fixture();
    let all = |text: fn(usize) -> String| {
        let puts =
            (0..VALUES + 50).map(move |number| put(&name(number), Format::Json, &text(number)));
        for placed in backend.put_many(puts.collect()) {
            placed.expect("put");
        }
    };
    all(|number| format!("older {number}"));
    all(text);
    let gone: Vec<Key> = (VALUES..VALUES + 50).map(|number| key(&name(number))).collect();
    for removed in backend.delete_many(&gone, Durability::Process) {
        assert!(removed.expect("removed"));
    }
    backend.close().expect("closed");
    drop(backend);
    let database = dir.path().join(".holdall/inline/values.sqlite");
    let whole = fs::read(&database).expect("there");
    (dir, database, whole)
}

/// The same with the first page of the index of the keys damaged.
fn without_index() -> (tempfile::TempDir, FileBackend) {
    let (dir, database, mut harmed) = filled();
    let root = super::inline_damage::root(&database, "entry_key") as usize;
    harmed[root * PAGE - 9] ^= 3;
    fs::write(&database, &harmed).expect("harmed");
    let backend = on(dir.path(), BELOW);
    (dir, backend)
}

/// How many values are errors; each other one must be there and the right one, and none may be there
/// that was removed.
fn errors(dir: &Path, what: &str) -> usize {
    let backend = on(dir, BELOW);
    let mut errors = 0;
    for number in (0..VALUES + 50).step_by(3) {
        match backend.get(&key(&name(number)), None) {
            Ok(Some(found)) if number < VALUES => {
                assert_eq!(found.content, text(number).into_bytes(), "{what}: {number}");
            }
            Ok(None) => assert!(number >= VALUES, "{what}: {number} looks missing"),
            Ok(Some(_)) => panic!("{what}: {number} was removed"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
                errors += 1;
            }
        }
    }
    errors
}

/// Numbers that are the same in each run.
fn some(page: usize, round: u64) -> usize {
    xxhash_rust::xxh3::xxh3_64(&[page as u64, round].map(u64::to_le_bytes).concat()) as usize
}

#[test]
fn damage_in_what_leads_to_the_values_costs_none_of_them() {
    let (dir, database, whole) = filled();
    let (mut of_rows, mut others) = (0, 0);
    for page in 0..whole.len() / PAGE {
        let begin = page * PAGE;
        // The first page, upper pages of the table and pages with its rows.
        let is_of_rows = page == 0 || [5, 13].contains(&whole[begin]);
        for round in 0..6 {
            let mut harmed = whole.clone();
            let at = begin + some(page, round) % PAGE;
            let what = if round == 5 {
                harmed[at / 512 * 512..][..512].fill(0);
                format!("page {}, a sector without its bytes at {at}", page + 1)
            } else {
                harmed[at] ^= 1 << (some(page, round) % 8);
                format!("page {}, a bit of byte {at}", page + 1)
            };
            fs::write(&database, &harmed).expect("harmed");
            let errors = errors(dir.path(), &what);
            if is_of_rows && round == 5 {
                of_rows += 1;
            } else {
                others += 1;
                assert_eq!(errors, 0, "{what}");
            }
        }
    }
    assert!(of_rows > 10 && others > 150, "{of_rows} and {others}");
}

#[test]
fn a_key_whose_index_is_damaged_is_judged_by_all_rows() {
    let (_dir, backend) = without_index();
    let (there, gone) = (key(&name(1)), key(&name(VALUES)));
    let absent = |text: &str, key: &Key| {
        backend.put(Put { condition: Condition::Absent, ..put(key.as_str(), Format::Json, text) })
    };
    assert!(!backend.delete(&gone, &Condition::Any, Durability::Process).expect("none there"));
    assert_eq!(backend.set_ttl(&gone, None, Durability::Process).expect("none there"), None);
    let error = backend.delete(&there, &Condition::Any, Durability::Process).expect_err("there");
    assert!(error.to_string().contains("run repair"), "{error}");
    assert_eq!(absent("new", &there).expect_err("there").kind(), ErrorKind::Conflict);
    absent("new", &gone).expect("none there");
    let found = backend.get(&gone, None).expect("read").expect("there");
    assert_eq!(found.content, b"new");
    let found = backend.get(&there, None).expect("read").expect("there");
    assert_eq!(found.content, text(1).into_bytes());
}

#[test]
fn verify_finds_each_flipped_bit_and_repair_leaves_what_could_be_loaded() {
    let (dir, database, whole) = filled();
    let (mut found, mut unused) = (0, 0);
    for page in 0..whole.len() / PAGE {
        let mut harmed = whole.clone();
        let at = page * PAGE + some(page, 7) % PAGE;
        let is_bit = page.is_multiple_of(2);
        harmed[at] ^= if is_bit { 4 } else { 6 };
        let what = format!("page {}, byte {at}", page + 1);
        fs::write(&database, &harmed).expect("harmed");
        let before = errors(dir.path(), &what);
        assert!(!is_bit || before == 0, "{what}");
        let backend = on(dir.path(), BELOW);
        if verified(&backend).problems.is_empty() {
            unused += 1;
            assert_eq!(before, 0, "{what}");
            continue;
        }
        found += 1;
        assert_eq!(cured(&backend).salvaged.is_none(), is_bit, "{what}");
        for number in (0..VALUES + 50).step_by(3) {
            let after = backend.get(&key(&name(number)), None);
            let after = after.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(after.is_none() || number < VALUES, "{what}: {number} is back");
        }
        let left = (0..VALUES).step_by(3).filter(|number| {
            backend.get(&key(&name(*number)), None).is_ok_and(|found| found.is_some())
        });
        assert!(left.count() >= VALUES / 3 - before, "{what}: {before} before");
        drop(backend);
        if is_bit {
            assert!(fs::read(&database).expect("there") == whole, "{what}");
        }
        let _ = fs::remove_dir_all(dir.path().join(".holdall/quarantine"));
    }
    assert!(found > 30 && unused < 3, "{found} and {unused}");
}

#[test]
fn a_repair_of_a_damaged_index_leaves_every_value_that_a_load_finds() {
    let (dir, database, whole) = filled();
    let mut tried = 0;
    for page in (1..whole.len() / PAGE).filter(|page| [2, 10].contains(&whole[page * PAGE])) {
        // The number of cells, a whole sector, and the pointers to cells.
        for (at, length, bits) in [(4, 1, 9), (3_072, 512, 0), (10, 2, 12)] {
            let mut harmed = whole.clone();
            let begin = page * PAGE + at;
            let what = format!("page {}, byte {begin}", page + 1);
            harmed[begin..][..length].iter_mut().for_each(|byte| {
                *byte = if bits == 0 { 0 } else { *byte ^ bits };
            });
            fs::write(&database, &harmed).expect("harmed");
            assert_eq!(errors(dir.path(), &what), 0, "{what}");
            let backend = on(dir.path(), BELOW);
            if !verified(&backend).problems.is_empty() {
                tried += 1;
                cured(&backend);
            }
            drop(backend);
            assert_eq!(errors(dir.path(), &format!("{what}, repaired")), 0, "{what}");
            let _ = fs::remove_dir_all(dir.path().join(".holdall/quarantine"));
        }
    }
    assert!(tried > 20, "{tried}");
}

#[test]
fn an_older_inline_value_beside_a_file_does_not_come_back_when_that_is_deleted() {
    let (_dir, backend) = without_index();
    let key = key(&name(1));
    backend.put(put(key.as_str(), Format::Json, "new")).expect("a file");
    let error = backend.delete(&key, &Condition::Any, Durability::Process).expect_err("both");
    assert!(error.to_string().contains("run repair"), "{error}");
    assert_eq!(backend.get(&key, None).expect("read").expect("there").content, b"new");
}
