//! What is read without waiting is what waiting would have brought, or nothing.

use super::*;

fn cached(it: &Fixture, text: &str) -> Option<Vec<u8>> {
    it.backend.get_cached(&key(text), None).map(|object| object.content)
}

#[test]
fn a_hot_value_is_read_without_waiting_also_after_it_was_replaced() {
    let it = fixture();
    let cold = FileBackend::new(it.dir.path(), FileOptions::default());
    assert!(cold.get_cached(&key("a/k"), None).is_none(), "nothing is opened for it");
    for round in 0..100 {
        let content = format!("[{round}]");
        let record = it.put("a/k", Format::Json, &content);
        let found = it.backend.get_cached(&key("a/k"), None).expect("just written");
        assert_eq!((found.record, found.content), (record, content.into_bytes()));
    }
    it.put("a/k", Format::String, "text");
    assert_eq!(cached(&it, "a/k").expect("just written"), b"text");
    assert!(it.backend.get_cached(&key("a/k"), Some(Format::Json)).is_none());
    it.backend.delete(&key("a/k"), &Condition::Any, Durability::Process).expect("deleted");
    assert_eq!(cached(&it, "a/k"), None);
}

#[test]
fn nothing_is_read_while_a_writer_is_at_work_or_the_index_is_in_doubt() {
    let it = fixture();
    it.put("k", Format::Json, "1");
    let opened = it.backend.opened().expect("open");
    let live = opened.live().expect("writable");
    live.clock.begin(key("k").stripe());
    assert_eq!(cached(&it, "k"), None);
    live.clock.finish(key("k").stripe());
    assert!(cached(&it, "k").is_some());
    live.clock.set_diverged(true);
    assert_eq!(cached(&it, "k"), None);
    live.clock.set_diverged(false);
}

#[test]
fn damage_edits_and_expired_values_are_left_to_those_who_can_explain() {
    let hands = ManualClock::new();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let options = FileOptions { clock: hands.clock(), max_value_bytes: 20, ..Default::default() };
    let it = Fixture { backend: FileBackend::new(dir.path(), options), dir };
    it.put("k", Format::Json, "1234");
    fs::write(it.path("k.json"), "1235").expect("edited");
    assert_eq!(cached(&it, "k"), None);
    fs::write(it.path("foreign.json"), "1").expect("written");
    it.get("foreign").expect("read").expect("there");
    assert_eq!(cached(&it, "foreign"), None);
    it.put("long", Format::Json, "\"123456789012345678901\"");
    assert_eq!(cached(&it, "long"), None, "longer than max_value_bytes");
    it.backend.put(Put { ttl: Some(1_000), ..put("ends", Format::Json, "1") }).expect("put");
    assert!(cached(&it, "ends").is_some());
    hands.advance(std::time::Duration::from_secs(2));
    assert_eq!(cached(&it, "ends"), None);
    symlink(it.path("k.json"), it.path("link.json")).expect("made");
    assert_eq!(cached(&it, "link"), None);
}

#[test]
fn a_value_that_others_replace_all_the_time_is_never_torn() {
    let it = fixture();
    it.put("k", Format::Json, "\"0\"");
    let writer = FileBackend::new(it.dir.path(), FileOptions::default());
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            for round in 0..500_usize {
                let content = format!("\"{}\"", round.to_string().repeat(1 + round % 50));
                writer.put(put("k", Format::Json, &content)).expect("put");
            }
        });
        let mut seen = 0;
        while !writing.is_finished() {
            let Some(content) = cached(&it, "k") else { continue };
            let text = String::from_utf8(content).expect("text");
            let text = text.trim_matches('"');
            let round = (1..=3).find_map(|digits| {
                let round: usize = text.get(..digits)?.parse().ok()?;
                (text == round.to_string().repeat(1 + round % 50)).then_some(round)
            });
            assert!(round.is_some_and(|round| round >= seen), "{text} after {seen}");
            seen = round.unwrap_or(seen);
        }
    });
}

#[test]
fn a_file_is_located_without_waiting_only_while_it_is_the_value_as_it_was_saved() {
    let hands = ManualClock::new();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let options = FileOptions { clock: hands.clock(), ..Default::default() };
    let it = Fixture { backend: FileBackend::new(dir.path(), options), dir };
    let located = || it.backend.locate_cached(&key("a/k"), None);
    let record = it.put("a/k", Format::Npy, "an array");
    assert_eq!(located(), Some((it.path("a/k.npy"), record.clone())));
    assert_eq!(located(), it.backend.locate(&key("a/k")).expect("found"));
    it.put("a/k", Format::Bytes, "bytes");
    assert_eq!(located().expect("just written").0, it.path("a/k.bin"));
    assert_eq!(it.backend.locate_cached(&key("a/k"), Some(Format::Npy)), None);
    let opened = it.backend.opened().expect("open");
    let live = opened.live().expect("writable");
    live.clock.begin(key("a/k").stripe());
    assert_eq!(located(), None, "a writer is at work");
    live.clock.finish(key("a/k").stripe());
    fs::write(it.path("a/k.bin"), "BYTES").expect("edited");
    assert_eq!(located(), None, "it was edited");
    it.backend.put(Put { ttl: Some(1_000), ..put("a/k", Format::Npy, "1") }).expect("put");
    assert!(located().is_some());
    hands.advance(std::time::Duration::from_secs(2));
    assert_eq!(located(), None, "it has expired");
}
