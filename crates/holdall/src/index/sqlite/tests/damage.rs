//! A damaged database gives an error or a right answer, and never ends the process.

use std::fs;

use super::super::*;
use super::processes::{arguments, finish, start};
use super::{every_row, new_index, put, row};

const ROWS: usize = 400;
const ROUNDS: u64 = 150;

fn key(i: usize) -> String {
    format!("folder/{i:05}")
}

/// Numbers that differ from round to round and not from run to run.
fn number(round: u64, salt: u64) -> usize {
    super::super::super::row::checksum(&round.to_le_bytes(), &salt.to_le_bytes()) as usize >> 1
}

/// Opens what lies in `folder` and asks it everything; whether all was well. What is answered
/// must be right, row by row; what cannot be answered must be called damage.
fn examine(folder: &Path) -> bool {
    let index = new_index(folder);
    let damage = |error: Error| assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    let sound = index.check().map_err(damage).is_ok();
    let right = |row_found: &Row| assert_eq!(*row_found, row(&row_found.key, 1));
    let listed = every_row(&index).map_err(damage).ok();
    listed.iter().flatten().for_each(right);
    let keys = index.keys("", None, ROWS, &|_| false).map_err(damage);
    keys.iter().flat_map(|page| page.iter()).for_each(|found| {
        assert!(
            found.starts_with("folder/") || found.starts_with("new"),
            "{found:?} was never put"
        );
    });
    index.expired(400, None, 1_000).map_err(damage).into_iter().flatten().for_each(|r| right(&r));
    index.tagged("tag1", None, 1_000).map_err(damage).into_iter().flatten().for_each(|r| right(&r));
    for i in (0..ROWS).step_by(7) {
        index.get(&key(i)).map_err(damage).into_iter().flatten().for_each(|r| right(&r));
    }
    let totals = index.totals().map_err(damage).ok();
    if sound {
        let listed = listed.expect("a sound index can be listed");
        assert_eq!(totals.map(|totals| totals.entries), Some(listed.len() as u64));
    }
    for i in 0..20 {
        let changes = [put(&key(i * 31), 1), put(&format!("new{i}"), 1)];
        index.apply(&changes).map_err(damage).unwrap_or_default();
    }
    index.close().map_err(damage).unwrap_or_default();
    sound
}

/// Fills an index and leaves its files as they are when nobody closes it.
fn fill(folder: &Path) -> (SqliteIndex, PathBuf) {
    let index = new_index(folder);
    for i in (0..ROWS).step_by(20) {
        let group: Vec<_> = (i..i + 20).map(|i| put(&key(i), 1)).collect();
        index.apply(&group).unwrap();
    }
    (index, folder.join("index"))
}

fn with_files(files: &[(&str, &[u8])]) -> bool {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("index")).unwrap();
    for (name, bytes) in files {
        fs::write(folder.path().join("index").join(name), bytes).unwrap();
    }
    examine(folder.path())
}

/// One to three flipped bits; in every third round in the header and the first page.
fn flipped(whole: &[u8], round: u64) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    let reach = if round.is_multiple_of(3) { 4_096.min(whole.len()) } else { whole.len() };
    let reach = if round.is_multiple_of(6) { 112.min(reach) } else { reach };
    let page = number(round, 0) % reach / 4_096 * 4_096;
    // Several in one page, for one alone is put right.
    let page = page..(page + 4_096).min(bytes.len());
    bytes[number(round, 0) % reach] ^= 1 << (number(round, 10) % 8);
    for flip in 0..round % 3 {
        let at = page.start + number(round, flip + 1) % page.len();
        bytes[at] ^= 1 << (number(round, flip + 11) % 8);
    }
    bytes
}

#[test]
#[ignore = "run by the test below, in its own process"]
fn helper_that_reads_damaged_databases() {
    let (folder, _) = arguments();
    let (index, files) = fill(&folder);
    index.close().unwrap();
    let whole = fs::read(files.join("index.sqlite")).unwrap();
    assert!(with_files(&[("index.sqlite", &whole)]));
    let mut noticed = 0;
    for round in 0..ROUNDS {
        noticed += u64::from(!with_files(&[("index.sqlite", &flipped(&whole, round))]));
        let cut = &whole[..number(round, 99) % whole.len()];
        let sound = with_files(&[("index.sqlite", cut)]);
        assert!(!sound || cut.is_empty(), "cut to {} bytes", cut.len());
    }
    assert!(with_files(&[("index.sqlite", b"")]), "an empty file is a new index");
    assert!(noticed > ROUNDS / 2, "{noticed} of {ROUNDS}");
}

#[test]
#[ignore = "run by the test below, in its own process"]
fn helper_that_reads_damaged_logs() {
    let (folder, _) = arguments();
    let (index, files) = fill(&folder);
    let base = fs::read(files.join("index.sqlite")).unwrap();
    let log = fs::read(files.join("index.sqlite-wal")).unwrap();
    assert!(with_files(&[("index.sqlite", &base), ("index.sqlite-wal", &log)]));
    for round in 0..ROUNDS / 3 {
        let cut = &log[..number(round, 99) % log.len()];
        for log in [&flipped(&log, round), cut] {
            with_files(&[("index.sqlite", &base), ("index.sqlite-wal", log)]);
        }
        let noise = flipped(&[7; 32_768], round);
        assert!(with_files(&[
            ("index.sqlite", &base),
            ("index.sqlite-wal", &log),
            ("index.sqlite-shm", &noise),
        ]));
    }
    index.check().unwrap();
}

#[test]
fn a_damaged_database_gives_an_error_or_a_right_answer() {
    let folder = tempfile::tempdir().unwrap();
    let helper = "index::sqlite::tests::damage::helper_that_reads_damaged_databases";
    finish(start(helper, folder.path(), ""));
}

#[test]
fn a_damaged_log_gives_an_error_or_an_earlier_state() {
    let folder = tempfile::tempdir().unwrap();
    let helper = "index::sqlite::tests::damage::helper_that_reads_damaged_logs";
    finish(start(helper, folder.path(), ""));
}
