//! The signing key: whether it can be read, and whether it is the one of this store.

use std::io::ErrorKind;
use std::path::Path;

use holdall::signing::{KeySource, VARIABLE};

use super::configuration::source_of;
use super::{About, Findings};
use crate::words;

/// The fingerprint of no key: asked for it, a source looks for its keys and makes none.
const NOBODY: &str = "0000000000000000";

pub(super) fn examine(about: &About<'_>, findings: &mut Findings) {
    let signer = match about.folder.map(signer_of) {
        None => None,
        Some(Ok(signer)) => signer,
        Some(Err(why)) => return findings.error(why, "run `holdall repair`, or `holdall verify`"),
    };
    let known = signer.as_deref().unwrap_or(NOBODY);
    match KeySource::discovered().keyring(Some(known)) {
        Ok(keyring) if keyring.first().fingerprint() == known => {
            findings.good(format!("key {known} signs here, and is yours"));
        }
        Ok(_) => findings.notice(
            format!("key {known} signs here, and is yours, but not the first of the ring"),
            "call rotate_signing_key() in Python to have the first one sign",
        ),
        // There are keys that can be used, or none yet, which the first signature makes.
        Err(error) if error.cause().contains(NOBODY) => {
            let key = match source_of(about, VARIABLE) {
                Some(source) => format!("the key {source} can be used"),
                None => "no key is needed".into(),
            };
            findings.good(format!("nothing in it is signed yet, and {key}"));
        }
        Err(error) => {
            let (what, remedy) = words::told_apart(&error);
            let remedy = remedy.unwrap_or_else(|| "see docs/concepts.md#signing".into());
            findings.error(what, remedy);
        }
    }
}

/// The fingerprint of the key that signs in a store, if one does. The store is not opened for it.
fn signer_of(folder: &Path) -> Result<Option<String>, String> {
    let path = folder.join(".holdall/signer");
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let noted = text.trim_end_matches('\n');
            let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            match noted.len() == NOBODY.len() && noted.bytes().all(is_digit) {
                true => Ok(Some(noted.to_owned())),
                false => Err(format!("{}: it cannot be a fingerprint", path.display())),
            }
        }
        // The folder's own examination tells of one that cannot be looked into.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::PermissionDenied
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}
