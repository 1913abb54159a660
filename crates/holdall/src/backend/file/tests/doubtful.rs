//! A key in two places whose newer value has a damaged stamp: nobody can tell any more which of them
//! is the newer, and the older one is never taken for the value.

use super::inline::on;
use super::lost_stamps::readings;
use super::repair::cured;
use super::verify::*;
use super::*;

/// What a dead writer leaves whose stamp was damaged: `k` as text, and as JSON from before that.
fn left_behind(has_index: bool, ttl: Option<u64>) -> Fixture {
    let it = filled();
    it.backend.put(Put { ttl, ..put("k", Format::Json, "\"older\"") }).expect("put");
    fs::hard_link(it.path("k.json"), it.path("kept")).expect("linked");
    it.put("k", Format::String, "newer");
    fs::rename(it.path("kept"), it.path("k.json")).expect("put back");
    let mut stamp = stamp_of(&it.path("k.txt"));
    stamp[10] ^= 1;
    set_stamp(&it.path("k.txt"), &stamp);
    let opened = it.backend.opened().expect("open");
    let live = opened.live().expect("writable");
    if !has_index {
        live.catalog.drop_index();
        fs::remove_dir_all(live.catalog.folder(live.clock.epoch())).expect("removed");
    }
    live.clock.set_diverged(true);
    it
}

const DAMAGED: [Option<ErrorKind>; 6] = [Some(ErrorKind::Corrupt); 6];

#[test]
fn an_older_file_is_never_the_value_beside_one_whose_stamp_is_damaged() {
    for has_index in [true, false] {
        let it = left_behind(has_index, None);
        assert_eq!(readings(&it, "k.txt"), DAMAGED);
        assert!(!it.backend.list("", None, 9).expect("filled anew").is_empty());
        assert_eq!(readings(&it, "k.txt"), DAMAGED, "after the scan");
        let it = reopened(it);
        assert_eq!(readings(&it, "k.txt"), DAMAGED, "opened anew");
        let done = cured(&it.backend);
        let found = it.get("k").expect("no damage any more");
        let content = found.map(|object| object.content);
        if has_index {
            assert_eq!((done.mended.len(), content.as_deref()), (2, Some(&b"newer"[..])));
        } else {
            assert_eq!((done.quarantined.len(), content), (2, None));
        }
        assert!(it.backend.get_cached(&key("f/b"), Some(Format::Json)).is_some(), "calm again");
    }
}

/// An inline value, and a file that a writer with a damaged stamp has left, who died before the inline
/// value went.
fn left_beside_inline() -> (Fixture, Record) {
    let it = fixture();
    let older = on(it.dir.path(), 100).put(put("k", Format::Json, "\"older\"")).expect("put");
    it.put("other", Format::Json, "1");
    fs::copy(it.path("other.json"), it.path("k.json")).expect("copied");
    set_stamp(&it.path("k.json"), b"nothing");
    it.backend.opened().expect("open").live().expect("writable").clock.set_diverged(true);
    (it, older.record)
}

#[test]
fn an_older_inline_value_is_never_the_value_beside_a_file_whose_stamp_is_damaged() {
    let (it, _) = left_beside_inline();
    assert_eq!(readings(&it, "k.json"), DAMAGED);
    it.backend.list("", None, 9).expect("filled anew");
    assert_eq!(readings(&it, "k.json"), DAMAGED, "after the scan");
    assert_eq!(cured(&it.backend).quarantined.len(), 2);
    assert!(it.get("k").expect("a miss").is_none());
}

#[test]
fn an_older_inline_value_does_not_come_back_for_a_damaged_file_of_a_key_that_only_it_tells() {
    for length in [500, 1_500] {
        for is_scanned in [true, false] {
            let it = fixture();
            let text = format!("long/{}", "x".repeat(length));
            on(it.dir.path(), 100).put(put(&text, Format::Json, "\"older\"")).expect("put");
            it.put("other", Format::Json, "1");
            let opened = it.backend.opened().expect("open");
            let file = it.path(&format!("{}.json", key(&text).name(opened.case_rule())));
            fs::create_dir_all(file.parent().expect("a folder")).expect("made");
            fs::copy(it.path("other.json"), &file).expect("copied");
            set_stamp(&file, b"nothing");
            opened.live().expect("writable").clock.set_diverged(true);
            if is_scanned {
                it.backend.list("", None, 9).expect("filled anew");
            }
            assert_eq!(it.get(&text).expect_err("in doubt").kind(), ErrorKind::Corrupt);
            let found = verified(&it.backend);
            assert!(kinds(&found).contains(&("stamp_damaged", Some(&*text))), "{found:?}");
            assert_eq!(cured(&it.backend).quarantined.len(), 2, "{length}");
            assert!(it.get(&text).expect("a miss").is_none() && !file.exists());
        }
    }
}

#[test]
fn conditions_are_not_judged_by_an_older_inline_value() {
    let (it, older) = left_beside_inline();
    let delete = |condition| it.backend.delete(&key("k"), &condition, Durability::Process);
    let error = delete(Condition::Matches(older.etag())).expect_err("another value is there");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let record = it.put("k", Format::String, "newest");
    assert!(record.generation > older.generation);
    assert_eq!(it.get("k").expect("read").expect("there").content, b"newest");
    it.backend.list("", None, 9).expect("filled anew");
    assert_eq!(it.get("k").expect("read").expect("there").content, b"newest");
    assert!(delete(Condition::Any).expect("deleted"));
    assert!(it.get("k").expect("a miss").is_none());
}

#[test]
fn conditions_and_ends_are_not_judged_by_an_older_value() {
    let it = left_behind(false, Some(1));
    let older = crate::record::Stamp::decode(&stamp_of(&it.path("k.json"))).expect("whole").record;
    while !older.is_expired(&Clock::system()) {
        std::thread::yield_now();
    }
    let delete = |condition| it.backend.delete(&key("k"), &condition, Durability::Process);
    let error = delete(Condition::Matches(older.etag())).expect_err("another value is there");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    it.backend.list("", None, 9).expect("filled anew");
    assert_eq!(it.backend.expire(Durability::Process).expect("looked"), 0);
    assert!(it.path("k.txt").exists() && it.path("k.json").exists());
    assert!(delete(Condition::Any).expect("deleted"));
    assert!(!it.path("k.txt").exists() && !it.path("k.json").exists());
    let it = left_behind(false, None);
    let record = it.put("k", Format::Bytes, "newest");
    assert!(record.generation > older.generation);
    assert_eq!(it.get("k").expect("read").expect("there").content, b"newest");
    assert!(!it.path("k.txt").exists() && !it.path("k.json").exists());
    let it = left_behind(false, None);
    assert_eq!(it.backend.clear(Durability::Process).expect("cleared"), 4);
    assert!(!it.path("k.txt").exists() && !it.path("k.json").exists());
}

#[test]
fn where_nothing_is_in_doubt_a_damaged_file_beside_the_value_is_in_nobodys_way() {
    let it = filled();
    fs::copy(it.path("a.json"), it.path("a.txt")).expect("copied");
    set_stamp(&it.path("a.txt"), b"nothing");
    let it = reopened(it);
    let etag = it.get("a").expect("read").expect("there").record.etag();
    assert_eq!(
        it.backend.head(&key("a")).expect("asked").map(|record| record.etag()),
        Some(etag.clone())
    );
    it.backend.set_ttl(&key("a"), None, Durability::Process).expect("set").expect("there");
}
