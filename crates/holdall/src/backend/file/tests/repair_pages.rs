//! Flipped bits where one costs the way to all inline values: the pages with the values are whole.

use std::os::unix::fs::FileExt as _;

use super::inline::{BELOW, inline_fixture, on};
use super::inline_damage::root;
use super::repair::repaired;
use super::verify::{kinds, verified};
use super::*;

const VALUES: usize = 300;
const PAGE: u64 = 4_096;

fn name(number: usize) -> Key {
    key(&format!("inline/{number:03}/{}", "k".repeat(40)))
}

/// A store whose database nobody has open, with all in it or some still in its log.
struct Filled {
    dir: tempfile::TempDir,
    files: Vec<(PathBuf, Vec<u8>)>,
    root: u64,
}

fn filled(has_log: bool) -> Filled {
    let it = inline_fixture();
    let puts = (0..VALUES).map(|number| put(name(number).as_str(), Format::Json, "1"));
    it.backend.put_many(puts.collect()).into_iter().for_each(|placed| drop(placed.expect("put")));
    it.backend.close().expect("closed");
    let folder = it.path(".holdall/inline");
    let root = root(&folder.join("values.sqlite"), "entry");
    if has_log {
        let puts = (0..9).map(|number| put(name(number).as_str(), Format::Json, "2"));
        it.backend.put_many(puts.collect()).into_iter().for_each(|put| drop(put.expect("put")));
    }
    let names = ["values.sqlite", "values.sqlite-wal"].map(|name| folder.join(name));
    let files = names.into_iter().filter_map(|path| fs::read(&path).ok().map(|all| (path, all)));
    let files = files.collect();
    let Fixture { dir, backend } = it;
    drop(backend);
    Filled { dir, files, root }
}

impl Filled {
    /// The whole database again, with one bit of it flipped.
    fn flip(&self, at: u64, bit: u8) -> FileBackend {
        fs::remove_dir_all(self.dir.path().join(".holdall/quarantine")).unwrap_or_default();
        for end in ["-wal", "-shm"] {
            let _ = fs::remove_file(self.database().with_extension(format!("sqlite{end}")));
        }
        for (path, content) in &self.files {
            fs::write(path, content).expect("restored");
        }
        let file = fs::File::options().write(true).open(self.database()).expect("opened");
        let old = self.files[0].1[at as usize];
        file.write_all_at(&[old ^ 1 << bit], at).expect("flipped");
        spoil_checksum(&self.database(), at / PAGE + 1);
        on(self.dir.path(), BELOW)
    }

    fn database(&self) -> PathBuf {
        self.dir.path().join(".holdall/inline/values.sqlite")
    }
}

/// How many values of a store come back with a repair of whatever is found.
fn left(backend: &FileBackend, at: u64) -> usize {
    let done = repaired(backend, false);
    assert_eq!(kinds(&verified(backend)), [], "byte {at}: {done:?}");
    let found = (0..VALUES).filter(|n| backend.get(&name(*n), None).expect("read").is_some());
    let found = found.count();
    if let Some(read) = done.salvaged {
        assert_eq!(read, found as u64, "byte {at}: {done:?}");
    }
    backend.close().expect("closed");
    found
}

#[test]
fn a_flipped_bit_in_the_first_page_of_the_inline_values_costs_none() {
    let places: &[u64] = &[
        0, 7, 15, 16, 17, 18, 19, 20, 21, 22, 23, 28, 31, 47, 59, 63, 68, 100, 103, 104, 108, 4_095,
    ];
    for (has_log, places) in [(false, places), (true, &[0, 17, 18, 103])] {
        let store = filled(has_log);
        for at in places {
            let bit = (at % 7 + 1) as u8;
            let backend = store.flip(*at, bit);
            assert_eq!(left(&backend, *at), VALUES, "bit {bit} of byte {at}, log: {has_log}");
        }
    }
}

#[test]
fn a_flipped_bit_above_the_rows_of_the_inline_values_costs_none() {
    for has_log in [false, true] {
        let store = filled(has_log);
        for at in [0, 3, 4, 8, 11, 13] {
            let at = (store.root - 1) * PAGE + at;
            assert_eq!(left(&store.flip(at, 2), at), VALUES, "byte {at}, log: {has_log}");
        }
    }
}

/// Flips another bit of a page, so that one alone cannot be put right.
fn spoil_checksum(database: &Path, page: u64) {
    let file = fs::File::options().read(true).write(true).open(database).expect("opened");
    let (mut end, at) = ([0], page * PAGE - 8);
    // Where the file was cut there is none.
    if file.read_exact_at(&mut end, at).is_ok() {
        file.write_all_at(&[end[0] ^ 1], at).expect("flipped");
    }
}

/// Saves values of one content under the keys with these numbers.
fn save(it: &Fixture, numbers: std::ops::Range<usize>, content: &str) {
    let puts = numbers.map(|number| put(name(number).as_str(), Format::Json, content));
    let puts = it.backend.put_many(puts.collect());
    puts.into_iter().for_each(|placed| drop(placed.expect("put")));
}

/// A closed store with unused pages in its database, and the keys that were removed.
fn with_unused_pages() -> (Fixture, PathBuf, Vec<Key>) {
    let it = inline_fixture();
    save(&it, 0..VALUES, "1");
    // The rows grow and their pages are divided; then most of them go, and pages with them.
    save(&it, 0..VALUES, &"2".repeat(90));
    let is_removed = |number: &usize| !number.is_multiple_of(3);
    let removed: Vec<Key> = (40..260).filter(is_removed).map(name).collect();
    let done = it.backend.delete_many(&removed, Durability::Process);
    assert!(done.into_iter().all(|removed| removed.expect("removed")));
    save(&it, 0..40, "3");
    it.backend.close().expect("closed");
    let database = it.path(".holdall/inline/values.sqlite");
    (it, database, removed)
}

#[test]
fn no_removed_inline_value_comes_back_from_a_page_that_is_not_used() {
    let (it, database, removed) = with_unused_pages();
    assert!(fs::read(&database).expect("read")[39] > 0, "no page is unused");
    let file = fs::File::options().write(true).open(&database).expect("opened");
    file.write_all_at(&[4], (root(&database, "entry") - 1) * PAGE + 3).expect("damaged");
    spoil_checksum(&database, root(&database, "entry"));
    let done = repaired(&it.backend, false);
    assert_eq!(done.salvaged, Some((VALUES - removed.len()) as u64), "{done:?}");
    for key in removed {
        assert!(it.backend.get(&key, None).expect("read").is_none());
    }
    for number in 0..40 {
        let found = it.backend.get(&name(number), None).expect("read").expect("there");
        assert_eq!(found.content, b"3");
    }
}

/// The pages with rows in which a key occurs, counted from 0.
fn leaves_with(database: &[u8], key: &Key) -> Vec<usize> {
    let has = |page: &[u8]| {
        let text = key.as_str().as_bytes();
        page[0] == 13 && page.windows(text.len()).any(|window| window == text)
    };
    let pages = database.chunks(PAGE as usize).enumerate();
    pages.filter(|(_, page)| has(page)).map(|(number, _)| number).collect()
}

#[test]
fn no_older_inline_value_comes_back_from_a_page_that_is_not_used() {
    let old = inline_fixture();
    save(&old, 0..VALUES, "1");
    old.backend.close().expect("closed");
    let old = fs::read(old.path(".holdall/inline/values.sqlite")).expect("read");
    let key = name(5);
    let before = leaves_with(&old, &key)[0] * PAGE as usize;
    let (it, database, _) = with_unused_pages();
    let mut content = fs::read(&database).expect("read");
    // The list of unused pages has them in its own first page.
    let number = |content: &[u8], at: usize| {
        u32::from_be_bytes(content[at..at + 4].try_into().expect("four")) as usize
    };
    let trunk = (number(&content, 32) - 1) * PAGE as usize;
    assert!(number(&content, trunk + 4) > 0, "the list has no other page");
    let unused = number(&content, trunk + 8) - 1;
    let used = leaves_with(&content, &key).into_iter().filter(|page| *page != unused);
    for page in used.collect::<Vec<_>>() {
        content[page * PAGE as usize..][..PAGE as usize].fill(0);
    }
    // As it may have been left there when the rows went elsewhere.
    let page = &old[before..][..PAGE as usize];
    content[unused * PAGE as usize..][..PAGE as usize].copy_from_slice(page);
    fs::write(&database, content).expect("damaged");
    let done = repaired(&it.backend, false);
    assert!(done.salvaged.is_some_and(|read| read > 100), "{done:?}");
    assert!(it.backend.get(&key, None).expect("read").is_none(), "it is the older value");
}

/// The pages that the list of unused ones names, by what the database says itself.
fn unused_pages(database: &[u8]) -> Vec<u32> {
    let number = |at: usize| u32::from_be_bytes(database[at..at + 4].try_into().expect("four"));
    let (mut trunk, mut unused) = (number(32), Vec::new());
    while trunk != 0 {
        let at = (trunk as usize - 1) * PAGE as usize;
        unused.push(trunk);
        unused.extend((0..number(at + 4) as usize).map(|leaf| number(at + 8 + 4 * leaf)));
        trunk = number(at);
    }
    unused
}

/// Where the upper pages of a tree lead, and at which bytes they say so.
fn pointers(database: &[u8], page: u32) -> Vec<(usize, u32)> {
    let begin = (page as usize - 1) * PAGE as usize;
    let short =
        |at: usize| usize::from(u16::from_be_bytes(database[at..at + 2].try_into().expect("two")));
    if !matches!(database[begin], 2 | 5) {
        return Vec::new();
    }
    let cells = (0..short(begin + 3)).map(|cell| begin + short(begin + 12 + 2 * cell));
    let places = cells
        .chain([begin + 8])
        .map(|at| (at, u32::from_be_bytes(database[at..at + 4].try_into().expect("four"))));
    places.flat_map(|found| [vec![found], pointers(database, found.1)].concat()).collect()
}

#[test]
fn no_removed_inline_value_comes_back_where_a_flipped_bit_leads_to_a_page_that_is_not_used() {
    const MANY: usize = 2_000;
    let name = |number: usize| key(&format!("{number:05}"));
    let it = inline_fixture();
    let content = "1".repeat(90);
    let puts = (0..MANY).map(|number| put(name(number).as_str(), Format::Json, &content));
    it.backend.put_many(puts.collect()).into_iter().for_each(|placed| drop(placed.expect("put")));
    let removed: Vec<Key> = (MANY / 4..MANY * 3 / 4).map(name).collect();
    let done = it.backend.delete_many(&removed, Durability::Process);
    assert!(done.into_iter().all(|removed| removed.expect("removed")));
    it.backend.close().expect("closed");
    let database = it.path(".holdall/inline/values.sqlite");
    let root = u32::try_from(root(&database, "entry")).expect("short");
    let whole = fs::read(&database).expect("read");
    let rows = unused_pages(&whole);
    let rows: Vec<u32> =
        rows.into_iter().filter(|page| whole[(*page as usize - 1) * PAGE as usize] == 13).collect();
    let places = pointers(&whole, root).into_iter();
    let flips = places.flat_map(|(at, old)| rows.iter().map(move |new| (at, old, *new)));
    let flips: Vec<_> = flips.filter(|(_, old, new)| (old ^ new).count_ones() == 1).collect();
    assert!(flips.len() > 3, "{} of {} pages", flips.len(), rows.len());
    for (at, _, new) in flips.iter().step_by(flips.len().div_ceil(5)) {
        fs::remove_dir_all(it.path(".holdall/quarantine")).unwrap_or_default();
        let mut flipped = whole.clone();
        flipped[*at..at + 4].copy_from_slice(&new.to_be_bytes());
        fs::write(&database, flipped).expect("damaged");
        spoil_checksum(&database, *at as u64 / PAGE + 1);
        let backend = on(it.dir.path(), BELOW);
        let done = repaired(&backend, false);
        for key in &removed {
            assert!(backend.get(key, None).expect("read").is_none(), "{at}: {key:?}, {done:?}");
        }
        assert_eq!(done.salvaged, Some((MANY - removed.len()) as u64), "{at}");
        backend.close().expect("closed");
    }
}

#[test]
fn a_flipped_bit_in_the_index_of_the_keys_of_inline_values_costs_none() {
    let store = filled(false);
    let whole = &store.files[0].1;
    let index = u32::try_from(root(&store.database(), "entry_key")).expect("short");
    let places = pointers(whole, index);
    assert!(places.len() > 2, "{places:?}");
    // To other pages of this index, and to other pages.
    for (at, bit) in [(places[0].0, 0), (places[0].0, 1), (places[1].0, 2), (index_end(index), 1)] {
        assert_eq!(left(&store.flip(at as u64 + 3, bit), at as u64), VALUES, "byte {at}");
    }
    let key = name(VALUES / 2);
    let has = |at: &usize| whole[*at..].starts_with(key.as_str().as_bytes());
    let keys = (0..whole.len()).filter(|at| matches!(whole[at / 4_096 * 4_096], 2 | 10) && has(at));
    for at in keys.collect::<Vec<_>>() {
        // A letter of the key, and the number of its row, which lies behind it.
        for at in [at as u64 + 8, (at + key.as_str().len()) as u64] {
            assert_eq!(left(&store.flip(at, 0), at), VALUES, "byte {at}");
        }
    }
}

/// Where an upper page says which page comes last.
fn index_end(page: u32) -> usize {
    (page as usize - 1) * PAGE as usize + 8
}

#[test]
fn a_database_of_inline_values_that_is_cut_short_is_repaired_wherever_it_ends() {
    for has_log in [false, true] {
        let store = filled(has_log);
        let whole = store.files[0].1.len() as u64;
        let mut most = 0;
        for length in [0, 99, 4_095, 4_096, 4_097, 2 * PAGE, whole - PAGE, whole - 1] {
            let backend = store.flip(4_095, 0);
            let file = fs::File::options().write(true).open(store.database()).expect("opened");
            file.set_len(length).expect("cut");
            most = left(&backend, length).max(most);
        }
        assert!(most > VALUES / 3, "{most}");
    }
}

#[test]
fn what_could_be_read_of_a_damaged_database_of_inline_values_is_told() {
    let store = filled(false);
    let backend = store.flip(0, 0);
    assert_eq!(repaired(&backend, true).salvaged, None, "nothing was read yet");
    let done = repaired(&backend, false);
    assert_eq!(done.salvaged, Some(VALUES as u64));
    assert!(done.quarantined[0].problem.what.ends_with("300 values were read"), "{done:?}");
    let kept = done.quarantined[0].folder.join("inline");
    assert_eq!(fs::read(kept.join("values.sqlite")).expect("kept")[0], b'S' ^ 1, "as it was found");
    let beside = fs::read_dir(store.database().parent().expect("a folder")).expect("listed");
    let beside = beside.map(|one| one.expect("read").file_name().into_string().expect("text"));
    assert!(beside.into_iter().all(|name| !name.contains("copy")), "the copy is gone");
    assert_eq!(repaired(&backend, false).salvaged, None);
}
