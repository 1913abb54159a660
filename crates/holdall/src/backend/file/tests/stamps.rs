//! A file system without extended attributes: stamps in files of their own.

use super::super::stamps::force_folder;
use super::*;

pub(super) fn without_attributes() -> Fixture {
    force_folder(true);
    let it = fixture();
    it.put("seed", Format::Json, "1");
    force_folder(false);
    it
}

impl Fixture {
    fn stamp_files(&self) -> usize {
        fs::read_dir(self.path(".holdall/stamps")).expect("there").count()
    }
}

#[test]
fn without_attributes_the_rules_are_the_same() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let count = std::sync::atomic::AtomicU32::new(0);
    force_folder(true);
    conformance::check(|clock| {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let options = FileOptions { clock, ..FileOptions::default() };
        let backend = FileBackend::new(dir.path().join(number.to_string()), options);
        backend.store_id().expect("opened on this thread");
        backend
    });
    force_folder(false);
    assert!(dir.path().join("0/.holdall/stamps").is_dir());
}

#[test]
fn a_value_that_goes_takes_its_stamp_along() {
    let it = without_attributes();
    let all = |it: &Fixture| (it.names().len(), it.stamp_files());
    assert_eq!(all(&it), (1, 1));
    for content in ["1", "2", "3"] {
        it.put("k", Format::Json, content);
    }
    assert_eq!(all(&it), (2, 2));
    it.put("k", Format::Bytes, "4");
    assert_eq!(all(&it), (2, 2));
    let refused = Put { condition: Condition::Absent, ..put("k", Format::Json, "5") };
    let refused = Put { durability: Durability::Disk, ..refused };
    assert!(it.backend.put(refused).is_err());
    assert_eq!(all(&it), (2, 2));
    it.backend.set_ttl(&key("k"), Some(9_000), Durability::Disk).expect("set");
    assert_eq!(it.get("k").expect("read").map(|found| found.content), Some(b"4".to_vec()));
    it.backend.delete(&key("k"), &Condition::Any, Durability::Process).expect("deleted");
    assert_eq!(all(&it), (1, 1));
    assert_eq!(it.backend.clear(Durability::Process).expect("cleared"), 1);
    assert_eq!(all(&it), (0, 0));
}

#[test]
fn the_scan_reads_stamps_from_their_folder_too() {
    let it = without_attributes();
    let record = it.put("a/b", Format::Bytes, "1");
    it.backend.opened().expect("open").live().expect("writable").clock.set_diverged(true);
    assert_eq!(it.backend.list("a", None, 5).expect("listed"), [(key("a/b"), record)]);
}

#[test]
fn without_attributes_a_stamp_is_on_the_disk_before_the_value_has_its_name() {
    use crate::flush::tests_support::FlushLog;
    let it = without_attributes();
    let value = it.path("k.json");
    let folder = it.dir.path().canonicalize().expect("there").join(".holdall/stamps");
    let log = FlushLog::looking(move |path| {
        assert!(!path.starts_with(&folder) || !value.exists(), "{path:?} came too late");
    });
    let durable = Put { durability: Durability::Disk, ..put("k", Format::Json, "1") };
    it.backend.put(durable).expect("put");
    let flushed = log.end();
    let own = |path: &&PathBuf| path.to_string_lossy().contains(".holdall/stamps");
    let names: Vec<_> = flushed.iter().filter(own).map(|path| path.extension()).collect();
    assert_eq!(names, [Some("new".as_ref()), None], "the stamp, then its name");
}
