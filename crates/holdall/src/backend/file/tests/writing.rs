//! Saves and removals: batches, folders that come and go, what fails and what then stands.

use super::*;
use crate::backend::file::find::Search;

#[test]
fn the_last_of_several_saves_of_one_key_in_a_batch_stands() {
    let formats = [Format::Json, Format::Bytes, Format::String];
    for first in formats {
        for second in formats {
            let it = fixture();
            it.put("k", Format::Json, "old");
            let batch = vec![put("k", first, "first"), put("k", second, "second")];
            assert!(it.backend.put_many(batch).iter().all(Result::is_ok));
            let found = it.get("k").expect("read").expect("there");
            assert_eq!((found.content, found.record.format), (b"second".to_vec(), second));
            assert_eq!(it.names().len(), 1, "{:?}", it.names());
        }
    }
}

#[test]
fn a_folder_that_empties_while_another_value_is_saved_into_it_fails_nothing() {
    let it = fixture();
    let saved = key("a/b/c/saved");
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            for _ in 0..400 {
                it.put("a/b/c/gone", Format::Json, "1");
                let gone =
                    it.backend.delete(&key("a/b/c/gone"), &Condition::Any, Durability::Process);
                assert!(gone.expect("deleted"));
            }
        });
        while !other.is_finished() {
            it.put(saved.as_str(), Format::Json, "2");
            assert!(it.backend.head(&saved).expect("read").is_some());
            it.backend.delete(&saved, &Condition::Any, Durability::Process).expect("deleted");
        }
        other.join().expect("no failure");
    });
    assert_eq!(it.names(), [""; 0]);
}

#[test]
fn clearing_goes_on_past_a_key_that_cannot_be_removed_and_reports_it() {
    let it = fixture();
    let many = (0..BATCH * 2).map(|n| put(&format!("{n:04}"), Format::Json, "1"));
    assert!(it.backend.put_many(many.collect()).iter().all(Result::is_ok));
    fs::create_dir(it.path("0003.bin")).expect("in the way");
    let error = it.backend.clear(Durability::Process).expect_err("reported");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(it.names(), ["0003.bin", "0003.json"]);
}

#[test]
fn clearing_takes_what_was_saved_before_the_clock_was_lost() {
    let it = fixture();
    it.put("k", Format::Json, "1");
    let copy = tempfile::tempdir().expect("a temporary directory");
    let mut copying = std::process::Command::new("cp");
    copying.arg("-a").arg(it.path(".")).arg(copy.path());
    assert!(copying.status().expect("copied").success());
    fs::remove_file(copy.path().join(".holdall/clock")).expect("there");
    let backend = FileBackend::new(copy.path(), FileOptions::default());
    assert_eq!(backend.clear(Durability::Process).expect("cleared"), 1);
    assert!(!copy.path().join("k.json").exists());
}

#[test]
fn what_another_program_puts_in_the_place_of_an_outdated_file_stays() {
    let it = fixture();
    it.put("k", Format::Json, "1");
    let opened = it.backend.opened().expect("open");
    let found = opened.find(&key("k"), None, Search::All).expect("found").remove(0);
    fs::write(it.path("new"), "theirs").expect("written");
    fs::rename(it.path("new"), it.path("k.json")).expect("replaced");
    opened.unlink(&found.path, &found.stat).expect("nothing to do");
    assert_eq!(fs::read_to_string(it.path("k.json")).expect("there"), "theirs");
    let same = opened.find(&key("k"), None, Search::All).expect("found").remove(0);
    opened.unlink(&same.path, &same.stat).expect("removed");
    assert_eq!(it.names(), [""; 0]);
}

#[test]
fn the_same_key_several_times_in_a_batch_is_written_in_order() {
    let it = fixture();
    let absent = Put { condition: Condition::Absent, ..put("k", Format::Json, "2") };
    let batch = vec![
        put("k", Format::Json, "1"),
        absent,
        put("k", Format::String, "3"),
        put("other", Format::Json, "4"),
        put("k", Format::Json, "5"),
    ];
    let results = it.backend.put_many(batch);
    let kinds: Vec<_> = results.iter().map(|one| one.as_ref().err().map(Error::kind)).collect();
    assert_eq!(kinds, [None, Some(ErrorKind::Conflict), None, None, None]);
    assert_eq!(it.get("k").expect("read").expect("there").content, b"5");
    assert_eq!(it.names(), ["k.json", "other.json"]);
    assert_eq!(it.backend.totals().expect("counted").entries, 2);
    let removed = it.backend.delete_many(&[key("k"), key("k")], Durability::Process);
    let removed: Vec<bool> = removed.into_iter().map(|one| one.expect("removed")).collect();
    assert_eq!(removed, [true, false]);
}

#[test]
fn what_is_missing_while_a_writer_is_at_work_is_looked_for_again() {
    use super::super::read::Sight;
    let it = fixture();
    it.put("k", Format::Json, "1");
    let opened = it.backend.opened().expect("open");
    let live = opened.live().expect("writable");
    let (key, stripe) = (key("k"), key("k").stripe());
    let at_work = live.locks.lock(vec![stripe], std::time::Duration::ZERO).expect("free");
    live.clock.begin(stripe);
    let mut looks = 0;
    // The first look falls between the place where the value is not yet and where it is no more.
    let found = opened.settled(&key, |_| {
        looks += 1;
        Ok((looks > 1).then_some(Sight { ours: true, it: looks }))
    });
    assert_eq!(found.expect("read"), Some(2));
    live.clock.finish(stripe);
    drop(at_work);
}

#[test]
fn a_call_that_is_cancelled_while_it_waits_for_a_writer_changes_nothing() {
    let it = fixture();
    it.put("k", Format::Json, "1");
    let opened = it.backend.opened().expect("open");
    let live = opened.live().expect("writable");
    let stripe = vec![key("k").stripe()];
    let at_work = live.locks.lock(stripe, std::time::Duration::ZERO).expect("free");
    let token = crate::CancelToken::new();
    std::thread::scope(|scope| {
        let saving = scope.spawn(|| token.run(|| it.backend.put(put("k", Format::Json, "2"))));
        // It writes its temporary file before it waits.
        while fs::read_dir(it.path(".holdall/tmp")).expect("there").next().is_none() {
            std::thread::yield_now();
        }
        token.cancel();
        drop(at_work);
        let error = saving.join().expect("no panic").expect_err("cancelled");
        assert_eq!(error.kind(), ErrorKind::Cancelled);
    });
    assert_eq!(it.get("k").expect("read").map(|found| found.content), Some(b"1".to_vec()));
    assert_eq!(fs::read_dir(it.path(".holdall/tmp")).expect("there").count(), 0);
}

#[test]
fn what_is_signed_is_placed_only_while_the_store_names_its_key() {
    use crate::signing::{Tag, fingerprint};
    for it in [fixture(), super::inline::inline_fixture()] {
        let signed = |id: u8| {
            let signature = Some(Tag { key_id: [id; 8], mac: [0; 32] });
            it.backend.put(Put { signature, ..put("k", Format::Pickle, &id.to_string()) })
        };
        assert_eq!(signed(1).expect_err("too early").kind(), ErrorKind::Untrusted);
        it.backend.note_signer(&fingerprint(&[1; 8])).expect("noted");
        signed(1).expect("put");
        it.backend.replace_signer(&fingerprint(&[2; 8])).expect("replaced");
        assert_eq!(signed(1).expect_err("too late").kind(), ErrorKind::Untrusted);
        signed(2).expect("put");
        assert_eq!(it.get("k").expect("read").expect("there").content, b"2");
        // Its name is flushed last.
        crate::flush::tests_support::fail_flush(1);
        let error = it.backend.replace_signer(&fingerprint(&[3; 8])).expect_err("not flushed");
        assert!(error.to_string().contains("the new key signs already"), "{error}");
        signed(3).expect("put");
    }
}
