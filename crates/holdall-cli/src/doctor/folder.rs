//! The folder: whether it is there, whose it is, and who may write to it.

use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use holdall::backend::file::refuse_if_others_write;
use rustix::fs::{Access, access};
use rustix::process::geteuid;

use super::Findings;
use crate::store;
use crate::words;

/// What to do where nothing can be seen.
const REMEDY: &str = "run this as its owner, or give this user the right to read it";

pub(super) fn examine(folder: &Path, findings: &mut Findings) {
    let shown = folder.display();
    let found = match folder.metadata() {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            return findings.error(format!("{shown}: permission denied"), REMEDY);
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let remedy = "name another with --store, or save a first value";
            return findings.error(format!("{shown} does not exist"), remedy);
        }
        Err(error) => {
            return findings.error(format!("{shown}: {error}"), "name another with --store");
        }
    };
    if !found.is_dir() {
        return findings.error(format!("{shown} is no folder"), "name another with --store");
    }
    owner(folder, &found, findings);
    match store::find(folder) {
        Ok(true) => parts(folder, findings),
        Ok(false) => {
            findings.notice(format!("{shown} holds no store yet"), "save a first value");
        }
        Err(error) => {
            let (what, _) = words::told_apart(&error);
            return findings.error(what, REMEDY);
        }
    }
    if access(folder, Access::READ_OK | Access::EXEC_OK).is_err() {
        findings.error(format!("{shown} cannot be read"), "give this user the right to read it");
    } else if access(folder, Access::WRITE_OK).is_err() {
        let what = format!("{shown} cannot be written: values can be read and not saved");
        findings.warning(what, "give this user the right to write there");
    } else {
        findings.good(format!("{shown} can be read and written"));
    }
}

fn owner(folder: &Path, found: &Metadata, findings: &mut Findings) {
    let (owner, me, mode) = (found.uid(), geteuid().as_raw(), found.mode() & 0o777);
    let shown = folder.display();
    if owner != me {
        let what = format!("{shown} belongs to user {owner}, and this is user {me}");
        findings.warning(what, "run this as its owner, or give the folder to this user");
    }
    if mode & 0o002 != 0 {
        let what = format!("everybody may write to {shown} (mode {mode:03o})");
        return findings.error(what, format!("chmod o-w {shown}"));
    }
    // What lies above it counts, too: every other command asks the same.
    let refused = folder.canonicalize().ok().and_then(|path| refuse_if_others_write(&path).err());
    if let Some(error) = refused {
        let (what, remedy) = words::told_apart(&error);
        findings.error(what, remedy.unwrap_or_else(|| "choose another folder".into()));
    } else if mode & 0o020 != 0 {
        let what = format!("a whole group may write to {shown} (mode {mode:03o})");
        findings.warning(what, format!("chmod g-w {shown}, unless all of it is to be trusted"));
    }
    if mode & 0o004 != 0 {
        let what = format!("everybody may list {shown}; the files in it are their owner's alone");
        findings.notice(what, format!("chmod 700 {shown}"));
    }
}

/// What of the store's own has to be a folder.
fn parts(folder: &Path, findings: &mut Findings) {
    for (name, remedy) in [
        ("index", "move it away: it is made anew"),
        ("tmp", "move it away: it is made anew"),
        ("inline", "see docs/repair.md: it should hold values"),
    ] {
        let path = folder.join(".holdall").join(name);
        if path.symlink_metadata().is_ok_and(|found| !found.is_dir()) {
            findings.error(format!("{} is no folder", path.display()), remedy);
        }
    }
}
