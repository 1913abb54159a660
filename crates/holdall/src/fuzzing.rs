//! What must hold for any bytes at all, for `fuzz/` and for the tests that try some.
//!
//! Each function takes bytes, makes what it needs of them, and panics where a promise is broken. Where a
//! checksum would keep everything out, it is put right, as whoever writes a file can do.

use std::cell::RefCell;
use std::fs;
use std::os::fd::OwnedFd;

use xxhash_rust::xxh3::xxh3_64;

use crate::backend::file::fuzzing as file;
use crate::blob::{BlobManager, BlobOptions};
use crate::error::ErrorKind;
use crate::format::{Codec, Format, compress, decode, decompress, encode};
use crate::key::{CaseRule, Key, ParsedName, parse_name};
use crate::record::Stamp;
use crate::signing::trailer;

/// A property by its name.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("stamp", stamp),
    ("row", crate::index::fuzzing::row),
    ("key", key),
    ("trailer", trailer_and_frame),
    ("compression", compression),
    ("json", json),
    ("clock", clock),
    ("adoption", adoption),
];

/// A stamp is read as what it says, or not at all, and says the same when it is written again.
pub fn stamp(data: &[u8]) {
    assert!(Stamp::decode(data).is_none_or(|stamp| Stamp::decode(&stamp.encode()) == Some(stamp)));
    let mut mended = data.to_vec();
    mended.extend_from_slice(&(xxh3_64(data) as u32).to_le_bytes());
    if let Some(stamp) = Stamp::decode(&mended) {
        assert_eq!(Stamp::decode(&stamp.encode()), Some(stamp));
    }
}

/// No two keys have one name, and a name is read back as its key or nobody's.
pub fn key(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let middle = text.char_indices().nth(text.chars().count() / 2).map_or(0, |(at, _)| at);
    let (one, other) = text.split_at(middle);
    for case in [CaseRule::Sensitive, CaseRule::Insensitive] {
        if let Some(ParsedName::Key(key)) = parse_name(text, case) {
            assert_eq!(key.name(case), text);
        }
        let keys: Vec<Key> = [one, other, text].iter().flat_map(|text| Key::new(text)).collect();
        for (at, key) in keys.iter().enumerate() {
            let name = key.name(case);
            assert!(name.is_ascii() && name.len() <= 1_024 && !name.starts_with('/'));
            assert!(name.split('/').all(|part| (1..=255).contains(&part.len())));
            assert!(!name.split('/').any(|part| part.starts_with('.') || part.ends_with('.')));
            match parse_name(&name, case) {
                Some(ParsedName::Key(found)) => assert_eq!(found, *key),
                Some(ParsedName::Hashed) => assert!(name.contains("%=")),
                None => panic!("the name of a key is nobody's"),
            }
            for next in &keys[at + 1..] {
                let same = match case {
                    CaseRule::Sensitive => name == next.name(case),
                    CaseRule::Insensitive => name.eq_ignore_ascii_case(&next.name(case)),
                };
                assert_eq!(same, key == next);
            }
        }
    }
}

/// A trailer is taken off if it is one, and put back it is the same file.
pub fn trailer_and_frame(data: &[u8]) {
    if let (payload, Some(tag)) = trailer::split(data) {
        assert_eq!([payload, &trailer::append(&tag)].concat(), data);
    }
    if let (payload, Some(tag)) = trailer::split_frame(data) {
        assert_eq!([payload, &trailer::append_frame(&tag)].concat(), data);
    }
}

/// No frame becomes more than is allowed, and what was packed comes back.
pub fn compression(data: &[u8]) {
    const LIMIT: u64 = 1 << 18;
    for codec in [Codec::Zstd, Codec::Lz4] {
        match decompress(codec, data.to_vec(), LIMIT) {
            Ok(content) => assert!(content.len() as u64 <= LIMIT),
            Err(error) => assert_ne!(error.kind(), ErrorKind::Io, "{error}"),
        }
        let length = data.len() as u64;
        let packed = compress(codec, data.chunks(7), length);
        let back = packed.and_then(|packed| decompress(codec, packed, length));
        assert!(back.is_ok_and(|back| back == data));
    }
}

/// Text is JSON that comes back equal, or refused.
pub fn json(data: &[u8]) {
    let Ok(value) = decode::<serde_json::Value>(Format::Json, data) else { return };
    if let Ok(written) = encode(Format::Json, &value) {
        let again = decode::<serde_json::Value>(Format::Json, &written);
        assert!(again.is_ok_and(|again| again == value));
    }
}

/// Any clock file opens, gives rising generations, and ends its doubts.
pub fn clock(data: &[u8]) {
    thread_local! {
        static FILE: fs::File = tempfile_in_memory();
    }
    FILE.with(|held| {
        let Ok(copy) = held.try_clone() else { return };
        file::clock(OwnedFd::from(copy), data);
    });
}

fn tempfile_in_memory() -> fs::File {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    rustix::fs::memfd_create("clock", flags).map_or_else(|error| panic!("{error}"), Into::into)
}

/// Any file with any stamp under any name is a value of its key, an error or nothing, and the value
/// beside it is there.
pub fn adoption(data: &[u8]) {
    thread_local! {
        static STORE: RefCell<Option<file::Store>> = const { RefCell::new(None) };
    }
    STORE.with(|slot| {
        let mut slot = slot.borrow_mut();
        let store = slot.get_or_insert_with(|| {
            let store = file::Store::new();
            let one = manager(&store);
            assert!(one.save("other", &1, Format::Json).is_ok());
            store
        });
        let blobs = manager(store);
        for key in store.plant(data) {
            let _ = blobs.load_bytes(&key, None);
            let _ = blobs.metadata(&key);
            let _ = blobs.read_range(&key, 1, 5);
            let _ = blobs.exists(&key);
        }
        assert_eq!(blobs.load::<i32>("other").ok(), Some(1));
        assert!(blobs.list("", None, 100).is_ok_and(|found| !found.is_empty()));
        for key in store.keys() {
            let _ = blobs.delete(&key, None);
        }
        store.sweep();
    });
}

fn manager(store: &file::Store) -> BlobManager {
    let base_path = store.path().to_path_buf();
    BlobManager::with_options(BlobOptions { base_path, ..BlobOptions::default() })
}
