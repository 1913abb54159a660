//! A store whose folder is deleted while it is open.

use super::*;

fn all_calls_work(it: &Fixture) {
    assert!(it.get("k").expect("read").is_none());
    assert_eq!(it.backend.totals().expect("counted").entries, 0);
    assert!(it.backend.list("", None, 9).expect("listed").is_empty());
    it.put("a/k", Format::Json, "2");
    assert_eq!(it.get("a/k").expect("read").map(|found| found.content), Some(b"2".to_vec()));
    assert_eq!(it.names(), ["a"]);
    assert_eq!(it.backend.totals().expect("counted").entries, 1);
}

#[test]
fn a_deleted_store_is_made_anew_by_the_next_call() {
    let it = fixture();
    it.put("k", Format::Json, "1");
    it.put("a/k", Format::Json, "1");
    fs::remove_dir_all(it.dir.path()).expect("deleted");
    all_calls_work(&it);
}

#[test]
fn a_store_that_was_emptied_is_made_anew_by_the_next_call() {
    let it = fixture();
    it.put("k", Format::Json, "1");
    fs::remove_dir_all(it.path(".holdall")).expect("deleted");
    fs::remove_file(it.path("k.json")).expect("deleted");
    all_calls_work(&it);
}

#[test]
fn a_store_that_somebody_else_has_made_in_its_place_is_found_by_a_read() {
    let it = fixture();
    it.put("k", Format::Json, "1");
    let version = it.backend.version(&key("k"));
    fs::remove_dir_all(it.dir.path()).expect("deleted");
    let other = FileBackend::new(it.dir.path(), FileOptions::default());
    other.put(put("k", Format::Json, "2")).expect("put");
    fs::rename(it.path("k.json"), it.path("moved")).expect("renamed");
    assert!(it.get("k").expect("read").is_none());
    fs::rename(it.path("moved"), it.path("k.json")).expect("renamed");
    assert_eq!(it.get("k").expect("read").map(|found| found.content), Some(b"2".to_vec()));
    assert_eq!(it.backend.version(&key("k")), other.version(&key("k")));
    // The same number of writes, but not the same store: nothing in memory may look fresh.
    assert_ne!(it.backend.version(&key("k")), version);
}

#[test]
fn a_folder_of_the_store_that_somebody_has_removed_is_an_error_with_a_next_step() {
    let said = |error: Error| {
        let text = error.to_string();
        assert!(text.contains("; make a new manager"), "{text}");
    };
    let it = fixture();
    it.put("k", Format::Json, "1");
    fs::remove_dir_all(it.path(".holdall/tmp")).expect("removed");
    said(it.backend.put(put("k", Format::Json, "2")).expect_err("nowhere to write"));
    let it = fixture();
    it.put("k", Format::Json, "1");
    fs::remove_dir_all(it.path(".holdall/index")).expect("removed");
    said(it.backend.close().expect_err("nothing to write down"));
}
