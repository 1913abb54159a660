//! What holds for every command: exit codes, errors of one sentence, colours, closed pipes.

use std::io::Read;
use std::process::Stdio;
use std::time::Duration;

use holdall::{Format, SaveOptions};

use crate::support::{Scratch, json, ran};

#[test]
fn a_wrong_command_suggests_the_right_one() {
    let scratch = Scratch::new();
    let wrong = scratch.run(&["verfy"]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.err.contains("'verify'"), "{}", wrong.err);
    for (word, command) in [
        ("delete", "rm"),
        ("remove", "rm"),
        ("DEL", "rm"),
        ("cat", "get"),
        ("show", "get"),
        ("lz", "ls"),
        ("sl", "ls"),
        ("list", "ls"),
        ("cp", "copy"),
        ("mv", "copy"),
        ("set", "put"),
        ("check", "verify"),
        ("fsck", "verify"),
        ("dump", "export"),
        ("gc", "expire"),
        ("gett", "get"),
    ] {
        let wrong = scratch.run(&[word, "key"]);
        assert_eq!(wrong.code, 2);
        let tip = format!("'{command}'\n");
        assert!(wrong.err.contains(&tip), "{word}: {}", wrong.err);
    }
    assert!(!scratch.run(&["xyzzy"]).err.contains("tip"));
}

#[test]
fn an_empty_prefix_or_tag_removes_nothing() {
    let scratch = Scratch::filled();
    for words in [&["rm", "-p", ""][..], &["rm", "--prefix", "", "-n"], &["evict", ""], &["rm", ""]]
    {
        let ran = scratch.run(words);
        assert_eq!((ran.code, ran.err.lines().count()), (2, 1), "{words:?}: {}", ran.err);
    }
    assert!(scratch.run(&["rm", "-p", ""]).err.contains("--all"));
    assert_eq!(scratch.good(&["ls"]), "a/1\na/2\nb\n");
    assert_eq!(scratch.good(&["rm", "--all", "-n"]), "a/1\na/2\nb\nwould remove 3 values\n");
    scratch.good(&["rm", "--all"]);
    assert_eq!(scratch.good(&["ls"]), "");
}

#[test]
fn what_is_over_is_counted_by_stats_and_told_by_du_and_expire_names_it() {
    let scratch = Scratch::filled();
    let store = scratch.blobs();
    let soon = SaveOptions { ttl: Duration::from_millis(1).into(), ..SaveOptions::default() };
    store.save_with("over", &1, Format::Json, soon).expect("saved");
    store.close().expect("closed");
    let over = json(&scratch.good(&["expire", "-n", "--json"]));
    assert_eq!((&over["expired"], &over["keys"]), (&1.into(), &serde_json::json!(["over"])));
    assert!(scratch.good(&["stats"]).starts_with("4 values"));
    let du = scratch.good(&["du"]);
    assert!(du.contains("3  in all") && du.contains("1  more whose time is over"), "{du}");
    scratch.good(&["expire"]);
    assert!(scratch.good(&["stats"]).starts_with("3 values"));
    assert!(!scratch.good(&["du"]).contains("over"));
}

#[test]
fn a_path_without_a_store_is_one_sentence_and_code_4() {
    let scratch = Scratch::new();
    std::fs::create_dir(scratch.path("store")).expect("ours");
    std::fs::write(scratch.path("store/file.txt"), "somebody's").expect("ours");
    for command in ["ls", "stats", "verify", "repair", "expire", "du"] {
        let ran = scratch.run(&[command]);
        assert_eq!(ran.code, 4, "{command}: {}{}", ran.out, ran.err);
        assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
        assert!(ran.err.contains("holds no store"), "{}", ran.err);
        assert!(ran.err.contains("holdall import"), "there is a file: {}", ran.err);
    }
    assert!(!scratch.path("store/.holdall").exists(), "looking made a store");
}

#[test]
fn a_store_of_a_later_release_is_code_4_and_stays_as_it_is() {
    let scratch = Scratch::filled();
    let file = scratch.path("store/.holdall/store.json");
    let text = std::fs::read_to_string(&file)
        .expect("it is there")
        .replace("\"format\": 1", "\"format\": 9");
    std::fs::write(&file, &text).expect("ours");
    let ran = scratch.run(&["ls"]);
    assert_eq!(ran.code, 4, "{}", ran.err);
    assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
    assert_eq!(std::fs::read_to_string(&file).expect("it is there"), text);
}

#[test]
fn a_missing_key_is_code_3() {
    let scratch = Scratch::filled();
    for command in ["get", "stat"] {
        assert_eq!(scratch.run(&[command, "nope"]).code, 3);
    }
}

#[test]
fn a_closed_pipe_is_success() {
    let scratch = Scratch::filled();
    let store = scratch.blobs();
    let long = "x".repeat(200);
    let keys: Vec<_> = (0..2_000).map(|number| format!("{long}{number}")).collect();
    let saves = keys.iter().map(|key| {
        holdall::BlobManager::encoded(key, &1, holdall::Format::Json).expect("it is JSON")
    });
    assert!(store.save_many(saves.collect()).iter().all(Result::is_ok));
    let mut child = scratch
        .command(&["ls"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut first = [0; 10];
    child.stdout.take().expect("a pipe").read_exact(&mut first).expect("there is output");
    let ran = ran(child.wait_with_output().expect("it ends"));
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
}

#[test]
fn colours_are_for_terminals_and_for_those_who_ask() {
    let scratch = Scratch::filled();
    assert!(!scratch.good(&["ls", "-l"]).contains('\u{1b}'));
    assert!(scratch.good(&["ls", "-l", "--color", "always"]).contains('\u{1b}'));
    let forced =
        scratch.command(&["ls", "-l"]).env("CLICOLOR_FORCE", "1").env("NO_COLOR", "1").output();
    assert!(!ran(forced.expect("it runs")).out.contains('\u{1b}'));
}

#[test]
fn the_store_comes_from_the_option_the_environment_or_the_default() {
    let scratch = Scratch::filled();
    let named = scratch.bare(&["ls"]).env("BLOB_STORAGE_BASE_PATH", scratch.path("store")).output();
    assert_eq!(ran(named.expect("it runs")).out, "a/1\na/2\nb\n");
    std::fs::write(scratch.path(".env"), "BLOB_STORAGE_BASE_PATH=store\n").expect("ours");
    let written = scratch.bare(&["ls"]).output();
    assert_eq!(ran(written.expect("it runs")).out, "a/1\na/2\nb\n");
    let bad = scratch.bare(&["ls"]).env("CACHE_MAX_SIZE", "many").output();
    let bad = ran(bad.expect("it runs"));
    assert_eq!(bad.code, 2);
    assert!(bad.err.contains("CACHE_MAX_SIZE"), "{}", bad.err);
}

#[test]
fn completions_are_there_for_the_shells() {
    let scratch = Scratch::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(scratch.good(&["completions", shell]).contains("migrate"), "{shell}");
    }
}

#[test]
fn what_keeps_all_values_out_is_told_once_with_its_own_code() {
    use std::os::unix::fs::PermissionsExt as _;
    let scratch = Scratch::new();
    for folder in ["files", "open"] {
        std::fs::create_dir(scratch.path(folder)).expect("ours");
    }
    for (name, bytes) in [("a.json", &b"1"[..]), ("b.pkl", b"\x80\x04N."), ("c.pkl", b"\x80\x04N.")]
    {
        std::fs::write(scratch.path("files").join(name), bytes).expect("ours");
    }
    std::fs::write(scratch.path("file"), "").expect("ours");
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(scratch.path("open"), open).expect("ours");
    scratch.good(&["import", "files"]);
    for name in ["planted.pkl", "too.pkl"] {
        std::fs::write(scratch.path("store").join(name), b"\x80\x04N.").expect("ours");
    }
    let with = |words: &[&str], secret: &str| {
        let mut command = scratch.bare(words);
        let ran = ran(command.env("HOLDALL_SIGNING_KEY", secret).output().expect("it runs"));
        assert_eq!(ran.err.lines().count(), 1, "{words:?}: {}{}", ran.out, ran.err);
        ran
    };
    let (key, other) = ("a key that signs nothing but tests", "the key of somebody else");
    for (words, secret, code) in [
        (&["import", "files", "-s", "open"][..], key, 5),
        (&["import", "files", "-s", "file/new"], key, 7),
        (&["import", "files", "-s", "/proc/new"], key, 7),
        (&["import", "files", "-s", "store", "--overwrite"], other, 5),
        (&["trust", "--all", "-s", "store"], other, 5),
        (&["trust", "--key", "planted", "--key", "too", "-s", "store"], other, 5),
        (&["copy", "--to", "new", "-s", "store"], other, 5),
    ] {
        let ran = with(words, secret);
        assert_eq!(ran.code, code, "{words:?}: {}{}", ran.out, ran.err);
    }
    let into = with(&["copy", "--to", "new", "-s", "store", "b"], other);
    assert!(into.err.contains("is signed with key"), "{}", into.err);
}
