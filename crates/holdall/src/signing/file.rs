//! The user's own file of signing keys: 0600 in a folder 0700, made by one process for all.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::Keyring;
use crate::error::{Error, ErrorKind, Result};
use crate::flush::flush;

/// More than any list of secrets needs, in bytes.
const LENGTH_MAX: u64 = 64 * 1_024;

/// The keys in the file. If there is none: a new random key in a new file, or `None` unless
/// `create`. Flushes what it makes, since signatures must not outlive their key.
pub(super) fn read_or_create(path: &Path, create: bool) -> Result<Option<Keyring>> {
    if let Some(keyring) = read(path)? {
        return Ok(Some(keyring));
    }
    if !create {
        return Ok(None);
    }
    create_file(path)?;
    // Another process may have been first, so the file has the word, not what was made here.
    match read(path)? {
        Some(keyring) => Ok(Some(keyring)),
        None => Err(failed(path, "made", &io::ErrorKind::NotFound.into())),
    }
}

fn read(path: &Path) -> Result<Option<Keyring>> {
    // Without O_NONBLOCK a pipe of that name would hold the caller.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
            return Err(refused(path, "the signing key is a symbolic link")
                .remedy("put the file itself there, or set HOLDALL_SIGNING_KEY"));
        }
        Err(error) => return Err(failed(path, "read", &error)),
    };
    let found = file.metadata().map_err(|error| failed(path, "read", &error))?;
    if !found.is_file() {
        return Err(refused(path, "the signing key is not a regular file").remedy("remove it"));
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(refused(path, "the signing key belongs to another user")
            .remedy("make this user its owner (chown), or set HOLDALL_SIGNING_KEY"));
    }
    if found.mode() & 0o077 != 0 {
        return Err(refused(path, "the signing key is open to other users").remedy(
            "run chmod 600 on it if nobody has used that; else remove it, and look at every value \
             after rotate_signing_key(old_key_is_lost=True)",
        ));
    }
    let mut text = String::new();
    file.take(LENGTH_MAX)
        .read_to_string(&mut text)
        .map_err(|error| failed(path, "read", &error))?;
    Keyring::from_list(&text).map(Some).map_err(|_| {
        refused(path, "the file of the signing key is empty or damaged").remedy(
            "bring it back from a backup; else remove it and let a new one sign with \
             rotate_signing_key(old_key_is_lost=True)",
        )
    })
}

fn create_file(path: &Path) -> Result<()> {
    let failed = |error: io::Error| failed(path, "made", &error);
    let path = &std::path::absolute(path).map_err(failed)?;
    let folder = path.parent().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
    let kept = folder.ancestors().find(|ancestor| ancestor.is_dir()).map(Path::to_owned);
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    let found = fs::metadata(folder).map_err(failed)?;
    if found.uid() != rustix::process::geteuid().as_raw() || found.mode() & 0o022 != 0 {
        return Err(refused(folder, "others can write to the folder of the signing key")
            .remedy("make it this user's own (chown, chmod 700), or set HOLDALL_SIGNING_KEY"));
    }
    let mut random = [0; 40];
    getrandom::fill(&mut random)
        .map_err(|_| failed(io::Error::other("the system gave no random bytes")))?;
    let (name, secret) = random.split_at(8);
    let temporary = Temporary(folder.join(format!(".signing.key.{}", hex(name))));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&temporary.0)
        .map_err(failed)?;
    // The process's mask may have taken rights away from the owner.
    file.set_permissions(Permissions::from_mode(0o600)).map_err(failed)?;
    file.write_all(format!("{}\n", hex(secret)).as_bytes()).map_err(failed)?;
    flush(file.as_fd()).map_err(|error| failed(error.into()))?;
    // A link fails if the name is taken, where a rename would put a second key over the first.
    match fs::hard_link(&temporary.0, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => drop(temporary),
    }
    // Each new folder is an entry of its parent, so the last one that was there counts too.
    for ancestor in folder.ancestors() {
        File::open(ancestor).and_then(|folder| Ok(flush(folder.as_fd())?)).map_err(failed)?;
        if kept.as_deref() == Some(ancestor) {
            break;
        }
    }
    Ok(())
}

/// A file that goes when its maker does.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // What cannot be removed is a key that nobody uses.
        let _ = fs::remove_file(&self.0);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn refused(path: &Path, cause: &'static str) -> Error {
    Error::new(ErrorKind::Untrusted, cause).at(path)
}

/// The remedy that `Error::io` knows speaks of the store's folder.
fn failed(path: &Path, verb: &str, error: &io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("the signing key cannot be {verb}: {error}"))
        .at(path)
        .remedy("set HOLDALL_SIGNING_KEY, or give this user the right to that file and folder")
}
