//! Damaged pages of the database of inline values, which cost neither files nor other values.

use std::os::unix::fs::FileExt as _;

use super::inline::{BELOW, inline_fixture, on};
use super::*;

const PAGE: u64 = 4_096;

/// The page at which a table or an index of the database begins, which nobody has open.
pub(super) fn root(database: &Path, name: &str) -> u64 {
    let connection = crate::index::open_to_change(database).expect("opened");
    let sql = format!("SELECT rootpage FROM sqlite_schema WHERE name = '{name}'");
    let page = connection.query_row(&sql, [], |row| row.get::<_, i64>(0)).expect("known");
    page as u64
}

/// Overwrites a page of the database, which nobody has open, with zeros.
pub(super) fn zero_page(database: &Path, page: u64) {
    let file = fs::File::options().write(true).open(database).expect("opened");
    file.write_all_at(&[0; PAGE as usize], (page - 1) * PAGE).expect("zeroed");
}

fn inline_key(number: usize) -> String {
    format!("inline/{number:03}/{}", "k".repeat(40))
}

const VALUES: usize = 400;

/// A closed store with files and inline values, and the pages of its database.
fn filled() -> (tempfile::TempDir, PathBuf, Vec<u8>) {
    let it = inline_fixture();
    let puts = (0..VALUES).map(|number| put(&inline_key(number), Format::Json, "1"));
    for placed in it.backend.put_many(puts.collect()) {
        placed.expect("put");
    }
    let plain = on(it.dir.path(), 0);
    for name in ["file", "another", "third"] {
        plain.put(put(name, Format::Json, "2")).expect("put");
    }
    it.backend.list("", None, 9).expect("listed");
    it.backend.close().expect("closed");
    let database = it.path(".holdall/inline/values.sqlite");
    let whole = fs::read(&database).expect("there");
    let Fixture { dir, backend } = it;
    drop((backend, plain));
    (dir, database, whole)
}

fn doubted(dir: &Path, inline_below: u64) -> FileBackend {
    let backend = on(dir, inline_below);
    let opened = backend.opened().expect("open");
    opened.live().expect("writable").clock.set_diverged(true);
    backend
}

fn content(backend: &FileBackend, text: &str) -> Result<Option<Vec<u8>>> {
    Ok(backend.get(&key(text), None)?.map(|found| found.content))
}

/// Each page in turn, and the first, without which it is no database.
fn for_each_damaged_page(mut check: impl FnMut(&Path, u64)) {
    let (dir, database, whole) = filled();
    let pages = whole.len() as u64 / PAGE;
    assert!(pages > 12, "tables and indexes of several levels");
    for page in 1..=pages {
        fs::write(&database, &whole).expect("restored");
        zero_page(&database, page);
        check(dir.path(), page);
    }
}

#[test]
fn a_damaged_page_keeps_nobody_from_files_however_much_is_in_doubt() {
    for_each_damaged_page(|dir, page| {
        let plain = doubted(dir, 0);
        for name in ["file", "another", "third"] {
            let found = content(&plain, name).expect("read").expect("there");
            assert_eq!(found, b"2", "page {page}");
        }
        plain.put(put("file", Format::Json, "2")).expect("put");
        assert!(plain.set_ttl(&key("file"), None, Durability::Process).expect("set").is_some());
        assert_eq!(content(&plain, "file").expect("read").expect("there"), b"2");
    });
}

#[test]
fn what_is_saved_over_a_damaged_page_is_the_value_from_then_on() {
    for_each_damaged_page(|dir, page| {
        for inline_below in [0, BELOW] {
            let backend = doubted(dir, inline_below);
            for number in [0, 133, 399] {
                let (text, number) = (inline_key(number), number.to_string());
                let saved = backend.put(put(&text, Format::Json, &number));
                // Only what follows from no value alone: the row can be read, and not be replaced.
                if let Err(error) = saved {
                    panic!("page {page}, {inline_below}: {error}");
                }
                let found = content(&backend, &text).expect("read").expect("there");
                assert_eq!(found, number.as_bytes(), "page {page}");
            }
        }
        let backend = doubted(dir, 0);
        for number in [0, 133, 399] {
            let found = content(&backend, &inline_key(number)).expect("read").expect("there");
            assert_eq!(found, number.to_string().as_bytes(), "page {page}");
            let file = dir.join(format!("{}.json", inline_key(number)));
            if file.exists() {
                fs::remove_file(file).expect("as before");
            }
        }
    });
}

#[test]
fn clearing_removes_values_whose_records_cannot_be_read_too() {
    let it = inline_fixture();
    for text in ["a", "b", "c"] {
        it.put(text, Format::Json, text);
    }
    it.backend.close().expect("closed");
    let connection = crate::index::open_to_change(it.path(".holdall/inline/values.sqlite"));
    let damage = "UPDATE entry SET row = X'00' || substr(row, 2) WHERE key < CAST('c' AS BLOB)";
    connection.expect("opened").execute(damage, []).expect("damaged");
    assert_eq!(it.backend.totals().expect("counted").entries, 3);
    assert_eq!(it.backend.clear(Durability::Process).expect("cleared"), 3);
    assert_eq!(it.backend.totals().expect("counted"), Totals::default());
    assert!(it.get("a").expect("read").is_none());
}

#[test]
fn one_damaged_value_fails_alone_in_a_batch() {
    for_each_damaged_page(|dir, page| {
        let backend = doubted(dir, BELOW);
        let keys = ["file".to_owned(), inline_key(7), "another".into(), "third".into()];
        let keys: Vec<Key> = keys.iter().map(|text| key(text)).collect();
        let group = (0..64).map(|number| put(&inline_key(number), Format::Json, "3"));
        for placed in backend.put_many(group.collect()) {
            placed.unwrap_or_else(|error| panic!("page {page}: {error}"));
        }
        for number in 0..64 {
            let found = content(&backend, &inline_key(number)).expect("read").expect("there");
            assert_eq!(found, b"3", "page {page}");
        }
        let removed = backend.delete_many(&keys, Durability::Process);
        for at in [0, 2, 3] {
            assert!(removed[at].as_ref().is_ok_and(|removed| *removed), "page {page}: {removed:?}");
        }
        if let Err(error) = &removed[1] {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "page {page}: {error}");
            assert!(error.to_string().contains("restore .holdall/inline"), "{error}");
        }
        for name in ["file", "another", "third"] {
            assert!(!dir.join(format!("{name}.json")).exists());
            on(dir, 0).put(put(name, Format::Json, "2")).expect("put");
        }
        if dir.join("inline").exists() {
            fs::remove_dir_all(dir.join("inline")).expect("as before");
        }
    });
}

#[test]
fn what_a_scan_cannot_settle_is_not_scanned_again_until_the_store_is_opened_anew() {
    let (dir, database, whole) = filled();
    zero_page(&database, root(&database, "entry_key"));
    let backend = doubted(dir.path(), 0);
    let epoch = || {
        let opened = backend.opened().expect("open");
        opened.live().expect("writable").clock.epoch()
    };
    assert_eq!(backend.list("", None, 9).expect_err("lost").kind(), ErrorKind::Corrupt);
    let before = epoch();
    for _ in 0..3 {
        backend.put(put(&inline_key(0), Format::Json, "3")).expect("put");
        assert_eq!(backend.list("", None, 9).expect_err("lost").kind(), ErrorKind::Corrupt);
        assert!(backend.totals().is_ok() || backend.totals().is_err());
    }
    assert_eq!(epoch(), before, "each scan makes all memory of all processes old");
    // Restored from a backup, it is compared with the files once more.
    drop(backend);
    fs::write(&database, &whole).expect("restored");
    let backend = on(dir.path(), 0);
    assert_eq!(content(&backend, &inline_key(0)).expect("read").expect("there"), b"3");
    assert_eq!(backend.totals().expect("counted").entries, VALUES as u64 + 3);
    assert_eq!(content(&backend, &inline_key(0)).expect("read").expect("there"), b"3");
}
