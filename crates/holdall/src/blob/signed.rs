//! Signatures of formats that could run code when they are read.
//!
//! A signature is made only over bytes that this process encoded, or verified in the same call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::Trust;
use crate::backend::{Backend, Part};
use crate::error::Result;
use crate::format::Format;
use crate::key::Key;
use crate::record::Record;
use crate::signing::{KeySource, Keyring, Seal, Tag, trailer, unsigned};

/// Signs what a manager saves, and verifies what it loads.
#[derive(Debug)]
pub(super) struct Signer {
    keys: KeySource,
    /// The store knows the fingerprint of our key.
    is_noted: AtomicBool,
}

impl Signer {
    pub(super) fn new(keys: KeySource) -> Self {
        Self { keys, is_noted: AtomicBool::new(false) }
    }

    /// The keys that sign here; the store notes which.
    fn signing(&self, backend: &dyn Backend) -> Result<Arc<Keyring>> {
        let keyring = self.keys.keyring(backend.signer()?.as_deref())?;
        if !self.is_noted.swap(true, Ordering::Relaxed) {
            backend.note_signer(&keyring.first().fingerprint())?;
        }
        Ok(keyring)
    }

    /// What signs a payload while it is written.
    pub(super) fn seal(&self, backend: &dyn Backend, key: &Key, format: Format) -> Result<Seal> {
        let keyring = self.signing(backend)?;
        Ok(keyring.seal(&backend.store_id()?, format.name(), key.as_str()))
    }

    /// What verifies a payload while it is read; `None` if the key is not known.
    pub(super) fn seal_of(
        &self,
        backend: &dyn Backend,
        key: &Key,
        format: Format,
        tag: &Tag,
    ) -> Result<Option<Seal>> {
        let keyring = self.keys.keyring(backend.signer()?.as_deref())?;
        Ok(keyring.seal_of(tag, &backend.store_id()?, format.name(), key.as_str()))
    }

    /// Signs a payload and appends the signature to it.
    pub(super) fn sign(
        &self,
        backend: &dyn Backend,
        key: &Key,
        format: Format,
        parts: &mut Vec<Part>,
    ) -> Result<Tag> {
        let keyring = self.signing(backend)?;
        for part in parts.iter_mut() {
            // What is signed must be what is written.
            if let Part::Volatile(bytes) = part {
                *part = Part::Stable(Bytes::copy_from_slice(bytes));
            }
        }
        let payload = parts.iter().map(|part| &part.bytes()[..]);
        let tag = keyring.sign(&backend.store_id()?, format.name(), key.as_str(), payload);
        parts.push(Part::Stable(Bytes::copy_from_slice(&trailer::append(&tag))));
        Ok(tag)
    }

    /// Verifies the content of a file, unless all are trusted, and takes the signature off it.
    pub(super) fn open(
        &self,
        trust: Trust,
        backend: &dyn Backend,
        key: &Key,
        format: Format,
        record: &Record,
        content: &mut Vec<u8>,
    ) -> Result<()> {
        let (payload, tag) = trailer::split(content);
        let length = payload.len();
        if trust == Trust::Own {
            self.check(backend, key, format, payload, record.signature.or(tag))?;
        }
        content.truncate(length);
        Ok(())
    }

    /// Verifies a payload.
    pub(super) fn check(
        &self,
        backend: &dyn Backend,
        key: &Key,
        format: Format,
        payload: &[u8],
        tag: Option<Tag>,
    ) -> Result<()> {
        let tag = tag.ok_or_else(unsigned)?;
        let keyring = self.keys.keyring(backend.signer()?.as_deref())?;
        let payload = std::iter::once(payload);
        keyring.verify(&backend.store_id()?, format.name(), key.as_str(), payload, Some(&tag))
    }
}
