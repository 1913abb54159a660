//! Files whose stamps are damaged or gone: what every call says of them, and that repair can still
//! give back what the index knows.

use super::repair::{cured, repaired};
use super::stamps::without_attributes;
use super::verify::*;
use super::*;

const TTL: u64 = 60_000;

/// A store with a value that has tags and an end; how its stamp can be spoilt.
fn tagged() -> (Fixture, Record) {
    let it = filled();
    let tags = vec!["t".into()];
    let saved = it.backend.put(Put { tags, ttl: Some(TTL), ..put("k", Format::Json, "[1, 2, 3]") });
    let record = saved.expect("put").record;
    (it, record)
}

const DAMAGES: [fn(&mut Vec<u8>); 5] = [
    |stamp| stamp[10] ^= 1,
    |stamp| stamp.truncate(7),
    |stamp| stamp.clear(),
    |stamp| stamp.resize(3_000, 1),
    |stamp| *stamp.last_mut().expect("not empty") ^= 1,
];

fn spoil(it: &Fixture, damage: fn(&mut Vec<u8>)) {
    let mut stamp = stamp_of(&it.path("k.json"));
    damage(&mut stamp);
    set_stamp(&it.path("k.json"), &stamp);
}

/// Every way of reading `k`, with what kind of error it ends, which names this file.
pub(super) fn readings(it: &Fixture, file: &str) -> Vec<Option<ErrorKind>> {
    let (key, backend) = (key("k"), &it.backend);
    assert!(backend.get_cached(&key, None).is_none(), "damage goes the way that can explain");
    let kind = |error: Error| {
        let text = error.to_string();
        assert!(text.contains("repair") && text.contains(file), "{text}");
        error.kind()
    };
    vec![
        backend.get(&key, None).err().map(kind),
        backend.get_or_open(&key, Some(Format::Json), 0).err().map(kind),
        backend.head(&key).err().map(kind),
        backend.locate(&key).err().map(kind),
        backend.reader(&key).err().map(kind),
        backend.set_ttl(&key, None, Durability::Process).err().map(kind),
    ]
}

#[test]
fn a_damaged_stamp_is_damage_to_every_reader_and_repair_heals_it_after_any_read() {
    for damage in DAMAGES {
        let (it, record) = tagged();
        spoil(&it, damage);
        assert_eq!(readings(&it, "k.json"), [Some(ErrorKind::Corrupt); 6]);
        assert_eq!(kinds(&verified(&it.backend)), [("stamp_damaged", Some("k"))]);
        let done = cured(&it.backend);
        assert_eq!((done.mended.len(), done.quarantined.len()), (1, 0));
        let healed = it.get("k").expect("read").expect("there");
        assert_eq!((healed.record, &healed.content[..]), (record, &b"[1, 2, 3]"[..]));
    }
}

#[test]
fn content_under_a_damaged_stamp_is_never_returned() {
    let (it, _) = tagged();
    spoil(&it, DAMAGES[0]);
    super::verify::damage(&it.path("k.json"), |content| content[1] ^= 1);
    assert_eq!(readings(&it, "k.json"), [Some(ErrorKind::Corrupt); 6]);
    assert_eq!(cured(&it.backend).quarantined.len(), 1);
    assert!(it.get("k").expect("a miss").is_none());
}

#[test]
fn the_scan_after_a_crash_keeps_what_the_index_knows_of_a_damaged_stamp() {
    let (it, record) = tagged();
    spoil(&it, DAMAGES[0]);
    it.backend.opened().expect("open").live().expect("writable").clock.set_diverged(true);
    assert_eq!(it.backend.list("", None, 9).expect("filled anew").len(), 4);
    let done = cured(&it.backend);
    assert_eq!((done.mended.len(), done.quarantined.len()), (1, 0));
    assert_eq!(it.get("k").expect("read").expect("there").record, record);
}

#[test]
fn a_value_with_a_damaged_stamp_can_be_replaced_removed_and_cleared() {
    let (it, _) = tagged();
    spoil(&it, DAMAGES[0]);
    it.put("k", Format::String, "new");
    assert!(!it.path("k.json").exists());
    assert_eq!(it.get("k").expect("read").expect("there").content, b"new");
    let (it, _) = tagged();
    spoil(&it, DAMAGES[0]);
    // What another program has put beside it does not make it a conflict.
    fs::write(it.path("k.txt"), "theirs").expect("written");
    assert_eq!(readings(&it, "k.json"), [Some(ErrorKind::Corrupt); 6]);
    it.backend.delete(&key("k"), &Condition::Any, Durability::Process).expect("deleted");
    assert!(!it.path("k.json").exists() && it.path("k.txt").exists());
    let (it, _) = tagged();
    spoil(&it, DAMAGES[0]);
    assert_eq!(it.backend.clear(Durability::Process).expect("cleared"), 4);
    assert!(!it.path("k.json").exists());
}

#[test]
fn without_attributes_a_damaged_stamp_is_damage_too() {
    let it = without_attributes();
    let stamp = fs::read_dir(it.path(".holdall/stamps")).expect("there").next();
    let stamp = stamp.expect("one").expect("read").path();
    fs::write(&stamp, "").expect("cut short");
    let error = it.get("seed").expect_err("told");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[test]
fn a_file_that_has_lost_its_stamp_keeps_its_row_while_it_is_read() {
    let (it, record) = tagged();
    rustix::fs::removexattr(it.path("k.json"), "user.holdall").expect("removed");
    assert!(it.get("k").expect("read").expect("there").record.foreign);
    assert!(it.backend.head(&key("k")).expect("asked").expect("there").foreign);
    assert_eq!(kinds(&verified(&it.backend)), [("stamp_missing", Some("k"))]);
    assert_eq!(cured(&it.backend).mended.len(), 1);
    assert_eq!(it.get("k").expect("read").expect("there").record, record);
}

#[test]
fn another_file_in_the_place_of_one_of_ours_takes_its_row() {
    let (it, _) = tagged();
    let path = it.path("k.json");
    rustix::fs::removexattr(&path, "user.holdall").expect("removed");
    super::verify::damage(&path, |content| content[1] = b'7');
    assert!(it.get("k").expect("read").expect("there").record.foreign);
    let listed = it.backend.list("k", None, 1).expect("listed");
    assert!(listed[0].1.foreign && listed[0].1.tags.is_empty());
    assert!(repaired(&it.backend, false).is_unchanged());
}
