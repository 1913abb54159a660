//! Signatures of payloads that may run code when they are read (pickle, joblib).
//!
//! A signature is a keyed MAC over the payload *and* what it is: a file put under another key, in
//! another store or under another format's name is refused. It does not tell an older value of
//! the same key from the newest.
//!
//! **Bytes, fixed for ever** (version 1). Key and id:
//!
//! ```text
//! key    = BLAKE3 derive_key("holdall v1: signing key from a secret", secret)
//! key id = first 8 bytes of BLAKE3 derive_key("holdall v1: id of a signing key", key)
//! MAC    = BLAKE3 keyed_hash(key, input), 32 bytes
//! input  = field(version) field(key id) field(store id) field(format) field(key) last(payload)
//! field  = number of bytes as u64 little-endian, then the bytes
//! last   = the bytes, then their number as u64 little-endian
//! ```
//!
//! The payload's length follows it, so that a stream can be signed while it is written; being the
//! only field after the others, with its length at a fixed place, it cannot be cut differently.
//!
//! `version` is the one byte 1, `format` the format's name, `key` the whole key of the value in
//! UTF-8, `payload` the bytes of the file before the [`trailer`].

mod file;
mod seal;
mod source;
#[cfg(test)]
mod tests;
pub mod trailer;

use std::fmt;

use crate::error::{Error, ErrorKind, Result};

pub use seal::Seal;
pub use source::{KeySource, VARIABLE, check_variable};

/// The version of the input, and of the trailer.
const VERSION: u8 = 1;
/// Shorter secrets are refused, in bytes.
const SECRET_MIN: usize = 16;

/// A key for signatures. Comparing takes the same time wherever two differ; printing shows the
/// fingerprint alone.
#[derive(Clone)]
pub struct SigningKey([u8; 32]);

impl SigningKey {
    /// Derives a key from a secret of at least 16 bytes, which should be random: the derivation is
    /// fast, so a guessable secret can be guessed. [`ErrorKind::InvalidArgument`] if shorter.
    pub fn from_secret(secret: impl AsRef<[u8]>) -> Result<Self> {
        let secret = secret.as_ref();
        if secret.len() < SECRET_MIN {
            return Err(Error::new(ErrorKind::InvalidArgument, "the signing key is too short")
                .remedy("use 16 bytes or more, such as 64 random hex digits"));
        }
        Ok(Self(blake3::derive_key("holdall v1: signing key from a secret", secret)))
    }

    /// Names the key without giving it away.
    #[must_use]
    pub fn id(&self) -> [u8; 8] {
        let whole = blake3::derive_key("holdall v1: id of a signing key", &self.0);
        let mut id = [0; 8];
        id.copy_from_slice(&whole[..8]);
        id
    }

    /// The id in 16 hex digits.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.id())
    }
}

/// The id of a signing key as people read it: 16 hex digits.
#[must_use]
pub fn fingerprint(key_id: &[u8; 8]) -> String {
    format!("{:016x}", u64::from_be_bytes(*key_id))
}

impl PartialEq for SigningKey {
    fn eq(&self, other: &Self) -> bool {
        blake3::Hash::from(self.0) == blake3::Hash::from(other.0)
    }
}

impl Eq for SigningKey {}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.fingerprint())
    }
}

/// A signature: which key made it, and the MAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    /// The id of the signing key.
    pub key_id: [u8; 8],
    /// The MAC.
    pub mac: [u8; 32],
}

/// Some keys: the first signs unless a store names another of them, any verifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyring {
    first: SigningKey,
    others: Vec<SigningKey>,
}

impl From<SigningKey> for Keyring {
    fn from(first: SigningKey) -> Self {
        Self { first, others: Vec::new() }
    }
}

impl Keyring {
    /// A ring of secrets between commas, space around each taken off: the newest first, then older
    /// ones. The one that a store names signs in it, the first one where none is named yet; all verify. [`ErrorKind::InvalidArgument`] if one has fewer
    /// than 16 bytes.
    pub fn from_list(secrets: &str) -> Result<Self> {
        let secrets = || secrets.split(',').map(str::trim);
        if secrets().count() > 1 && secrets().any(str::is_empty) {
            let cause = "there is no signing key beside a comma";
            return Err(Error::new(ErrorKind::InvalidArgument, cause)
                .remedy("take the comma away, or write the key that is missing"));
        }
        let mut keys = secrets().map(SigningKey::from_secret);
        // `split` yields at least once, so the first is missing only if it is refused.
        let first = keys.next().unwrap_or_else(|| SigningKey::from_secret(""))?;
        Ok(Self { first, others: keys.collect::<Result<_>>()? })
    }

    /// The key that signs.
    #[must_use]
    pub fn first(&self) -> &SigningKey {
        &self.first
    }

    /// Whether a key with this fingerprint is here.
    #[must_use]
    pub fn has(&self, fingerprint: &str) -> bool {
        self.keys().any(|key| key.fingerprint() == fingerprint)
    }

    /// The same keys, of which the one with this fingerprint signs; `None` if it is not here.
    pub(crate) fn led_by(&self, fingerprint: &str) -> Option<Self> {
        let first = self.keys().find(|key| key.fingerprint() == fingerprint)?;
        let others = self.keys().filter(|key| *key != first).cloned().collect();
        Some(Self { first: first.clone(), others })
    }

    /// Whether the first key has this id.
    pub(crate) fn signs_as(&self, key_id: &[u8; 8]) -> bool {
        self.first.id() == *key_id
    }

    fn keys(&self) -> impl Iterator<Item = &SigningKey> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// Signs a payload, given in parts, with the first key. Only bytes that this process encoded or verified may be handed in.
    pub fn sign<'a, P>(&self, store_id: &[u8], format: &str, key: &str, payload: P) -> Tag
    where
        P: IntoIterator<Item = &'a [u8], IntoIter: Clone>,
    {
        let mac = mac(&self.first, store_id, format, key, payload.into_iter());
        Tag { key_id: self.first.id(), mac: mac.into() }
    }

    /// What the first key needs to sign a payload block by block, as `sign` does.
    pub(crate) fn seal(&self, store_id: &[u8], format: &str, key: &str) -> Seal {
        Seal::new(self.first.clone(), lead(&self.first, store_id, format, key))
    }

    /// What it takes to verify a payload block by block; `None` if the key is not in the ring.
    pub(crate) fn seal_of(
        &self,
        tag: &Tag,
        store_id: &[u8],
        format: &str,
        key: &str,
    ) -> Option<Seal> {
        let signer = self.keys().find(|signer| signer.id() == tag.key_id)?;
        Some(Seal::new(signer.clone(), lead(signer, store_id, format, key)))
    }

    /// Checks the signature of a payload, given in the same or other parts.
    ///
    /// [`ErrorKind::Untrusted`] if there is no signature, if its key is not in the ring, or if it
    /// is not the signature of this payload under this key, format and store.
    pub fn verify<'a, P>(
        &self,
        store_id: &[u8],
        format: &str,
        key: &str,
        payload: P,
        tag: Option<&Tag>,
    ) -> Result<()>
    where
        P: IntoIterator<Item = &'a [u8], IntoIter: Clone>,
    {
        let Some(tag) = tag else {
            return Err(unsigned());
        };
        let payload = payload.into_iter();
        let mut known = false;
        for signer in self.keys().filter(|signer| signer.id() == tag.key_id) {
            known = true;
            // Comparing hashes of this type takes the same time wherever they differ.
            if mac(signer, store_id, format, key, payload.clone()) == tag.mac {
                return Ok(());
            }
        }
        Err(if known {
            let cause = "the signature is not of this payload under this key, format and store: it \
                         was changed, or copied or renamed";
            Error::new(ErrorKind::Untrusted, cause).remedy(
                "if it was, put it back and use copy() or rename(), which sign it; if you know who \
                 wrote it, load it with trust=\"any\", and save it again",
            )
        } else {
            let id = fingerprint(&tag.key_id);
            untrusted(format!("it was signed with key {id}, which is not among the known ones"))
        })
    }
}

/// The fields before the payload.
fn lead(signer: &SigningKey, store_id: &[u8], format: &str, key: &str) -> Vec<u8> {
    let mut lead = Vec::new();
    for field in [&[VERSION][..], &signer.id(), store_id, format.as_bytes(), key.as_bytes()] {
        lead.extend_from_slice(&(field.len() as u64).to_le_bytes());
        lead.extend_from_slice(field);
    }
    lead
}

fn mac<'a>(
    signer: &SigningKey,
    store_id: &[u8],
    format: &str,
    key: &str,
    payload: impl Iterator<Item = &'a [u8]> + Clone,
) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_keyed(&signer.0);
    hasher.update(&lead(signer, store_id, format, key));
    let mut length = 0;
    for part in payload {
        hasher.update(part);
        length += part.len() as u64;
    }
    hasher.update(&u64::to_le_bytes(length));
    hasher.finalize()
}

/// What is said of a payload without a signature.
pub(crate) fn unsigned() -> Error {
    untrusted("there is no signature, and reading the value may run code")
}

fn untrusted(cause: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Untrusted, cause).remedy(
        "if you know who wrote it, load it with trust=\"any\", and save it again to have it signed",
    )
}
