//! Signatures of formats that could run code when they are read.
//!
//! A signature is made only over bytes that this process encoded, or verified in the same call.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use super::{BlobManager, Trust};
use crate::backend::{Backend, Part, Placed, Put};
use crate::error::{ErrorKind, Result};
use crate::format::{Codec, Format};
use crate::key::Key;
use crate::record::Record;
use crate::signing::{KeySource, Keyring, Seal, Tag, trailer, unsigned};

/// How often a value is signed again because the key of the store has changed.
const RETRIES: usize = 3;

/// From so many bytes on a signed value is placed for itself: next to writing it, a commit and the
/// flush of a folder cost little.
const LARGE: u64 = 1 << 20;

/// Signs what a manager saves, and verifies what it loads.
#[derive(Debug)]
pub(super) struct Signer {
    keys: KeySource,
}

impl Signer {
    pub(super) fn new(keys: KeySource) -> Self {
        Self { keys }
    }

    /// The keys that sign here: first the one that the store names. One that names none notes the
    /// first of ours, unless somebody else was faster.
    fn signing(&self, backend: &dyn Backend) -> Result<Arc<Keyring>> {
        let mut known = backend.signer()?;
        let mut keyring = self.keys.keyring(known.as_deref())?;
        if known.is_none() {
            backend.note_signer(&keyring.first().fingerprint())?;
            known = backend.signer()?;
            keyring = self.keys.keyring(known.as_deref())?;
        }
        match known {
            Some(known) if keyring.first().fingerprint() != known => {
                Ok(keyring.led_by(&known).map_or(keyring, Arc::new))
            }
            _ => Ok(keyring),
        }
    }

    /// Signs what was not placed, because another key signs the store by now.
    fn sign_again(&self, backend: &dyn Backend, put: &mut Put) -> Result<()> {
        if put.seal.is_some() {
            put.seal = Some(self.seal(backend, &put.key, put.format)?);
        } else if put.signature.is_some() {
            put.parts.pop();
            let kind = (put.format, put.codec);
            put.signature = Some(self.sign(backend, &put.key, kind, &mut put.parts)?);
        }
        Ok(())
    }

    /// The keys, if the one with this fingerprint is among them; none is ever made.
    pub(super) fn known(&self, fingerprint: &str) -> Result<Arc<Keyring>> {
        self.keys.keyring(Some(fingerprint))
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

    /// Signs a payload, after it was compressed, and appends the signature to it.
    pub(super) fn sign(
        &self,
        backend: &dyn Backend,
        key: &Key,
        (format, codec): (Format, Codec),
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
        let name = name_of(format, codec);
        let tag = keyring.sign(&backend.store_id()?, &name, key.as_str(), payload);
        parts.push(ending(codec, &tag));
        Ok(tag)
    }

    /// The keys of a rotation: they have the one that signed so far, unless that is lost.
    pub(super) fn ring(&self, backend: &dyn Backend, old_is_lost: bool) -> Result<Arc<Keyring>> {
        let known = if old_is_lost { None } else { backend.signer()? };
        self.keys.keyring(known.as_deref())
    }

    /// Verifies the content of a file with any key of a ring and signs it with the first one; `None`
    /// if that one has signed it.
    pub(super) fn renew(
        &self,
        ring: &Keyring,
        backend: &dyn Backend,
        key: &Key,
        record: &Record,
        mut content: Vec<u8>,
    ) -> Result<Option<(Vec<Part>, Tag)>> {
        let (payload, trailer) = split(record.codec, &content);
        let tag = record.signature.or(trailer).ok_or_else(unsigned)?;
        let name = name_of(record.format, record.codec);
        let store_id = backend.store_id()?;
        ring.verify(&store_id, &name, key.as_str(), std::iter::once(payload), Some(&tag))?;
        if ring.signs_as(&tag.key_id) {
            return Ok(None);
        }
        let new = ring.sign(&store_id, &name, key.as_str(), std::iter::once(payload));
        let length = payload.len();
        content.truncate(length);
        Ok(Some((vec![content.into(), ending(record.codec, &new)], new)))
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
        let (payload, tag) = split(record.codec, content);
        let length = payload.len();
        if trust == Trust::Own {
            let kind = (format, record.codec);
            self.check(backend, key, kind, payload, record.signature.or(tag))?;
        }
        content.truncate(length);
        Ok(())
    }

    /// Verifies a payload.
    pub(super) fn check(
        &self,
        backend: &dyn Backend,
        key: &Key,
        (format, codec): (Format, Codec),
        payload: &[u8],
        tag: Option<Tag>,
    ) -> Result<()> {
        let tag = tag.ok_or_else(unsigned)?;
        let keyring = self.keys.keyring(backend.signer()?.as_deref())?;
        let payload = std::iter::once(payload);
        let name = name_of(format, codec);
        keyring.verify(&backend.store_id()?, &name, key.as_str(), payload, Some(&tag))
    }
}

impl BlobManager {
    /// Places values. What was signed while the key of the store changed is signed again, for which
    /// the payload is held until it is placed: each large one is a batch of its own.
    pub(super) fn put_signed(&self, puts: Vec<Put>) -> Vec<Result<Placed>> {
        let mut results = Vec::with_capacity(puts.len());
        let mut batch = Vec::new();
        for put in puts {
            let is_alone = put.format.is_signed() && put.length() >= LARGE;
            if is_alone && !batch.is_empty() {
                results.extend(self.put_batch(std::mem::take(&mut batch)));
            }
            batch.push(put);
            if is_alone {
                results.extend(self.put_batch(std::mem::take(&mut batch)));
            }
        }
        if !batch.is_empty() {
            results.extend(self.put_batch(batch));
        }
        results.iter().flatten().for_each(|placed| self.cleaning.saved(&placed.record));
        results
    }

    fn put_batch(&self, puts: Vec<Put>) -> Vec<Result<Placed>> {
        // Their parts are not copied, only held.
        let signed = |put: &Put| put.format.is_signed().then(|| put.clone());
        let kept: Vec<_> = puts.iter().map(signed).collect();
        let mut results = self.backend.put_many(puts);
        for (result, kept) in results.iter_mut().zip(kept) {
            let Some(kept) = kept else { continue };
            for _ in 0..RETRIES {
                if !matches!(result, Err(error) if error.kind() == ErrorKind::Untrusted) {
                    break;
                }
                let mut put = kept.clone();
                let again = self.signer.sign_again(&*self.backend, &mut put);
                *result = again.and_then(|()| self.backend.put(put));
            }
        }
        results
    }
}

/// What lies behind a payload of this codec.
fn ending(codec: Codec, tag: &Tag) -> Part {
    match codec {
        Codec::None => trailer::append(tag).to_vec().into(),
        _ => trailer::append_frame(tag).into(),
    }
}

/// Takes the signature off the content of a file.
fn split(codec: Codec, content: &[u8]) -> (&[u8], Option<Tag>) {
    match codec {
        Codec::None => trailer::split(content),
        _ => trailer::split_frame(content),
    }
}

/// What a signature says of a payload: one that is compressed is never taken for one that is not.
pub(super) fn name_of(format: Format, codec: Codec) -> Cow<'static, str> {
    match codec {
        Codec::None => format.name().into(),
        _ => format!("{}+{}", format.name(), codec.name()).into(),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::{BlobOptions, Save, SaveOptions};
    use super::*;
    use crate::backend::Durability;
    use crate::backend::memory::MemoryBackend;
    use crate::flush::tests_support::{FlushLog, fail_flush};

    #[test]
    fn what_is_signed_is_what_is_written_though_its_owner_changes_it_meanwhile() {
        let signer = Signer::new(KeySource::text("sixteen bytes or more").expect("long enough"));
        let backend = MemoryBackend::default();
        let key = Key::new("k").expect("a valid key");
        let mut parts = vec![Part::Volatile(Bytes::from_static(b"may change"))];
        signer.sign(&backend, &key, (Format::Pickle, Codec::None), &mut parts).expect("signed");
        assert!(parts.iter().all(|part| matches!(part, Part::Stable(_))));
    }

    #[test]
    fn what_could_not_be_noted_of_who_signs_is_noted_by_the_next_save_or_nothing_is_saved() {
        // The note itself is not flushed, then its name.
        for fails_after in [0, 1] {
            let dir = tempfile::tempdir().expect("a folder");
            let manager = |secret| {
                BlobManager::with_options(BlobOptions {
                    base_path: dir.path().into(),
                    signing_key: KeySource::text(secret).expect("long enough"),
                    ..BlobOptions::default()
                })
            };
            let save = |blobs: &BlobManager, key, format| {
                let parts = vec![Part::from(b"1".to_vec())];
                blobs.save_parts(key, format, parts, SaveOptions::default())
            };
            let ours = manager("the first secret of all of them");
            save(&ours, "unsigned", Format::Json).expect("saved");
            fail_flush(fails_after);
            save(&ours, "k", Format::Pickle).expect_err("its key is not noted");
            let note = dir.path().join(".holdall/signer");
            assert!(!note.exists());
            save(&ours, "k", Format::Pickle).expect("saved");
            assert!(note.exists());
            let theirs = manager("another secret of a new home");
            let error = save(&theirs, "q", Format::Pickle).expect_err("its key is missing");
            assert_eq!(error.kind(), ErrorKind::Untrusted);
            ours.load_bytes("k", None).expect("as good as ever");
        }
    }

    #[test]
    fn the_bytes_of_a_large_signed_value_go_before_the_next_one_is_written() {
        struct Owner(Arc<AtomicUsize>, Vec<u8>);
        impl AsRef<[u8]> for Owner {
            fn as_ref(&self) -> &[u8] {
                &self.1
            }
        }
        impl Drop for Owner {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let dir = tempfile::tempdir().expect("a folder");
        let blobs = BlobManager::with_options(BlobOptions {
            base_path: dir.path().into(),
            signing_key: KeySource::text("sixteen bytes or more").expect("long enough"),
            ..BlobOptions::default()
        });
        let gone = Arc::new(AtomicUsize::new(0));
        let puts = ["a", "b", "c"].map(|key| {
            let bytes = Bytes::from_owner(Owner(Arc::clone(&gone), vec![7; 2 << 20]));
            let options =
                SaveOptions { durability: Some(Durability::Disk), ..SaveOptions::default() };
            let parts = vec![Part::Stable(bytes)];
            let save = Save { key: key.into(), format: Format::Pickle, parts, options };
            blobs.prepare(save).expect("signed")
        });
        let seen = Rc::new(RefCell::new(Vec::new()));
        let (note, count) = (Rc::clone(&seen), Arc::clone(&gone));
        let log = FlushLog::looking(move |path| {
            if path.parent().is_some_and(|folder| folder.ends_with(".holdall/tmp")) {
                note.borrow_mut().push(count.load(Ordering::Relaxed));
            }
        });
        let placed = blobs.put_signed(puts.into());
        drop(log.end());
        assert!(placed.iter().all(Result::is_ok), "{placed:?}");
        assert_eq!(*seen.borrow(), [0, 1, 2]);
    }

    #[test]
    fn what_was_signed_before_a_rotation_and_is_placed_after_it_is_signed_again() {
        let dir = tempfile::tempdir().expect("a folder");
        let (old, new) = ("the old secret of the store", "the new secret of the store");
        let manager = |secrets: &str, compression| {
            let signing_key = KeySource::text(secrets).expect("long enough");
            let base_path = dir.path().into();
            BlobManager::with_options(BlobOptions {
                base_path,
                signing_key,
                compression,
                ..BlobOptions::default()
            })
        };
        let (learning, rotating) = (format!("{old},{new}"), format!("{new},{old}"));
        let text = b"the same line\n".repeat(1_000);
        let large = vec![7; 5 << 20];
        let values = [
            ("small", Codec::None, &b"1"[..]),
            ("large", Codec::None, &large),
            ("packed", Codec::Zstd, &text),
        ];
        let puts = values.map(|(key, codec, payload)| {
            let parts = vec![Part::from(payload.to_vec())];
            let options = SaveOptions::default();
            let save = Save { key: key.into(), format: Format::Pickle, parts, options };
            manager(&learning, codec).prepare(save).expect("signed")
        });
        let rotated = manager(&rotating, Codec::None).rotate_signing_key(false, |_| ());
        assert!(rotated.expect("rotated").is_complete);
        let placed = manager(&learning, Codec::None).put_signed(puts.into());
        assert!(placed.iter().all(Result::is_ok), "{placed:?}");
        for (key, _, payload) in values {
            let blob = manager(new, Codec::None).load_bytes(key, None).expect("of the new key");
            assert_eq!(blob.payload, payload, "{key}");
        }
    }
}
