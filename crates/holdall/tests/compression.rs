//! Compressed values: what a manager without compression would make of them, and every other promise.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use holdall::format::Codec;
use holdall::signing::KeySource;
use holdall::{BlobManager, BlobOptions, ErrorKind, Format, OnCorrupt, Result, SaveOptions, Trust};

const CODECS: [Codec; 2] = [Codec::Zstd, Codec::Lz4];

fn options(folder: &Path, compression: Codec) -> BlobOptions {
    BlobOptions {
        base_path: folder.into(),
        signing_key: KeySource::text("a secret of the tests alone").expect("long enough"),
        compression,
        ..BlobOptions::default()
    }
}

fn store(folder: &Path, compression: Codec) -> BlobManager {
    BlobManager::with_options(options(folder, compression))
}

fn text() -> String {
    (0..2_000).map(|n| format!("line {n}, and so on\n")).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let names = entries.map(|entry| entry.expect("listed").file_name().into_string());
    let mut names: Vec<_> =
        names.map(|name| name.expect("a name")).filter(|name| name != ".holdall").collect();
    names.sort();
    names
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.expect_err("refused").kind()
}

fn pickle(store: &BlobManager, key: &str) {
    let parts = vec![text().into_bytes().into()];
    store.save_parts(key, Format::Pickle, parts, SaveOptions::default()).expect("saved");
}

#[test]
fn a_compressed_value_is_one_file_that_the_tools_of_its_codec_read() {
    let folder = tempfile::tempdir().expect("a folder");
    for codec in CODECS {
        let saved = store(folder.path(), codec).save("k", &text(), Format::String).expect("saved");
        assert!(saved.record().length < text().len() as u64 / 3);
        assert_eq!(names(folder.path()), [format!("k.txt{}", codec.suffix())]);
    }
    store(folder.path(), Codec::Zstd).save("k", &text(), Format::String).expect("saved");
    let packed = fs::read(folder.path().join("k.txt.zst")).expect("a file");
    assert_eq!(zstd::decode_all(&packed[..]).expect("a frame"), text().into_bytes());
}

#[test]
fn every_manager_reads_it_and_replaces_it_as_it_was_told_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let all = [Codec::None, Codec::Zstd, Codec::Lz4];
    for writer in all {
        let writing = store(folder.path(), writer);
        writing.save("k", &text(), Format::String).expect("saved");
        for reader in all {
            let reading = store(folder.path(), reader);
            assert_eq!(reading.load::<String>("k").expect("read"), text());
            assert_eq!(reading.load_as::<String>("k", Format::String).expect("read"), text());
            let cached = reading.load_cached("k", None).map(|blob| blob.payload);
            assert!(cached.is_none_or(|payload| payload == text().into_bytes()));
            let mut part = String::new();
            let mut open = reading.reader("k").expect("open");
            assert_eq!(open.len(), text().len() as u64);
            open.seek(SeekFrom::Start(100)).expect("moved");
            open.read_to_string(&mut part).expect("read");
            assert_eq!(part, text()[100..]);
            assert_eq!(reading.read_range("k", 7, 5).expect("read"), text().as_bytes()[7..12]);
        }
        assert_eq!(names(folder.path()), [format!("k.txt{}", writer.suffix())]);
        let stats = writing.get_stats().expect("counted");
        assert_eq!(stats.entries, 1);
        writing.rename("k", "other", false).expect("renamed");
        writing.copy("other", "k", false).expect("copied");
        assert!(writing.delete("other", None).expect("removed"));
        assert_eq!(writing.load::<String>("k").expect("read"), text());
    }
    assert!(store(folder.path(), Codec::None).delete("k", None).expect("removed"));
    assert_eq!(names(folder.path()), [""; 0]);
}

#[test]
fn what_would_not_get_smaller_is_kept_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut state = 1_u64;
    let noise: Vec<u8> = (0..10_000)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .collect();
    for codec in CODECS {
        let store = store(folder.path(), codec);
        let save = |key, bytes: &[u8]| {
            let parts = vec![bytes.to_vec().into()];
            store.save_parts(key, Format::Bytes, parts, SaveOptions::default()).expect("saved");
        };
        save("noise", &noise);
        save("small", b"aaaaaaaaaaaaaaaaaaaaaaaa");
        save("empty", b"");
    }
    assert_eq!(names(folder.path()), ["empty.bin", "noise.bin", "small.bin"]);
}

#[test]
fn a_signature_covers_what_lies_in_the_file_and_is_checked_before_it_is_unpacked() {
    for codec in CODECS {
        let folder = tempfile::tempdir().expect("a folder");
        let it = store(folder.path(), codec);
        pickle(&it, "k");
        let path = folder.path().join(format!("k.pkl{}", codec.suffix()));
        assert_eq!(it.load_bytes("k", None).expect("read").payload, text().into_bytes());
        let whole = fs::read(&path).expect("a file");
        let mut unpacked = Vec::new();
        match codec {
            // The tools of both pass over the signature.
            Codec::Zstd => unpacked = zstd::decode_all(&whole[..]).expect("frames"),
            _ => {
                let mut frames = lz4_flex::frame::FrameDecoder::new(&whole[..]);
                frames.read_to_end(&mut unpacked).expect("a frame");
            }
        }
        assert_eq!(unpacked, text().into_bytes());

        // Put there by somebody else: without a stamp, under another key, as another format.
        let strange = |name: &str, bytes: &[u8]| {
            fs::write(folder.path().join(name), bytes).expect("written");
        };
        strange(&format!("moved.pkl{}", codec.suffix()), &whole);
        assert_eq!(kind(it.load_bytes("moved", None)), ErrorKind::Untrusted);
        strange("plain.pkl", &whole);
        assert_eq!(kind(it.load_bytes("plain", None)), ErrorKind::Untrusted);
        let unsigned = &whole[..whole.len() - 72];
        strange(&format!("unsigned.pkl{}", codec.suffix()), unsigned);
        assert_eq!(kind(it.load_bytes("unsigned", None)), ErrorKind::Untrusted);
        let trusting = BlobManager::with_options(BlobOptions {
            trust: Trust::Any,
            ..options(folder.path(), Codec::None)
        });
        assert_eq!(trusting.load_bytes("unsigned", None).expect("read").payload, unpacked);
        assert_eq!(trusting.load_bytes("moved", None).expect("read").payload, unpacked);
        assert_eq!(kind(trusting.copy("moved", "copied", false)), ErrorKind::Untrusted);
    }
}

#[test]
fn damage_is_reported_at_every_byte() {
    for codec in CODECS {
        let folder = tempfile::tempdir().expect("a folder");
        let it = store(folder.path(), codec);
        it.save("k", &"abc ".repeat(300), Format::String).expect("saved");
        let path = folder.path().join(format!("k.txt{}", codec.suffix()));
        let (whole, modified) =
            (fs::read(&path).expect("a file"), fs::metadata(&path).expect("there").modified());
        let modified = modified.expect("known");
        let lenient = BlobManager::with_options(BlobOptions {
            on_corrupt: OnCorrupt::Miss,
            ..options(folder.path(), codec)
        });
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).expect("damaged");
            fs::File::options()
                .write(true)
                .open(&path)
                .and_then(|file| file.set_modified(modified))
                .expect("set");
            assert_eq!(kind(it.load::<String>("k")), ErrorKind::Corrupt, "{codec:?} at {at}");
            assert!(lenient.try_load_bytes("k", None).expect("a miss").is_none());
        }
    }
}

#[test]
fn no_more_memory_is_taken_than_a_value_may_have() {
    for codec in CODECS {
        let folder = tempfile::tempdir().expect("a folder");
        let parts = vec![vec![0_u8; 30 << 20].into()];
        let it = store(folder.path(), codec);
        it.save_parts("k", Format::Bytes, parts, SaveOptions::default()).expect("saved");
        let careful = BlobManager::with_options(BlobOptions {
            max_value_bytes: 10 << 20,
            ..options(folder.path(), codec)
        });
        assert_eq!(kind(careful.load_bytes("k", None)), ErrorKind::InvalidArgument);
        assert_eq!(kind(careful.reader("k")), ErrorKind::InvalidArgument);
        assert!(careful.load_cached("k", None).is_none());
    }
}

#[test]
fn a_compressed_file_is_not_mapped() {
    let folder = tempfile::tempdir().expect("a folder");
    let it = store(folder.path(), Codec::Zstd);
    it.save("k", &text(), Format::String).expect("saved");
    let error = it.locate("k", None).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("compressed (zstd)"), "{error}");
    assert!(it.locate_cached("k", None).is_none());
}

#[test]
fn a_scan_finds_compressed_files_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let it = store(folder.path(), Codec::Lz4);
    it.save("k", &text(), Format::String).expect("saved");
    pickle(&it, "p");
    it.close().expect("closed");
    drop(it);
    fs::remove_dir_all(folder.path().join(".holdall/index")).expect("removed");
    fs::remove_file(folder.path().join(".holdall/clock")).expect("removed");
    let it = store(folder.path(), Codec::None);
    assert_eq!(it.keys("").collect::<Result<Vec<_>>>().expect("listed"), ["k", "p"]);
    assert_eq!(it.load::<String>("k").expect("read"), text());
    assert_eq!(it.load_bytes("p", None).expect("read").payload, text().into_bytes());
}
