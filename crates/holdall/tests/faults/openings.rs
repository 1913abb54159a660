//! Stores that are opened while the disk fails, as they were left and as a crash has left them.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use holdall::{BlobManager, Format, Result};

use super::scenarios::{Done, Scenario, keyed};
use super::store::{self, Value, save, value};

fn old() -> Value {
    value(Format::Json, "old", 700)
}

fn text() -> Value {
    value(Format::String, "text", 800)
}

fn small() -> Value {
    value(Format::Json, "small", 100)
}

fn added() -> Value {
    value(Format::Bytes, "added", 600)
}

/// Looks at what is there, lists it, and saves something.
fn use_it(store: &BlobManager, wanted: &Value) -> Done {
    let read = store.load_bytes("k", None);
    let read = read.map(|blob| assert_eq!(blob.payload, wanted.payload, "k was read wrongly"));
    let listed: Result<Vec<String>> = store.keys("").collect();
    let listed = listed.map(|keys| {
        for key in ["k", "folder/beside"] {
            assert!(keys.iter().any(|one| one == key), "{key} is not among {keys:?}");
        }
    });
    vec![("k", read), ("k", keyed(listed)), ("added", save(store, "added", &added(), None))]
}

pub(super) fn add(list: &mut Vec<Scenario>) {
    let files: fn(&BlobManager) -> Done = |store| use_it(store, &old());
    let texts: fn(&BlobManager) -> Done = |store| use_it(store, &text());
    let smalls: fn(&BlobManager) -> Done = |store| use_it(store, &small());
    let mut add = |name, inline, kept: Value, prepare, act| {
        let scenario = Scenario::opening(name, prepare, act);
        list.push(scenario.with(inline, &[("k", kept)], &[("added", added())]));
    };
    add("open", false, old(), |_, _| (), files);
    add("open-inline", true, small(), |_, _| (), smalls);
    add("open-after-death", false, old(), |folder, _| die(folder), files);
    add("open-after-death-inline", true, small(), die_with_log, smalls);
    add("open-after-power-cut", false, old(), |folder, _| cut(folder), files);
    add("open-after-power-cut-inline", true, small(), |folder, _| cut(folder), smalls);
    add("open-without-index", false, old(), |folder, _| without_index(folder), files);
    add("open-with-damaged-index", true, small(), |folder, _| damage_index(folder), smalls);
    add("open-without-clock", true, small(), |folder, _| without_clock(folder), smalls);
    add("open-after-half-a-change-of-format", false, text(), half_a_change, texts);
    add("open-after-half-a-move", true, text(), half_a_move, texts);
    add("open-after-half-a-rebuild", false, old(), |folder, _| half_a_rebuild(folder), files);
    let first: fn(&BlobManager) -> Done =
        |store| vec![("added", save(store, "added", &added(), None))];
    for (name, inline) in [("first-save", false), ("first-save-inline", true)] {
        let scenario = Scenario::opening(name, |folder, _| vanish(folder), first);
        list.push(scenario.with(inline, &[], &[("added", added())]).alone());
    }
}

fn clock(folder: &Path) -> fs::File {
    let path = folder.join(".holdall/clock");
    fs::File::options().read(true).write(true).open(path).expect("there")
}

fn in_use(folder: &Path) {
    clock(folder).write_all_at(&0_u32.to_le_bytes(), 28).expect("written");
}

/// As if the last user had died with a write under way.
fn die(folder: &Path) {
    in_use(folder);
    let stripe = xxhash_rust::xxh3::xxh3_64(b"k") % 4_096;
    let at = 4_096 + 8 * stripe;
    let mut count = [0; 8];
    let clock = clock(folder);
    clock.read_exact_at(&mut count, at).expect("read");
    let odd = u64::from_le_bytes(count) | 1;
    clock.write_all_at(&odd.to_le_bytes(), at).expect("written");
    fs::write(folder.join(".holdall/tmp/0123456789abcdef"), "half").expect("written");
}

/// The same, with what was committed last in the log alone.
fn die_with_log(folder: &Path, scenario: &Scenario) {
    let store = scenario.manager(folder);
    save(&store, "k", &small(), None).expect("saved");
    let copy = folder.with_extension("copy");
    store::copy(folder, &copy);
    drop(store);
    fs::remove_dir_all(folder).expect("removed");
    fs::rename(copy, folder).expect("renamed");
    die(folder);
}

/// As if the machine had gone down meanwhile.
fn cut(folder: &Path) {
    die(folder);
    clock(folder).write_all_at(&[1, 2, 3, 4], 24).expect("written");
}

fn index(folder: &Path) -> std::path::PathBuf {
    let entries = fs::read_dir(folder.join(".holdall/index")).expect("there");
    entries.map(|entry| entry.expect("read").path()).next().expect("one")
}

fn without_index(folder: &Path) {
    fs::remove_dir_all(index(folder)).expect("removed");
}

fn damage_index(folder: &Path) {
    let path = index(folder).join("index.sqlite");
    let file = fs::File::options().write(true).open(path).expect("there");
    let length = file.metadata().expect("known").len() as usize;
    file.write_all_at(&vec![0xa5; length - 100], 100).expect("written");
}

fn without_clock(folder: &Path) {
    fs::remove_file(folder.join(".holdall/clock")).expect("removed");
}

/// Two files of one key, of which the newer counts.
fn half_a_change(folder: &Path, scenario: &Scenario) {
    let aside = folder.with_extension("aside");
    let store = scenario.manager(folder);
    save(&store, "k", &old(), None).expect("saved");
    fs::rename(folder.join("k.json"), &aside).expect("there");
    save(&store, "k", &text(), None).expect("saved");
    drop(store);
    fs::rename(aside, folder.join("k.json")).expect("renamed");
    die(folder);
}

/// An inline value and a file of one key, of which the file is the newer.
fn half_a_move(folder: &Path, scenario: &Scenario) {
    let aside = folder.with_extension("aside");
    let store = scenario.manager(folder);
    save(&store, "k", &small(), None).expect("saved");
    drop(store);
    store::copy(&folder.join(".holdall/inline"), &aside);
    let store = scenario.manager(folder);
    save(&store, "k", &text(), None).expect("saved");
    drop(store);
    fs::remove_dir_all(folder.join(".holdall/inline")).expect("removed");
    fs::rename(aside, folder.join(".holdall/inline")).expect("renamed");
    die(folder);
}

/// A rebuild that was killed: the folder of the next epoch is there.
fn half_a_rebuild(folder: &Path) {
    die(folder);
    let mut epoch = [0; 8];
    clock(folder).read_exact_at(&mut epoch, 8).expect("read");
    let next = u64::from_le_bytes(epoch) + 1;
    let next = folder.join(".holdall/index").join(next.to_string());
    fs::create_dir(&next).expect("made");
    fs::write(next.join("index.sqlite"), "half").expect("written");
}

fn vanish(folder: &Path) {
    fs::remove_dir_all(folder).expect("removed");
}
