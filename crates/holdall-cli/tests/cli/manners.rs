//! What holds for every command: exit codes, errors of one sentence, colours, closed pipes.

use std::io::Read;
use std::process::Stdio;

use crate::support::{Scratch, ran};

#[test]
fn a_wrong_command_suggests_the_right_one() {
    let scratch = Scratch::new();
    let wrong = scratch.run(&["verfy"]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.err.contains("'verify'"), "{}", wrong.err);
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
