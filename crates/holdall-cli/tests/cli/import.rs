//! Values come out of other libraries' stores, which stay as they are.

use crate::support::{Scratch, contents};
use rusqlite::{Connection, params};
use serde_json::Value;

/// `{"a": [1, 2]}`, `(1, 2)` and `datetime.date(2026, 1, 1)` as CPython pickles them.
const DICT: &[u8] = b"\x80\x04\x95\x11\0\0\0\0\0\0\0}\x94\x8c\x01a\x94]\x94(K\x01K\x02es.";
const TUPLE: &[u8] = b"\x80\x04K\x01K\x02\x86\x94.";
const DATE: &[u8] =
    b"\x80\x04\x8c\x08datetime\x94\x8c\x04date\x94\x93\x94C\x04\x07\xea\x01\x01\x94\x85\x94R\x94.";

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("it is JSON")
}

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
    row(params![7, 1, 4e9, None::<String>, 1, None::<String>, &"int key"]);
    row(params![&"gone", 1, 1.0, None::<String>, 1, None::<String>, &"x"]);
    row(params![&"long", 1, none, None::<String>, 3, &"ab/1.val", None::<String>]);
    row(params![&"dict", 1, none, None::<String>, 4, None::<String>, DICT]);
    row(params![&"date", 1, none, None::<String>, 4, None::<String>, DATE]);
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
    assert_eq!((&done["kind"], &done["imported"]), (&"diskcache".into(), &5.into()));
    assert_eq!((&done["expired"], &done["untrusted"]), (&1.into(), &1.into()));
    assert_eq!(done["classes"]["datetime.date"], 1);
    assert_eq!(done["refused"][0]["key"], "out");
    assert_eq!(contents(&scratch.path("cache")), before, "the source was changed");
    assert_eq!(scratch.good(&["ls"]), "7\ndict\nlong\nnumber\ntext\n");
    assert_eq!(scratch.good(&["ls", "--tag", "red"]), "text\n");
    assert_eq!(scratch.good(&["get", "long"]), "long text");
    assert!(json(&scratch.good(&["stat", "7", "--json"]))["expires_at"].is_string());
    // What is there is kept, and the rest goes on from there.
    let again = json(&scratch.run(&["import", "cache", "--json", "--trust-pickles"]).out);
    assert_eq!((&again["imported"], &again["kept"]), (&1.into(), &5.into()));
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
