//! What the doctor finds, and what it leaves alone.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, SystemTime};

use holdall::Format;

use crate::support::{Ran, Scratch, contents, ran};

/// Runs it with these variables, in a folder with this `.env`.
fn examined(scratch: &Scratch, words: &[&str], variables: &[(&str, &str)], dotenv: &str) -> Ran {
    std::fs::write(scratch.path(".env"), dotenv).expect("ours");
    let mut command = scratch.bare(words);
    command.envs(variables.iter().copied());
    ran(command.output().expect("the program runs"))
}

#[test]
fn what_dead_writers_have_left_is_found_and_left_where_it_is() {
    let scratch = Scratch::filled();
    let left = scratch.path("store/.holdall/tmp/left");
    let file = std::fs::File::create(&left).expect("ours");
    file.set_len(5_000).expect("ours");
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(10_000)).expect("ours");
    let before = contents(&scratch.path("store"));
    let told = scratch.good(&["doctor"]);
    assert!(told.contains("1 file of dead writers, 4.88 KiB"), "{told}");
    assert_eq!(contents(&scratch.path("store")), before, "it has changed something");
}

#[test]
fn every_bad_variable_is_told_and_the_rest_of_env_is_followed() {
    let scratch = Scratch::filled();
    let dotenv = "CACHE_ENABLED=perhaps\nBLOB_STORAGE_BASE_PATH=store\nCACHE_DEFAULT_TTL=60\n\
                  HOLDALL_SINGING_KEY=a secret that nobody sees\n";
    let variables = [("CACHE_MAX_SIZE", "many"), ("LOG_LEVEL", "loud")];
    let found = examined(&scratch, &["doctor"], &variables, dotenv);
    assert_eq!(found.code, 1, "{}{}", found.out, found.err);
    for told in [
        "CACHE_ENABLED is \"perhaps\" (from line 1 of .env)",
        "CACHE_MAX_SIZE is \"many\" (from the environment)",
        "LOG_LEVEL is \"loud\" (from the environment)",
        "BLOB_STORAGE_BASE_PATH=store (from line 2 of .env)",
        "CACHE_DEFAULT_TTL=60 (from line 3 of .env)",
        "BLOB_STORAGE_ENABLED=true (built in)",
        "HOLDALL_SINGING_KEY (from line 4 of .env) is read by nobody",
        "-> call it HOLDALL_SIGNING_KEY",
        "HOLDALL_SIGNING_KEY is set (from the environment), a secret",
        "store can be read and written",
        "3 errors, 1 warning",
    ] {
        assert!(found.out.contains(told), "{told}: {}", found.out);
    }
    assert!(!found.out.contains("nobody sees") && !found.out.contains("nothing but tests"));
}

#[test]
fn a_folder_that_cannot_be_known_is_no_other_one() {
    let scratch = Scratch::new();
    let found = examined(&scratch, &["doctor"], &[], "BLOB_STORAGE_BASE_PATH=two words\n");
    assert!(found.out.contains("BLOB_STORAGE_BASE_PATH in line 1 of .env"), "{}", found.out);
    assert!(!found.out.contains("tmp/storage"), "{}", found.out);
    let named = examined(&scratch, &["doctor", "-s", "."], &[], "BLOB_STORAGE_BASE_PATH=two w\n");
    assert!(named.out.contains("holds no store yet"), "{}", named.out);
}

#[test]
fn a_signing_key_that_cannot_be_used_is_an_error_with_one_remedy() {
    let scratch = Scratch::new();
    let key = holdall::signing::KeySource::text("a key that signs nothing but tests");
    let options = holdall::BlobOptions {
        base_path: scratch.path("store"),
        signing_key: key.expect("long enough"),
        ..holdall::BlobOptions::default()
    };
    let store = holdall::BlobManager::with_options(options);
    let pickle = vec![b"\x80\x04N.".to_vec().into()];
    store.save_parts("p", Format::Pickle, pickle, <_>::default()).expect("saved");
    store.close().expect("closed");
    assert!(scratch.good(&["doctor"]).contains("signs here, and is yours"));
    for (key, told) in [
        (
            "short",
            "HOLDALL_SIGNING_KEY (from the environment) is empty, has a key that is too short",
        ),
        ("another key of somebody else entirely", "the store is signed with key"),
    ] {
        let variables = [("HOLDALL_SIGNING_KEY", key)];
        let found = examined(&scratch, &["doctor", "store"], &variables, "");
        assert_eq!(found.code, 1, "{}{}", found.out, found.err);
        assert!(found.out.contains(told), "{}", found.out);
        assert!(found.out.contains("1 error") && !found.out.contains("warning"), "{}", found.out);
        assert_eq!(found.out.matches("-> ").count(), 1, "{}", found.out);
        assert!(!found.out.contains("; set it"), "the remedy is told twice: {}", found.out);
    }
    let bad = [("HOLDALL_SIGNING_KEY", "short")];
    let found = examined(&Scratch::filled(), &["doctor", "store"], &bad, "");
    assert!(found.out.contains("too short"), "nothing is signed yet: {}", found.out);
    std::fs::write(scratch.path("store/.holdall/signer"), "no fingerprint\n").expect("ours");
    let found = examined(&scratch, &["doctor", "store"], &[], "");
    assert!(found.out.contains("cannot be a fingerprint"), "{}", found.out);
}

#[test]
fn what_keeps_every_other_command_from_opening_the_store_is_an_error() {
    let scratch = Scratch::filled();
    let above = scratch.path("above");
    std::fs::create_dir(&above).expect("ours");
    std::fs::rename(scratch.path("store"), above.join("store")).expect("ours");
    let words = |command| ["--store", "above/store", command];
    let mode = |mode| std::fs::set_permissions(&above, Permissions::from_mode(mode));
    mode(0o755).expect("ours");
    let run = |command| examined(&scratch, &words(command), &[], "");
    assert_eq!(run("ls").code, 0);
    assert!(!run("doctor").out.contains("others can write"), "{}", run("doctor").out);
    mode(0o777).expect("ours");
    assert_eq!(run("ls").code, 5);
    let found = run("doctor");
    assert_eq!(found.code, 1, "{}{}", found.out, found.err);
    assert!(found.out.contains("others can write this directory"), "{}", found.out);
    mode(0o755).expect("ours");
    let own = above.join("store/.holdall");
    std::fs::remove_dir_all(own.join("index")).expect("ours");
    std::fs::write(own.join("index"), "").expect("ours");
    let variables = [("HOLDALL_PYTHON", "/nonexistent")];
    let found = examined(&scratch, &words("doctor"), &variables, "");
    for told in ["index is no folder", "HOLDALL_PYTHON is /nonexistent, which is no program"] {
        assert!(found.out.contains(told), "{told}: {}", found.out);
    }
}
