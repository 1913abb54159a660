//! What is flushed, in which order, and what stands when a flush fails.

use super::*;
use crate::flush::tests_support::{FlushLog, fail_flush};

fn durable(text: &str, content: &str) -> Put {
    Put { durability: Durability::Disk, ..put(text, Format::Json, content) }
}

/// The paths that this thread flushes meanwhile, below the base, as they were called then.
fn flushed(it: &Fixture, work: impl FnOnce()) -> Vec<String> {
    let log = FlushLog::begin();
    work();
    let base = it.dir.path().canonicalize().expect("there");
    let paths = log.end().into_iter();
    paths
        .map(|path| match path.strip_prefix(&base) {
            Ok(below) if below.starts_with(".holdall/tmp") => "temporary".to_owned(),
            Ok(below) => below.display().to_string(),
            Err(_) => path.display().to_string(),
        })
        .collect()
}

/// A store from which something durable was saved already.
fn anchored() -> Fixture {
    let it = fixture();
    it.backend.put(durable("seed", "1")).expect("put");
    it
}

#[test]
fn what_another_process_has_just_made_is_flushed_by_the_first_durable_save_and_delete() {
    for is_delete in [false, true] {
        let it = fixture();
        let top = it.dir.path().canonicalize().expect("there");
        it.put("k", Format::Json, "1");
        let other = FileBackend::new(it.dir.path(), FileOptions::default());
        let log = FlushLog::begin();
        if is_delete {
            other.delete(&key("k"), &Condition::Any, Durability::Disk).expect("deleted");
        } else {
            other.put(durable("k", "2")).expect("put");
        }
        let paths = log.end();
        for folder in [top.join(".holdall"), top.clone(), top.join("..")] {
            let folder = folder.canonicalize().expect("there");
            assert!(paths.contains(&folder), "{folder:?} is not among {paths:?}");
        }
    }
}

#[test]
fn a_durable_save_flushes_the_file_before_its_name_and_then_every_name_on_the_way() {
    let it = anchored();
    let save = |text: &str| flushed(&it, || drop(it.backend.put(durable(text, "1")).expect("put")));
    assert_eq!(save("a/b/k"), ["temporary", "a/b", "a", ""]);
    assert_eq!(save("a/b/k"), ["temporary", "a/b"]);
    assert_eq!(save("top"), ["temporary", ""]);
    // Folders that a save which need not survive has made.
    it.put("p/q/other", Format::Json, "1");
    assert_eq!(save("p/q/k"), ["temporary", "p/q", "p", ""]);
    // The same names once more are other folders.
    for text in ["p/q/k", "p/q/other"] {
        it.backend.delete(&key(text), &Condition::Any, Durability::Process).expect("deleted");
    }
    it.put("p/q/other", Format::Json, "1");
    assert_eq!(save("p/q/k"), ["temporary", "p/q", "p", ""]);
}

#[test]
fn a_durable_batch_flushes_each_folder_once_and_a_delete_flushes_what_is_left_of_it() {
    let it = anchored();
    let batch = || ["f/1", "f/2", "top", "f/3"].map(|text| durable(text, "1")).to_vec();
    let names = flushed(&it, || drop(it.backend.put_many(batch())));
    assert_eq!(names, ["temporary", "temporary", "temporary", "temporary", "f", ""]);
    let keys = ["f/1", "f/2"].map(key);
    let names = flushed(&it, || drop(it.backend.delete_many(&keys, Durability::Disk)));
    assert_eq!(names, ["f"]);
    let keys = ["f/3", "top", "none"].map(key);
    let names = flushed(&it, || drop(it.backend.delete_many(&keys, Durability::Disk)));
    assert_eq!(names, [""]);
}

#[test]
fn clearing_and_expiring_flush_what_is_left_if_they_must_survive() {
    let it = anchored();
    it.put("f/1", Format::Json, "1");
    it.put("f/2", Format::Json, "1");
    let names = flushed(&it, || drop(it.backend.clear(Durability::Process)));
    assert_eq!(names, [""; 0]);
    it.put("f/1", Format::Json, "1");
    it.put("f/2", Format::Json, "1");
    let names = flushed(&it, || drop(it.backend.clear(Durability::Disk)));
    assert_eq!(names, [""]);
    let clock = crate::clock::ManualClock::new();
    let options = FileOptions { clock: clock.clock(), ..FileOptions::default() };
    let backend = FileBackend::new(it.dir.path(), options);
    for text in ["g/1", "h"] {
        let ends = Put { ttl: Some(1_000), ..put(text, Format::Json, "1") };
        backend.put(ends).expect("put");
    }
    clock.advance(std::time::Duration::from_secs(2));
    let names = flushed(&it, || assert_eq!(backend.expire(Durability::Disk).expect("done"), 2));
    assert_eq!(names, [""]);
}

#[test]
fn a_new_store_flushes_its_own_names_up_to_the_first_folder_that_was_there() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let top = dir.path().canonicalize().expect("there");
    let log = FlushLog::begin();
    let backend = FileBackend::new(top.join("x/store"), FileOptions::default());
    backend.put(put("k", Format::Json, "1")).expect("put");
    let paths = log.end();
    for folder in [top.clone(), top.join("x"), top.join("x/store"), top.join("x/store/.holdall")] {
        assert!(paths.contains(&folder), "{folder:?} is not among {paths:?}");
    }
}

#[test]
fn a_changed_lifetime_is_flushed_too() {
    let it = fixture();
    it.put("k", Format::Json, "1");
    let set = |durability| {
        flushed(&it, || drop(it.backend.set_ttl(&key("k"), Some(9_000), durability).expect("set")))
    };
    assert_eq!(set(Durability::Process), [""; 0]);
    assert_eq!(set(Durability::Disk), ["k.json"]);
}

#[test]
fn a_file_that_cannot_be_flushed_fails_the_save_and_the_old_value_stands() {
    let it = fixture();
    it.put("k", Format::Json, "old");
    fail_flush(0);
    let results = it.backend.put_many(vec![durable("k", "new"), durable("other", "1")]);
    let [Err(error), Ok(_)] = &results[..] else { panic!("one fails: {results:?}") };
    assert_eq!((error.kind(), error.os_error()), (ErrorKind::Io, Some(libc::EIO)));
    assert_eq!(it.get("k").expect("read").map(|found| found.content), Some(b"old".to_vec()));
    assert_eq!(fs::read_dir(it.path(".holdall/tmp")).expect("there").count(), 0);
}

#[test]
fn a_folder_that_cannot_be_flushed_fails_what_lies_in_it_and_nothing_else() {
    let it = anchored();
    // Two files, then the folder of the first.
    fail_flush(2);
    let results = it.backend.put_many(vec![durable("f/k", "1"), durable("top", "1")]);
    assert!(matches!(&results[..], [Err(_), Ok(_)]), "{results:?}");
    fail_flush(0);
    let results = it.backend.delete_many(&[key("f/k"), key("top")], Durability::Disk);
    assert!(results[0].is_err());
    assert_eq!(it.names(), ["seed.json"]);
}

#[test]
fn a_save_whose_folders_somebody_removes_with_the_value_meanwhile_is_no_failure() {
    let it = anchored();
    let folder = it.dir.path().canonicalize().expect("there").join("a");
    let log = FlushLog::looking(move |path| {
        // As another process does that deletes the value: the folders are empty then.
        if *path == *folder {
            fs::remove_dir_all(&folder).expect("removed");
        }
    });
    it.backend.put(durable("a/b/k", "1")).expect("it was placed");
    assert_eq!(log.end().last(), Some(&it.dir.path().canonicalize().expect("there")));
}
