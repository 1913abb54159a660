//! What every backend must keep to, as functions that take any backend.
//!
//! A rule that is added here is a rule for all. A backend made elsewhere calls [`check`] with a
//! function that makes an empty backend on a given clock.

mod cleaning;
mod verification;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::{Backend, Condition, Durability, Part, Put, Totals};
use crate::cancel::CancelToken;
use crate::clock::{Clock, ManualClock};
use crate::error::ErrorKind;
use crate::format::Format;
use crate::key::Key;
use crate::record::Record;

/// Runs the whole suite, each rule on an empty backend of its own. Panics where a rule is broken.
pub fn check<B: Backend + 'static>(make: impl Fn(Clock) -> B) {
    type Rule = fn(Arc<dyn Backend>, &ManualClock);
    let rules: [(&str, Rule); 20] = [
        ("what was put is got, byte for byte", what_was_put_is_got),
        ("the record says what was put", the_record_says_what_was_put),
        ("putting replaces value and record", putting_replaces),
        ("another format replaces the value", another_format_replaces),
        ("a missing key is a miss", a_missing_key_is_a_miss),
        ("two keys are never one value", keys_are_kept_apart),
        ("conditions are kept", conditions_are_kept),
        ("an ended value is not there", an_ended_value_is_not_there),
        ("a value that is continued keeps its end", a_continued_value_keeps_its_end),
        ("a lifetime can be changed", a_lifetime_can_be_changed),
        ("deleting removes one value", deleting_removes_one_value),
        ("listings are in order and paged", listings_are_in_order),
        ("tags are found", tags_are_found),
        ("totals agree with the values", totals_agree),
        ("a batch is a list of single calls", a_batch_is_a_list_of_single_calls),
        ("versions change with every write", versions_change),
        ("a cancelled call changes nothing", a_cancelled_call_changes_nothing),
        ("expired values go a few at a time", cleaning::expires_some),
        ("what was seen goes, what is newer stays", cleaning::removes_what_was_seen),
        ("a verification reads everything", verification::reads_everything),
    ];
    for (name, rule) in rules {
        let hands = ManualClock::new();
        let backend: Arc<dyn Backend> = Arc::new(make(hands.clock()));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            rule(Arc::clone(&backend), &hands);
        }));
        assert!(result.is_ok(), "the backend breaks the rule: {name}");
    }
    readers_never_see_a_mixture(Arc::new(make(Clock::system())));
    clearing_removes_everything(Arc::new(make(Clock::system())));
}

fn key(text: &str) -> Key {
    Key::new(text).expect("a valid key")
}

fn put(text: &str, content: &str) -> Put {
    let part = Part::Stable(Bytes::copy_from_slice(content.as_bytes()));
    Put::new(key(text), Format::Json, vec![part])
}

fn got(backend: &dyn Backend, text: &str) -> Option<String> {
    let object = backend.get(&key(text), None).expect("read");
    object.map(|object| String::from_utf8(object.content).expect("our text"))
}

fn what_was_put_is_got(backend: Arc<dyn Backend>, _: &ManualClock) {
    let contents: [Vec<u8>; 4] = [
        vec![],
        vec![0],
        b"\r\n\xff\x00text".to_vec(),
        (0..700_000_u32).map(|n| n as u8).collect(),
    ];
    for (number, content) in contents.into_iter().enumerate() {
        let key = key(&format!("k{number}"));
        let (head, tail) = content.split_at(content.len() / 2);
        let parts = vec![
            Part::Stable(Bytes::copy_from_slice(head)),
            Part::Volatile(Bytes::copy_from_slice(tail)),
        ];
        backend.put(Put::new(key.clone(), Format::Bytes, parts)).expect("put");
        let object = backend.get(&key, None).expect("read").expect("it is there");
        assert_eq!(object.content, content);
        assert_eq!(object.record.checksum, xxh3_64(&content));
        assert_eq!(
            backend.get(&key, Some(Format::Bytes)).expect("read").map(|o| o.content),
            Some(content)
        );
    }
}

fn the_record_says_what_was_put(backend: Arc<dyn Backend>, hands: &ManualClock) {
    let now = hands.clock().wall_micros() / 1_000;
    let record = backend
        .put(Put {
            tags: vec!["a".into(), "b".into()],
            metadata: Some(b"{\"x\":1}".to_vec()),
            ttl: Some(5_000),
            created: Some(now - 7),
            ..put("k", "12345")
        })
        .expect("put")
        .record;
    assert_eq!((record.length, record.created, record.updated), (5, now - 7, now));
    assert_eq!(record.expiry.map(|expiry| expiry.wall), Some(now + 5_000));
    assert_eq!(record.tags, ["a", "b"]);
    assert!(!record.foreign);
    assert_eq!(backend.head(&key("k")).expect("read"), Some(record.clone()));
    let object = backend.get(&key("k"), None).expect("read").expect("there");
    assert_eq!(object.record, record);
}

fn putting_replaces(backend: Arc<dyn Backend>, hands: &ManualClock) {
    let first = backend.put(put("k", "first")).expect("put").record;
    hands.advance(Duration::from_secs(7));
    let second = backend.put(put("k", "second")).expect("put").record;
    assert_eq!(got(&*backend, "k").as_deref(), Some("second"));
    assert!(second.generation > first.generation);
    assert_ne!(second.etag(), first.etag());
    assert_eq!(second.created, first.created);
    assert_eq!(second.updated, first.updated + 7_000);
    // What was first saved elsewhere was so before now.
    let later = Put { created: Some(second.updated + 60_000), ..put("k", "third") };
    assert_eq!(backend.put(later).expect("put").record.created, second.updated);
}

fn another_format_replaces(backend: Arc<dyn Backend>, _: &ManualClock) {
    for format in [Format::Json, Format::Bytes, Format::String, Format::Json] {
        let record = backend.put(Put { format, ..put("k", format.name()) }).expect("put").record;
        assert_eq!(record.format, format);
        for wanted in [None, Some(Format::Json), Some(Format::Bytes), Some(Format::Npy)] {
            let object = backend.get(&key("k"), wanted).expect("read").expect("there");
            assert_eq!(object.record.format, format);
            assert_eq!(object.content, format.name().as_bytes());
        }
        assert_eq!(backend.totals().expect("counted").entries, 1);
    }
}

fn a_missing_key_is_a_miss(backend: Arc<dyn Backend>, _: &ManualClock) {
    assert_eq!(got(&*backend, "k"), None);
    assert_eq!(backend.head(&key("k")).expect("read"), None);
    assert_eq!(backend.set_ttl(&key("k"), None, Durability::Process).expect("asked"), None);
    assert!(!backend.delete(&key("k"), &Condition::Any, Durability::Process).expect("asked"));
    assert!(backend.list("", None, 10).expect("listed").is_empty());
    assert_eq!(backend.totals().expect("counted"), Totals::default());
}

fn keys_are_kept_apart(backend: Arc<dyn Backend>, _: &ManualClock) {
    let long = "長".repeat(5_000);
    let twin = format!("{long}.");
    let deep = "d/".repeat(600);
    let keys = [
        "x",
        "./x",
        "x.json",
        "x.json/y",
        "a//b",
        "a/b",
        "a/",
        "/a",
        "Key",
        "key",
        "NUL",
        "k.",
        ".k",
        "..",
        "../../x",
        "%2e",
        "a%2Fb",
        "-rf",
        "é",
        "e\u{301}",
        "new\nline",
        "\u{202e}x",
        "back\\slash",
        "*",
        ".holdall",
        ".holdall/clock",
        "index",
        &long,
        &twin,
        &deep,
        "🎈",
    ];
    for text in keys {
        backend.put(put(text, text)).expect("put");
    }
    for text in keys {
        assert_eq!(got(&*backend, text).as_deref(), Some(text), "{text:?}");
    }
    let mut expected: Vec<_> = keys.to_vec();
    expected.sort_unstable();
    let listed = backend.list("", None, 100).expect("listed");
    let listed: Vec<_> = listed.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(listed, expected);
    for (gone, text) in keys.iter().enumerate() {
        assert!(backend.delete(&key(text), &Condition::Any, Durability::Process).expect("deleted"));
        assert_eq!(got(&*backend, text), None);
        assert_eq!(backend.totals().expect("counted").entries as usize, keys.len() - gone - 1);
    }
}

fn conditions_are_kept(backend: Arc<dyn Backend>, hands: &ManualClock) {
    let absent = |content| Put { condition: Condition::Absent, ..put("k", content) };
    let matching = |etag: &str, content| Put {
        condition: Condition::Matches(etag.to_owned()),
        ..put("k", content)
    };
    let conflicts = |put| {
        let error = backend.put(put).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Conflict);
    };
    conflicts(matching("1", "a"));
    let first = backend.put(absent("a")).expect("there was none").record;
    conflicts(absent("b"));
    assert_eq!(got(&*backend, "k").as_deref(), Some("a"));
    let second = backend.put(matching(&first.etag(), "b")).expect("it is the one").record;
    conflicts(matching(&first.etag(), "c"));
    let wrong = Condition::Matches(first.etag());
    assert!(backend.delete(&key("k"), &wrong, Durability::Process).is_err());
    assert_eq!(got(&*backend, "k").as_deref(), Some("b"));
    let right = Condition::Matches(second.etag());
    assert!(backend.delete(&key("k"), &right, Durability::Process).expect("it is the one"));
    backend.put(Put { ttl: Some(10), ..put("k", "short") }).expect("put");
    hands.advance(Duration::from_millis(10));
    backend.put(absent("after")).expect("the ended one does not count");
}

fn a_continued_value_keeps_its_end(backend: Arc<dyn Backend>, hands: &ManualClock) {
    let first = backend.put(Put { ttl: Some(1_000), ..put("k", "1") }).expect("put").record;
    backend.put(put("other", "2")).expect("put");
    hands.advance(Duration::from_millis(1_500));
    let listed = backend.every(None, 10).expect("listed");
    assert_eq!(listed.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["k", "other"]);
    let found = backend.get_expired(&key("k")).expect("read").expect("it is over, not gone");
    assert_eq!((found.content, &found.record), (b"1".to_vec(), &first));
    let condition = Condition::Matches(first.etag());
    let continues =
        |record| Put { condition: condition.clone(), continues: Some(record), ..put("k", "3") };
    let second = backend.put(continues(first.clone())).expect("it is the one").record;
    assert_eq!((second.created, second.expiry), (first.created, first.expiry));
    assert_ne!(second.etag(), first.etag());
    assert_eq!(got(&*backend, "k"), None);
    assert_eq!(backend.put(continues(first)).expect_err("changed").kind(), ErrorKind::Conflict);
}

fn an_ended_value_is_not_there(backend: Arc<dyn Backend>, hands: &ManualClock) {
    backend.put(Put { ttl: Some(1_000), ..put("short", "1") }).expect("put");
    backend.put(Put { ttl: Some(3_000), ..put("long", "2") }).expect("put");
    backend.put(put("ever", "3")).expect("put");
    hands.advance(Duration::from_millis(999));
    assert!(got(&*backend, "short").is_some());
    hands.advance(Duration::from_millis(1));
    assert_eq!(got(&*backend, "short"), None);
    assert_eq!(backend.head(&key("short")).expect("read"), None);
    assert_eq!(backend.list("", None, 10).expect("listed").len(), 2);
    let keys = backend.keys("", None, 10).expect("listed");
    assert!(keys.iter().eq(["ever", "long"]));
    // What has ended takes no room in a page, which would else look like the last.
    assert_eq!(backend.keys("", None, 2).expect("listed").len(), 2);
    assert!(!backend.delete(&key("short"), &Condition::Any, Durability::Process).expect("asked"));
    backend.put(Put { ttl: Some(1_000), ..put("short", "1") }).expect("put");
    hands.advance(Duration::from_secs(5));
    assert_eq!(backend.expire(Durability::Process).expect("removed"), 2);
    assert_eq!(backend.expire(Durability::Process).expect("removed"), 0);
    assert_eq!(backend.totals().expect("counted").entries, 1);
    assert_eq!(got(&*backend, "ever").as_deref(), Some("3"));
}

fn a_cancelled_call_changes_nothing(backend: Arc<dyn Backend>, _: &ManualClock) {
    let before = backend.put(put("k", "old")).expect("put").record;
    let token = CancelToken::new();
    token.cancel();
    token.run(|| {
        let refused = |kind| assert_eq!(kind, ErrorKind::Cancelled);
        refused(backend.put(put("k", "new")).expect_err("cancelled").kind());
        refused(backend.put(put("other", "new")).expect_err("cancelled").kind());
        let deleted = backend.delete(&key("k"), &Condition::Any, Durability::Process);
        refused(deleted.expect_err("cancelled").kind());
        let set = backend.set_ttl(&key("k"), Some(1_000), Durability::Process);
        refused(set.expect_err("cancelled").kind());
        assert_eq!(got(&*backend, "k").as_deref(), Some("old"));
    });
    assert_eq!(backend.head(&key("k")).expect("read"), Some(before));
    assert_eq!(backend.totals().expect("counted").entries, 1);
}

fn a_lifetime_can_be_changed(backend: Arc<dyn Backend>, hands: &ManualClock) {
    let before = backend.put(Put { ttl: Some(1_000), ..put("k", "v") }).expect("put").record;
    let after =
        backend.set_ttl(&key("k"), Some(9_000), Durability::Process).expect("set").expect("there");
    assert!(after.generation > before.generation);
    assert_eq!((after.created, after.updated), (before.created, before.updated));
    hands.advance(Duration::from_secs(5));
    assert!(got(&*backend, "k").is_some());
    assert_eq!(
        backend.set_ttl(&key("k"), None, Durability::Process).expect("set").expect("there").expiry,
        None
    );
    hands.advance(Duration::from_secs(5_000));
    assert_eq!(got(&*backend, "k").as_deref(), Some("v"));
}

fn deleting_removes_one_value(backend: Arc<dyn Backend>, _: &ManualClock) {
    for text in ["a", "a/b", "a/b/c", "b"] {
        backend.put(put(text, text)).expect("put");
    }
    assert!(backend.delete(&key("a/b"), &Condition::Any, Durability::Disk).expect("deleted"));
    assert_eq!(got(&*backend, "a/b"), None);
    for text in ["a", "a/b/c", "b"] {
        assert_eq!(got(&*backend, text).as_deref(), Some(text));
    }
    let keys = [key("a"), key("none"), key("a/b/c")];
    let deleted = backend.delete_many(&keys, Durability::Process);
    let deleted: Vec<bool> = deleted.into_iter().map(|one| one.expect("deleted")).collect();
    assert_eq!(deleted, [true, false, true]);
    assert_eq!(backend.totals().expect("counted").entries, 1);
}

fn listings_are_in_order(backend: Arc<dyn Backend>, _: &ManualClock) {
    let mut keys: Vec<String> = (0..25).map(|n| format!("p/{n}")).collect();
    keys.extend(["p".into(), "p0".into(), "q".into(), "é".into(), "Z".into()]);
    for text in &keys {
        backend.put(put(text, "v")).expect("put");
    }
    keys.sort_unstable();
    let mut listed = Vec::new();
    loop {
        let after = listed.last().map(|text: &String| key(text));
        let page = backend.list("", after.as_ref(), 7).expect("listed");
        let names = backend.keys("", after.as_ref(), 7).expect("listed");
        assert!(names.iter().eq(page.iter().map(|(key, _)| key.as_str())), "both list the same");
        let is_last = page.len() < 7;
        listed.extend(page.iter().map(|(key, _)| key.as_str().to_owned()));
        if is_last {
            break;
        }
    }
    assert_eq!(listed, keys);
    let some = backend.list("p/1", None, 100).expect("listed");
    assert_eq!(some.len(), 11);
    assert!(some.iter().all(|(key, record)| key.as_str().starts_with("p/1") && record.length == 1));
    assert_eq!(backend.list("", Some(&key("é")), 5).expect("listed").len(), 0);
}

fn tags_are_found(backend: Arc<dyn Backend>, _: &ManualClock) {
    let tagged = |text: &str, tags: &[&str]| Put {
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..put(text, "v")
    };
    for (text, tags) in [("a", &["x", "y"][..]), ("b", &["y"]), ("c", &[]), ("d", &["x"])] {
        backend.put(tagged(text, tags)).expect("put");
    }
    let found = |tag| -> Vec<String> {
        let page = backend.tagged(tag, None, 10).expect("listed");
        page.iter().map(|(key, _)| key.as_str().to_owned()).collect()
    };
    assert_eq!(found("x"), ["a", "d"]);
    assert_eq!(found("y"), ["a", "b"]);
    assert_eq!(found("z"), [""; 0]);
    backend.put(tagged("a", &["z"])).expect("put");
    assert_eq!(found("x"), ["d"]);
    assert_eq!(found("z"), ["a"]);
}

fn totals_agree(backend: Arc<dyn Backend>, _: &ManualClock) {
    let mut model: BTreeMap<String, usize> = BTreeMap::new();
    for step in 0..120_usize {
        let text = format!("k{}", step * 7 % 13);
        if step % 5 == 4 {
            let was_there =
                backend.delete(&key(&text), &Condition::Any, Durability::Process).expect("deleted");
            assert_eq!(was_there, model.remove(&text).is_some());
        } else {
            backend.put(put(&text, &"v".repeat(step))).expect("put");
            model.insert(text, step);
        }
        let expected = Totals {
            entries: model.len() as u64,
            total_size: model.values().map(|size| *size as u64).sum(),
        };
        assert_eq!(backend.totals().expect("counted"), expected);
    }
}

fn a_batch_is_a_list_of_single_calls(backend: Arc<dyn Backend>, _: &ManualClock) {
    backend.put(put("there", "old")).expect("put");
    let batch = vec![
        put("a", "1"),
        Put { condition: Condition::Absent, ..put("there", "new") },
        put("b/c", "2"),
        put("a", "3"),
        Put { durability: Durability::Disk, ..put("d", "4") },
    ];
    let results = backend.put_many(batch);
    let kinds: Vec<_> =
        results.iter().map(|one| one.as_ref().err().map(crate::Error::kind)).collect();
    assert_eq!(kinds, [None, Some(ErrorKind::Conflict), None, None, None]);
    for (text, content) in [("a", "3"), ("there", "old"), ("b/c", "2"), ("d", "4")] {
        assert_eq!(got(&*backend, text).as_deref(), Some(content));
    }
    assert_eq!(backend.totals().expect("counted"), Totals { entries: 4, total_size: 6 });
}

fn versions_change(backend: Arc<dyn Backend>, _: &ManualClock) {
    let mut seen = Vec::new();
    for content in ["1", "2"] {
        let placed = backend.put(put("k", content)).expect("put");
        assert_eq!(placed.version, backend.version(&key("k")));
        seen.push(placed.version);
    }
    backend.set_ttl(&key("k"), Some(1_000_000), Durability::Process).expect("set");
    seen.push(backend.version(&key("k")));
    backend.delete(&key("k"), &Condition::Any, Durability::Process).expect("deleted");
    seen.push(backend.version(&key("k")));
    // Of several values for one key in one batch, only the last is the newest.
    let both = backend.put_many(vec![put("k", "3"), put("k", "4")]);
    let both: Vec<_> = both.into_iter().map(|placed| placed.expect("put").version).collect();
    assert_ne!(both[0], both[1]);
    assert_eq!(both[1], backend.version(&key("k")));
    seen.push(both[1]);
    assert!(seen.iter().all(Option::is_some));
    for (at, one) in seen.iter().enumerate() {
        assert!(!seen[..at].contains(one), "{seen:?}");
    }
    let before = backend.version(&key("k"));
    backend.get(&key("k"), None).expect("read");
    assert_eq!(backend.version(&key("k")), before);
}

/// Values that say of themselves whether they are whole.
fn whole(number: usize) -> String {
    format!("{number:08}").repeat(1 + number % 50)
}

pub(crate) fn readers_never_see_a_mixture(backend: Arc<dyn Backend>) {
    let formats = [Format::Json, Format::Bytes, Format::String];
    backend.put(put("k", &whole(0))).expect("put");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2_usize)
            .map(|writer| {
                let backend = &backend;
                scope.spawn(move || {
                    for round in 0..150_usize {
                        let format = formats[round % 3];
                        let put = Put { format, ..put("k", &whole(round * 2 + writer)) };
                        backend.put(put).expect("put");
                    }
                })
            })
            .collect();
        for _ in 0..2 {
            scope.spawn(|| {
                let mut last: Option<Record> = None;
                while !done.load(Ordering::Relaxed) {
                    let object = backend.get(&key("k"), None).expect("read");
                    let object = object.expect("a key that always existed is never missing");
                    let text = String::from_utf8(object.content).expect("our text");
                    let number: usize = text[..8].parse().expect("our number");
                    assert_eq!(text, whole(number));
                    if let Some(last) = &last {
                        let record = &object.record;
                        assert!(record.generation >= last.generation, "{record:?} after {last:?}");
                    }
                    last = Some(object.record);
                }
            });
        }
        for writer in writers {
            let joined = writer.join();
            done.store(true, Ordering::Relaxed);
            joined.expect("the writer has finished");
        }
    });
    assert_eq!(backend.list("k", None, 2).expect("listed").len(), 1);
}

fn clearing_removes_everything(backend: Arc<dyn Backend>) {
    let puts = (0..600).map(|n| put(&format!("{}/{n}", n % 3), "v")).collect();
    assert!(backend.put_many(puts).iter().all(Result::is_ok));
    assert_eq!(backend.clear(Durability::Process).expect("cleared"), 600);
    assert_eq!(backend.totals().expect("counted"), Totals::default());
    assert!(backend.list("", None, 10).expect("listed").is_empty());
    assert_eq!(got(&*backend, "0/0"), None);
    backend.put(put("0/0", "again")).expect("put");
    assert_eq!(got(&*backend, "0/0").as_deref(), Some("again"));
    backend.close().expect("closed");
    assert_eq!(got(&*backend, "0/0").as_deref(), Some("again"));
}
