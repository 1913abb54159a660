//! The signing key: whether it can be read, and whether it is the one of this store.

use std::path::Path;

use holdall::signing::KeySource;

use super::Findings;
use crate::store;
use crate::words;

pub(super) fn examine(folder: &Path, findings: &mut Findings) {
    let signer = match store::holds_store(folder) {
        false => None,
        true => match store::open(folder).map(|blobs| blobs.backend().signer()) {
            Ok(Ok(signer)) => signer,
            Ok(Err(error)) => return findings.error(words::told(&error), "run `holdall verify`"),
            // The folder's own examination, or that of versions, has told.
            Err(_) => return,
        },
    };
    let Some(signer) = signer else {
        return findings.good("nothing in it is signed yet, so no key is needed");
    };
    match KeySource::discovered().keyring(Some(&signer)) {
        Ok(keyring) if keyring.first().fingerprint() == signer => {
            findings.good(format!("key {signer} signs here, and is yours"));
        }
        Ok(_) => findings.notice(
            format!("key {signer} signs here, and is yours, but not the first of the ring"),
            "call rotate_signing_key() in Python to have the first one sign",
        ),
        Err(error) => {
            findings.warning(words::told(&error), "find the key, or see docs/concepts.md")
        }
    }
}
