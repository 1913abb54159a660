//! A folder of files comes over whole: files that lead to one key are named, and what a program has
//! noted of a value beside it comes along.

use std::path::Path;

use crate::support::{Scratch, contents, json};
use serde_json::Value;

fn write(folder: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().expect("below the folder")).expect("ours");
        std::fs::write(path, text).expect("ours");
    }
}

/// The keys of a list of the report, with what is said of them.
fn listed(done: &Value, list: &str) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let list = done[list].as_array().expect("a list").iter();
    list.map(|entry| (text(&entry["key"]), text(&entry["what"]))).collect()
}

#[test]
fn files_that_lead_to_one_key_are_named_and_none_is_taken_for_the_other() {
    let scratch = Scratch::new();
    let files = [("a.json", "{}"), ("a.txt", "text"), ("b.json", "1"), ("c/a.json", "2")];
    write(&scratch.path("files"), &files);
    let ran = scratch.run(&["import", "files", "--json"]);
    assert_eq!(ran.code, 1, "{}{}", ran.out, ran.err);
    let refused = listed(&json(&ran.out), "refused");
    assert_eq!(refused.len(), 2, "{refused:?}");
    for ((name, what), file) in refused.iter().zip(["a.json", "a.txt"]) {
        assert_eq!(name, file);
        assert!(what.contains("--keep-endings"), "{what}");
    }
    assert_eq!(scratch.good(&["ls"]), "b\nc/a\n");
    let told = scratch.run(&["import", "files"]);
    assert_eq!((told.code, told.err.lines().count()), (1, 2), "{}", told.err);
    scratch.good(&["import", "files", "--keep-endings", "--prefix", "all/"]);
    assert_eq!(scratch.good(&["ls", "all/"]), "all/a.json\nall/a.txt\nall/b.json\nall/c/a.json\n");
    assert_eq!(scratch.good(&["get", "all/a.txt"]), "text");
    let elsewhere = scratch.run(&["import", "files", "--as", "export", "--keep-endings"]);
    assert_eq!(elsewhere.code, 2, "{}", elsewhere.err);
}

#[test]
fn what_an_aiofiles_program_notes_of_a_value_comes_along() {
    let scratch = Scratch::new();
    write(
        &scratch.path("files"),
        &[
            ("u/1.json", "{}"),
            (
                "u/1.meta",
                r#"{"key": "u/1", "size": 2, "format": "json",
            "created_at": "2025-01-02T03:04:05.678901+00:00",
            "updated_at": "2025-01-03T03:04:05+00:00", "tags": ["users", "new"],
            "metadata": {"by": "Ada"}, "checksum": "ab"}"#,
            ),
            ("k.txt", "text"),
            ("k.meta.json", r#"{"created_at": 1735787045, "expires_at": 4102444800}"#),
            ("gone.json", "1"),
            ("gone.json.meta", r#"{"updated_at": "2025-01-03T03:04:05", "ttl": 60}"#),
            // An object of the program's own, whatever it is called like.
            ("theme.json", "{}"),
            ("theme.meta.json", r#"{"colour": "red"}"#),
            ("fresh.json", "1"),
            ("fresh_metadata.json", r#"{"ttl": 3600}"#),
            ("users_42.json", "42"),
            ("users_42.meta", r#"{"key": "users/42", "format": "custom_json"}"#),
        ],
    );
    let before = contents(&scratch.path("files"));
    let ran = scratch.run(&["import", "files", "--json"]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    let done = json(&ran.out);
    assert_eq!(
        (&done["imported"], &done["sidecars"], &done["expired"]),
        (&6.into(), &4.into(), &1.into())
    );
    assert_eq!(scratch.good(&["ls"]), "fresh\nk\ntheme\ntheme.meta\nu/1\nusers/42\n");
    let about = json(&scratch.good(&["stat", "u/1", "--json"]));
    assert_eq!(about["created_at"], "2025-01-02T03:04:05.678Z");
    assert_eq!(about["tags"], serde_json::json!(["users", "new"]));
    assert_eq!(
        about["metadata"],
        serde_json::json!({
            "by": "Ada", "checksum": "ab", "updated_at": "2025-01-03T03:04:05+00:00"
        })
    );
    let about = json(&scratch.good(&["stat", "k", "--json"]));
    assert_eq!(about["created_at"], "2025-01-02T03:04:05.000Z");
    let end = about["expires_at"].as_str().expect("it ends");
    assert!(end.starts_with("2099-12-31") || end.starts_with("2100-01-01"), "{end}");
    assert!(json(&scratch.good(&["stat", "fresh", "--json"]))["expires_at"].is_string());
    assert_eq!(json(&scratch.good(&["stat", "users/42", "--json"]))["format"], "custom_json");
    assert_eq!(contents(&scratch.path("files")), before, "the source was changed");
}

#[test]
fn the_sidecar_says_which_file_was_saved_last_and_the_other_is_named() {
    let scratch = Scratch::new();
    write(
        &scratch.path("files"),
        &[
            ("k.json", "1"),
            ("k.txt", "old"),
            ("k.meta", r#"{"format": "json", "created_at": "2025-01-02T03:04:05Z"}"#),
        ],
    );
    let ran = scratch.run(&["import", "files", "--json"]);
    assert_eq!(ran.code, 1);
    let refused = listed(&json(&ran.out), "refused");
    let [(name, what)] = &refused[..] else { panic!("{refused:?}") };
    assert!(name == "k.txt" && what.contains("k.meta says"), "{refused:?}");
    assert_eq!(scratch.good(&["get", "k"]), "1\n");
}

#[test]
fn a_sidecar_that_is_hostile_or_broken_never_costs_the_value() {
    let scratch = Scratch::new();
    let (large, deep) = (format!("{{\"tags\": \"{}\"}}", "x".repeat(70_000)), "[".repeat(100_000));
    let noted = format!("{{\"ttl\": null, \"metadata\": {{\"x\": \"{}\"}}}}", "y".repeat(5_000));
    let tags =
        format!("{{\"tags\": [\"\", \"a\\u0000\", \"good\", {}\"z\"]}}", "\"t\",".repeat(900));
    write(
        &scratch.path("files"),
        &[
            ("large.json", "1"),
            ("large.meta", &large),
            ("deep.json", "2"),
            ("deep.meta", &deep),
            ("noted.json", "3"),
            ("noted.meta", &noted),
            ("tags.json", "4"),
            ("tags.meta", &tags),
            ("times.json", "5"),
            ("times.meta", r#"{"created_at": 1e308, "ttl": -1, "expires_at": "never", "key": ""}"#),
            ("orphan.meta", r#"{"created_at": 1}"#),
        ],
    );
    std::fs::create_dir(scratch.path("files/folder.meta")).expect("ours");
    let ran = scratch.run(&["import", "files", "--json"]);
    assert_eq!(ran.code, 1, "{}{}", ran.out, ran.err);
    let done = json(&ran.out);
    assert_eq!(done["imported"], 5);
    let lacking = listed(&done, "lacking");
    let keys: Vec<_> = lacking.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["deep", "large", "noted", "tags", "times"], "{lacking:?}");
    assert_eq!(listed(&done, "refused")[0].0, "orphan.meta");
    assert_eq!(scratch.good(&["ls", "--tag", "good"]), "tags\n");
}

#[test]
fn an_array_of_objects_is_no_array_that_can_be_loaded() {
    let scratch = Scratch::new();
    let array = |descr: &str| {
        let head = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': (0,), }}\n");
        let mut file = b"\x93NUMPY\x01\0".to_vec();
        file.extend(u16::try_from(head.len()).expect("short").to_le_bytes());
        file.extend(head.as_bytes());
        file
    };
    std::fs::create_dir(scratch.path("files")).expect("ours");
    for (name, descr) in [("n", "'<f8'"), ("o", "'|O'"), ("p", "[('a', '<i4'), ('b', '|O')]")] {
        std::fs::write(scratch.path("files").join(name).with_extension("npy"), array(descr))
            .expect("ours");
    }
    for trust in [&[][..], &["--trust-pickles"]] {
        let ran = scratch.run(&[&["import", "files", "--json"], trust].concat());
        assert_eq!(ran.code, 1);
        let refused = listed(&json(&ran.out), "refused");
        assert_eq!(refused.len(), 2, "{refused:?}");
        assert!(refused[0].1.contains("allow_pickle"), "{refused:?}");
    }
    assert_eq!(scratch.good(&["ls"]), "n\n");
}

#[test]
fn what_joblib_has_compressed_is_looked_into() {
    let scratch = Scratch::new();
    let files = scratch.path("files");
    std::fs::create_dir(&files).expect("ours");
    // `zlib.compress(pickle.dumps({"a": [1, 2]}))`, as `joblib.dump(..., compress=3)` writes it.
    let plain: &[u8] = b"\x80\x04\x95\x11\0\0\0\0\0\0\0}\x94\x8c\x01a\x94]\x94(K\x01K\x02es.";
    std::fs::write(files.join("data.pkl"), miniz_oxide::deflate::compress_to_vec_zlib(plain, 6))
        .expect("ours");
    let os = b"\x80\x04cos\nsystem\n.";
    std::fs::write(files.join("os.joblib"), miniz_oxide::deflate::compress_to_vec_zlib(os, 6))
        .expect("ours");
    std::fs::write(files.join("bz.joblib"), b"BZh91AY&SY").expect("ours");
    // Zeros, in a thousandth of their length.
    let bomb = miniz_oxide::deflate::compress_to_vec_zlib(&vec![0; 64 << 20], 1);
    std::fs::write(files.join("bomb.joblib"), bomb).expect("ours");
    let ran = scratch.run(&["import", "files", "--json"]);
    assert_eq!(ran.code, 1, "{}{}", ran.out, ran.err);
    let done = json(&ran.out);
    assert_eq!(done["imported"], 1, "{done}");
    let pickles = done["pickles"].as_array().expect("a list");
    assert_eq!(pickles.len(), 2, "{done}");
    assert!(pickles[0]["imports"][0].as_str().is_some_and(|what| what.contains("bz2")), "{done}");
    assert_eq!(pickles[1]["imports"][0], "os.system", "{done}");
    assert_eq!(done["refused"][0]["key"], "bomb", "{done}");
    assert_eq!(json(&scratch.good(&["stat", "data", "--json"]))["format"], "pickle");
}

#[test]
fn what_nobody_can_load_is_named_as_damaged_and_never_taken() {
    let scratch = Scratch::new();
    std::fs::create_dir(scratch.path("files")).expect("ours");
    let date = b"\x80\x04\x8c\x08datetime\x94\x8c\x04date\x94\x93\x94C\x04\x07\xea\x01\x01\x94\x85\x94R\x94.";
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let files: [(&str, &[u8]); 10] = [
        ("cut.pkl", b"\x80\x04\x95\x11\0\0\0\0\0\0\0}\x94\x8c\x01a\x94]\x94(K\x01"),
        ("cut-class.pkl", &date[..date.len() - 8]),
        ("empty.pkl", b""),
        ("garbage.pkl", b"\xff\xfe\xfd nobody's pickle"),
        ("nothing.pkl", b"\x80\x04."),
        ("packed.joblib", b"\x78\x9c\x03 no zlib"),
        ("surrogate.json", b"[\"\\ud800\"]"),
        ("deep.json", deep.as_bytes()),
        ("good.pkl", b"\x80\x04N."),
        ("good.json", b"[1e999]"),
    ];
    for (name, bytes) in files {
        std::fs::write(scratch.path("files").join(name), bytes).expect("ours");
    }
    let ran = scratch.run(&["import", "files", "--keep-endings", "--trust-pickles", "--json"]);
    assert_eq!(ran.code, 1, "{}{}", ran.out, ran.err);
    let done = json(&ran.out);
    assert_eq!((&done["imported"], &done["untrusted"]), (&2.into(), &0.into()), "{done}");
    assert_eq!(done["refused"].as_array().map(Vec::len), Some(8), "{done}");
    assert_eq!(scratch.good(&["ls"]), "good.json\ngood.pkl\n");
    let ran = scratch.run(&["import", "files", "--keep-endings"]);
    assert!(ran.err.contains("not taken: cut.pkl: it is damaged"), "{}", ran.err);
    assert!(!ran.out.contains("--trust-pickles"), "{}", ran.out);
}
