//! A store of another user, whom nobody else may look over the shoulder.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use rustix::process::geteuid;

use crate::support::{Scratch, ran};

/// Who owns nothing here.
const NOBODY: u32 = 65_534;

#[test]
fn every_command_says_permission_denied_with_the_code_of_the_system() {
    let scratch = Scratch::filled();
    fs::create_dir(scratch.path("files")).expect("ours");
    fs::write(scratch.path("files/a.txt"), "text").expect("ours");
    // The program lies where only its builder may look, perhaps.
    let program = scratch.path("holdall");
    fs::copy(env!("CARGO_BIN_EXE_holdall"), &program).expect("copied");
    let closed = if geteuid().is_root() { 0o700 } else { 0 };
    fs::set_permissions(scratch.path("."), Permissions::from_mode(0o755)).expect("ours");
    fs::set_permissions(scratch.path("store"), Permissions::from_mode(closed)).expect("ours");
    for words in [
        "ls",
        "get a/1",
        "put new files/a.txt",
        "rm a/1",
        "rm --prefix a/",
        "stat a/1",
        "stats",
        "du",
        "verify",
        "repair -n",
        "repair",
        "expire",
        "evict red",
        "copy a/1 other",
        "copy --to other",
        "export out",
        "import files",
        "migrate --to json",
        "trust",
        "doctor",
    ] {
        let mut command = Command::new(&program);
        command.args(words.split(' ')).args(["-s", "store"]);
        command.current_dir(scratch.path(".")).stdin(Stdio::null());
        command.env("HOLDALL_SIGNING_KEY", "a key that signs nothing but tests");
        if geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let ran = ran(command.output().expect("the program runs"));
        let told = format!("{}{}", ran.out, ran.err);
        assert_eq!(ran.code, 7, "{words}: {told}");
        assert_eq!(told.to_lowercase().matches("permission denied").count(), 1, "{words}: {told}");
        assert!(!told.contains("holds no store"), "{words}: {told}");
    }
    fs::set_permissions(scratch.path("store"), Permissions::from_mode(0o700)).expect("ours");
}
