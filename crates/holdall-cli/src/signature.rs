//! Signatures of the pickles in an export, so that the same key takes them back.
//!
//! In a store the signature is behind the payload, and is of the payload as it is kept, compressed or
//! not. A file of an export has the payload alone, so its line in the list has a signature of its own,
//! under a name that no format of a store has: neither is ever taken for the other.

use holdall::Format;
use holdall::signing::{KeySource, Keyring, Tag, fingerprint};
use serde::{Deserialize, Serialize};

/// What a line of the list says, in hex digits.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Signature {
    /// The id of the store that it came from.
    store: String,
    /// The fingerprint of the signing key.
    key: String,
    mac: String,
}

/// Signs a payload that was verified in the same call.
pub(crate) fn sign(
    ring: &Keyring,
    store: &[u8; 16],
    format: Format,
    key: &str,
    payload: &[u8],
) -> Signature {
    let tag = ring.sign(store, &name(format), key, [payload]);
    Signature { store: hex(store), key: fingerprint(&tag.key_id), mac: hex(&tag.mac) }
}

impl Signature {
    /// Whether one of the keys that are known here has signed this payload for this key; no key is
    /// made.
    pub(crate) fn is_of(
        &self,
        keys: &KeySource,
        format: Format,
        key: &str,
        payload: &[u8],
    ) -> bool {
        let read = || {
            let tag = Tag { key_id: bytes(&self.key)?, mac: bytes(&self.mac)? };
            let ring = keys.keyring(Some(&self.key)).ok()?;
            let store: [u8; 16] = bytes(&self.store)?;
            ring.verify(&store, &name(format), key, [payload], Some(&tag)).ok()
        };
        read().is_some()
    }
}

fn name(format: Format) -> String {
    format!("{format} of an export")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes<const N: usize>(hex: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let is_hex = hex.len() == 2 * N && hex.bytes().all(|digit| digit.is_ascii_hexdigit());
    for (byte, at) in bytes.iter_mut().zip((0..hex.len()).step_by(2)).filter(|_| is_hex) {
        *byte = u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()?;
    }
    is_hex.then_some(bytes)
}
