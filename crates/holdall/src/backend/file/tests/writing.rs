//! Saves and removals: batches, folders that come and go, what fails and what then stands.

use super::*;

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
    let error = it.backend.clear().expect_err("reported");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(it.names(), ["0003.bin", "0003.json"]);
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
