//! What names promise: one key, one name; readable back; nothing outside the folder.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::CaseRule::{Insensitive, Sensitive};
use super::name::{HASH_MARK, PATH_MAX, SEGMENT_MAX, SEGMENTS_MAX};
use super::*;
use crate::format::{Codec, Format};

fn key(text: &str) -> Key {
    Key::new(text).expect("a valid key")
}

fn nasty() -> Vec<String> {
    let mut keys: Vec<String> = [
        "a//b",
        "a/b",
        "a///b",
        "./x",
        "x",
        "x.json",
        "x.json/y",
        "x.json.zst",
        "Key",
        "key",
        "kEy",
        "KEY",
        "NUL",
        "nul",
        "nul.txt",
        "Nul.txt",
        "nul.txt/x",
        "nul/x",
        "nulx",
        "com0",
        "COM9.a",
        "lpt1",
        "com10",
        "com",
        "com\u{b9}",
        "k.",
        "k",
        ".k",
        "..",
        ".",
        "...",
        "a..b",
        "../../x",
        "..\\..\\x",
        "/abs",
        "abs",
        "/",
        "//",
        "a/",
        "a",
        "%2e",
        "%2E",
        "a%2Fb",
        "%-",
        "%",
        "%%",
        "%=",
        "-",
        "%25-",
        "-rf",
        "--",
        "é",
        "e\u{301}",
        "が",
        "か\u{3099}",
        "🙂",
        "👩\u{200d}🍳",
        "a\nb",
        "a\rb",
        "a\tb",
        " ",
        " a",
        "a ",
        "\u{202e}txt",
        "a\\b",
        "*",
        "?",
        "a:b",
        "a|b",
        "<",
        "\"",
        "'",
        "~",
        "$HOME",
        "`id`",
        "CON",
        "LONGFI~1",
        "\u{7f}",
        "\u{1}",
        "\u{feff}",
        ".holdall",
        ".holdall/clock",
        "%2Eholdall",
        "holdall",
        "ſ",
        "s",
        "K",
        "İ",
        "ı",
    ]
    .map(String::from)
    .to_vec();
    for (unit, times) in
        [("a", 199), ("a", 200), ("a", 201), ("a", 300), ("a", 301), ("a", 5_000), ("A", 300)]
    {
        keys.push(unit.repeat(times));
        keys.push(format!("folder/{}", unit.repeat(times)));
        keys.push(format!("{}/file", unit.repeat(times)));
    }
    keys.extend([1, 22, 23, 30].map(|times| "猫".repeat(times)));
    keys.extend([31, 32, 33, 512, 600].map(|times| vec!["a"; times].join("/")));
    keys.extend([5, 6, 7].map(|times| vec!["b".repeat(199); times].join("/")));
    // What hashed and literal names look like, taken as keys.
    let names: Vec<_> = keys.iter().map(|text| key(text).name(Sensitive)).collect();
    keys.extend(names);
    let mut seen = HashSet::new();
    keys.retain(|key| seen.insert(key.clone()));
    keys
}

fn check(text: &str, case: CaseRule) {
    let key = key(text);
    let name = key.name(case);
    assert!(name.len() <= PATH_MAX && !name.starts_with('/'), "{name}");
    assert!(name.is_ascii() && !name.bytes().any(|byte| byte <= b' ' || byte == b'\\'), "{name}");
    let segments: Vec<_> = name.split('/').collect();
    assert!(segments.len() <= SEGMENTS_MAX);
    for (index, segment) in segments.iter().enumerate() {
        assert!(!segment.is_empty() && !segment.starts_with('.') && !segment.ends_with('.'));
        assert!(segment.len() <= SEGMENT_MAX);
        assert!(index + 1 == segments.len() || !segment.contains('.'), "{name}");
        if case == Insensitive {
            let plain: String = segment
                .split('%')
                .skip(1)
                .fold(String::new(), |all, part| all + part.get(2..).unwrap_or_default());
            assert!(!plain.bytes().any(|byte| byte.is_ascii_uppercase()), "{name}");
        }
    }
    match parse_name(&name, case) {
        Some(ParsedName::Key(back)) => assert_eq!(back, key),
        Some(ParsedName::Hashed) => assert!(name.contains(HASH_MARK)),
        None => panic!("{name} is not read back"),
    }
    // With any suffix the file is one that every file system takes, and no folder of a key.
    for format in Format::all() {
        for codec in [Codec::None, Codec::Zstd, Codec::Lz4] {
            let file = format!("{name}{}{}", format.suffix(), codec.suffix());
            assert!(file.rsplit('/').all(|segment| segment.len() <= 255));
            let (stem, _, read) = crate::format::split_suffix(&file).expect("a known suffix");
            assert_eq!((stem, read), (name.as_str(), codec));
        }
    }
}

#[test]
fn every_nasty_key_has_its_own_name_that_stays_inside_and_reads_back() {
    for case in [Sensitive, Insensitive] {
        let mut names = HashMap::new();
        for text in nasty() {
            check(&text, case);
            let name = key(&text).name(case);
            let folded = if case == Insensitive { name.to_lowercase() } else { name };
            if let Some(other) = names.insert(folded, text.clone()) {
                panic!("{other:?} and {text:?} have one name");
            }
        }
    }
}

#[test]
fn no_value_of_the_corpus_stands_where_another_needs_a_folder() {
    let names: Vec<_> = nasty().iter().map(|text| key(text).name(Sensitive)).collect();
    let mut folders = HashSet::new();
    for name in &names {
        folders.extend(name.match_indices('/').map(|(at, _)| name[..at].to_owned()));
    }
    for name in &names {
        for format in Format::all() {
            assert!(!folders.contains(&format!("{name}{}", format.suffix())));
        }
    }
    assert!(!names.iter().any(|name| name.to_lowercase().starts_with(".holdall")));
}

#[test]
fn the_names_on_disk_are_these_for_ever() {
    for (text, sensitive, insensitive) in [
        ("recipe_123", "recipe_123", "recipe_123"),
        ("users/42", "users/42", "users/42"),
        ("x.json", "x.json", "x.json"),
        ("v1.2/a.b", "v1%2E2/a.b", "v1%2E2/a.b"),
        (".k", "%2Ek", "%2Ek"),
        ("k.", "k%2E", "k%2E"),
        ("..", "%2E%2E", "%2E%2E"),
        ("../../x", "%2E%2E/%2E%2E/x", "%2E%2E/%2E%2E/x"),
        ("./x", "%2E/x", "%2E/x"),
        ("a//b", "a/%-/b", "a/%-/b"),
        ("/", "%-/%-", "%-/%-"),
        ("/abs", "%-/abs", "%-/abs"),
        ("a/", "a/%-", "a/%-"),
        ("Key", "Key", "%4Bey"),
        ("nul.txt", "%6Eul.txt", "%6Eul.txt"),
        ("nul.txt/x", "%6Eul%2Etxt/x", "%6Eul%2Etxt/x"),
        ("NUL", "%4EUL", "%4E%55%4C"),
        ("Com1", "%43om1", "%43om1"),
        ("com10", "com10", "com10"),
        ("-rf", "-rf", "-rf"),
        ("50% é", "50%25%20%C3%A9", "50%25%20%C3%A9"),
        ("a\\b*\n", "a%5Cb%2A%0A", "a%5Cb%2A%0A"),
    ] {
        assert_eq!(key(text).name(Sensitive), sensitive);
        assert_eq!(key(text).name(Insensitive), insensitive);
    }
}

#[test]
fn long_keys_keep_the_folders_that_fit_a_slug_and_the_hash() {
    let long = format!("users/Say: \"Hello\", {}", "a".repeat(300));
    let name = key(&long).name(Sensitive);
    let (slug, hash) = name.split_once(HASH_MARK).expect("a hashed name");
    assert_eq!(slug, format!("users/say-hello-{}", "a".repeat(30)));
    assert_eq!(hash.len(), 52);
    assert_eq!(key(&"猫".repeat(30)).name(Sensitive).len(), 54);
    assert_eq!(key(&"猫".repeat(22)).name(Sensitive).len(), 198);
    let middle = format!("a/{}/b", "C".repeat(201));
    assert!(key(&middle).name(Sensitive).starts_with(&format!("a/{}%=", "c".repeat(40))));
    let deep = key(&vec!["d"; 40].join("/")).name(Sensitive);
    assert!(deep.starts_with(&format!("{}d-d-d-d-d-d-d-d-d%=", "d/".repeat(31))), "{deep}");
    // Letters are escaped under one rule only, so one key may be literal there and hashed here.
    let capitals = key(&"A".repeat(150));
    assert_eq!(capitals.name(Sensitive), "A".repeat(150));
    assert!(capitals.name(Insensitive).contains(HASH_MARK));
}

#[test]
fn the_hash_is_rfc_4648_base32_of_blake3() {
    let text = "x".repeat(201);
    let name = key(&text).name(Sensitive);
    let mut bits = String::new();
    for byte in blake3::hash(text.as_bytes()).as_bytes() {
        bits += &format!("{byte:08b}");
    }
    bits += "0000";
    let digits: String = (0..52)
        .map(|at| usize::from_str_radix(&bits[at * 5..at * 5 + 5], 2).expect("five bits"))
        .map(|at| char::from(b"abcdefghijklmnopqrstuvwxyz234567"[at]))
        .collect();
    assert_eq!(digits, "pf5grbxoeoxwogmbpkwlrggvjjdfnjlvypgzce6taj5u6yfyshxa");
    assert_eq!(name, format!("{}%={digits}", "x".repeat(40)));
    let name = key(&"猫".repeat(30)).name(Insensitive);
    assert_eq!(name, "%=w6e62tmuxsw6kcrf32lwh2bfrj3uhb7ah6biq56j5sp5av7y3qjq");
}

#[test]
fn names_that_no_key_has_are_left_alone() {
    let hash = "a".repeat(52);
    for name in [
        "",
        "/",
        "a/",
        "/a",
        "a//b",
        ".",
        "..",
        "../x",
        ".k",
        "k.",
        "a.b/c",
        "%2e",
        "%61",
        "a%2",
        "a%",
        "%",
        "%zz",
        "a b",
        "é",
        "%FF",
        "%00",
        "a%00",
        "a%2Fb",
        "%-x",
        "x%-",
        "nul",
        "nul.txt",
        "con/x",
        "a\\b",
        ".holdall/clock",
        "%=",
        "x%=abc",
        "a%-/b",
        "~",
        "a~1",
    ] {
        assert_eq!(parse_name(name, Sensitive), None, "{name}");
    }
    assert_eq!(parse_name("Key", Insensitive), None);
    assert!(matches!(parse_name("Key", Sensitive), Some(ParsedName::Key(_))));
    assert_eq!(parse_name(&"a".repeat(201), Sensitive), None);
    assert_eq!(parse_name(&format!("b/x-y%={hash}"), Sensitive), Some(ParsedName::Hashed));
    for name in [
        format!("-x%={hash}"),
        format!("x-%={hash}"),
        format!("x--y%={hash}"),
        format!("X%={hash}"),
        format!("a.b%={hash}"),
        format!("{}%={hash}", "x".repeat(41)),
        format!("x%={}b", "a".repeat(51)),
        format!("x%={}A", "a".repeat(51)),
        format!("x%={hash}a"),
        format!("x%=%={hash}"),
        format!("x%={hash}/y"),
        format!("../x%={hash}"),
        format!("a.b/x%={hash}"),
        format!("/x%={hash}"),
        format!("{}x%={hash}", "a/".repeat(32)),
    ] {
        assert_eq!(parse_name(&name, Sensitive), None, "{name}");
    }
}

#[test]
fn an_invalid_key_is_refused_with_what_is_allowed() {
    for text in ["", "a\0b"] {
        let error = Key::new(text).expect_err("no key");
        assert_eq!(error.kind(), ErrorKind::InvalidKey);
        assert!(error.to_string().contains("at least one character without NUL"), "{error}");
    }
}

#[test]
fn hash_and_stripe_are_these_for_ever() {
    assert_eq!(key("recipe").hash(), 0x3f40_b517_a93f_e88c);
    assert_eq!(key("recipe").stripe(), 2_188);
    let long = key(&"café/1".repeat(100));
    assert_eq!((long.hash(), long.stripe()), (0xe560_bff8_09e5_39e7, 2_535));
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        "[^\0]{1,40}",
        "[aAkK./%=\\-]{1,12}",
        "(con|NUL|Aux|com[0-9]|x)[./]?[a-zA-Z.]{0,4}(/[a.]{0,3}){0,3}",
        ("[a-c./é]{1,9}", 1_usize..200).prop_map(|(unit, times)| unit.repeat(times)),
    ]
}

proptest! {
    #[test]
    fn any_key_stays_inside_and_reads_back(text in texts()) {
        check(&text, Sensitive);
        check(&text, Insensitive);
    }

    #[test]
    fn two_keys_never_share_a_name(one in texts(), two in texts()) {
        prop_assume!(one != two);
        prop_assert_ne!(key(&one).name(Sensitive), key(&two).name(Sensitive));
        let [one, two] = [one, two].map(|text| key(&text).name(Insensitive).to_ascii_lowercase());
        prop_assert_ne!(one, two);
    }

    #[test]
    fn a_name_is_taken_only_if_a_key_has_it(name in "[a-cA-C%./=0-9\\-]{0,10}", sensitive: bool) {
        let case = if sensitive { Sensitive } else { Insensitive };
        if let Some(ParsedName::Key(key)) = parse_name(&name, case) {
            prop_assert_eq!(key.name(case), name);
        }
    }
}
