//! `import` says what it takes a source for, and refuses to guess.

use crate::support::{Scratch, json};
use rusqlite::Connection;

fn database(scratch: &Scratch, name: &str, table: &str) {
    let path = scratch.path(name);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("ours");
    let database = Connection::open(path).expect("ours");
    database.execute_batch(table).expect("made");
}

fn file(scratch: &Scratch, name: &str) {
    let path = scratch.path(name);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("ours");
    std::fs::write(path, "null").expect("ours");
}

const CACHE: &str = "CREATE TABLE Cache (rowid INTEGER PRIMARY KEY, key BLOB, raw INTEGER, store_time \
    REAL, expire_time REAL, access_time REAL, access_count INTEGER, tag BLOB, size INTEGER, mode \
    INTEGER, filename TEXT, value BLOB);";
const DICT: &str = "CREATE TABLE unnamed (key TEXT PRIMARY KEY, value BLOB);";

/// One of each kind, below `all`.
fn sources() -> Scratch {
    let scratch = Scratch::new();
    database(&scratch, "all/cache/cache.db", CACHE);
    database(&scratch, "all/shards/000/cache.db", CACHE);
    database(&scratch, "all/d.sqlite", DICT);
    file(&scratch, "all/memory/joblib/m/f/0a1b/output.pkl");
    file(&scratch, "all/files/a.json");
    scratch
}

#[test]
fn what_a_source_was_taken_for_is_said() {
    let scratch = sources();
    for (source, is, kind) in [
        ("all/cache", "a diskcache directory", "diskcache"),
        ("all/shards", "a diskcache directory", "diskcache"),
        ("all/d.sqlite", "a sqlitedict file", "sqlitedict"),
        ("all/memory", "a directory of joblib.Memory", "joblib"),
        ("all/files", "a folder of files", "folder"),
    ] {
        let ran = scratch.run(&["import", source, "--dry-run"]);
        let first = ran.out.lines().next();
        assert_eq!(first, Some(format!("{source} is {is}").as_str()), "{}{}", ran.out, ran.err);
        let ran = scratch.run(&["import", source, "--dry-run", "--json"]);
        assert_eq!(json(&ran.out)["kind"], kind);
    }
}

#[test]
fn what_could_be_several_things_is_refused_with_the_option_that_decides() {
    let scratch = sources();
    let ran = scratch.run(&["import", "all"]);
    assert_eq!((ran.code, ran.err.lines().count()), (2, 1), "{}{}", ran.out, ran.err);
    for part in ["all/cache", "all/memory", "all/d.sqlite", "--as"] {
        assert!(ran.err.contains(part), "{part}: {}", ran.err);
    }
    // A cache among files, or with files of somebody beside its own.
    for (beside, source) in [("mixed/cache/cache.db", "mixed"), ("one/cache.db", "one")] {
        database(&scratch, beside, CACHE);
        file(&scratch, &format!("{source}/notes.json"));
        let ran = scratch.run(&["import", source]);
        assert_eq!(ran.code, 2, "{source}: {}{}", ran.out, ran.err);
        assert!(ran.err.contains("--as") && ran.err.contains("notes.json"), "{}", ran.err);
    }
    let forced = scratch.run(&["import", "mixed", "--as", "folder", "--json"]);
    assert_eq!(json(&forced.out)["imported"], 1, "{}", forced.err);
    assert_eq!(scratch.good(&["import", "one", "--as", "diskcache", "-q"]), "");
    assert_eq!(scratch.good(&["ls"]), "notes\n");
    scratch.good(&["put", "k", "all/files/a.json"]);
    let above = scratch.run(&["import", "."]);
    assert!(above.code == 2 && above.err.contains("store"), "{}", above.err);
}

#[test]
fn a_result_of_anybody_named_as_joblib_names_its_own_is_a_file() {
    let scratch = Scratch::new();
    file(&scratch, "runs/1/output.pkl");
    file(&scratch, "runs/2/output.pkl");
    let ran = scratch.run(&["import", "runs", "--json"]);
    assert_eq!(json(&ran.out)["kind"], "folder", "{}", ran.err);
    // The folder that joblib makes, moved away from its location.
    file(&scratch, "moved/m/f/0a1b/output.pkl");
    file(&scratch, "moved/m/f/0a1b/metadata.json");
    file(&scratch, "moved/m/f/func_code.py");
    let ran = scratch.run(&["import", "moved", "--json"]);
    assert_eq!(json(&ran.out)["kind"], "joblib", "{}", ran.err);
}

#[test]
fn a_source_that_is_nothing_of_the_kind_is_one_sentence() {
    let scratch = sources();
    for (source, code, what) in [
        ("nowhere", 4, "does not exist"),
        ("all/files/a.json", 2, "no SQLite database"),
        ("all/cache/cache.db", 2, "name its directory"),
    ] {
        let ran = scratch.run(&["import", source]);
        assert_eq!(ran.code, code, "{}{}", ran.out, ran.err);
        assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
        assert!(ran.err.contains(what), "{}", ran.err);
        assert!(!ran.err.contains("os error"), "{}", ran.err);
        assert!(!scratch.path("store").exists());
    }
}

#[test]
fn pickles_that_were_not_taken_are_named_and_of_many_the_first() {
    let scratch = Scratch::new();
    std::fs::create_dir(scratch.path("files")).expect("ours");
    for number in 0..30 {
        let path = scratch.path(&format!("files/k{number:02}.pkl"));
        std::fs::write(path, b"cos\nsystem\n.").expect("ours");
    }
    let ran = scratch.run(&["import", "files"]);
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("k00: os.system") && ran.out.contains("k19"), "{}", ran.out);
    assert!(!ran.out.contains("k20") && ran.out.contains("and 10 more; --json"), "{}", ran.out);
    let done = json(&scratch.run(&["import", "files", "--json"]).out);
    assert_eq!(done["pickles"].as_array().map(Vec::len), Some(30));
    assert_eq!(done["pickles"][29]["key"], "k29");
}

#[test]
fn two_entries_of_a_source_that_lead_to_one_key_are_not_one_value() {
    let scratch = Scratch::new();
    database(&scratch, "cache/cache.db", CACHE);
    let database = Connection::open(scratch.path("cache/cache.db")).expect("ours");
    let insert = "INSERT INTO Cache (key, raw, mode, value) VALUES (?1, 1, 1, ?2)";
    database.execute(insert, rusqlite::params![1, "a number"]).expect("inserted");
    database.execute(insert, rusqlite::params!["1", "a text"]).expect("inserted");
    database.execute(insert, rusqlite::params![2.0, "a float"]).expect("inserted");
    drop(database);
    for again in 0..2 {
        let ran = scratch.run(&["import", "cache", "--json"]);
        assert_eq!(ran.code, 1, "{}{}", ran.out, ran.err);
        let done = json(&ran.out);
        assert_eq!(done["refused"][0]["key"], "1", "{done}");
        assert_eq!(done["imported"], if again == 0 { 2 } else { 0 }, "{done}");
    }
    // Not even where values that are there are replaced.
    assert_eq!(scratch.run(&["import", "cache", "--overwrite"]).code, 1);
    assert_eq!(scratch.good(&["get", "1"]), "a number");
    scratch.good(&["import", "cache", "--rename-doubles"]);
    assert_eq!(scratch.good(&["ls"]), "1\n1~2\n2.0\n");
    assert_eq!(scratch.good(&["get", "1~2"]), "a text");
}
