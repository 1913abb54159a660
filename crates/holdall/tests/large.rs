//! Large values, which two threads write, read, check and sign in blocks, keep every promise of
//! small ones.

#![allow(clippy::unwrap_used, reason = "a test may end here")]

use std::io::Write as _;
use std::path::Path;

use bytes::Bytes;
use holdall::signing::KeySource;
use holdall::{BlobManager, BlobOptions, ErrorKind, Format, Loaded, Part, SaveOptions};

fn store(folder: &Path) -> BlobManager {
    BlobManager::with_options(BlobOptions {
        base_path: folder.into(),
        signing_key: KeySource::text("a key of the tests").unwrap(),
        ..BlobOptions::default()
    })
}

fn content(length: usize) -> Vec<u8> {
    (0..length as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// As the binding loads it.
fn filled(store: &BlobManager, key: &str) -> holdall::Result<Vec<u8>> {
    match store.load_or_open(key, None, 1_000_000)?.unwrap() {
        Loaded::Whole(blob) => Ok(blob.payload),
        Loaded::Large(mut reader) => {
            let mut memory = vec![1; usize::try_from(reader.len()).unwrap()];
            store.fill(&mut reader, &mut memory).map(|()| memory)
        }
    }
}

#[test]
fn parts_of_every_kind_and_length_come_back_whichever_way_they_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let edges = [0, 1, 4_096, 524_287, 524_288, 2_000_000, 2_097_152];
    for format in [Format::Bytes, Format::Pickle, Format::Joblib] {
        for (at, edge) in edges.into_iter().enumerate() {
            // Short and long ones, what spans them, and what ends at the edge of a block.
            let whole = content(4_194_304 + edge);
            let (first, rest) = whole.split_at(edge);
            let (second, third) = rest.split_at(77);
            let parts = vec![
                Part::Volatile(Bytes::copy_from_slice(first)),
                Part::Stable(Bytes::copy_from_slice(second)),
                Part::Stable(Bytes::new()),
                if at % 2 == 0 {
                    Part::Stable(Bytes::copy_from_slice(third))
                } else {
                    Part::Volatile(Bytes::copy_from_slice(third))
                },
            ];
            let saved = store.save_parts("k", format, parts, SaveOptions::default()).unwrap();
            // One piece after the other, with the checksum and the signature of the whole.
            assert!(store.load_bytes("k", None).unwrap().payload == whole);
            assert!(filled(&store, "k").unwrap() == whole);
            assert_eq!(saved.record(), store.metadata("k").unwrap().record());
            assert_eq!(saved.record().signature.is_some(), format.is_signed());
        }
    }
}

#[test]
fn a_large_signed_value_is_refused_when_one_bit_of_its_file_has_changed() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let length = 5_000_000;
    let path = folder.path().join("k.joblib");
    for at in [0, 524_000, 2_097_100, length - 1, length, length + 20, length + 63] {
        store.save_parts("k", Format::Joblib, vec![content(length).into()], options()).unwrap();
        let times = std::fs::metadata(&path).unwrap().modified().unwrap();
        let mut file = std::fs::read(&path).unwrap();
        file[at] ^= 1;
        // In place, with the old time: as a disk does it.
        let mut open = std::fs::File::options().write(true).open(&path).unwrap();
        open.write_all(&file).unwrap();
        open.set_modified(times).unwrap();
        drop(open);
        let error = filled(&store, "k").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {at}: {error}");
    }
}

#[test]
fn a_large_value_that_another_key_signed_is_not_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    for key in ["k", "other"] {
        store.save_parts(key, Format::Pickle, vec![content(5_000_000).into()], options()).unwrap();
    }
    let stranger = BlobManager::with_options(BlobOptions {
        base_path: folder.path().into(),
        signing_key: KeySource::text("a key of somebody else").unwrap(),
        ..BlobOptions::default()
    });
    assert_eq!(filled(&stranger, "k").unwrap_err().kind(), ErrorKind::Untrusted);
    assert!(filled(&store, "k").unwrap() == content(5_000_000));
}

fn options() -> SaveOptions {
    SaveOptions::default()
}
