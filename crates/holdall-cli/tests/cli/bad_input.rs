//! Every command on what is no store, on a newer one, a damaged one and one that can only be read:
//! one sentence, the documented code, nothing changed.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use holdall::{Format, SaveOptions};
use rustix::process::geteuid;

use crate::support::{Ran, Scratch, contents, ran};

/// Every command that is about a store; each is run with the keys of `Scratch::filled`.
const COMMANDS: [&[&str]; 21] = [
    &["ls"],
    &["get", "a/1"],
    &["put", "new", "file.txt"],
    &["put", "a/1", "file.txt", "--dry-run"],
    &["rm", "a/1"],
    &["rm", "--prefix", "a/"],
    &["stat", "a/1"],
    &["stats"],
    &["du"],
    &["verify"],
    &["repair"],
    &["expire"],
    &["evict", "red"],
    &["migrate", "--to", "json", "a/"],
    &["migrate", "--compression", "zstd"],
    &["copy", "a/1", "c"],
    &["copy", "--to", "other"],
    &["export", "out"],
    &["import", "files"],
    &["trust"],
    &["trust", "--key", "a/1"],
];

/// Those that make a store where there is none.
fn makes(words: &[&str]) -> bool {
    matches!(words[0], "put" | "import")
}

/// With what the commands need beside a store.
fn with_files(scratch: Scratch) -> Scratch {
    std::fs::write(scratch.path("file.txt"), "text").expect("ours");
    std::fs::create_dir(scratch.path("files")).expect("ours");
    std::fs::write(scratch.path("files/taken.json"), "{}").expect("ours");
    scratch
}

/// One sentence on the standard error, with this code.
fn check_refusal(words: &[&str], ran: &Ran, code: i32) {
    assert_eq!(ran.code, code, "{words:?}: {}{}", ran.out, ran.err);
    assert_eq!(ran.err.lines().count(), 1, "{words:?}: {}", ran.err);
    assert!(ran.err.starts_with("error: "), "{words:?}: {}", ran.err);
    for python in ["BlobManager", "base_path", "pass ", "()", "lock_timeout", "default"] {
        assert!(!ran.err.contains(python), "{words:?} speaks Python: {}", ran.err);
    }
}

#[test]
fn where_there_is_no_store_every_command_says_so_and_makes_none() {
    let scratch = with_files(Scratch::new());
    std::fs::create_dir(scratch.path("folder")).expect("ours");
    std::fs::write(scratch.path("folder/file.txt"), "somebody's").expect("ours");
    for (place, what) in
        [("folder", "holds no store"), ("none", "does not exist"), ("file.txt", "holds no store")]
    {
        let before = contents(&scratch.path("."));
        for words in COMMANDS.into_iter().filter(|words| !makes(words) || place == "file.txt") {
            let mut command = scratch.bare(words);
            let ran = ran(command.args(["--store", place]).output().expect("it runs"));
            check_refusal(words, &ran, 4);
            assert!(makes(words) || ran.err.contains(what), "{words:?}: {}", ran.err);
        }
        assert_eq!(contents(&scratch.path(".")), before, "{place}");
    }
}

#[test]
fn a_store_of_a_later_release_is_left_alone_by_every_command() {
    let scratch = with_files(Scratch::filled());
    let file = scratch.path("store/.holdall/store.json");
    let text = std::fs::read_to_string(&file).expect("it is there");
    std::fs::write(&file, text.replace("\"format\": 1", "\"format\": 9")).expect("ours");
    let before = contents(&scratch.path("."));
    for words in COMMANDS {
        let ran = scratch.run(words);
        check_refusal(words, &ran, 4);
        assert!(ran.err.contains("layout 9"), "{words:?}: {}", ran.err);
    }
    let ran = scratch.run(&["doctor"]);
    assert_eq!((ran.code, ran.err.as_str()), (1, ""), "{}", ran.out);
    assert_eq!(ran.out.matches("layout 9").count(), 1, "told once: {}", ran.out);
    assert_eq!(contents(&scratch.path(".")), before);
    // As the target of a copy it is left alone too.
    let mut copy = scratch.bare(&["copy", "--to", "store", "--store", "new"]);
    let made = scratch.bare(&["put", "k", "file.txt", "--store", "new"]).output();
    assert_eq!(ran_of(made).code, 0);
    check_refusal(&["copy"], &ran_of(copy.output()), 4);
}

fn ran_of(output: std::io::Result<std::process::Output>) -> Ran {
    ran(output.expect("the program runs"))
}

/// The codes of the commands, in their order.
fn codes(damage: impl Fn(&Path)) -> Vec<i32> {
    let mut codes = Vec::new();
    for words in COMMANDS {
        let scratch = with_files(Scratch::filled());
        damage(&scratch.path("store"));
        let ran = scratch.run(words);
        assert!(ran.err.lines().count() <= 1, "{words:?}: {}", ran.err);
        codes.push(ran.code);
        // What was whole can still be loaded.
        let store = scratch.blobs();
        let is_removed = matches!(words, ["rm", "--prefix", _]);
        assert!(is_removed || store.load_bytes("a/2", None).is_ok(), "{words:?}");
        store.repair(false, |_| ()).expect("repaired");
        assert!(store.verify(|_| ()).expect("verified").is_ok(), "{words:?}");
    }
    codes
}

#[test]
fn a_damaged_value_is_named_by_those_who_read_it_and_hinders_nobody_else() {
    let found = codes(|store| {
        let file = store.join("a/1.json");
        let times = file.metadata().and_then(|found| found.modified()).expect("a file");
        std::fs::write(&file, "[9,2]").expect("ours");
        let changed = std::fs::File::options().write(true).open(&file).expect("ours");
        changed.set_modified(times).expect("ours");
    });
    let expected = |words: &&[&str]| match words {
        ["get" | "copy", _, ..] if words[1] != "--to" => 5,
        ["trust", "--key", _] => 5,
        ["verify"] | ["migrate", "--compression", _] | ["copy" | "export", ..] => 1,
        _ => 0,
    };
    let expected: Vec<_> = COMMANDS.iter().map(expected).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_damaged_index_or_clock_costs_no_value_and_no_command() {
    let index = |store: &Path| {
        let folder = store.join(".holdall/index").read_dir().expect("there").next();
        let file = folder.expect("one").expect("read").path().join("index.sqlite");
        std::fs::write(file, "no database".repeat(1_000)).expect("ours");
    };
    let clock = |store: &Path| {
        std::fs::write(store.join(".holdall/clock"), [0x5a; 4_000]).expect("ours");
    };
    let expected: Vec<_> = COMMANDS
        .iter()
        // A value that is no pickle is not to be signed.
        .map(|words| i32::from(matches!(**words, ["verify"] | ["trust", "--key", _])))
        .collect();
    assert_eq!(codes(index), expected);
    assert_eq!(codes(clock), expected);
}

#[test]
fn a_key_that_is_not_there_is_one_sentence_and_code_3() {
    let scratch = with_files(Scratch::filled());
    let before = values(&scratch);
    for words in [
        &["get", "nope"][..],
        &["stat", "nope"],
        &["rm", "nope"],
        &["rm", "nope", "--dry-run"],
        &["copy", "nope", "new"],
        &["copy", "nope", "new", "--dry-run"],
        &["trust", "--key", "nope"],
    ] {
        let ran = scratch.run(words);
        check_refusal(words, &ran, 3);
        assert!(ran.err.contains("nope") && ran.err.contains("no value"), "{words:?}: {}", ran.err);
        assert_eq!(ran.out, "", "{words:?}");
    }
    let gone = scratch.run(&["put", "nope", "file.txt", "--if-match", "12"]);
    check_refusal(&["put"], &gone, 6);
    assert_eq!(values(&scratch), before);
}

/// The files of the store that are values.
fn values(scratch: &Scratch) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let all = contents(&scratch.path("store"));
    all.into_iter().filter(|(path, _)| !path.to_string_lossy().contains(".holdall")).collect()
}

#[test]
fn a_store_that_can_only_be_read_is_read_and_refuses_the_rest() {
    let scratch = with_files(Scratch::filled());
    let Some(read_only) = read_only(&scratch) else {
        return println!("skipped: this user may not mount a folder for reading only");
    };
    let before = contents(&scratch.path("store"));
    for words in COMMANDS {
        let ran = ran_of(read_only(words).output());
        match words {
            // Single values can be loaded; a listing takes an index that it may have to write.
            ["put", .., "--dry-run"] | ["get" | "stat" | "verify", ..] => {
                assert_eq!(ran.code, 0, "{words:?}: {}{}", ran.out, ran.err);
            }
            ["trust", "--key", _] => assert_eq!(ran.code, 1, "{words:?}: {}", ran.err),
            _ => check_refusal(words, &ran, 7),
        }
    }
    assert_eq!(contents(&scratch.path("store")), before);
}

#[test]
fn a_store_of_another_user_refuses_every_change_with_one_code() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65_534;
    let scratch = with_files(Scratch::filled());
    std::fs::write(scratch.path("store/p.pkl"), b"\x80\x04N.").expect("ours");
    let store = scratch.blobs();
    let soon = SaveOptions { ttl: Duration::from_millis(1).into(), ..SaveOptions::default() };
    store.save_with("over", &1, Format::Json, soon).expect("saved");
    store.close().expect("closed");
    for words in [&["ls"][..], &["stats"]] {
        // Listings have their index.
        scratch.good(words);
    }
    let mut open = vec![scratch.path("")];
    while let Some(path) = open.pop() {
        let is_folder = path.is_dir();
        let mode = if is_folder { 0o555 } else { 0o444 };
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&path, permissions).expect("ours");
        if is_folder {
            open.extend(path.read_dir().expect("ours").flatten().map(|entry| entry.path()));
        }
    }
    let before = contents(&scratch.path("store"));
    for words in [
        &["put", "a/1", "file.txt"][..],
        &["rm", "a/1"],
        &["rm", "a/1", "a/2"],
        &["rm", "--prefix", "a/"],
        &["evict", "red"],
        &["copy", "a/1", "c"],
        &["import", "files"],
        &["expire"],
        &["trust", "--key", "p"],
    ] {
        let mut command = scratch.command(words);
        if geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let ran = match command.output() {
            Ok(output) => ran(output),
            Err(error) => return println!("skipped: another user may not run it: {error}"),
        };
        assert_eq!(ran.code, 7, "{words:?}: {}{}", ran.out, ran.err);
    }
    assert_eq!(contents(&scratch.path("store")), before);
    let mut open = vec![scratch.path("")];
    while let Some(path) = open.pop().filter(|path| path.is_dir()) {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("ours");
        open.extend(
            path.read_dir()
                .expect("ours")
                .flatten()
                .map(|entry| entry.path())
                .filter(|path| path.is_dir()),
        );
    }
}

/// Runs the program where the store cannot be written; `None` if that cannot be had.
fn read_only(scratch: &Scratch) -> Option<impl Fn(&[&str]) -> Command> {
    let store = scratch.path("store");
    let around: &[&str] = match geteuid().is_root() {
        true => &["unshare", "--mount"],
        false => &["unshare", "--user", "--map-root-user", "--mount"],
    };
    let line = "mount --bind \"$STORE\" \"$STORE\" && mount -o remount,bind,ro \"$STORE\" && \
                exec \"$0\" \"$@\"";
    let shell = move |inner: Command| {
        let mut command = Command::new(around[0]);
        command.args(&around[1..]).args(["sh", "-c", line]);
        command.arg(inner.get_program()).args(inner.get_args()).env("STORE", &store);
        for (name, value) in inner.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.current_dir(inner.get_current_dir().unwrap_or(Path::new("/")));
        command.stdin(Stdio::null());
        command
    };
    let probe = shell(Command::new("true")).stderr(Stdio::null()).status();
    let allowed = probe.is_ok_and(|status| status.success());
    allowed.then_some(move |words: &[&str]| shell(scratch.command(words)))
}
