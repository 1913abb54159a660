//! Which store a command is about, and its opening.

use std::io::ErrorKind::{NotADirectory, NotFound};
use std::path::{Component, Path, PathBuf};

use holdall::config::Settings;
use holdall::{BlobManager, BlobOptions, Error, Limits};

use crate::exit::{Exit, Failure};
use crate::import;

/// The folder that was asked for, else that of the configuration.
pub(crate) fn folder(asked: Option<PathBuf>) -> Result<PathBuf, Failure> {
    match asked {
        Some(folder) => Ok(folder),
        None => Ok(Settings::from_env()?.base_path),
    }
}

/// Opens the store in this folder; one that is not there is not made.
pub(crate) fn open(folder: &Path) -> Result<BlobManager, Failure> {
    open_with(BlobOptions { base_path: folder.to_path_buf(), ..BlobOptions::default() })
}

/// As [`open`], with options.
pub(crate) fn open_with(options: BlobOptions) -> Result<BlobManager, Failure> {
    let folder = options.base_path.clone();
    if !find(&folder)? {
        let what = if folder.exists() { "holds no store" } else { "does not exist" };
        let loose = match has_values(&folder) {
            true => {
                format!(", or bring its files into one with `holdall import {}`", folder.display())
            }
            false => String::new(),
        };
        return Err(Failure::new(
            Exit::NoStore,
            format!("{} {what}; name one with --store DIR{loose}", folder.display()),
        ));
    }
    let blobs = manager(options);
    // What keeps it from being opened is no matter of any one value.
    blobs.backend().store_id().map_err(|error| error.during("open the store"))?;
    Ok(blobs)
}

/// Opens the store in this folder for values that are to come in; one that is not there is made
/// when the first of them does.
pub(crate) fn open_or_make(options: BlobOptions) -> Result<BlobManager, Failure> {
    let folder = &options.base_path;
    if find(folder)? {
        return open_with(options);
    }
    if folder.exists() && !folder.is_dir() {
        let message = format!("{} is no folder; name another with --store DIR", folder.display());
        return Err(Failure::new(Exit::NoStore, message));
    }
    Ok(manager(options))
}

/// A manager that removes nothing unasked, not even what has expired: there are commands for that.
pub(crate) fn manager(options: BlobOptions) -> BlobManager {
    let limits = Limits { clean_every: None, ..Limits::default() };
    BlobManager::with_options(BlobOptions { limits, ..options })
}

/// Whether files that could be values lie in a folder itself.
fn has_values(folder: &Path) -> bool {
    let Ok(entries) = folder.read_dir() else { return false };
    entries.flatten().any(|entry| import::is_value(&entry.path()))
}

/// Whether a store was ever opened for writing in this folder; an error if this user may not look.
pub(crate) fn find(folder: &Path) -> Result<bool, Error> {
    match folder.join(".holdall").symlink_metadata() {
        Ok(found) => Ok(found.is_dir()),
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => Ok(false),
        Err(error) => Err(Error::io(error, folder).during("open the store")),
    }
}

/// The same where it does not matter why there is none to be seen.
pub(crate) fn holds_store(folder: &Path) -> bool {
    find(folder).unwrap_or(false)
}

/// Whether what one value has met keeps every other out of the store in this folder, too: it cannot
/// be made or written to, or the key that signs is not here.
pub(crate) fn keeps_all_out(error: &Error, folder: &Path) -> bool {
    let is_denied = error.os_error().is_some_and(|number| {
        std::io::Error::from_raw_os_error(number).kind() == std::io::ErrorKind::PermissionDenied
    });
    let is_own = |path: &Path| path == folder || path.starts_with(folder.join(".holdall"));
    error.stops_all()
        || lacks_key(error)
        || error.path().is_some_and(|path| !holds_store(folder) || (is_denied && is_own(path)))
}

/// Whether an error says that no key is here to sign or to check with.
pub(crate) fn lacks_key(error: &Error) -> bool {
    let cause = error.cause();
    cause.contains("signing key") || cause.starts_with("the store is signed with key")
}

/// Refuses a folder to write to that is the one to read from, or lies in it or around it.
pub(crate) fn apart(from: &Path, to: &Path) -> Result<(), Failure> {
    let (real_from, real_to) = (real(from), real(to));
    let how = match (real_to.starts_with(&real_from), real_from.starts_with(&real_to)) {
        (true, true) => "is the same folder as",
        (true, false) => "lies in",
        (false, true) => "lies around",
        (false, false) => return Ok(()),
    };
    let (from, to) = (from.display(), to.display());
    let message = format!("{to}, to be written to, {how} {from}; name a folder apart from it");
    Err(Failure::new(Exit::Usage, message))
}

/// A path without links and `..`, as far as it is there.
fn real(path: &Path) -> PathBuf {
    let mut real = PathBuf::new();
    for part in std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()).components() {
        match part {
            Component::ParentDir => drop(real.pop()),
            part => real.push(part),
        }
        real = real.canonicalize().unwrap_or(real);
    }
    real
}
