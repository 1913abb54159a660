//! Files that say of themselves whatever their forger wants: only the signature tells.
//!
//! Who can write into the folder can write stamps too; their checksums have no key. Each forgery
//! here is complete but for the signature, so that nothing else can be what refuses it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use holdall::signing::{KeySource, trailer};
use holdall::{
    BlobManager, BlobOptions, ErrorKind, Format, Loaded, Part, Result, SaveOptions, Trust,
};
use rustix::fs::{AtFlags, Timespec, Timestamps, XattrFlags};
use xxhash_rust::xxh3::xxh3_64;

const SECRET: &str = "the secret of this user alone";
const ATTRIBUTE: &str = "user.holdall";
/// Read as a whole; read into memory that was made for it; read and verified in blocks.
const SIZES: [usize; 3] = [100, 3 << 20, 6 << 20];

fn store(folder: &Path, trust: Trust) -> BlobManager {
    BlobManager::with_options(BlobOptions {
        base_path: folder.into(),
        signing_key: KeySource::text(SECRET).expect("long enough"),
        trust,
        ..BlobOptions::default()
    })
}

fn payload(size: usize, seed: u8) -> Vec<u8> {
    (0..size).map(|at| (at as u8).wrapping_mul(31) ^ seed).collect()
}

fn save(store: &BlobManager, key: &str, format: Format, payload: Vec<u8>) {
    let parts = vec![Part::from(payload)];
    store.save_parts(key, format, parts, SaveOptions::default()).expect("saved");
}

/// The payload, by each of the two ways to it.
fn load(store: &BlobManager, key: &str) -> [Result<Vec<u8>>; 2] {
    let whole = store.load_bytes(key, None).map(|blob| blob.payload);
    let opened = match store.load_or_open(key, None, 1 << 20) {
        Ok(Some(Loaded::Large(mut reader))) => {
            let mut memory = vec![0; usize::try_from(reader.len()).expect("small")];
            store.fill(&mut reader, &mut memory).map(|()| memory)
        }
        Ok(Some(Loaded::Whole(blob))) => Ok(blob.payload),
        Ok(None) => panic!("it is there"),
        Err(error) => Err(error),
    };
    [whole, opened]
}

fn stamp_of(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 4_096];
    let length = rustix::fs::getxattr(path, ATTRIBUTE, &mut bytes[..]).ok()?;
    bytes.truncate(length);
    Some(bytes)
}

/// Puts content and stamp at `to` as a save would have, with the time of change of `from`.
fn forge(from: &Path, to: &Path, content: &[u8], stamp: &mut [u8]) {
    let body = stamp.len() - 4;
    stamp[24..32].copy_from_slice(&xxh3_64(content).to_le_bytes());
    let end = (xxh3_64(&stamp[..body]) as u32).to_le_bytes();
    stamp[body..].copy_from_slice(&end);
    let meta = fs::metadata(from).expect("there");
    let when = Timespec { tv_sec: meta.mtime(), tv_nsec: meta.mtime_nsec() as _ };
    let _ = fs::remove_file(to);
    fs::write(to, content).expect("planted");
    rustix::fs::setxattr(to, ATTRIBUTE, stamp, XattrFlags::empty()).expect("planted");
    let times = Timestamps { last_access: when, last_modification: when };
    rustix::fs::utimensat(rustix::fs::CWD, to, &times, AtFlags::empty()).expect("set back");
}

struct Planted {
    dir: tempfile::TempDir,
    file: PathBuf,
    content: Vec<u8>,
    stamp: Vec<u8>,
}

/// A store with one signed value under `a`; `None` where there are no attributes to forge.
fn planted(size: usize) -> Option<Planted> {
    let dir = tempfile::tempdir().expect("a folder");
    save(&store(dir.path(), Trust::Own), "a", Format::Pickle, payload(size, 0));
    let file = dir.path().join("a.pkl");
    let content = fs::read(&file).expect("there");
    let Some(stamp) = stamp_of(&file) else {
        println!("not run: the file system has no extended attributes");
        return None;
    };
    Some(Planted { dir, file, content, stamp })
}

fn refused(store: &BlobManager, key: &str) -> String {
    let [whole, opened] = load(store, key).map(|loaded| loaded.expect_err("refused"));
    assert_eq!(opened.kind(), ErrorKind::Untrusted, "{opened}");
    assert_eq!(whole.kind(), ErrorKind::Untrusted, "{whole}");
    whole.to_string()
}

#[test]
fn a_forgery_without_a_flaw_is_the_value_where_the_signature_is_not_asked_for() {
    for size in SIZES {
        let Some(Planted { dir, file, content, mut stamp }) = planted(size) else { return };
        stamp[8..16].copy_from_slice(&xxh3_64(b"k").to_le_bytes());
        forge(&file, &dir.path().join("k.pkl"), &content, &mut stamp);
        let found = store(dir.path(), Trust::Any).load_bytes("k", None).expect("whole");
        assert!(!found.metadata.record().foreign, "holdall takes it for its own");
        assert_eq!(found.payload, payload(size, 0));
    }
}

#[test]
fn a_value_is_refused_under_another_key_whatever_its_stamp_says() {
    for size in SIZES {
        let Some(Planted { dir, file, content, mut stamp }) = planted(size) else { return };
        stamp[8..16].copy_from_slice(&xxh3_64(b"k").to_le_bytes());
        forge(&file, &dir.path().join("k.pkl"), &content, &mut stamp);
        let told = refused(&store(dir.path(), Trust::Own), "k");
        assert!(told.contains("not of this payload under this key"), "{told}");
    }
}

#[test]
fn a_value_is_refused_as_another_format_whatever_its_stamp_says() {
    for size in SIZES {
        let Some(Planted { dir, file, content, mut stamp }) = planted(size) else { return };
        assert_eq!(stamp[2], Format::Pickle.id());
        stamp[2] = Format::Joblib.id();
        forge(&file, &dir.path().join("a.joblib"), &content, &mut stamp);
        fs::remove_file(&file).expect("only the other one is left");
        let told = refused(&store(dir.path(), Trust::Own), "a");
        assert!(told.contains("not of this payload"), "{told}");
    }
}

#[test]
fn a_value_of_another_store_is_refused_whatever_its_stamp_says() {
    for size in SIZES {
        let Some(Planted { dir: other, file, content, mut stamp }) = planted(size) else { return };
        let Some(Planted { dir, stamp: own, .. }) = planted(size) else { return };
        assert_ne!(stamp[4..8], own[4..8], "stores have names of their own");
        stamp[4..8].copy_from_slice(&own[4..8]);
        forge(&file, &dir.path().join("a.pkl"), &content, &mut stamp);
        let told = refused(&store(dir.path(), Trust::Own), "a");
        assert!(told.contains("not of this payload"), "{told}");
        drop(other);
    }
}

#[test]
fn a_payload_that_was_changed_is_refused_whatever_its_stamp_says() {
    for size in SIZES {
        let Some(Planted { dir, file, content, stamp }) = planted(size) else { return };
        let of_payload = content.len() - trailer::LENGTH;
        for at in [0, of_payload / 2, of_payload - 1] {
            let (mut content, mut stamp) = (content.clone(), stamp.clone());
            content[at] ^= 1;
            forge(&file, &file, &content, &mut stamp);
            refused(&store(dir.path(), Trust::Own), "a");
        }
        // Bytes moved over the end of the payload, and a trailer that says something else.
        let longer = [&content[..of_payload], b".", &content[of_payload..]].concat();
        let mut as_long = stamp.clone();
        forge(&file, &file, &longer, &mut as_long);
        for loaded in load(&store(dir.path(), Trust::Own), "a") {
            assert!(loaded.is_err());
        }
        let mut unsigned = content.clone();
        unsigned[of_payload + 10] ^= 1;
        forge(&file, &file, &unsigned, &mut stamp.clone());
        for loaded in load(&store(dir.path(), Trust::Own), "a") {
            match loaded {
                // The stamp has the signature too. What is handed out is what that one covers.
                Ok(found) => assert_eq!(found, content[..of_payload]),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Untrusted),
            }
        }
    }
}

#[test]
fn an_older_value_of_the_same_key_is_not_told_from_the_newest() {
    let Some(Planted { dir, file, content, mut stamp }) = planted(100) else { return };
    save(&store(dir.path(), Trust::Own), "a", Format::Pickle, payload(100, 7));
    forge(&file, &file, &content, &mut stamp);
    let found = store(dir.path(), Trust::Own).load_bytes("a", None).expect("it was signed");
    assert_eq!(found.payload, payload(100, 0), "as SECURITY.md says");
}
