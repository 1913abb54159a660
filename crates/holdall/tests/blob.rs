//! The promises of `BlobManager`: what it refuses, what it makes of damage and of strangers'
//! files, and that batches are lists of single calls.

use std::fs;
use std::path::Path;
use std::time::Duration;

use holdall::clock::{ManualClock, Ttl};
use holdall::record::{MAX_ANNOTATIONS, MAX_TAGS};
use holdall::signing::KeySource;
use holdall::{
    BlobManager, BlobOptions, Durability, Error, ErrorKind, Format, OnCorrupt, Result, Save,
    SaveOptions, Trust,
};

const SECRET: &str = "a secret of the tests alone";
/// The pickle of 42.
const PICKLE: &[u8] = b"\x80\x05K\x2a.";

fn options(folder: &Path) -> BlobOptions {
    BlobOptions {
        base_path: folder.into(),
        signing_key: KeySource::text(SECRET).expect("long enough"),
        ..BlobOptions::default()
    }
}

fn on_disk() -> (tempfile::TempDir, BlobManager) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let store = BlobManager::with_options(options(folder.path()));
    (folder, store)
}

fn pickle(store: &BlobManager, key: &str) {
    let parts = vec![PICKLE.to_vec().into()];
    store.save_parts(key, Format::Pickle, parts, SaveOptions::default()).expect("saved");
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.expect_err("refused").kind()
}

/// Changes the bytes of a file as a failing disk does: without anybody writing it.
fn damage(path: &Path, content: &[u8]) {
    let modified = fs::metadata(path).expect("there").modified().expect("known");
    fs::write(path, content).expect("damaged");
    fs::File::options().write(true).open(path).expect("there").set_modified(modified).expect("set");
}

#[test]
fn the_format_is_recorded_and_a_wrong_one_is_named_with_the_right_one() {
    let (_folder, store) = on_disk();
    store.save("json", &[1, 2], Format::Json).expect("saved");
    store.save("custom", &[3], Format::CustomJson).expect("saved");
    store.save("text", "hello", Format::String).expect("saved");
    assert_eq!(store.load::<Vec<i32>>("json").expect("read"), [1, 2]);
    assert_eq!(store.load::<Vec<i32>>("custom").expect("read"), [3]);
    assert_eq!(store.load::<String>("text").expect("read"), "hello");
    assert_eq!(store.load_as::<Vec<i32>>("json", Format::Json).expect("read"), [1, 2]);
    for (key, format) in [("json", "json"), ("custom", "custom_json"), ("text", "string")] {
        assert_eq!(store.metadata(key).expect("there").format, format);
    }
    let error = store.load_as::<Vec<i32>>("custom", Format::Json).expect_err("another format");
    assert_eq!(error.kind(), ErrorKind::WrongFormat);
    assert!(error.to_string().contains("stored as custom_json, not as json"), "{error}");
    assert_eq!(kind(store.locate("text", Some(Format::Bytes))), ErrorKind::WrongFormat);
    assert_eq!(kind(store.load::<Vec<i32>>("text")), ErrorKind::Decode);
    // Only Python decodes these, and says so.
    pickle(&store, "pickle");
    assert_eq!(kind(store.load::<i32>("pickle")), ErrorKind::InvalidArgument);
}

#[test]
fn a_name_that_is_unknown_is_answered_with_those_that_are_known() {
    let told = |error: Error, names: &[&str]| {
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        let text = error.to_string();
        assert!(names.iter().all(|name| text.contains(name)), "{text}");
    };
    let formats: Vec<_> = Format::all().iter().map(|format| format.name()).collect();
    told(Format::from_name("yaml").expect_err("unknown"), &formats);
    told(Trust::from_name("all").expect_err("unknown"), &["own", "any"]);
    told(OnCorrupt::from_name("").expect_err("unknown"), &["raise", "miss"]);
    told(Durability::from_name("Disk").expect_err("unknown"), &["process", "disk"]);
    assert_eq!(Format::from_name("text").expect("an alias"), Format::String);
}

#[test]
fn without_a_lifetime_a_value_stays_and_a_lifetime_of_nothing_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let hands = ManualClock::new();
    let clock = hands.clock();
    let store = BlobManager::with_options(BlobOptions { clock, ..options(folder.path()) });
    store.save("k", &1, Format::Json).expect("saved");
    let none = SaveOptions { ttl: Ttl::After(Duration::ZERO), ..SaveOptions::default() };
    assert_eq!(kind(store.save_with("k", &2, Format::Json, none)), ErrorKind::InvalidArgument);
    let most = SaveOptions { ttl: Ttl::After(Duration::MAX), ..SaveOptions::default() };
    store.save_with("most", &2, Format::Json, most).expect("saved");
    hands.advance(Duration::from_secs(1_000 * 365 * 24 * 3_600));
    assert_eq!(store.load::<i32>("k").expect("it stays"), 1);
    assert_eq!(store.load::<i32>("most").expect("it stays"), 2);
    assert_eq!(store.expire().expect("asked"), 0);
}

#[test]
fn tags_and_metadata_come_back_up_to_the_limit_and_beyond_it_nothing_is_touched() {
    let (_folder, store) = on_disk();
    let noted = |tags: Vec<String>, metadata: usize| SaveOptions {
        metadata: (metadata > 0).then(|| vec![b'1'; metadata]),
        tags,
        ..SaveOptions::default()
    };
    // A long key and a signature lie beside them.
    let long = "k".repeat(1_000);
    let many = || (0..MAX_TAGS).map(|n| format!("{n:04}")).collect::<Vec<_>>();
    let cases = [
        noted(vec!["t".repeat(MAX_ANNOTATIONS)], 0),
        noted(Vec::new(), MAX_ANNOTATIONS),
        noted(vec!["größe".into(), "x".into()], 1_000),
        noted(many(), 0),
    ];
    for options in cases {
        for key in ["k", &long] {
            let parts = vec![PICKLE.to_vec().into()];
            let saved = store.save_parts(key, Format::Pickle, parts, options.clone());
            saved.expect("within the limit");
            let loaded = store.load_bytes(key, None).expect("whole");
            let record = loaded.metadata.record();
            assert!(!record.foreign, "the stamp is not read");
            assert_eq!((&record.tags, &record.metadata), (&options.tags, &options.metadata));
            for tag in options.tags.iter().take(3) {
                assert_eq!(store.tagged(tag, None, 10).expect("listed")[0].key.len(), key.len());
            }
            store.delete(key, None).expect("deleted");
        }
    }
    store.save("k", &1, Format::Json).expect("saved");
    let refused = [
        noted(vec!["t".repeat(MAX_ANNOTATIONS)], 1),
        noted(vec![String::new()], 0),
        noted(vec!["a\0b".into()], 0),
    ];
    for options in refused {
        let error = store.save_with("k", &2, Format::Json, options);
        assert_eq!(kind(error), ErrorKind::InvalidArgument);
    }
    assert_eq!(store.load::<i32>("k").expect("the old one"), 1);
}

#[test]
fn very_many_small_tags_are_kept_or_refused_but_never_lost() {
    let (_folder, store) = on_disk();
    let long = "k".repeat(1_000);
    for count in [MAX_TAGS, MAX_TAGS + 1, 1_500, MAX_ANNOTATIONS] {
        for key in ["k", &long] {
            store.save(key, &1, Format::Json).expect("saved");
            let tags = vec!["t".to_owned(); count];
            let options = SaveOptions { tags: tags.clone(), ..SaveOptions::default() };
            let saved = store.save_with(key, &2, Format::Json, options);
            let loaded = store.load_bytes(key, None).expect("whole");
            assert!(!loaded.metadata.record().foreign, "the stamp is not read");
            match saved {
                Ok(_) => {
                    assert_eq!(loaded.metadata.record().tags, tags);
                    assert!(count <= MAX_TAGS);
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
                    assert_eq!(loaded.payload, b"1");
                }
            }
        }
    }
}

#[test]
fn a_batch_is_a_list_of_single_calls() {
    let (folder, store) = on_disk();
    let save = |key: &str, value: i32| {
        BlobManager::encoded(key, &value, Format::Json).expect("it can be encoded")
    };
    let tagged = SaveOptions { tags: vec![String::new()], ..SaveOptions::default() };
    let many = vec![
        save("a", 1),
        save("", 2),
        save("b", 3),
        Save { options: tagged, ..save("c", 4) },
        save("a", 5),
    ];
    let results = store.save_many(many);
    let kinds: Vec<_> =
        results.iter().map(|one| one.as_ref().err().map(|error| error.kind())).collect();
    let (key, argument) = (ErrorKind::InvalidKey, ErrorKind::InvalidArgument);
    assert_eq!(kinds, [None, Some(key), None, Some(argument), None]);
    let error = results[3].as_ref().expect_err("an empty tag");
    assert_eq!((error.key(), error.operation()), (Some("c"), Some("save")));
    fs::write(folder.path().join("bad.json"), "{").expect("written");
    let loaded = store.load_many::<i32, _>(&["b", "missing", "a", "bad", "a\0"]);
    let values: Vec<_> = loaded
        .iter()
        .map(|one| one.as_ref().map(|value| *value).map_err(|error| error.kind()))
        .collect();
    let decode = ErrorKind::Decode;
    assert_eq!(values, [Ok(Some(3)), Ok(None), Ok(Some(5)), Err(decode), Err(key)]);
    let deleted = store.delete_many(&["b", "", "missing", "b"]);
    let deleted: Vec<_> =
        deleted.into_iter().map(|one| one.map_err(|error| error.kind())).collect();
    assert_eq!(deleted, [Ok(true), Err(key), Ok(false), Ok(false)]);
    assert!(store.save_many(Vec::new()).is_empty());
}

#[test]
fn keys_come_page_by_page_in_order_however_many_there_are() {
    let (_folder, store) = on_disk();
    let keys: Vec<String> = (0..2_050).map(|n| format!("n/{n:05}")).collect();
    for chunk in keys.chunks(1_025) {
        let saves = chunk.iter().map(|key| BlobManager::encoded(key, &1, Format::Json));
        let saves: Vec<Save> = saves.collect::<Result<_>>().expect("encoded");
        assert!(store.save_many(saves).iter().all(Result::is_ok));
    }
    assert_eq!(store.keys("n/").collect::<Result<Vec<_>>>().expect("listed"), keys);
    assert_eq!(store.keys("n/020").count(), 50);
    assert_eq!(store.keys("m").count(), 0);
}

#[test]
fn a_pickle_is_read_only_if_this_key_has_signed_it() {
    let (folder, store) = on_disk();
    pickle(&store, "mine");
    assert_eq!(store.load_bytes("mine", None).expect("signed").payload, PICKLE);
    let path = folder.path().join("mine.pkl");
    assert!(fs::read(&path).expect("there").starts_with(PICKLE));
    // As another program saves one, or an attacker.
    fs::write(folder.path().join("planted.pkl"), PICKLE).expect("planted");
    let error = store.load_bytes("planted", None).expect_err("unsigned");
    assert_eq!(error.kind(), ErrorKind::Untrusted);
    assert!(error.to_string().contains("trust=\"any\""), "{error}");
    // Signed, but for another name, or in another store.
    fs::copy(&path, folder.path().join("copied.pkl")).expect("copied");
    assert_eq!(kind(store.load_bytes("copied", None)), ErrorKind::Untrusted);
    let (other_folder, other) = on_disk();
    pickle(&other, "mine");
    fs::copy(&path, other_folder.path().join("mine.pkl")).expect("copied");
    assert_eq!(kind(other.load_bytes("mine", None)), ErrorKind::Untrusted);
    // By another key.
    let key = KeySource::text("another secret than that one").expect("long enough");
    let stranger = BlobOptions { signing_key: key.clone(), ..options(folder.path()) };
    let stranger = BlobManager::with_options(stranger);
    assert_eq!(kind(stranger.load_bytes("mine", None)), ErrorKind::Untrusted);
    let parts = vec![PICKLE.to_vec().into()];
    let saved = stranger.save_parts("theirs", Format::Pickle, parts, SaveOptions::default());
    assert_eq!(kind(saved), ErrorKind::Untrusted);
    // What cannot run code needs no key.
    stranger.save("json", &1, Format::Json).expect("saved");
    assert_eq!(store.load::<i32>("json").expect("read"), 1);
}

#[test]
fn who_trusts_all_reads_all_but_signs_nothing_that_was_not_verified() {
    let (folder, store) = on_disk();
    let trusting = BlobOptions { trust: Trust::Any, ..options(folder.path()) };
    let trusting = BlobManager::with_options(trusting);
    pickle(&store, "mine");
    fs::write(folder.path().join("planted.pkl"), PICKLE).expect("planted");
    for key in ["mine", "planted"] {
        assert_eq!(trusting.load_bytes(key, None).expect("trusted").payload, PICKLE);
    }
    trusting.copy("mine", "copy", false).expect("it is signed");
    assert_eq!(store.load_bytes("copy", None).expect("signed anew").payload, PICKLE);
    for result in
        [trusting.copy("planted", "laundered", false), trusting.rename("planted", "moved", false)]
    {
        assert_eq!(kind(result), ErrorKind::Untrusted);
    }
    for key in ["laundered", "moved"] {
        assert!(store.try_load_bytes(key, None).expect("nothing there").is_none());
    }
    assert_eq!(kind(store.load_bytes("planted", None)), ErrorKind::Untrusted);
}

#[test]
fn damage_is_an_error_or_a_miss_as_the_manager_was_told() {
    let (folder, store) = on_disk();
    let lenient = BlobOptions { on_corrupt: OnCorrupt::Miss, ..options(folder.path()) };
    let lenient = BlobManager::with_options(lenient);
    for content in [&b"[1,9]"[..], b"[1", b""] {
        store.save("k", &[1, 2], Format::Json).expect("saved");
        let path = folder.path().join("k.json");
        damage(&path, content);
        let error = store.load_bytes("k", None).expect_err("damaged");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let told = error.path().and_then(Path::file_name);
        assert_eq!((told, error.key()), (path.file_name(), Some("k")));
        assert!(lenient.try_load_bytes("k", None).expect("a miss").is_none());
        assert_eq!(kind(lenient.load::<Vec<i32>>("k")), ErrorKind::NotFound);
        // Nothing was removed or mended in silence.
        assert_eq!(fs::read(&path).expect("there"), content);
        assert_eq!(kind(store.copy("k", "copy", false)), ErrorKind::Corrupt);
    }
    assert!(store.delete("k", None).expect("deleted"));
    // Other errors are no misses.
    fs::write(folder.path().join("p.pkl"), PICKLE).expect("planted");
    assert_eq!(kind(lenient.load_bytes("p", None)), ErrorKind::Untrusted);
}

#[test]
fn a_value_above_the_limit_is_refused_on_both_ways() {
    let (folder, store) = on_disk();
    let strict = BlobOptions { max_value_bytes: 10, ..options(folder.path()) };
    let strict = BlobManager::with_options(strict);
    strict.save("k", "12345678", Format::Json).expect("10 bytes");
    let error = strict.save("k", "123456789", Format::Json);
    assert_eq!(kind(error), ErrorKind::InvalidArgument);
    assert_eq!(store.load::<String>("k").expect("the old one"), "12345678");
    store.save("k", "123456789", Format::Json).expect("no limit here");
    assert_eq!(kind(strict.load::<String>("k")), ErrorKind::InvalidArgument);
}

#[test]
fn a_key_that_is_taken_or_missing_is_named_with_what_can_be_done() {
    let (_folder, store) = on_disk();
    store.save("a", &1, Format::Json).expect("saved");
    store.save("b", &2, Format::Json).expect("saved");
    let words = store.rename("a", "b", false).expect_err("refused").to_string();
    assert!(words.contains("could not rename \"a\": there is a value under \"b\""), "{words}");
    assert!(words.contains("overwrite it"), "{words}");
    let words = store.metadata("c").expect_err("missing").to_string();
    assert!(words.contains("save one first") && !words.contains("default"), "{words}");
    let words = store.load::<i32>("c").expect_err("missing").to_string();
    assert!(words.contains("or pass a default"), "{words}");
    assert_eq!(store.load::<i32>("b").expect("read"), 2);
}
