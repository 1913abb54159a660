//! A scratch store for each test, and the program run on it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use holdall::{BlobManager, Format, SaveOptions};

/// A folder that goes with the test.
pub(crate) struct Scratch {
    folder: tempfile::TempDir,
}

/// What a run of the program has left.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary directory") }
    }

    /// With a store of three values.
    pub(crate) fn filled() -> Self {
        let scratch = Self::new();
        let store = scratch.blobs();
        store.save("a/1", &vec![1, 2], Format::Json).expect("saved");
        store.save("a/2", "text", Format::String).expect("saved");
        let tagged = SaveOptions { tags: vec!["red".into()], ..SaveOptions::default() };
        store.save_parts("b", Format::Bytes, vec![vec![0, 255].into()], tagged).expect("saved");
        store.close().expect("closed");
        scratch
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    pub(crate) fn blobs(&self) -> BlobManager {
        BlobManager::new(self.path("store"))
    }

    /// The program, on the store.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = self.bare(words);
        command.arg("--store").arg(self.path("store"));
        command
    }

    /// The program, without a word about a store.
    pub(crate) fn bare(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdall"));
        command.args(words).current_dir(self.folder.path()).stdin(Stdio::null());
        for name in ["BLOB_STORAGE_BASE_PATH", "BLOB_STORAGE_ENABLED", "NO_COLOR", "CLICOLOR_FORCE"]
        {
            command.env_remove(name);
        }
        command.env("HOLDALL_SIGNING_KEY", "a key that signs nothing but tests");
        command
    }

    pub(crate) fn run(&self, words: &[&str]) -> Ran {
        ran(self.command(words).output().expect("the program runs"))
    }

    /// What a terminal of 80 columns is sent; `None` where there is none to be had.
    pub(crate) fn on_terminal(&self, words: &[&str]) -> Option<String> {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        use rustix::termios::{Winsize, tcsetwinsize};
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).ok()?;
        grantpt(&master).and_then(|()| unlockpt(&master)).ok()?;
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).ok()?;
        let name = ptsname(&master, Vec::new()).ok()?.into_string().ok()?;
        let end = || std::fs::File::options().read(true).write(true).open(&name);
        let mut command = self.command(words);
        command.env("NO_COLOR", "1").stdout(end().ok()?).stderr(end().ok()?);
        let mut child = command.spawn().expect("the program runs");
        // Its ends of the terminal were kept for the child alone.
        drop(command);
        let (mut seen, mut piece) = (Vec::new(), [0; 4_096]);
        // With the last end gone there is an error to read.
        while let Ok(length @ 1..) = rustix::io::read(&master, &mut piece) {
            seen.extend_from_slice(&piece[..length]);
        }
        assert!(child.wait().expect("it ends").success(), "{words:?}");
        Some(String::from_utf8_lossy(&seen).into_owned())
    }

    /// Runs it and expects success.
    pub(crate) fn good(&self, words: &[&str]) -> String {
        let ran = self.run(words);
        assert_eq!(ran.code, 0, "{words:?}: {}{}", ran.out, ran.err);
        ran.out
    }
}

/// What was written as JSON.
pub(crate) fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).expect("it is JSON")
}

pub(crate) fn ran(output: Output) -> Ran {
    let text = |bytes| String::from_utf8(bytes).expect("the program writes UTF-8");
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

/// Every file below a folder with its bytes, to see that nothing was changed.
pub(crate) fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in folder.read_dir().expect("it is a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else {
                let bytes = std::fs::read(&path).expect("a file of the test");
                found.push((path, bytes));
            }
        }
    }
    found.sort();
    found
}
