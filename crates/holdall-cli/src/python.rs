//! What takes Python is asked of it: a migration from or to formats that only Python reads.
//!
//! The child is `python -m holdall._migrate`; it writes a line of JSON after each step, and a report
//! in the end.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use holdall::Migrate;
use rustix::fs::{Access, access};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::commands::migrate::Done;
use crate::exit::{Exit, Failure};
use crate::interrupt;
use crate::output::progress::Progress;
use crate::words;

/// Migrates in a child; this process shows how far it is.
pub(crate) fn migrate(asked: &Migrate, folder: &Path, mut bar: Progress) -> Result<Done, Failure> {
    let request = json!({
        "store": folder,
        "prefix": asked.prefix,
        "tag": asked.tag,
        "from_format": asked.from.map(|format| format.name()),
        "to_format": asked.format.map(|format| format.name()),
        "compression": asked.compression.map(|codec| codec.name()),
        "dry_run": asked.dry_run,
    });
    // Ctrl-C comes here alone, and goes on to the child once it can end in order.
    interrupt::listen();
    let mut child = Command::new(interpreter())
        .args(["-m", "holdall._migrate", &request.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| none(&error.to_string()))?;
    let told = child.stderr.take().map(|stderr| std::thread::spawn(move || last_line(stderr)));
    let mut last = Value::Null;
    let mut has_begun = false;
    let mut is_told = false;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let Ok(line) = line else { break };
            // One that was killed may leave half a line.
            let Ok(told) = serde_json::from_str(&line) else { continue };
            last = told;
            has_begun = true;
            bar.at(number(&last, "checked"), None);
            if interrupt::is_asked() && !is_told {
                is_told = true;
                let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
                // It fails if the child has ended.
                let _ = id.map(|id| kill_process(id, Signal::INT));
            }
        }
    }
    bar.finish();
    let status = child.wait().map_err(|error| none(&error.to_string()))?;
    let told = told.and_then(|told| told.join().ok()).unwrap_or_default();
    if let Some(message) = last.get("error").and_then(Value::as_str) {
        return Err(Failure::new(Exit::System, words::of(message)));
    }
    let mut ended = None;
    if !last.get("finished").is_some_and(Value::is_boolean) {
        let why = if told.is_empty() { format!("it ended with {status}") } else { told };
        if !has_begun {
            return Err(none(&why));
        }
        ended = Some(format!("Python, which converts these values, ended early: {why}"));
    }
    let failed = last["failed"].as_object().into_iter().flatten();
    let text = |error: &Value| words::of(error.as_str().unwrap_or_default());
    Ok(Done {
        checked: number(&last, "checked"),
        converted: number(&last, "converted"),
        unchanged: number(&last, "unchanged"),
        bytes: (number(&last, "bytes_before"), number(&last, "bytes_after")),
        failed: failed.map(|(key, error)| (key.clone(), text(error))).collect(),
        is_interrupted: last["finished"] == false,
        stopped: last["stopped"].as_str().map(words::of),
        left: last["left"].as_u64(),
        ended,
    })
}

/// The last thing that the child says of itself, such as why it could not begin.
fn last_line(stderr: impl std::io::Read) -> String {
    let lines = BufReader::new(stderr).lines().map_while(Result::ok);
    lines.filter(|line| !line.trim().is_empty()).last().unwrap_or_default()
}

fn number(report: &Value, name: &str) -> u64 {
    report[name].as_u64().unwrap_or_default()
}

/// The interpreter that called, else the one beside this program, else the first of the path.
fn interpreter() -> OsString {
    if let Some(named) = named() {
        return named;
    }
    let beside = std::env::current_exe().ok().and_then(|own| own.parent().map(Path::to_path_buf));
    let found = beside.map(|folder| folder.join("python3")).filter(|python| python.is_file());
    found.map_or_else(|| "python3".into(), PathBuf::into_os_string)
}

/// The interpreter that the environment names.
pub(crate) fn named() -> Option<OsString> {
    std::env::var_os("HOLDALL_PYTHON").filter(|named| !named.is_empty())
}

/// Whether something by this name, a path or one to be found in `PATH`, can be run.
pub(crate) fn is_program(named: &OsStr) -> bool {
    let runs = |path: &Path| path.is_file() && access(path, Access::EXEC_OK).is_ok();
    if Path::new(named).components().count() > 1 {
        return runs(Path::new(named));
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| runs(&folder.join(named)))
}

fn none(what: &str) -> Failure {
    Failure::new(
        Exit::System,
        format!(
            "this conversion takes Python with holdall in it, which could not be run ({what}); \
             run `python -m holdall migrate` with such a Python, or set HOLDALL_PYTHON"
        ),
    )
}
