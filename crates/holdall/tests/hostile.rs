//! Keys and links that try to lead out of the store, or into another value.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use holdall::key::MAX_KEY;
use holdall::{BlobManager, ErrorKind, Format, Result};

/// Keys that each must be a value of its own, whatever they look like.
fn hostile() -> Vec<String> {
    let plain = [
        "../../x",
        "..",
        ".",
        "../",
        "./x",
        "x",
        "a/../b",
        "a/./b",
        "a/b",
        "a//b",
        "a/",
        "/a",
        "a",
        "//",
        "/",
        "/etc/passwd",
        "~",
        "~/x",
        ".holdall",
        ".holdall/store.json",
        ".holdall/store",
        "%2Eholdall/store",
        ".HOLDALL/clock",
        "CON",
        "con",
        "Con.txt",
        "nul",
        "NUL.json",
        "lpt1",
        "aux/x",
        "k",
        "K",
        "k.",
        "k..",
        "k ",
        " k",
        ".k",
        "k.json",
        "k.json/x",
        "k/x",
        "k.txt",
        "a%2Fb",
        "%2E%2E",
        "%",
        "%=",
        "%-",
        "a\\b",
        "C:\\x",
        "C:/x",
        "\\\\host\\x",
        "a\nb",
        "a\rb",
        "\u{1}",
        "\u{7f}",
        "\u{1b}[31m",
        "-rf",
        "--help",
        "$(x)",
        "`x`",
        "*",
        "?",
        "é",
        "e\u{301}",
        "ﬁ",
        "fi",
        "İ",
        "i̇",
        "ß",
        "SS",
        "\u{202e}txt",
        "\u{feff}x",
        "\u{10ffff}",
        "日本",
        "x:stream",
        "x\u{2215}y",
        "a.tmp",
        "store.json",
        "index.db-wal",
    ];
    let mut keys: Vec<String> = plain.map(str::to_owned).to_vec();
    keys.extend(["n", "日", ".", "%", "../", "/", "A"].map(|text| text.repeat(300)));
    keys.push("l".repeat(MAX_KEY));
    keys.push("/".repeat(MAX_KEY));
    keys.push("seg/".repeat(31) + "x");
    keys.push("seg/".repeat(32) + "x");
    // What a hashed name looks like, as a key.
    keys.push(format!("{}%={}", "n".repeat(40), "a".repeat(52)));
    keys
}

/// Every path below a folder, links not followed.
fn everything(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).expect("it is there") {
        let entry = entry.expect("read");
        if entry.file_type().expect("known").is_dir() {
            found.append(&mut everything(&entry.path()));
        }
        found.insert(entry.path());
    }
    found
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.expect_err("refused").kind()
}

#[test]
fn every_key_is_a_value_of_its_own_inside_the_store() {
    let outer = tempfile::tempdir().expect("a temporary directory");
    let base = outer.path().join("deep/down/store");
    let keys = hostile();
    let distinct: BTreeSet<_> = keys.iter().collect();
    assert_eq!(distinct.len(), keys.len());
    let store = BlobManager::new(&base);
    for (number, key) in keys.iter().enumerate() {
        // Formats with three suffixes, so that no suffix makes up for a name.
        let text = number.to_string();
        let format = [Format::Json, Format::String, Format::Bytes][number % 3];
        let parts = vec![text.into_bytes().into()];
        store.save_parts(key, format, parts, <_>::default()).expect("saved");
    }
    let check = |store: &BlobManager| {
        for (number, key) in keys.iter().enumerate() {
            let loaded = store.load_bytes(key, None).expect("there");
            assert_eq!(loaded.payload, number.to_string().as_bytes(), "{key:?}");
            let (path, _) = store.locate(key, None).expect("there");
            assert!(path.starts_with(base.canonicalize().expect("there")), "{path:?}");
            assert!(!path.starts_with(base.join(".holdall")), "{path:?}");
        }
        let listed: Vec<_> = store.keys("").collect::<Result<_>>().expect("listed");
        assert_eq!(listed, distinct.iter().map(|key| key.as_str()).collect::<Vec<_>>());
    };
    check(&store);
    store.close().expect("closed");
    drop(store);
    // The files alone must be enough to find every key again.
    fs::remove_dir_all(base.join(".holdall/index")).expect("there");
    let store = BlobManager::new(&base);
    check(&store);
    let outside = fs::read_dir(outer.path())
        .expect("there")
        .chain(fs::read_dir(outer.path().join("deep/down")).expect("there"));
    let names: Vec<_> = outside.map(|entry| entry.expect("read").file_name()).collect();
    assert_eq!(names, ["deep", "store"]);
    let names: Vec<_> = everything(&base)
        .into_iter()
        .filter(|path| !path.starts_with(base.join(".holdall")))
        .collect();
    for path in names {
        let name = path.file_name().and_then(|name| name.to_str()).expect("ASCII");
        assert!(name.is_ascii() && name.len() <= 255 && !name.starts_with('.'), "{name}");
        assert!(
            !name.contains(|c: char| c.is_ascii_control() || "\\:*?\"<>| ".contains(c)),
            "{name}"
        );
    }
    assert_eq!(store.clear().expect("cleared"), keys.len() as u64);
    assert!(store.keys("").next().is_none());
}

#[test]
fn what_is_no_key_is_refused_by_every_call_before_anything_is_touched() {
    let outer = tempfile::tempdir().expect("a temporary directory");
    let store = BlobManager::new(outer.path().join("store"));
    let long = "x".repeat(MAX_KEY + 1);
    for key in ["", "\0", "a\0b", &long] {
        assert_eq!(kind(store.save(key, &1, Format::Json)), ErrorKind::InvalidKey);
        assert_eq!(kind(store.load::<i32>(key)), ErrorKind::InvalidKey);
        assert_eq!(kind(store.try_load_bytes(key, None)), ErrorKind::InvalidKey);
        assert_eq!(kind(store.exists(key)), ErrorKind::InvalidKey);
        assert_eq!(kind(store.metadata(key)), ErrorKind::InvalidKey);
        assert_eq!(kind(store.locate(key, None)), ErrorKind::InvalidKey);
        assert_eq!(kind(store.delete(key, None)), ErrorKind::InvalidKey);
        assert_eq!(kind(store.touch(key, holdall::Ttl::Never)), ErrorKind::InvalidKey);
        assert_eq!(kind(store.copy("a", key, true)), ErrorKind::InvalidKey);
        assert_eq!(kind(store.rename(key, "a", true)), ErrorKind::InvalidKey);
        assert_eq!(kind(store.rename("a", key, true)), ErrorKind::InvalidKey);
        let told = store.load::<i32>(key).expect_err("refused").to_string();
        assert!(told.len() < 500 && !told.contains('\0'), "{told}");
    }
    assert!(everything(outer.path()).is_empty());
    let told = store.load::<i32>("\u{1b}[31m\n").expect_err("missing").to_string();
    assert!(!told.contains(['\u{1b}', '\n']), "{told}");
}

#[test]
fn a_link_in_the_place_of_a_value_or_a_folder_is_never_followed() {
    let outer = tempfile::tempdir().expect("a temporary directory");
    let (base, outside) = (outer.path().join("store"), outer.path().join("outside"));
    fs::create_dir(&outside).expect("made");
    fs::write(outside.join("secret.json"), "\"secret\"").expect("written");
    let store = BlobManager::new(&base);
    store.save("seed", &1, Format::Json).expect("saved");
    symlink(outside.join("secret.json"), base.join("file.json")).expect("planted");
    symlink(outside.join("new.json"), base.join("dangling.json")).expect("planted");
    symlink(&outside, base.join("folder")).expect("planted");
    symlink("../outside", base.join("relative")).expect("planted");
    symlink("loop", base.join("loop")).expect("planted");
    let keys = [
        "file",
        "dangling",
        "folder/secret",
        "folder/new",
        "relative/secret",
        "loop/x",
        "loop/y/z",
    ];
    for key in keys {
        for refused in [
            store.load_bytes(key, None).map(drop),
            store.save(key, &2, Format::Json).map(drop),
            store.save(key, "2", Format::String).map(drop),
            store.delete(key, None).map(drop),
            store.touch(key, holdall::Ttl::Never).map(drop),
            store.exists(key).map(drop),
            store.copy("seed", key, true).map(drop),
        ] {
            let error = refused.expect_err(key);
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            assert!(error.to_string().contains("link") && error.path().is_some(), "{error}");
        }
    }
    // Lists, scans and clear do not follow them either.
    store.close().expect("closed");
    drop(store);
    fs::remove_dir_all(base.join(".holdall/index")).expect("there");
    let store = BlobManager::new(&base);
    let listed: Vec<_> = store.keys("").collect::<Result<_>>().expect("listed");
    assert_eq!(listed, ["seed"]);
    assert_eq!(store.clear().expect("cleared"), 1);
    let left = everything(&outside);
    assert_eq!(left.into_iter().collect::<Vec<_>>(), [outside.join("secret.json")]);
    assert_eq!(fs::read(outside.join("secret.json")).expect("there"), b"\"secret\"");
    // Once they are gone, the names are free.
    for link in ["file.json", "dangling.json", "folder", "relative", "loop"] {
        fs::remove_file(base.join(link)).expect("still there");
    }
    for key in keys {
        store.save(key, &3, Format::Json).expect("nothing is in the way");
        assert_eq!(store.load::<i32>(key).expect("there"), 3);
    }
}

#[test]
fn a_link_among_the_files_of_the_store_itself_is_never_followed() {
    for link in ["", "store.json", "tmp", "clock", "locks", "index"] {
        let outer = tempfile::tempdir().expect("a temporary directory");
        let (base, outside) = (outer.path().join("store"), outer.path().join("outside"));
        fs::create_dir_all(base.join(".holdall")).expect("made");
        fs::create_dir(&outside).expect("made");
        if link.is_empty() {
            fs::remove_dir(base.join(".holdall")).expect("empty");
            symlink(&outside, base.join(".holdall")).expect("planted");
        } else {
            symlink(&outside, base.join(".holdall").join(link)).expect("planted");
        }
        let store = BlobManager::new(&base);
        let error = store.save("k", &1, Format::Json).expect_err(link);
        assert_eq!(error.kind(), ErrorKind::Io, "{link}: {error}");
        assert!(store.load_bytes("k", None).is_err(), "{link}");
        assert!(everything(&outside).is_empty(), "{link}");
        assert!(!base.join("k.json").exists(), "{link}");
    }
}

#[test]
fn a_link_to_the_base_directory_is_the_choice_of_whoever_made_it() {
    let outer = tempfile::tempdir().expect("a temporary directory");
    let (real, link) = (outer.path().join("real"), outer.path().join("link"));
    fs::create_dir(&real).expect("made");
    symlink(&real, &link).expect("made");
    let (by_link, by_name) = (BlobManager::new(&link), BlobManager::new(&real));
    by_link.save("k", &1, Format::Json).expect("saved");
    assert_eq!(by_name.load::<i32>("k").expect("it is one store"), 1);
    let (path, _) = by_link.locate("k", None).expect("there");
    assert_eq!(path, real.canonicalize().expect("there").join("k.json"));
}
