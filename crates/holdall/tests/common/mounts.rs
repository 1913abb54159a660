//! File systems of a test's own, in a place for mounts that nobody else sees.

use std::path::Path;
use std::process::{Command, Stdio};

use super::helper::{Helper, arguments};

/// Runs this binary's helper at the end of a line of shell, which may use `$FOLDER`.
pub(crate) fn run_in_shell(around: &[&str], line: &str, helper: &str, folder: &Path) -> Helper {
    let mut words = around.to_vec();
    let line = format!("{line} && exec \"$0\" \"$@\"");
    words.extend(["sh", "-c", &line]);
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg(std::env::current_exe().expect("it has a path"));
    command.args(arguments(helper)).env("FOLDER", folder);
    Helper::run(command, folder, 0)
}

/// How to get a place for mounts that nobody else sees; `None`, with the reason printed, if this
/// user may not mount.
pub(crate) fn own_mounts(folder: &Path) -> Option<&'static [&'static str]> {
    let around: &[&str] = match rustix::process::geteuid().is_root() {
        true => &["unshare", "--mount"],
        false => &["unshare", "--user", "--map-root-user", "--mount"],
    };
    let mount = "mount -t tmpfs -o size=1m tmpfs \"$FOLDER\"";
    let mut probe = Command::new(around[0]);
    probe.args(&around[1..]).args(["sh", "-c", mount]).env("FOLDER", folder);
    let allowed = probe.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !allowed {
        println!("skipped: this user may not mount a file system of its own");
    }
    allowed.then_some(around)
}
