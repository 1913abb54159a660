//! Where the signing keys of a manager come from; asked when they are first used.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::{Keyring, SigningKey, file};
use crate::config::dotenv::DotEnv;
use crate::config::{self, Lookup};
use crate::error::{Error, ErrorKind, Result};

/// The variable that has the secrets.
pub const VARIABLE: &str = "HOLDALL_SIGNING_KEY";

/// Signing keys, found when they are first used. Clones share what was found.
///
/// An explicit secret, else `HOLDALL_SIGNING_KEY` of the environment or `.env`, else a file for
/// each user, `$XDG_DATA_HOME/holdall/signing.key` or `~/.local/share/holdall/signing.key`, which
/// is made at first use.
#[derive(Clone)]
pub struct KeySource(Arc<Inner>);

struct Inner {
    origin: Origin,
    // Not a lock: a child forked while one is held would wait for ever.
    found: ArcSwapOption<Keyring>,
}

enum Origin {
    Given,
    Discovered,
    File(PathBuf),
}

impl KeySource {
    /// Secrets as text, between commas, as [`Keyring::from_list`] takes them.
    pub fn text(secrets: &str) -> Result<Self> {
        Ok(Self::given(Keyring::from_list(secrets)?))
    }

    /// One secret as bytes, as [`SigningKey::from_secret`] takes it. Text without a comma and
    /// without space around it is the same key either way.
    pub fn bytes(secret: &[u8]) -> Result<Self> {
        Ok(Self::given(SigningKey::from_secret(secret)?.into()))
    }

    /// These keys.
    #[must_use]
    pub fn given(keyring: Keyring) -> Self {
        Self::new(Origin::Given, Some(Arc::new(keyring)))
    }

    /// The environment, `.env` or the user's file; nothing is read before the first use.
    #[must_use]
    pub fn discovered() -> Self {
        Self::new(Origin::Discovered, None)
    }

    /// This file, made at first use if it is not there.
    #[must_use]
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::new(Origin::File(path.into()), None)
    }

    fn new(origin: Origin, found: Option<Arc<Keyring>>) -> Self {
        Self(Arc::new(Inner { origin, found: ArcSwapOption::from(found) }))
    }

    /// The keys. `known` is the fingerprint that the store has on record, if any: then no file is
    /// made, and a ring without that key is refused.
    ///
    /// Reads two small files at first use, and may write one and flush it to disk.
    /// [`ErrorKind::Untrusted`] if the store's key is not here, or if the file was open to others;
    /// [`ErrorKind::InvalidArgument`] for a bad secret; [`ErrorKind::Io`] if the file can be
    /// neither read nor made.
    pub fn keyring(&self, known: Option<&str>) -> Result<Arc<Keyring>> {
        let found = match self.0.found.load_full() {
            Some(found) => found,
            None => {
                let Some(found) = self.find(known.is_none())? else {
                    return Err(missing(known.unwrap_or_default()));
                };
                let found = Arc::new(found);
                self.0.found.store(Some(Arc::clone(&found)));
                found
            }
        };
        match known {
            Some(known) if !found.has(known) => Err(missing(known)),
            _ => Ok(found),
        }
    }

    /// `None` if the file is missing and must not be made.
    fn find(&self, create: bool) -> Result<Option<Keyring>> {
        match &self.0.origin {
            Origin::File(path) => file::read_or_create(path, create),
            // Given keys were found at construction.
            Origin::Given => Ok(None),
            Origin::Discovered => {
                let lookup = |name: &str| env::var_os(name);
                match discover(&lookup, &DotEnv::of_working_directory, env::home_dir().as_deref())?
                {
                    Place::Here(keyring) => Ok(Some(keyring)),
                    Place::File(path) => file::read_or_create(&path, create),
                }
            }
        }
    }
}

/// Whether `HOLDALL_SIGNING_KEY` is unset or has keys that can sign; looks variables up and reads the
/// text of a `.env`, as [`crate::config::Settings::resolve`] does. For those who would rather know
/// before they need the key.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] that names the variable and not its value.
pub fn check_variable(lookup: impl Fn(&str) -> Option<String>, dotenv: Option<&str>) -> Result<()> {
    let lookup = |name: &str| lookup(name).map(std::ffi::OsString::from);
    from_variable(&lookup, &dotenv.map(DotEnv::parse).unwrap_or_default()).map(drop)
}

fn from_variable(lookup: &Lookup<'_>, dotenv: &DotEnv) -> Result<Option<Keyring>> {
    let Some((secrets, source)) = config::find(VARIABLE, lookup, dotenv)? else { return Ok(None) };
    // An empty variable is more likely a secret that did not arrive than a wish for none.
    Keyring::from_list(&secrets).map(Some).map_err(|_| {
        let cause = format!(
            "{VARIABLE} ({source}) is empty, has a key that is too short, or a comma too many"
        );
        Error::new(ErrorKind::InvalidArgument, cause)
            .remedy("set it to 16 bytes or more, such as 64 random hex digits, or remove it")
    })
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = match &self.0.origin {
            Origin::Given => "given",
            Origin::Discovered => "discovered",
            Origin::File(_) => "file",
        };
        let found = self.0.found.load_full();
        f.debug_struct("KeySource").field("origin", &origin).field("found", &found).finish()
    }
}

pub(super) enum Place {
    Here(Keyring),
    File(PathBuf),
}

/// Where the keys are, by the environment, `.env` and the home directory.
pub(super) fn discover(
    lookup: &Lookup<'_>,
    dotenv: &dyn Fn() -> Result<DotEnv>,
    home: Option<&Path>,
) -> Result<Place> {
    if let Some(keyring) = from_variable(lookup, &dotenv()?)? {
        return Ok(Place::Here(keyring));
    }
    // The XDG base directory specification has relative paths ignored.
    let data = lookup("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = home.filter(|home| home.is_absolute()).map(|home| home.join(".local/share"));
    match data.or(home) {
        Some(data) => Ok(Place::File(data.join("holdall/signing.key"))),
        None => {
            Err(Error::new(ErrorKind::Io, "there is no home directory to keep the signing key in")
                .remedy(format!("set {VARIABLE} or pass signing_key")))
        }
    }
}

fn missing(known: &str) -> Error {
    let cause = format!("the store is signed with key {known:?}, which is not here");
    Error::new(ErrorKind::Untrusted, cause).remedy(format!(
        "set {VARIABLE} to that key or bring its signing.key back; if another key is to sign, give \
         both, the new one first, and rotate_signing_key(); if that one is lost, \
         rotate_signing_key(old_key_is_lost=True)"
    ))
}
