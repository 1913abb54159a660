//! Values that are written and read piece by piece keep every promise of those saved as a whole.

#![allow(clippy::unwrap_used, reason = "a test may end here")]

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::sync::Arc;

use holdall::backend::memory::MemoryBackend;
use holdall::{
    BlobManager, BlobOptions, Condition, Durability, ErrorKind, Format, SaveOptions, Ttl,
};

/// A store of files, and one in memory.
fn stores(folder: &std::path::Path) -> [BlobManager; 2] {
    let memory = Arc::new(MemoryBackend::new(holdall::clock::Clock::system()));
    [BlobManager::new(folder), BlobManager::on(memory, BlobOptions::default())]
}

fn tmp_files(folder: &std::path::Path) -> usize {
    std::fs::read_dir(folder.join(".holdall/tmp")).map_or(0, Iterator::count)
}

#[test]
fn what_was_written_in_pieces_is_read_in_pieces_and_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    for store in stores(folder.path()) {
        let whole: Vec<u8> = (0..700_000_u32).map(|n| (n % 251) as u8).collect();
        let options = SaveOptions {
            ttl: Ttl::After(std::time::Duration::from_secs(100)),
            tags: vec!["big".into()],
            durability: Some(Durability::Disk),
            ..SaveOptions::default()
        };
        let mut writer = store.writer("big", Format::Bytes, options).unwrap();
        for piece in whole.chunks(10_007) {
            writer.write_all(piece).unwrap();
        }
        assert!(!store.exists("big").unwrap(), "seen before it was finished");
        let saved = writer.finish().unwrap();
        assert_eq!((saved.size, saved.record().tags.len()), (700_000, 1));
        assert_eq!(store.load_bytes("big", Some(Format::Bytes)).unwrap().payload, whole);
        let mut reader = store.reader("big").unwrap();
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        assert!(read == whole);
        reader.seek(SeekFrom::End(-3)).unwrap();
        assert_eq!(reader.read_up_to(10).unwrap(), whole[699_997..]);
        assert_eq!(store.read_range("big", 1_000, 7).unwrap(), whole[1_000..1_007]);
        assert_eq!(store.read_range("big", 700_000, 7).unwrap(), b"");
        assert_eq!(store.read_range("big", u64::MAX, u64::MAX).unwrap(), b"");
        assert_eq!(store.get_stats().unwrap().entries, 1);
    }
    assert_eq!(tmp_files(folder.path()), 0);
}

#[test]
fn a_writer_that_is_dropped_leaves_the_old_value_and_no_file() {
    let folder = tempfile::tempdir().unwrap();
    for store in stores(folder.path()) {
        store.save("key", "old", Format::String).unwrap();
        let mut writer = store.writer("key", Format::Bytes, SaveOptions::default()).unwrap();
        writer.append(b"half").unwrap();
        drop(writer);
        assert_eq!(store.load::<String>("key").unwrap(), "old");
    }
    assert_eq!(tmp_files(folder.path()), 0);
}

#[test]
fn a_reader_sees_the_value_that_it_opened_whatever_is_saved_or_deleted() {
    let folder = tempfile::tempdir().unwrap();
    for store in stores(folder.path()) {
        store.save("key", &"a".repeat(300_000), Format::String).unwrap();
        let mut reader = store.reader("key").unwrap();
        assert_eq!(reader.read_up_to(1).unwrap(), b"a");
        store.save("key", &"b".repeat(300_000), Format::String).unwrap();
        store.delete("key", None).unwrap();
        let rest = reader.read_up_to(u64::MAX).unwrap();
        assert!(rest.len() == 299_999 && rest.iter().all(|byte| *byte == b'a'));
    }
}

#[test]
fn damage_is_reported_by_the_read_that_reaches_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let store = BlobManager::new(folder.path());
    store.save("key", &"a".repeat(100_000), Format::String).unwrap();
    let path = folder.path().join("key.txt");
    let mut content = std::fs::read(&path).unwrap();
    content[99_999] = b'b';
    // As a failing disk does it: the time of change stays.
    let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
    std::fs::write(&path, content).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(modified).unwrap();
    let mut reader = store.reader("key").unwrap();
    assert_eq!(reader.read_up_to(50_000).unwrap().len(), 50_000);
    let error = reader.read_up_to(50_000).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("key"), "{error}");
}

#[test]
fn a_file_that_became_shorter_while_it_was_read_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let store = BlobManager::new(folder.path());
    store.save("key", &"a".repeat(100_000), Format::String).unwrap();
    let mut reader = store.reader("key").unwrap();
    reader.read_up_to(10).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(folder.path().join("key.txt"));
    file.unwrap().set_len(50_000).unwrap();
    let error = reader.read_up_to(u64::MAX).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[test]
fn conditions_are_asked_when_the_value_is_placed() {
    let folder = tempfile::tempdir().unwrap();
    for store in stores(folder.path()) {
        let options = SaveOptions { condition: Condition::Absent, ..SaveOptions::default() };
        let mut late = store.writer("key", Format::Bytes, options.clone()).unwrap();
        late.append(b"late").unwrap();
        store.save("key", "first", Format::String).unwrap();
        assert_eq!(late.finish().unwrap_err().kind(), ErrorKind::Conflict);
        assert_eq!(store.load::<String>("key").unwrap(), "first");
    }
    assert_eq!(tmp_files(folder.path()), 0);
}

#[test]
fn what_nobody_encoded_here_is_never_signed() {
    let folder = tempfile::tempdir().unwrap();
    let store = BlobManager::new(folder.path());
    for format in [Format::Pickle, Format::Joblib] {
        let error = store.writer("key", format, SaveOptions::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    let empty = store.writer("empty", Format::Bytes, SaveOptions::default()).unwrap();
    assert_eq!(empty.finish().unwrap().size, 0);
    assert_eq!(store.reader("empty").unwrap().read_up_to(9).unwrap(), b"");
}

#[test]
fn a_value_that_grows_too_large_is_refused_before_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let options = BlobOptions {
        base_path: folder.path().into(),
        max_value_bytes: 10,
        ..BlobOptions::default()
    };
    let store = BlobManager::with_options(options);
    let mut writer = store.writer("key", Format::Bytes, SaveOptions::default()).unwrap();
    writer.append(b"12345678").unwrap();
    let error = writer.append(b"901").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    drop(writer);
    assert_eq!(tmp_files(folder.path()), 0);
}

#[test]
fn a_large_value_is_read_to_where_it_is_wanted_and_checked_there() {
    use holdall::Loaded;
    let folder = tempfile::tempdir().unwrap();
    let options = BlobOptions {
        base_path: folder.path().into(),
        signing_key: holdall::signing::KeySource::text("a secret of the tests alone").unwrap(),
        ..BlobOptions::default()
    };
    let store = BlobManager::with_options(options);
    let whole: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let parts = || vec![whole.clone().into()];
    store.save_parts("bytes", Format::Bytes, parts(), SaveOptions::default()).unwrap();
    store.save_parts("pickle", Format::Pickle, parts(), SaveOptions::default()).unwrap();
    store.save("small", "text", Format::String).unwrap();
    let open = |key: &str| match store.load_or_open(key, None, 1_000_000).unwrap().unwrap() {
        Loaded::Large(reader) => reader,
        other => panic!("{other:?}"),
    };
    for key in ["bytes", "pickle"] {
        let mut memory = vec![0; 3_000_000];
        store.fill(&mut open(key), &mut memory).unwrap();
        assert!(memory == whole, "{key}");
        assert!(store.fill(&mut open(key), &mut memory[1..]).is_err());
    }
    assert!(matches!(store.load_or_open("small", None, 1_000_000), Ok(Some(Loaded::Whole(_)))));
    assert!(matches!(store.load_or_open("missing", None, 1_000_000), Ok(None)));
    let wrong = store.load_or_open("bytes", Some(Format::Npy), 1_000_000).unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::WrongFormat);
    // One bit of a pickle, in the middle and as a failing disk does it.
    let path = folder.path().join("pickle.pkl");
    let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
    let mut content = std::fs::read(&path).unwrap();
    content[1_500_000] ^= 1;
    std::fs::write(&path, &content).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(modified).unwrap();
    let error = store.fill(&mut open("pickle"), &mut vec![0; 3_000_000]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    // A pickle that somebody else signed, put in the place of ours with its stamp.
    let theirs = BlobOptions {
        base_path: folder.path().into(),
        signing_key: holdall::signing::KeySource::text("a secret of somebody else").unwrap(),
        ..BlobOptions::default()
    };
    let theirs = BlobManager::with_options(theirs);
    let mut memory = vec![0; 3_000_000];
    let mut reader = match theirs.load_or_open("pickle", None, 1_000_000).unwrap().unwrap() {
        Loaded::Large(reader) => reader,
        other => panic!("{other:?}"),
    };
    store.save_parts("pickle", Format::Pickle, parts(), SaveOptions::default()).unwrap();
    assert!(theirs.fill(&mut reader, &mut memory).is_err());
    let Ok(Some(Loaded::Large(mut reader))) = theirs.load_or_open("pickle", None, 1_000_000) else {
        panic!("it is large")
    };
    let error = theirs.fill(&mut reader, &mut memory).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Untrusted);
}

#[test]
fn after_a_piece_was_refused_nothing_more_is_taken_and_the_value_is_not_finished() {
    let folder = tempfile::tempdir().unwrap();
    let options = BlobOptions {
        base_path: folder.path().into(),
        max_value_bytes: 100,
        ..BlobOptions::default()
    };
    let store = BlobManager::with_options(options);
    store.save_parts("k", Format::Bytes, vec![b"old".to_vec().into()], <_>::default()).unwrap();
    let mut writer = store.writer("k", Format::Bytes, SaveOptions::default()).unwrap();
    writer.append(&[1; 60]).unwrap();
    assert_eq!(writer.append(&[2; 60]).unwrap_err().kind(), ErrorKind::InvalidArgument);
    // A part of a refused piece may be in the file, so even one that would fit is refused.
    assert!(writer.append(&[3; 10]).is_err());
    let error = writer.finish().unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::InvalidArgument, Some("save")));
    assert_eq!(store.load_bytes("k", None).unwrap().payload, b"old");
    assert_eq!(tmp_files(folder.path()), 0);
}
