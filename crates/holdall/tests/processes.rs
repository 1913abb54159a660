//! The promises about several processes on one directory: whole values, nothing lost, nothing
//! outdated, and nobody hindered by a process that was killed.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use holdall::clock::{Clock, Ttl};
use holdall::storage::MemoryOptions;
use holdall::{
    BlobManager, BlobOptions, Condition, Durability, ErrorKind, Format, SaveOptions, StorageManager,
};

#[path = "common/folder.rs"]
mod folder;
#[path = "common/helper.rs"]
mod helper;
#[path = "common/numbered.rs"]
mod numbered;

use folder::temporary_files;
use helper::{Helper, end_with_parent, given, listen, say};
use numbered::{Dice, FORMATS, check, check_index, content, inline, save};

const KEYS: [&str; 6] = ["a", "b", "folder/c", "folder/d", "folder/deep/e", "other/f"];

#[test]
#[ignore = "run by the test below, in its own process"]
fn helper_that_does_everything_at_random() {
    let (folder, number) = given();
    end_with_parent();
    let is_inline = number >= INLINE && number % 2 == 0;
    let store = if is_inline { inline(&folder) } else { BlobManager::new(folder) };
    let mut dice = Dice(number + 1);
    let mut newest: BTreeMap<&str, u64> = BTreeMap::new();
    let mut saw = |key: &'static str, generation: u64| {
        let before = newest.insert(key, generation).unwrap_or(0);
        assert!(generation >= before, "{key} went back from {before} to {generation}");
    };
    for round in 0..900 {
        // Some keys more often than others, so that writers meet.
        let key = KEYS[(dice.roll(6) * dice.roll(6) / 6) as usize];
        match dice.roll(12) {
            0..5 => {
                let durable = dice.roll(2) == 0;
                let durability = durable.then_some(Durability::Disk);
                let options = SaveOptions { durability, ..SaveOptions::default() };
                let generation = save(&store, key, number * 1_000 + round, options);
                saw(key, generation.expect("saved"));
            }
            5 | 6 => {
                store.delete(key, None).expect("deleted or not there");
            }
            7 => match store.touch(key, Ttl::After(Duration::from_secs(3_600))) {
                Ok(touched) => saw(key, touched.record().generation),
                Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound),
            },
            8 => {
                let listed = store.list("folder/", None, 10).expect("read");
                assert!(listed.iter().all(|found| found.key.starts_with("folder/")));
            }
            _ => {
                if let Some((_, generation)) = check(&store, key) {
                    saw(key, generation);
                }
            }
        }
    }
}

/// Of the helpers with such a number every other keeps values inline.
const INLINE: u64 = 100;

#[test]
fn readers_see_whole_values_in_order_whatever_other_processes_do() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    processes_that_do_everything_at_random(folder.path(), 1);
}

#[test]
fn readers_see_whole_values_in_order_where_files_and_inline_values_replace_each_other() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    processes_that_do_everything_at_random(folder.path(), INLINE);
    assert!(folder.path().join(".holdall/inline").exists());
}

fn processes_that_do_everything_at_random(folder: &Path, first: u64) {
    let helper = "helper_that_does_everything_at_random";
    let helpers: Vec<_> =
        (first..first + 4).map(|number| Helper::start(helper, folder, number)).collect();
    for helper in helpers {
        assert!(helper.finish());
    }
    let store = BlobManager::new(folder);
    check_index(&store, folder);
    assert_eq!(temporary_files(folder), [""; 0]);
    for key in KEYS {
        check(&store, key);
    }
}

#[test]
#[ignore = "run by the test below, in its own process"]
fn helper_that_does_as_it_is_told() {
    let (folder, _) = given();
    let store = BlobManager::new(folder);
    while let Some(line) = listen() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["save", key, number] => {
                let number: u64 = number.parse().expect("a number");
                store.save(key, &number, Format::Json).expect("saved");
            }
            ["text", key, number] => {
                store.save(key, number, Format::String).expect("saved");
            }
            ["delete", key] => assert!(store.delete(key, None).expect("deleted")),
            ["rename", source, target] => {
                store.rename(source, target, true).expect("renamed");
            }
            ["touch", key] => {
                store.touch(key, Ttl::After(Duration::from_secs(60))).expect("touched");
            }
            ["end", key] => {
                store.touch(key, Ttl::After(Duration::from_millis(1))).expect("touched");
                while store.exists(key).expect("asked") {
                    std::thread::yield_now();
                }
            }
            ["clear"] => {
                store.clear().expect("cleared");
            }
            _ => panic!("unknown: {line}"),
        }
        say("done");
    }
}

#[test]
fn memory_is_never_outdated_by_another_process() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    // No second look at the files: only what the other process says can make memory old.
    let memory = MemoryOptions {
        external_check: Duration::from_secs(1_000_000),
        ..MemoryOptions::default()
    };
    let here = StorageManager::with_memory(BlobManager::new(folder.path()), memory);
    let mut there = Helper::start("helper_that_does_as_it_is_told", folder.path(), 0);
    let mut tell = |line: &str| {
        there.tell(line);
        assert_eq!(there.hear().as_deref(), Some("done"));
    };
    let get = |key: &str| here.get::<u64>(key).expect("read").map(|value| *value);
    let remembered = |key: &str| here.cache_get::<u64>(key).map(|value| *value);
    for round in 0..30 {
        here.set("k", round, Format::Json).expect("saved");
        assert_eq!(remembered("k"), Some(round));
        tell(&format!("save k {}", round + 1_000));
        assert_eq!(get("k"), Some(round + 1_000));
        assert_eq!(remembered("k"), Some(round + 1_000));
        tell("delete k");
        assert_eq!(get("k"), None);
        // A miss is not remembered either.
        tell(&format!("save k {}", round + 2_000));
        assert_eq!(get("k"), Some(round + 2_000));
        tell(&format!("save other {}", round + 3_000));
        tell("rename other k");
        assert_eq!(get("k"), Some(round + 3_000));
        tell("touch k");
        assert_eq!(remembered("k"), None);
        assert_eq!(get("k"), Some(round + 3_000));
        tell("end k");
        assert_eq!(get("k"), None);
        here.set("k", round, Format::Json).expect("saved");
        tell(&format!("text k {round}"));
        assert_eq!(here.get::<String>("k").expect("read"), Some(round.to_string().into()));
        here.set("k", round, Format::Json).expect("saved");
        tell("clear");
        assert_eq!(get("k"), None);
    }
}

#[test]
#[ignore = "run by the test below, in its own process"]
fn helper_that_saves_what_is_absent() {
    let (folder, number) = given();
    let store = BlobManager::new(folder);
    store.get_stats().expect("opened");
    say("ready");
    listen();
    for key in 0..60 {
        let options = SaveOptions { condition: Condition::Absent, ..SaveOptions::default() };
        match save(&store, &format!("key{key}"), number, options) {
            Ok(_) => say(&format!("{key}")),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict),
        }
    }
}

/// Starts some helpers and lets them all go at one moment.
fn together(helper: &str, folder: &Path) -> Vec<Helper> {
    let mut helpers: Vec<_> = (1..=4).map(|n| Helper::start(helper, folder, n)).collect();
    for helper in &mut helpers {
        assert_eq!(helper.hear().as_deref(), Some("ready"));
    }
    helpers.iter_mut().for_each(|helper| helper.tell("go"));
    helpers
}

#[test]
fn of_several_processes_that_save_if_absent_exactly_one_wins() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let mut winners: BTreeMap<String, u64> = BTreeMap::new();
    let helpers = together("helper_that_saves_what_is_absent", folder.path());
    for (number, mut helper) in (1..).zip(helpers) {
        while let Some(key) = helper.hear() {
            assert_eq!(winners.insert(key, number), None, "two have won");
        }
        assert!(helper.finish());
    }
    let store = BlobManager::new(folder.path());
    assert_eq!(winners.len(), 60);
    for (key, winner) in winners {
        assert_eq!(check(&store, &format!("key{key}")).map(|(number, _)| number), Some(winner));
    }
    check_index(&store, folder.path());
}

#[test]
#[ignore = "run by the test below, in its own process"]
fn helper_that_counts() {
    let (folder, _) = given();
    let store = BlobManager::new(folder);
    store.get_stats().expect("opened");
    say("ready");
    listen();
    let mut added = 0;
    while added < 100 {
        let blob = store.load_bytes("counter", None).expect("it is there");
        let (number, _) = check(&store, "counter").expect("it is there");
        let condition = Condition::Matches(blob.metadata.etag.clone());
        let noted = blob.metadata.record().metadata.clone().expect("noted");
        let read: u64 = String::from_utf8(noted).expect("text").parse().expect("a number");
        assert!(number >= read);
        let durability = (added % 10 == 0).then_some(Durability::Disk);
        let options = SaveOptions { condition, durability, ..SaveOptions::default() };
        match save(&store, "counter", read + 1, options) {
            Ok(_) => added += 1,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict),
        }
    }
}

#[test]
fn of_counters_in_several_processes_no_increment_is_lost() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let store = BlobManager::new(folder.path());
    save(&store, "counter", 0, SaveOptions::default()).expect("saved");
    for helper in together("helper_that_counts", folder.path()) {
        assert!(helper.finish());
    }
    assert_eq!(check(&store, "counter").map(|(number, _)| number), Some(400));
    check_index(&store, folder.path());
}

/// Whether a text in memory is the value of a number.
fn is_text_of(number: u64, text: &str) -> bool {
    let content = String::from_utf8(content(number)).expect("text");
    match FORMATS[number as usize % FORMATS.len()] {
        Format::Json => content == format!("\"{text}\""),
        format => format == Format::String && content == text,
    }
}

/// Through memory, every key must have what it has on the disk.
fn check_memory(storage: &StorageManager, state: &BTreeMap<&str, Option<u64>>) {
    for (key, number) in state {
        let format = number.map(|number| FORMATS[number as usize % FORMATS.len()]);
        // Bytes are no text.
        if format != Some(Format::Bytes) {
            let got = storage.get::<String>(key).expect("whole or not there");
            assert_eq!(got.is_some(), number.is_some(), "{key}");
            assert!(got.zip(*number).is_none_or(|(text, number)| is_text_of(number, &text)));
        }
    }
}

/// The state of a key after the victim's step of this number; `None`: deleted.
fn after_step(step: u64) -> (&'static str, Option<u64>) {
    // The steps of a key come in no fixed order of kinds, so that each follows each.
    let mut dice = Dice(step.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let key = KEYS[dice.roll(KEYS.len() as u64) as usize];
    (key, (dice.roll(5) != 0).then_some(step))
}

#[test]
#[ignore = "run by the test below, in its own process"]
fn helper_that_writes_until_it_is_killed() {
    let (folder, from) = given();
    let store = BlobManager::new(folder);
    write_until_killed(from, |_| &store);
}

#[test]
#[ignore = "run by the test below, in its own process"]
fn helper_that_writes_files_and_inline_values_until_it_is_killed() {
    let (folder, from) = given();
    let stores = [BlobManager::new(&folder), inline(&folder)];
    write_until_killed(from, |step| &stores[usize::from(step % 3 != 0)]);
}

fn write_until_killed<'s>(from: u64, store: impl Fn(u64) -> &'s BlobManager) {
    end_with_parent();
    for step in from..from + 1_000_000 {
        let store = store(step);
        match after_step(step) {
            (key, Some(number)) => {
                let durability = (step % 16 == 0).then_some(Durability::Disk);
                let options = SaveOptions { durability, ..SaveOptions::default() };
                save(store, key, number, options).expect("saved");
            }
            (key, None) => {
                store.delete(key, None).expect("deleted or not there");
            }
        }
        say(&step.to_string());
    }
    panic!("nobody killed this process");
}

#[test]
fn a_killed_writer_leaves_the_old_or_the_new_value_and_hinders_nobody() {
    kill_writers("helper_that_writes_until_it_is_killed", 0);
}

#[test]
fn a_writer_killed_while_files_and_inline_values_replace_each_other_leaves_the_old_or_the_new() {
    kill_writers("helper_that_writes_files_and_inline_values_until_it_is_killed", 500);
}

fn kill_writers(helper: &str, inline_below: u64) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let options = BlobOptions {
        base_path: folder.path().into(),
        // Whoever has to wait for the dead fails.
        lock_timeout: Duration::from_secs(2),
        inline_below,
        ..BlobOptions::default()
    };
    let is_long = std::env::var_os("HOLDALL_LONG").is_some();
    let (time, millis) = (Clock::system(), if is_long { 120_000 } else { 4_000 });
    let end = time.boot_millis() + millis;
    let mut state: BTreeMap<&str, Option<u64>> = KEYS.iter().map(|key| (*key, None)).collect();
    let mut dice = Dice(time.wall_micros() | 1);
    let (mut kills, mut next) = (0, 0);
    // Every other round somebody else has the store open, and values in memory, while the writer
    // dies.
    let mut survivor: Option<StorageManager> = None;
    let open = || {
        let external_check = Duration::from_secs(1_000_000);
        let memory = MemoryOptions { external_check, ..MemoryOptions::default() };
        StorageManager::with_memory(BlobManager::with_options(options.clone()), memory)
    };
    while time.boot_millis() < end || kills < 4 {
        let mut victim = Helper::start(helper, folder.path(), next);
        let first = next;
        let steps = if dice.roll(4) == 0 { 0 } else { 1 + dice.roll(60) };
        let mut done = |line: String| {
            let step: u64 = line.parse().expect("a step");
            assert_eq!(step, next);
            let (key, number) = after_step(step);
            state.insert(key, number);
            next += 1;
        };
        (0..steps).for_each(|_| done(victim.hear().expect("nobody has killed it yet")));
        std::thread::sleep(Duration::from_micros(dice.roll(4_000)));
        victim.kill();
        while let Some(line) = victim.hear() {
            done(line);
        }
        let was_open = survivor.is_some();
        let storage = survivor.take().unwrap_or_else(open);
        let store = storage.blobs();
        // The step that was under way is done or not.
        let (key, number) = after_step(next);
        // Memory is asked before anybody has looked at the disk and noticed that the writer is dead.
        let remembered = storage.cache_get::<String>(key);
        let found = check(store, key).map(|(number, _)| number);
        let is_newest = |text: &String| found.is_some_and(|number| is_text_of(number, text));
        assert!(remembered.as_deref().is_none_or(is_newest), "{key} is outdated in memory");
        assert!(found == number || found == state[key], "{key}: {found:?} of {first}..{next}");
        state.insert(key, found);
        next += 1;
        for (key, number) in &state {
            assert_eq!(check(store, key).map(|(number, _)| number), *number, "{key}");
        }
        check_memory(&storage, &state);
        check_index(store, folder.path());
        let (key, _) = after_step(next - 1);
        save(store, key, next, SaveOptions::default()).expect("saved");
        state.insert(key, Some(next));
        next += 1;
        check_memory(&storage, &state);
        check_index(store, folder.path());
        if !was_open {
            assert_eq!(temporary_files(folder.path()), [""; 0]);
        }
        survivor = (kills % 2 == 0).then_some(storage);
        kills += 1;
    }
    drop(survivor);
    let store = BlobManager::with_options(options.clone());
    check_index(&store, folder.path());
    assert_eq!(temporary_files(folder.path()), [""; 0]);
    println!("{kills} kills, {next} steps");
}
