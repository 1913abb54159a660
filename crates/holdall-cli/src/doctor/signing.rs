//! The signing key: whether it can be read, and whether it is the one of this store.

use std::path::Path;

use holdall::signing::KeySource;

use super::Findings;
use crate::store;

pub(super) fn examine(folder: &Path, findings: &mut Findings) {
    let signer = match store::holds_store(folder) {
        false => None,
        true => match store::open(folder).map(|blobs| blobs.backend().signer()) {
            Ok(Ok(signer)) => signer,
            Ok(Err(error)) => return findings.error(error.to_string(), "run `holdall verify`"),
            // The folder's own examination has told.
            Err(_) => None,
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
            "have the first one sign with rotate_signing_key()",
        ),
        Err(error) => findings.warning(error.to_string(), "find the key, or see docs/concepts.md"),
    }
}
