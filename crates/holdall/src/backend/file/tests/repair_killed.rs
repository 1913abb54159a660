//! A repair that is killed at any moment has lost nothing, and another one ends the work.

use std::env;
use std::process::{Command, Stdio};

use super::inline::on;
use super::repair::{cured, repaired};
use super::verify::*;
use super::*;
use crate::backend::file::repair::killed;

const FOLDER: &str = "HOLDALL_TEST_FOLDER";
const MOMENT: &str = "HOLDALL_TEST_MOMENT";

/// Not a test: what the test below runs in a process of its own, and kills.
#[test]
#[ignore = "only its parent runs it"]
fn repair_until_killed() {
    let folder = env::var_os(FOLDER).expect("only its parent runs it");
    let moment = env::var(MOMENT).expect("only its parent runs it");
    let backend = on(Path::new(&folder), 100);
    killed::at(moment.parse().expect("a number"));
    repaired(&backend, false);
}

/// A store with damage of every sort, the contents that must never be lost, and, if its database is
/// damaged, somebody who has that open.
fn damaged(dir: &Path, with_database: bool) -> (Vec<Vec<u8>>, Option<FileBackend>) {
    let (inline, plain) = (on(dir, 100), on(dir, 0));
    for name in ["a", "b", "c", "d"] {
        let content = format!("\"file {name}\"");
        plain.put(put(&format!("file/{name}"), Format::Json, &content)).expect("put");
        let content = format!("\"inline {name}\"");
        inline.put(put(&format!("inline/{name}"), Format::Json, &content)).expect("put");
    }
    plain.list("", None, 99).expect("listed");
    // Another process that has all of it open, and lives on.
    let live = with_database.then(|| {
        let live = on(dir, 100);
        live.put(put("inline/live", Format::Json, "1")).expect("put");
        live
    });
    inline.close().expect("closed");
    drop((inline, plain));
    damage(&dir.join("file/a.json"), |content| content[1] ^= 1);
    rustix::fs::removexattr(dir.join("file/b.json"), "user.holdall").expect("removed");
    fs::write(dir.join(".holdall/tmp/dead"), "x").expect("written");
    let sql = if with_database {
        "DROP TABLE tag"
    } else {
        "UPDATE entry SET content = CAST('\"inline x\"' AS BLOB) \
         WHERE key = CAST('inline/a' AS BLOB)"
    };
    super::verify::with_database(&dir.join(".holdall/inline/values.sqlite"), sql);
    let mut contents = vec![fs::read(dir.join("file/a.json")).expect("there")];
    if !with_database {
        contents.push(b"\"inline x\"".to_vec());
    }
    (contents, live)
}

/// The contents of all files in quarantine.
fn aside(dir: &Path) -> Vec<Vec<u8>> {
    let Ok(items) = fs::read_dir(dir.join(".holdall/quarantine")) else { return Vec::new() };
    let items = items.map(|item| item.expect("read").path());
    let files = items.flat_map(|item| fs::read_dir(item).expect("read").flatten());
    files
        .filter(|file| file.path().is_file())
        .map(|file| fs::read(file.path()).expect("read"))
        .collect()
}

fn check_kills(with_database: bool) -> u32 {
    let this = env::current_exe().expect("a test binary has a path");
    let helper = "backend::file::tests::repair_killed::repair_until_killed";
    for moment in 0.. {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (contents, live) = damaged(dir.path(), with_database);
        let mut command = Command::new(&this);
        command.args(["--exact", helper, "--ignored", "--test-threads=1"]);
        command.env(FOLDER, dir.path()).env(MOMENT, moment.to_string());
        let ended = command.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("run");
        // Whoever goes on, and is told that it succeeded, has to be right.
        let is_written =
            live.is_some_and(|live| live.put(put("inline/new", Format::Json, "\"new\"")).is_ok());
        let backend = on(dir.path(), 100);
        if ended.success() {
            assert_eq!(kinds(&verified(&backend)), []);
        }
        // Nobody has repaired it to the end, and yet the healthy ones are there. Whether a file
        // without a record is the value is for the database to say.
        for name in ["b", "c", "d"].into_iter().skip(usize::from(with_database)) {
            let text = format!("file/{name}");
            let found = backend.get(&key(&text), None).expect("read").expect("there");
            assert_eq!(found.content, format!("\"file {name}\"").into_bytes());
        }
        if !ended.success() {
            cured(&backend);
        }
        for name in ["b", "c", "d"] {
            let text = format!("inline/{name}");
            let found = backend.get(&key(&text), None).expect("read").expect("there");
            assert_eq!(found.content, format!("\"inline {name}\"").into_bytes());
        }
        let new = || backend.get(&key("inline/new"), None).expect("read");
        assert!(!is_written || new().is_some(), "moment {moment}: an acknowledged write is lost");
        let kept = aside(dir.path());
        for content in &contents {
            assert!(kept.contains(content), "moment {moment}: a damaged value is lost");
        }
        assert!(backend.get(&key("file/a"), None).expect("a miss").is_none());
        if ended.success() {
            return moment;
        }
    }
    0
}

#[test]
fn a_kill_at_any_moment_loses_nothing_and_another_repair_ends_the_work() {
    let moments = check_kills(false);
    assert!(moments >= 12, "only {moments} moments");
}

#[test]
fn a_kill_while_the_database_is_made_anew_loses_nothing() {
    let moments = check_kills(true);
    assert!(moments >= 12, "only {moments} moments");
}

#[test]
fn who_goes_on_writing_when_a_repair_of_the_database_was_killed_loses_nothing() {
    let this = env::current_exe().expect("a test binary has a path");
    let helper = "backend::file::tests::repair_killed::repair_until_killed";
    for moment in 0.. {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let live = on(dir.path(), 100);
        live.put(put("old", Format::Json, "1")).expect("put");
        super::verify::with_database(
            &dir.path().join(".holdall/inline/values.sqlite"),
            "DROP TABLE tag",
        );
        let mut command = Command::new(&this);
        command.args(["--exact", helper, "--ignored", "--test-threads=1"]);
        command.env(FOLDER, dir.path()).env(MOMENT, moment.to_string());
        let ended = command.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("run");
        let is_written = live.put(put("new", Format::Json, "2")).is_ok();
        let other = on(dir.path(), 100);
        repaired(&other, false);
        let found = other.get(&key("new"), None).expect("read");
        assert!(!is_written || found.is_some(), "moment {moment}: an acknowledged write is lost");
        if ended.success() {
            assert!(is_written);
            return;
        }
    }
}
