//! Another key signs: nothing is lost, nothing is signed that did not verify, and the old key can go.

#[allow(dead_code, reason = "only its files are asked for")]
#[path = "common/folder.rs"]
mod folder;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use holdall::clock::{Clock, ManualClock};
use holdall::format::Codec;
use holdall::signing::KeySource;
use holdall::{
    BlobManager, BlobOptions, CancelToken, ErrorKind, Format, KeyRotation, Part, Result,
    SaveOptions, Trust, Ttl,
};

const OLD: &str = "the old secret of the store";
const NEW: &str = "the new secret of the store";
/// Knows the new key too.
const LEARNING: &str = "the old secret of the store,the new secret of the store";
const BOTH: &str = "the new secret of the store,the old secret of the store";

fn options(folder: &Path, secrets: &str) -> BlobOptions {
    let signing_key = KeySource::text(secrets).expect("long enough");
    BlobOptions { base_path: folder.into(), signing_key, ..BlobOptions::default() }
}

fn store(folder: &Path, secrets: &str) -> BlobManager {
    BlobManager::with_options(options(folder, secrets))
}

fn save(store: &BlobManager, key: &str, payload: &[u8]) {
    save_with(store, key, payload, SaveOptions::default());
}

fn save_with(store: &BlobManager, key: &str, payload: &[u8], options: SaveOptions) {
    let parts = vec![Part::from(payload.to_vec())];
    store.save_parts(key, Format::Pickle, parts, options).expect("saved");
}

fn load(store: &BlobManager, key: &str) -> Result<Vec<u8>> {
    Ok(store.load_bytes(key, None)?.payload)
}

fn rotate(store: &BlobManager) -> KeyRotation {
    store.rotate_signing_key(false, |_| ()).expect("rotated")
}

fn signer(folder: &Path) -> String {
    let text = fs::read_to_string(folder.join(".holdall/signer")).expect("noted");
    text.trim().to_owned()
}

fn counts(done: &KeyRotation) -> (u64, u64, usize, usize, bool) {
    (done.checked, done.resigned, done.refused.len(), done.failed.len(), done.is_complete)
}

#[test]
fn every_kind_of_value_is_signed_anew_and_the_old_key_can_go() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path();
    let old = store(path, OLD);
    let large = vec![7; 5 << 20];
    let long = format!("long/{}", "k".repeat(3_000));
    save(&old, "file", b"1");
    save(&old, "a/b/c", b"2");
    save(&old, &long, b"3");
    save(&old, "large", &large);
    let inline =
        BlobManager::with_options(BlobOptions { inline_below: 4_096, ..options(path, OLD) });
    save(&inline, "inline", b"4");
    let text = b"the same line\n".repeat(1_000);
    for codec in [Codec::Zstd, Codec::Lz4] {
        let packed =
            BlobManager::with_options(BlobOptions { compression: codec, ..options(path, OLD) });
        save(&packed, codec.name(), &text);
    }
    let packed =
        BlobOptions { compression: Codec::Zstd, inline_below: 4_096, ..options(path, OLD) };
    save(&BlobManager::with_options(packed), "packed inline", &text);
    old.save("json", &1, Format::Json).expect("saved");
    let json = old.metadata("json").expect("there");
    let files_before = folder::files(path).len();

    let both = store(path, BOTH);
    let mut told = Vec::new();
    let done =
        both.rotate_signing_key(false, |so_far| told.push(so_far.resigned)).expect("rotated");
    assert_eq!(counts(&done), (8, 8, 0, 0, true), "{done:?}");
    assert_eq!(told.last(), Some(&8));
    assert_eq!(signer(path), done.fingerprint);

    let new = store(path, NEW);
    for (key, payload) in [
        ("file", &b"1"[..]),
        ("a/b/c", b"2"),
        (&long, b"3"),
        ("inline", b"4"),
        ("large", &large),
        ("zstd", &text),
        ("lz4", &text),
        ("packed inline", &text),
    ] {
        assert_eq!(load(&new, key).expect("signed with the new key"), payload, "{key:.20}");
        assert_eq!(load(&old, key).expect_err("of another key").kind(), ErrorKind::Untrusted);
    }
    // What was a file is one, and what was inline is.
    assert_eq!(folder::files(path).len(), files_before);
    assert!(!path.join("inline.pkl").exists());
    assert_eq!(new.metadata("json").expect("there"), json, "what is not signed is not touched");
    save(&new, "file", b"after");
    assert_eq!(counts(&rotate(&new)), (8, 0, 0, 0, true), "a second rotation has nothing to do");
}

#[test]
fn a_value_keeps_its_tags_notes_and_times_and_one_that_is_over_stays_over() {
    let dir = tempfile::tempdir().expect("a folder");
    let hands = ManualClock::new();
    let at = |secrets: &str, inline_below| {
        BlobManager::with_options(BlobOptions {
            clock: hands.clock(),
            inline_below,
            ..options(dir.path(), secrets)
        })
    };
    for (inline_below, key) in [(0, "file"), (1_024, "inline")] {
        let about = SaveOptions {
            ttl: Ttl::After(Duration::from_secs(60)),
            tags: vec!["one".into(), "two".into()],
            metadata: Some(br#"{"n":1}"#.to_vec()),
            ..SaveOptions::default()
        };
        save_with(&at(OLD, inline_below), key, b"1", about);
        let short =
            SaveOptions { ttl: Ttl::After(Duration::from_secs(1)), ..SaveOptions::default() };
        save_with(&at(OLD, inline_below), &format!("{key}/over"), b"2", short);
    }
    let both = at(BOTH, 0);
    let before = ["file", "inline"].map(|key| both.metadata(key).expect("there"));
    hands.advance(Duration::from_secs(5));
    assert_eq!(counts(&rotate(&both)), (4, 4, 0, 0, true));
    for (key, before) in ["file", "inline"].into_iter().zip(before) {
        let after = both.metadata(key).expect("there");
        let kept = |of: &holdall::BlobMetadata| {
            let record = of.record();
            (record.created, record.expiry, record.tags.clone(), record.metadata.clone())
        };
        assert_eq!(kept(&after), kept(&before));
        assert_eq!(after.updated_at, before.updated_at + 5_000, "a backup by date takes it");
        assert_ne!(after.etag, before.etag);
        assert!(!both.exists(&format!("{key}/over")).expect("asked"));
    }
    assert_eq!(both.expire().expect("removed"), 2);
}

#[test]
fn what_does_not_verify_is_reported_and_never_signed() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path();
    let old = store(path, OLD);
    for key in ["good", "moved", "damaged", "swapped"] {
        save(&old, key, key.as_bytes());
    }
    fs::write(path.join("stranger.pkl"), b"c__builtin__\neval\n.").expect("planted");
    fs::rename(path.join("moved.pkl"), path.join("elsewhere.pkl")).expect("moved");
    fs::copy(path.join("good.pkl"), path.join("swapped.pkl")).expect("swapped");
    let mut content = fs::read(path.join("damaged.pkl")).expect("there");
    content[0] ^= 1;
    fs::write(path.join("damaged.pkl"), content).expect("damaged");
    let done = rotate(&store(path, BOTH));
    let mut refused: Vec<_> = done.refused.iter().map(|(key, _)| key.as_str()).collect();
    refused.sort_unstable();
    assert_eq!(refused, ["damaged", "elsewhere", "stranger", "swapped"]);
    assert_eq!((done.resigned, done.is_complete), (1, true));
    let new = store(path, NEW);
    load(&new, "good").expect("verified and signed");
    let any = BlobManager::with_options(BlobOptions { trust: Trust::Any, ..options(path, NEW) });
    for (key, error) in &done.refused {
        assert_eq!(error.kind(), ErrorKind::Untrusted, "{error}");
        assert!(error.to_string().contains("sign anew"), "{error}");
        assert_eq!(load(&new, key).expect_err("still refused").kind(), ErrorKind::Untrusted);
        load(&any, key).expect("it is still there, as it was");
    }
}

#[test]
fn a_copy_without_attributes_keeps_its_pickles_through_a_rotation() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path();
    save(&store(path, OLD), "a/k", b"1");
    let (file, copy) = (path.join("a/k.pkl"), path.join("a/copy"));
    let content = fs::read(&file).expect("there");
    fs::write(&copy, content).expect("without its stamp");
    fs::rename(&copy, &file).expect("in its place");
    // Nothing lists it: its record was in the attribute.
    fs::remove_dir_all(path.join(".holdall/index")).expect("as in a copy of the values alone");
    let done = rotate(&store(path, BOTH));
    assert_eq!(counts(&done), (1, 1, 0, 0, true), "{done:?}");
    assert_eq!(load(&store(path, NEW), "a/k").expect("signed anew"), b"1");
}

#[test]
fn a_rotation_that_was_stopped_goes_on_and_both_keys_hold_until_it_is_over() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path();
    let (old, both) = (store(path, OLD), store(path, BOTH));
    for n in 0..200 {
        save(&old, &format!("{n:03}"), b"1");
    }
    let noted = signer(path);
    let mut rotation = both.rotation(false).expect("begun");
    while rotation.so_far().resigned == 0 {
        assert!(rotation.step().expect("a step"));
    }
    let first = rotation.finish().resigned;
    assert!((1..200).contains(&first), "{first}");
    assert_eq!(signer(path), noted, "the old key stands");
    for key in ["000", "199"] {
        load(&both, key).expect("either key");
    }
    save(&old, "late", b"2");
    let done = rotate(&both);
    assert_eq!(counts(&done), (201, 201 - first, 0, 0, true));
    assert_eq!(load(&store(path, NEW), "late").expect("signed anew"), b"2");
}

#[test]
fn a_value_that_somebody_saves_meanwhile_is_theirs() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path();
    const KEYS: [&str; 4] = ["0", "1", "2", "3"];
    // They know both keys.
    let writing = store(path, LEARNING);
    KEYS.iter().for_each(|key| save(&writing, key, b"0000"));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut rounds = 0_u32;
            while !stop.load(Ordering::Relaxed) {
                rounds += 1;
                let value = format!("{rounds:04}");
                for key in KEYS {
                    save(&writing, key, value.as_bytes());
                    std::thread::yield_now();
                    // Nobody else saves, so that is the value, whoever has signed it.
                    let found = load(&writing, key).expect("of either key");
                    assert_eq!(String::from_utf8_lossy(&found), value, "{key}");
                }
            }
            rounds
        });
        let (mut resigned, mut to_new) = (0, false);
        while resigned < 100 && !writer.is_finished() {
            // To and fro, for what is saved after a rotation is signed with its key.
            to_new = !to_new;
            let done = rotate(&store(path, if to_new { BOTH } else { LEARNING }));
            // Who gave up on a value that changes all the time keeps the old key.
            assert_eq!(done.is_complete, done.failed.is_empty());
            resigned += done.resigned;
        }
        stop.store(true, Ordering::Relaxed);
        assert!(writer.join().expect("its values were its own") > 10);
    });
    assert!(rotate(&store(path, BOTH)).is_complete);
    KEYS.iter().for_each(|key| drop(load(&store(path, NEW), key).expect("signed anew")));
}

#[test]
fn who_has_both_keys_signs_with_the_one_that_the_store_names_in_whatever_order() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path();
    let [learning, both] = [LEARNING, BOTH].map(|secrets| store(path, secrets));
    save(&store(path, OLD), "first", b"1");
    let large = vec![7; 5 << 20];
    let before = signer(path);
    for (who, store) in [("learning", &learning), ("both", &both)] {
        save(store, who, b"2");
        save(store, &format!("{who}/large"), &large);
    }
    assert_eq!(signer(path), before, "only a rotation changes who signs");
    for key in ["learning", "both", "learning/large", "both/large"] {
        load(&store(path, OLD), key).expect("signed with the key that the store names");
    }
    assert_eq!(counts(&rotate(&both)), (5, 5, 0, 0, true));
    save(&learning, "late", b"3");
    save(&learning, "late/large", &large);
    save(&store(path, LEARNING), "later", b"4");
    for key in ["learning", "both", "late", "late/large", "later"] {
        load(&store(path, NEW), key).expect("the old key may go");
    }
}

#[test]
fn nothing_that_is_saved_while_the_key_changes_needs_the_old_one_afterwards() {
    for inline_below in [0, 4_096] {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path();
        save(&store(path, OLD), "first", b"1");
        let stop = AtomicBool::new(false);
        let (sizes, keys) = ([5 << 20, 9, 9], [3, 40, 40]);
        let is_complete = std::thread::scope(|scope| {
            let writers = [0, 1, 2].map(|number: usize| {
                let options = BlobOptions { inline_below, ..options(path, LEARNING) };
                let writing = BlobManager::with_options(options);
                let (stop, payload) = (&stop, vec![7; sizes[number]]);
                scope.spawn(move || {
                    let mut rounds = 0;
                    while !stop.load(Ordering::Relaxed) {
                        // Each seldom enough for the rotation, which gives up on what always changes.
                        save(&writing, &format!("{number}/{}", rounds % keys[number]), &payload);
                        rounds += 1;
                    }
                    save(&writing, &format!("{number}/last"), &payload);
                })
            });
            let complete = (0..20).any(|_| rotate(&store(path, BOTH)).is_complete);
            stop.store(true, Ordering::Relaxed);
            writers.into_iter().for_each(|writer| writer.join().expect("no save was refused"));
            complete
        });
        assert!(is_complete);
        let new = store(path, NEW);
        let all = store(path, BOTH).list("", None, 1_000).expect("listed");
        assert!(all.len() >= 4, "the first one, and the last one of each");
        for one in all {
            load(&new, &one.key).unwrap_or_else(|error| panic!("{}: {error}", one.key));
        }
    }
}

#[test]
fn a_step_that_was_cancelled_counts_nothing_twice() {
    let (mut cancelled, mut round) = (0, 0);
    // How soon the other thread runs is a matter of chance.
    while cancelled < 6 && round < 100 {
        round += 1;
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path();
        let old = store(path, OLD);
        for n in 0..20 {
            save(&old, &format!("{n:02}"), b"1");
        }
        fs::copy(path.join("00.pkl"), path.join("01.pkl")).expect("swapped");
        let token = CancelToken::new();
        let mut rotation = store(path, BOTH).rotation(false).expect("begun");
        assert!(rotation.step().expect("a step"));
        let has_begun = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !has_begun.load(Ordering::Acquire) {
                    std::hint::spin_loop();
                }
                // Somewhere in the middle.
                (0..15_000 * (round % 12)).for_each(|_| std::hint::spin_loop());
                token.cancel();
            });
            has_begun.store(true, Ordering::Release);
            cancelled += u32::from(token.run(|| rotation.step()).is_err());
        });
        while rotation.step().expect("a step") {}
        let done = rotation.finish();
        let refused: Vec<_> = done.refused.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!((done.checked, refused), (20, vec!["01"]), "{done:?}");
        assert!(done.failed.is_empty() && done.is_complete, "what was stopped failed: {done:?}");
    }
    assert!(cancelled > 0);
}

#[test]
fn a_value_that_cannot_be_looked_at_keeps_the_old_key_in_force() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path();
    save(&store(path, OLD), "large", &[1; 4_000]);
    save(&store(path, OLD), "small", b"1");
    let noted = signer(path);
    let options = BlobOptions { max_value_bytes: 1_000, ..options(path, BOTH) };
    let done = rotate(&BlobManager::with_options(options));
    assert_eq!(counts(&done), (1, 1, 0, 1, false), "{done:?}");
    assert!(done.failed[0].1.to_string().contains("max_value_bytes"));
    assert_eq!(signer(path), noted);
    assert_eq!(counts(&rotate(&store(path, BOTH))), (2, 1, 0, 0, true));
    assert_ne!(signer(path), noted);
}

#[test]
fn without_the_old_key_only_who_says_that_it_is_lost_gets_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path();
    save(&store(path, OLD), "k", b"1");
    let new = store(path, NEW);
    let refused = new.rotate_signing_key(false, |_| ()).expect_err("it lacks the old key");
    assert_eq!(refused.kind(), ErrorKind::Untrusted);
    assert!(refused.to_string().contains("old_key_is_lost=True"), "{refused}");
    let parts = || vec![Part::from(b"2".to_vec())];
    let save_new = || new.save_parts("new", Format::Pickle, parts(), SaveOptions::default());
    assert_eq!(save_new().expect_err("not its store yet").kind(), ErrorKind::Untrusted);
    let done = new.rotate_signing_key(true, |_| ()).expect("accepted");
    assert_eq!(counts(&done), (1, 0, 1, 0, true));
    assert!(done.refused[0].1.to_string().contains("which is not among the known ones"));
    save_new().expect("its store now");
    assert_eq!(load(&new, "k").expect_err("nobody vouches for it").kind(), ErrorKind::Untrusted);
    let any = BlobManager::with_options(BlobOptions { trust: Trust::Any, ..options(path, NEW) });
    let value = load(&any, "k").expect("read, and looked at");
    save(&any, "k", &value);
    assert_eq!(load(&new, "k").expect("encoded by this process"), b"1");
}

#[test]
fn a_rotation_waits_for_no_clock_and_names_a_key_in_a_new_store_too() {
    let dir = tempfile::tempdir().expect("a folder");
    let options = BlobOptions { clock: Clock::system(), ..options(dir.path(), NEW) };
    let done = rotate(&BlobManager::with_options(options));
    assert_eq!(counts(&done), (0, 0, 0, 0, true));
    assert_eq!(signer(dir.path()), done.fingerprint);
}
