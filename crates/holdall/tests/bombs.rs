//! Files that claim, or become, more than memory holds.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use holdall::clock::Clock;
use holdall::format::Codec;
use holdall::{BlobManager, BlobOptions, ErrorKind, Format, Result};

const HUGE: u64 = 6 << 30;

fn store(path: &Path) -> BlobManager {
    BlobManager::with_options(BlobOptions { base_path: path.into(), ..BlobOptions::default() })
}

fn refused<T: std::fmt::Debug>(result: Result<T>) -> String {
    let error = result.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    error.to_string()
}

#[test]
fn a_file_of_holes_is_not_read_and_can_be_replaced_and_removed_at_once() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = store(dir.path());
    store.save("other", &1, Format::Json).expect("saved");
    for name in ["k.json", "k.txt", "k.bin", "k.npy", "k.pkl", "k.joblib"] {
        let file = dir.path().join(name);
        File::create(&file).expect("made").set_len(HUGE).expect("set");
        assert!(refused(store.load_bytes("k", None)).contains("on the disk"), "{name}");
        assert_eq!(store.read_range("k", 3, 4).expect("read"), [0; 4]);
        assert!(store.exists("k").expect("looked"));
        assert_eq!(store.metadata("k").expect("there").record().length, HUGE);
        assert!(store.delete("k", None).expect("deleted"));
        assert!(!file.exists(), "{name}");
    }
    assert_eq!(store.load::<i32>("other").expect("fine"), 1);
}

#[test]
fn nothing_reads_a_whole_stream_into_memory_that_is_too_large_for_it() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = store(dir.path());
    store.save("other", &1, Format::Json).expect("saved");
    File::create(dir.path().join("k.bin")).expect("made").set_len(1 << 43).expect("set");
    assert!(refused(store.read_range("k", 0, u64::MAX)).contains("piece by piece"));
    let mut reader = store.reader("k").expect("opened");
    refused(reader.read_up_to(u64::MAX));
    assert_eq!(reader.read_up_to(10).expect("read"), [0; 10]);
}

#[test]
fn a_value_of_ours_that_has_grown_without_end_costs_nobody_time() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = store(dir.path());
    for touched in [false, true] {
        store.save("k", &1, Format::Json).expect("saved");
        let path = dir.path().join("k.json");
        let before = fs::metadata(&path).expect("there").modified().expect("known");
        let file = File::options().write(true).open(&path).expect("opened");
        file.set_len(1 << 43).expect("grown");
        if !touched {
            file.set_modified(before).expect("set");
        }
        let (clock, limit) = (Clock::system(), 20_000);
        let began = clock.boot_millis();
        let kind = |result: Result<()>| result.expect_err("refused").kind();
        if touched {
            assert_eq!(kind(store.load_bytes("k", None).map(drop)), ErrorKind::InvalidArgument);
            assert!(store.metadata("k").expect("an edit").record().foreign);
        } else {
            assert_eq!(kind(store.metadata("k").map(drop)), ErrorKind::Corrupt);
        }
        store.save("k", "2", Format::String).expect("replaced");
        assert!(clock.boot_millis() - began < limit, "a scan of it takes an hour");
        assert_eq!(store.load_bytes("k", None).expect("there").payload, b"2");
        store.delete("k", None).expect("deleted");
    }
}

#[test]
fn a_strangers_compressed_file_may_not_become_a_hundred_times_as_much() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (codec, ending) in [(Codec::Zstd, "zst"), (Codec::Lz4, "lz4")] {
        let options = BlobOptions {
            base_path: dir.path().join(ending),
            compression: codec,
            ..BlobOptions::default()
        };
        let store = BlobManager::with_options(options);
        let zeros = vec![vec![0_u8; 300 << 20].into()];
        store.save_parts("ours", Format::Bytes, zeros, <_>::default()).expect("saved");
        assert_eq!(store.load_bytes("ours", None).expect("it is ours").payload.len(), 300 << 20);
        let ours = dir.path().join(ending).join(format!("ours.bin.{ending}"));
        let small = fs::metadata(&ours).expect("there").len();
        assert!(small < 2 << 20, "{small}");
        // A copy has no stamp, so it is anybody's.
        let content = fs::read(&ours).expect("read");
        fs::write(ours.with_file_name(format!("theirs.bin.{ending}")), content).expect("written");
        refused(store.load_bytes("theirs", None));
        refused(store.reader("theirs").map(drop));
    }
}

#[test]
fn a_time_of_change_beyond_all_time_is_only_a_time() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = store(dir.path());
    store.save("k", &1, Format::Json).expect("saved");
    fs::write(dir.path().join("theirs.json"), "2").expect("written");
    for name in ["k.json", "theirs.json"] {
        let far = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 62);
        let file = File::options().write(true).open(dir.path().join(name)).expect("opened");
        // Not every file system keeps it.
        let _ = file.set_modified(far);
    }
    assert_eq!(store.load::<i32>("k").expect("there"), 1);
    assert_eq!(store.load::<i32>("theirs").expect("there"), 2);
    store.save("theirs", &3, Format::Json).expect("replaced");
    assert_eq!(store.load::<i32>("theirs").expect("there"), 3);
}
