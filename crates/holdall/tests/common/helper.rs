//! Helpers in processes of their own: ignored tests of the same binary, which only their parent
//! runs. A helper ends when its parent does, whatever it is doing.

use std::env;
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

const FOLDER: &str = "HOLDALL_TEST_FOLDER";
const NUMBER: &str = "HOLDALL_TEST_NUMBER";
/// What comes before a line that is meant for the parent.
const MARK: &str = "> ";

/// A helper that runs.
pub(crate) struct Helper {
    child: Child,
    input: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
    passed: bool,
}

/// What makes this binary run `helper` alone.
pub(crate) fn arguments(helper: &str) -> [&str; 5] {
    ["--exact", helper, "--ignored", "--nocapture", "--test-threads=1"]
}

impl Helper {
    /// Starts `helper` on a store, as one of several.
    #[allow(dead_code, reason = "some tests run it by way of a shell")]
    pub(crate) fn start(helper: &str, folder: &Path, number: u64) -> Self {
        let this = env::current_exe().expect("a test binary has a path");
        let mut command = Command::new(this);
        command.args(arguments(helper));
        Self::run(command, folder, number)
    }

    /// As [`Helper::start`], with a command that ends in running this binary.
    pub(crate) fn run(mut command: Command, folder: &Path, number: u64) -> Self {
        command.env(FOLDER, folder).env(NUMBER, number.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("this binary can be run");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { input: child.stdin.take(), child, lines, passed: false }
    }

    /// Sends a line.
    #[allow(dead_code, reason = "some parents need no words")]
    pub(crate) fn tell(&mut self, line: &str) {
        let input = self.input.as_mut().expect("not closed");
        writeln!(input, "{line}").expect("the helper reads");
    }

    /// Has no more to tell.
    #[allow(dead_code, reason = "some parents end without a word")]
    pub(crate) fn close(&mut self) {
        self.input = None;
    }

    /// The next line that the helper meant for its parent; `None` once it has ended.
    pub(crate) fn hear(&mut self) -> Option<String> {
        loop {
            // A line that a kill has cut is no line.
            let line = self.lines.next()?.ok()?;
            self.passed |= line.contains("1 passed");
            if let Some((_, said)) = line.split_once(MARK) {
                return Some(said.to_owned());
            }
        }
    }

    /// Waits for the end; answers whether the helper was run and all went well.
    pub(crate) fn finish(mut self) -> bool {
        while self.hear().is_some() {}
        self.child.wait().expect("it is ours").success() && self.passed
    }

    /// Ends the helper as a power switch would.
    #[allow(dead_code, reason = "not every test binary kills")]
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it is ours");
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In a helper: the store and the number that the parent gave.
pub(crate) fn given() -> (PathBuf, u64) {
    let folder = env::var_os(FOLDER).expect("only its parent runs a helper");
    let number = env::var(NUMBER).expect("only its parent runs a helper");
    (PathBuf::from(folder), number.parse().expect("a number"))
}

/// In a helper: says a line to the parent.
#[allow(dead_code, reason = "some parents need no words")]
pub(crate) fn say(line: &str) {
    // Past the capture of tests, in one piece: a kill leaves the line whole or none of it.
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{MARK}{line}\n").as_bytes()).expect("the parent listens");
}

/// In a helper: waits for a line; `None` when the parent is gone or has no more.
pub(crate) fn listen() -> Option<String> {
    std::io::stdin().lines().next()?.ok()
}

/// In a helper that listens no more: ends with the parent.
#[allow(dead_code, reason = "some helpers listen to their end")]
pub(crate) fn end_with_parent() {
    std::thread::spawn(|| {
        while listen().is_some() {}
        std::process::exit(3);
    });
}
