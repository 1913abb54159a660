//! Values come out of other libraries' stores, which stay as they are.

use std::time::Duration;

use crate::support::{Scratch, contents, json, ran};
use holdall::format::Codec;
use holdall::signing::KeySource;
use holdall::{BlobManager, BlobOptions, Format, SaveOptions, Trust};
use rusqlite::{Connection, params};
use serde_json::Value;

/// `{"a": [1, 2]}`, `(1, 2)` and `datetime.date(2026, 1, 1)` as CPython pickles them.
const DICT: &[u8] = b"\x80\x04\x95\x11\0\0\0\0\0\0\0}\x94\x8c\x01a\x94]\x94(K\x01K\x02es.";
const TUPLE: &[u8] = b"\x80\x04K\x01K\x02\x86\x94.";
const DATE: &[u8] =
    b"\x80\x04\x8c\x08datetime\x94\x8c\x04date\x94\x93\x94C\x04\x07\xea\x01\x01\x94\x85\x94R\x94.";

/// `("it's", 1, None, 2.5)`, a key of diskcache 5.6.
const TUPLE_KEY: &[u8] = b"\x80\x05(\x8c\x04it'sK\x01NG@\x04\0\0\0\0\0\0t.";
/// `numpy.int64(3)`, as NumPy 2.4 pickles it.
const ARRAY: &[u8] = b"\x80\x04\x95j\0\0\0\0\0\0\0\x8c\x16numpy._core.multiarray\x94\x8c\x06scalar\x94\
    \x93\x94\x8c\x05numpy\x94\x8c\x05dtype\x94\x93\x94\x8c\x02i8\x94\x89\x88\x87\x94R\x94(K\x03\x8c\x01<\x94\
    NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0t\x94bC\x08\x03\0\0\0\0\0\0\0\x94\x86\x94R\x94.";

/// As diskcache 5 lays a cache out.
fn diskcache(scratch: &Scratch) {
    std::fs::create_dir_all(scratch.path("cache/ab")).expect("ours");
    std::fs::write(scratch.path("cache/ab/1.val"), "long text").expect("ours");
    let database = Connection::open(scratch.path("cache/cache.db")).expect("ours");
    database
        .execute_batch(
            "PRAGMA journal_mode=wal; CREATE TABLE Cache (rowid INTEGER PRIMARY KEY, key BLOB, raw \
             INTEGER, store_time REAL, expire_time REAL, access_time REAL, access_count INTEGER, \
             tag BLOB, size INTEGER, mode INTEGER, filename TEXT, value BLOB);",
        )
        .expect("made");
    let insert = "INSERT INTO Cache (key, raw, expire_time, tag, mode, filename, value) \
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let none = None::<f64>;
    let row = |values: &[&dyn rusqlite::ToSql]| database.execute(insert, values).expect("inserted");
    row(params![&"text", 1, none, &"red", 1, None::<String>, &"hello"]);
    row(params![&"number", 1, none, None::<String>, 1, None::<String>, 12]);
    row(params![&"tagged", 1, none, 2.5, 1, None::<String>, "1"]);
    row(params![&"bytes", 1, none, &b"\xff".to_vec(), 1, None::<String>, "1"]);
    row(params![7, 1, 4e9, None::<String>, 1, None::<String>, &"int key"]);
    row(params![&"gone", 1, 1.0, None::<String>, 1, None::<String>, &"x"]);
    row(params![&"long", 1, none, None::<String>, 3, &"ab/1.val", None::<String>]);
    row(params![&"dict", 1, none, None::<String>, 4, None::<String>, DICT]);
    row(params![&"date", 1, none, None::<String>, 4, None::<String>, DATE]);
    row(params![&TUPLE_KEY, 0, none, None::<String>, 1, None::<String>, "tuple key"]);
    row(params![&DATE, 0, none, None::<String>, 1, None::<String>, "key of a class"]);
    row(params![&"array", 1, none, None::<String>, 4, None::<String>, ARRAY]);
    row(params![&"out", 1, none, None::<String>, 2, &"../../etc/passwd", None::<String>]);
    // The log stays beside it, as after a process that did not close it.
    std::mem::forget(database);
}

#[test]
fn a_diskcache_comes_over_with_its_times_and_tags_and_stays_as_it_is() {
    let scratch = Scratch::new();
    diskcache(&scratch);
    let before = contents(&scratch.path("cache"));
    let ran = scratch.run(&["import", "cache", "--json"]);
    assert_eq!(ran.code, 1, "{}{}", ran.out, ran.err);
    let done = json(&ran.out);
    assert_eq!((&done["kind"], &done["imported"]), (&"diskcache".into(), &9.into()));
    assert_eq!((&done["expired"], &done["untrusted"]), (&1.into(), &1.into()));
    assert_eq!(done["classes"]["datetime.date"], 1);
    let refused: Vec<_> = done["refused"].as_array().expect("a list").iter().collect();
    assert_eq!(refused.len(), 2, "{refused:?}");
    assert_eq!(refused[1]["key"], "out");
    assert_eq!(scratch.good(&["get", "(\"it's\", 1, None, 2.5)"]), "tuple key");
    assert_eq!(contents(&scratch.path("cache")), before, "the source was changed");
    assert_eq!(
        scratch.good(&["ls"]),
        "(\"it's\", 1, None, 2.5)\n7\narray\nbytes\ndict\nlong\nnumber\ntagged\ntext\n"
    );
    assert_eq!(scratch.good(&["ls", "--tag", "red"]), "text\n");
    assert_eq!(scratch.good(&["ls", "--tag", "2.5"]), "tagged\n");
    assert_eq!(done["lacking"][0]["key"], "bytes", "{done}");
    assert_eq!(scratch.good(&["get", "long"]), "long text");
    assert!(json(&scratch.good(&["stat", "7", "--json"]))["expires_at"].is_string());
    // What is there is kept, and the rest goes on from there.
    let again = json(&scratch.run(&["import", "cache", "--json", "--trust-pickles"]).out);
    assert_eq!((&again["imported"], &again["kept"]), (&1.into(), &9.into()));
}

#[test]
fn a_sqlitedict_comes_over_table_by_table() {
    let scratch = Scratch::new();
    let database = Connection::open(scratch.path("d.sqlite")).expect("ours");
    for table in ["unnamed", "other"] {
        let make = format!("CREATE TABLE \"{table}\" (key TEXT PRIMARY KEY, value BLOB)");
        database.execute(&make, []).expect("made");
        let insert = format!("INSERT INTO \"{table}\" VALUES ('k', ?1)");
        database.execute(&insert, params![TUPLE]).expect("inserted");
    }
    drop(database);
    scratch.good(&["import", "d.sqlite"]);
    assert_eq!(scratch.good(&["ls"]), "other/k\nunnamed/k\n");
    scratch.good(&["import", "d.sqlite", "--table", "other", "--prefix", "only/"]);
    assert_eq!(scratch.good(&["ls", "only/"]), "only/k\n");
}

#[test]
fn results_of_joblib_come_over_with_their_arguments() {
    let scratch = Scratch::new();
    let folder = scratch.path("memory/joblib/module/function/0a1b");
    std::fs::create_dir_all(&folder).expect("ours");
    std::fs::write(folder.join("output.pkl"), DICT).expect("ours");
    std::fs::write(folder.join("metadata.json"), r#"{"input_args": {"x": "1"}}"#).expect("ours");
    scratch.good(&["import", "memory"]);
    assert_eq!(scratch.good(&["ls"]), "module/function/0a1b\n");
    let about = json(&scratch.good(&["stat", "module/function/0a1b", "--json"]));
    assert_eq!(
        (&about["format"], &about["metadata"]["input_args"]["x"]),
        (&"joblib".into(), &"1".into())
    );
}

#[test]
fn a_folder_of_files_comes_over_by_the_endings_and_links_are_not_followed() {
    let scratch = Scratch::new();
    let files: [(&str, &[u8]); 5] = [
        ("users/42.json", b"{}"),
        ("notes.txt", b"text"),
        ("d.pickle", DICT),
        ("readme", b"no ending"),
        ("broken.json", b"{"),
    ];
    std::fs::create_dir_all(scratch.path("files/users")).expect("ours");
    for (name, bytes) in files {
        std::fs::write(scratch.path("files").join(name), bytes).expect("ours");
    }
    std::os::unix::fs::symlink("/etc/passwd", scratch.path("files/link.txt")).expect("ours");
    let ran = scratch.run(&["import", "files", "--json"]);
    assert_eq!(ran.code, 1);
    assert_eq!(json(&ran.out)["refused"].as_array().map(Vec::len), Some(2), "{}", ran.out);
    assert_eq!(scratch.good(&["ls"]), "d\nnotes\nusers/42\n");
}

#[test]
fn a_pickle_that_names_a_class_is_taken_only_if_that_is_asked_for() {
    let scratch = Scratch::new();
    std::fs::create_dir(scratch.path("files")).expect("ours");
    for (name, bytes) in
        [("a.pkl", &b"cos\nsystem\n(S'touch ran'\ntR."[..]), ("b.pkl", b"\x82\x01.")]
    {
        std::fs::write(scratch.path("files").join(name), bytes).expect("ours");
    }
    let ran = scratch.run(&["import", "files"]);
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("os.system"), "{}", ran.out);
    assert!(!scratch.path("store").exists(), "there was nothing to keep");
    assert!(!scratch.path("ran").exists());
}

#[test]
fn a_dry_run_refuses_what_the_run_does_and_no_option_is_passed_over() {
    let scratch = Scratch::new();
    diskcache(&scratch);
    let database = Connection::open(scratch.path("cache/cache.db")).expect("ours");
    let insert = "INSERT INTO Cache (key, raw, mode, value) VALUES ('', 1, 1, 'nameless')";
    database.execute(insert, []).expect("inserted");
    drop(database);
    let dry = json(&scratch.run(&["import", "cache", "--json", "--dry-run"]).out);
    let run = json(&scratch.run(&["import", "cache", "--json"]).out);
    assert_eq!((&dry["imported"], &dry["refused"]), (&run["imported"], &run["refused"]));
    assert_eq!(run["refused"].as_array().map(Vec::len), Some(3), "{run}");
    let wrong = scratch.run(&["import", "cache", "--table", "Cache"]);
    assert_eq!(wrong.code, 2, "{}", wrong.err);
    assert!(wrong.err.contains("--table is for a sqlitedict file"), "{}", wrong.err);
}

/// What is known of every value, but for what a new store has anew.
fn known(scratch: &Scratch, store: &str) -> Vec<Value> {
    let listed = ran(scratch.bare(&["ls", "--json", "--store", store]).output().expect("it runs"));
    let stripped = |line: &str| {
        let mut about = json(line);
        for anew in ["updated_at", "etag"] {
            about.as_object_mut().expect("an object").remove(anew);
        }
        about["expires_at"] = about["expires_at"].is_string().into();
        about
    };
    listed.out.lines().map(stripped).collect()
}

#[test]
fn what_was_exported_comes_back_with_all_that_is_known_of_it() {
    let scratch = Scratch::filled();
    let hour = SaveOptions {
        ttl: Duration::from_secs(3_600).into(),
        tags: vec!["red".into(), "two words".into()],
        metadata: Some(br#"{"x":[1,"\u00e9"]}"#.to_vec()),
        ..SaveOptions::default()
    };
    let options = BlobOptions {
        base_path: scratch.path("store"),
        compression: Codec::Zstd,
        signing_key: KeySource::text("a key that signs nothing but tests").expect("long enough"),
        ..BlobOptions::default()
    };
    let store = BlobManager::with_options(options);
    let long = "text ".repeat(1_000);
    let formats = [
        ("A/b.json", Format::CustomJson, b"{\"a\": 1.0}".as_slice()),
        ("long", Format::String, long.as_bytes()),
        ("../key \n\u{1b}[31m", Format::Json, b"null"),
        ("dict", Format::Pickle, DICT),
        ("array", Format::Joblib, ARRAY),
        // Of a class, and signed by the key that takes it back.
        ("date", Format::Pickle, DATE),
    ];
    for (key, format, payload) in formats {
        let saved = store.save_parts(key, format, vec![payload.to_vec().into()], hour.clone());
        saved.expect("saved");
    }
    store.close().expect("closed");
    scratch.good(&["export", "out"]);
    let bring = |words: &[&str]| {
        let mut command = scratch.bare(&["import", "out", "--store", "new", "--json"]);
        ran(command.args(words).output().expect("it runs"))
    };
    let came = bring(&[]);
    assert_eq!(came.code, 0, "{}{}", came.out, came.err);
    assert_eq!(json(&came.out)["kind"], "export");
    assert_eq!(known(&scratch, "new"), known(&scratch, "store"));
    let new = BlobManager::new(scratch.path("new"));
    for key in new.keys("") {
        let key = key.expect("listed");
        let load = |folder| {
            let options = BlobOptions {
                base_path: scratch.path(folder),
                trust: Trust::Any,
                ..BlobOptions::default()
            };
            BlobManager::with_options(options).load_bytes(&key, None).expect("loaded").payload
        };
        assert_eq!(load("new"), load("store"), "{key}");
    }
    // What another key has signed, or somebody has changed, is as good as unsigned.
    let theirs = |secret: &str, store: &str| {
        let mut command = scratch.bare(&["import", "out", "--json", "--store", store]);
        ran(command.env("HOLDALL_SIGNING_KEY", secret).output().expect("it runs"))
    };
    let came = json(&theirs("the key of somebody else", "theirs").out);
    assert_eq!((&came["untrusted"], &came["pickles"][0]["key"]), (&1.into(), &"date".into()));
    let mut other = DATE.to_vec();
    // Another day: a pickle still.
    other[27] ^= 2;
    std::fs::write(scratch.path("out/date.pkl"), other).expect("ours");
    let came = json(&theirs("a key that signs nothing but tests", "changed").out);
    assert_eq!(came["pickles"][0]["key"], "date", "{came}");
    std::fs::write(scratch.path("out/date.pkl"), DATE).expect("ours");
    // A file that is not as it was written, one that is gone, and one that the list sends elsewhere.
    let list = scratch.path("out/holdall-export.jsonl");
    let text = std::fs::read_to_string(&list).expect("written");
    std::fs::write(scratch.path("out/long.txt"), "cut").expect("ours");
    std::fs::remove_file(scratch.path("out/b.bin")).expect("ours");
    std::fs::write(&list, text.replace("\"a/1.json\"", "\"../store/a/1.json\"")).expect("ours");
    let came = bring(&["--overwrite"]);
    assert_eq!(came.code, 1);
    assert_eq!(json(&came.out)["refused"].as_array().map(Vec::len), Some(3), "{}", came.out);
    assert_eq!(known(&scratch, "new"), known(&scratch, "store"));
}
