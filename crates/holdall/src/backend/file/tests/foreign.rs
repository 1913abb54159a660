//! Files that other programs touch, edit or put beside ours.

use super::*;

/// As `touch`, `cp` or a restore without times do: the content stays, its time of change does not.
fn touch(it: &Fixture, name: &str) {
    let file = fs::File::options().write(true).open(it.path(name)).expect("there");
    let day = Duration::from_nanos(86_400_000_000_123);
    let modified = file.metadata().expect("open").modified().expect("known");
    file.set_modified(modified + day).expect("set");
}

#[test]
fn a_file_of_ours_whose_times_were_touched_is_still_ours_in_every_call() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let hands = ManualClock::new();
    let options = FileOptions { clock: hands.clock(), ..FileOptions::default() };
    let it = Fixture { backend: FileBackend::new(dir.path(), options), dir };
    let placed = it.backend.put(Put { ttl: Some(1_000), ..put("k", Format::Json, "1") });
    let placed = placed.expect("put");
    touch(&it, "k.json");
    assert_eq!(it.get("k").expect("read").map(|found| found.record), Some(placed.record.clone()));
    let given = it
        .backend
        .set_ttl(&key("k"), Some(5_000), Durability::Process)
        .expect("set")
        .expect("there");
    let wanted = Condition::Matches(given.etag());
    let after =
        it.backend.put(Put { condition: wanted, ttl: Some(5_000), ..put("k", Format::Json, "2") });
    let after = after.expect("its ETag is the one that was read");
    assert_eq!(after.record.created, placed.record.created);
    touch(&it, "k.json");
    let wrong = Condition::Matches("0".into());
    assert!(it.backend.delete(&key("k"), &wrong, Durability::Process).is_err());
    hands.advance(Duration::from_secs(5));
    assert!(it.get("k").expect("read").is_none());
    let absent = Condition::Absent;
    let again =
        it.backend.put(Put { condition: absent, ttl: Some(10), ..put("k", Format::Json, "3") });
    again.expect("what has expired is not there");
    touch(&it, "k.json");
    hands.advance(Duration::from_secs(5));
    assert_eq!(it.backend.expire(Durability::Process).expect("removed"), 1);
    it.put("k", Format::Json, "4");
    touch(&it, "k.json");
    assert_eq!(it.backend.clear(Durability::Process).expect("cleared"), 1);
}

#[test]
fn an_edited_file_has_no_lifetime_to_change_and_stays_when_the_store_is_cleared() {
    let it = fixture();
    it.put("k", Format::Json, "1");
    fs::write(it.path("k.json"), "22").expect("edited");
    let error =
        it.backend.set_ttl(&key("k"), Some(1_000), Durability::Process).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(it.backend.clear(Durability::Process).expect("cleared"), 0);
    assert_eq!(it.names(), ["k.json"]);
}

#[test]
fn a_damaged_value_can_be_replaced_and_removed() {
    let it = fixture();
    for remove in [false, true] {
        it.put("k", Format::Json, "[1, 2]");
        let modified = fs::metadata(it.path("k.json")).expect("there").modified().expect("known");
        fs::write(it.path("k.json"), "[1, 9]").expect("damaged");
        let file = fs::File::open(it.path("k.json")).expect("there");
        file.set_modified(modified).expect("set back");
        assert!(it.get("k").is_err());
        if remove {
            assert!(
                it.backend.delete(&key("k"), &Condition::Any, Durability::Process).expect("gone")
            );
        } else {
            it.put("k", Format::Json, "2");
        }
    }
    assert!(it.get("k").expect("read").is_none());
}

#[test]
fn an_edit_that_comes_while_a_file_is_read_is_no_damage() {
    let it = fixture();
    it.put("k", Format::Json, "1");
    let opened = it.backend.opened().expect("open");
    let found = opened.winner(&key("k"), None, find::Search::All).expect("found");
    let Some(find::Winner::File(found)) = found else { panic!("there is a file") };
    fs::write(it.path("k.json"), "edited").expect("edited");
    let record = found.judge(b"edited", it.dir.path()).expect("an edit");
    assert!(record.foreign);
}

#[test]
fn a_file_of_another_program_never_stands_in_for_a_value_that_moves_to_another_format() {
    let it = fixture();
    it.put("k", Format::Bytes, "1");
    let opened = it.backend.opened().expect("open");
    let live = opened.live().expect("writable");
    let mut looks = 0;
    let found = opened.settled(&key("k"), |_| {
        looks += 1;
        if looks == 1 {
            // A whole write comes between; the reader has seen only what lies beside it.
            write::begin(live, &[key("k").stripe()]);
            write::finish(live, &[key("k").stripe()]);
            return Ok(Some(read::Sight { ours: false, it: "the file beside it" }));
        }
        Ok(Some(read::Sight { ours: true, it: "the value" }))
    });
    assert_eq!(found.expect("read"), Some("the value"));
}

#[test]
fn damage_makes_what_memory_holds_old_too() {
    let it = fixture();
    let placed = it.put("k", Format::Json, "1");
    let version = it.backend.version(&key("k"));
    fs::remove_file(it.path("k.json")).expect("removed");
    fs::create_dir(it.path("k.json")).expect("made");
    it.backend.revalidate(&key("k"), placed.generation).expect("looked");
    assert_ne!(it.backend.version(&key("k")), version);
}
