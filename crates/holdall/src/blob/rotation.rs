//! Another key signs: what the old one signed is verified and signed anew.

use std::collections::HashSet;
use std::sync::Arc;

use super::BlobManager;
use crate::backend::{Condition, Durability, Object, Put};
use crate::cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::record::Record;
use crate::signing::Keyring;

/// The most values, and bytes, that are placed together.
const MOST_VALUES: usize = 64;
const MOST_BYTES: u64 = 32 << 20;
/// How often a value is looked at anew that somebody else has saved meanwhile.
const RETRIES: usize = 16;

/// What was done so far, or in all.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct KeyRotation {
    /// The fingerprint of the key that signs from now on.
    pub fingerprint: String,
    /// Values of signed formats that were looked at.
    pub checked: u64,
    /// Of those, how many were verified and signed with the new key.
    pub resigned: u64,
    /// Keys of values that nobody may read: not signed by a known key, or damaged. They stay as
    /// they are.
    pub refused: Vec<(String, Error)>,
    /// Keys of values that could not be looked at or placed. As long as there are any, the old key
    /// stands and is needed.
    pub failed: Vec<(String, Error)>,
    /// The store names the new key as the one that signs, so the old one may go.
    pub is_complete: bool,
}

/// A rotation that goes on step by step.
#[derive(Debug)]
pub struct Rotation {
    manager: BlobManager,
    ring: Arc<Keyring>,
    /// The keys up to here are done.
    after: Option<Key>,
    state: State,
    /// What the first round has refused.
    refused: HashSet<String>,
    done: KeyRotation,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing was looked at.
    New,
    /// Every value is looked at.
    First,
    /// The new key is named: what the old one has signed meanwhile.
    Second,
    Over,
}

/// A value that is about to be placed.
struct Ready {
    put: Put,
    tries: usize,
}

impl BlobManager {
    /// Has the first key of this manager's ring sign this store: verifies every pickle and joblib
    /// value with any key of the ring, signs it with the first, and then notes that key as the one
    /// that signs here, after which the others are no longer needed.
    ///
    /// A value keeps its key, format, tags, metadata, time of creation and end of life; its ETag
    /// and time of change are new, as after a save. One that somebody else saves meanwhile stays
    /// theirs. What does not verify is never signed: it is refused before and after, and
    /// reported. `progress` is told after every step. Stopped anywhere, it is simply run again.
    ///
    /// With `old_key_is_lost` the ring need not have the key that signed so far. What only that one
    /// signed is then reported as refused.
    ///
    /// Reads every value of those formats, writes with [`Durability::Disk`], and blocks all that
    /// time.
    ///
    /// # Errors
    /// [`ErrorKind::Untrusted`] if the ring lacks the key that signed so far; [`ErrorKind::Io`],
    /// [`ErrorKind::Busy`]. Failures of single values are in the report.
    pub fn rotate_signing_key(
        &self,
        old_key_is_lost: bool,
        mut progress: impl FnMut(&KeyRotation),
    ) -> Result<KeyRotation> {
        let mut rotation = self.rotation(old_key_is_lost)?;
        while rotation.step()? {
            progress(rotation.so_far());
        }
        Ok(rotation.finish())
    }

    /// As [`BlobManager::rotate_signing_key`], for those who do other things between its steps.
    ///
    /// # Errors
    /// As there.
    pub fn rotation(&self, old_key_is_lost: bool) -> Result<Rotation> {
        let ring = self.signer.ring(&**self.backend(), old_key_is_lost).map_err(during)?;
        let done = KeyRotation { fingerprint: ring.first().fingerprint(), ..Default::default() };
        let (after, refused) = (None, HashSet::new());
        Ok(Rotation { manager: self.clone(), ring, after, state: State::New, refused, done })
    }
}

impl Rotation {
    /// What was done so far.
    #[must_use]
    pub fn so_far(&self) -> &KeyRotation {
        &self.done
    }

    /// What was done in all.
    #[must_use]
    pub fn finish(self) -> KeyRotation {
        self.done
    }

    /// Goes on for some values; answers whether there is more to do.
    ///
    /// # Errors
    /// As for [`BlobManager::rotate_signing_key`]; another call goes on from there.
    pub fn step(&mut self) -> Result<bool> {
        self.go_on().map_err(during)?;
        Ok(self.state != State::Over)
    }

    fn go_on(&mut self) -> Result<()> {
        let backend = Arc::clone(self.manager.backend());
        match self.state {
            State::Over => return Ok(()),
            State::New => {
                backend.list_unlisted()?;
                self.state = State::First;
                return Ok(());
            }
            State::First | State::Second => {}
        }
        let page = backend.every(self.after.as_ref(), MOST_VALUES)?;
        let is_last = page.len() < MOST_VALUES;
        let last = page.last().map(|(key, _)| key.clone());
        let before = (self.done.checked, self.done.refused.len(), self.done.failed.len());
        if let Err(error) = self.sign_page(page) {
            self.forget_since(before);
            return Err(error);
        }
        self.after = last.or(self.after.take());
        if is_last {
            self.turn()?;
            self.after = None;
        }
        Ok(())
    }

    /// Signs what is due among some values.
    fn sign_page(&mut self, page: Vec<(Key, Option<Record>)>) -> Result<()> {
        let mut ready = Vec::new();
        let mut bytes = 0;
        for (key, record) in page {
            if !self.is_due(&key, record.as_ref()) {
                continue;
            }
            cancel::check()?;
            if let Some(one) = self.prepared(&key, 0) {
                bytes += one.put.length();
                ready.push(one);
            }
            if bytes >= MOST_BYTES {
                self.place(std::mem::take(&mut ready));
                bytes = 0;
            }
        }
        self.place(ready);
        // What it has stopped has not failed: the page is gone through again.
        cancel::check()
    }

    /// Takes back what was counted and reported since, for it is going to be again. What was signed
    /// anew is not signed twice.
    fn forget_since(&mut self, (checked, refused, failed): (u64, usize, usize)) {
        self.done.checked = checked;
        for (key, _) in self.done.refused.drain(refused..) {
            self.refused.remove(&key);
        }
        self.done.failed.truncate(failed);
    }

    /// Ends a round.
    fn turn(&mut self) -> Result<()> {
        self.state = match self.state {
            State::First if self.done.failed.is_empty() => {
                self.manager.backend().replace_signer(&self.done.fingerprint)?;
                State::Second
            }
            _ => {
                self.done.is_complete = self.done.failed.is_empty();
                State::Over
            }
        };
        Ok(())
    }

    fn is_due(&self, key: &Key, record: Option<&Record>) -> bool {
        let Some(record) = record else { return self.state == State::First };
        let is_new =
            |record: &Record| record.signature.is_some_and(|tag| self.ring.signs_as(&tag.key_id));
        // Whatever is listed is read in the first round, for a signature may be a wrong one.
        record.format.is_signed()
            && (self.state == State::First
                || !(is_new(record) || self.refused.contains(key.as_str())))
    }

    /// Verifies a value and signs it; `None` if there is nothing to be placed.
    fn prepared(&mut self, key: &Key, tries: usize) -> Option<Ready> {
        match self.read_and_sign(key, tries) {
            Ok(put) => put.map(|put| Ready { put, tries }),
            Err(error) => {
                // Two files of other programs under one key are nobody's value.
                let kinds = [ErrorKind::Untrusted, ErrorKind::Corrupt, ErrorKind::Conflict];
                let is_final = kinds.contains(&error.kind());
                self.report(key, error, is_final);
                None
            }
        }
    }

    fn read_and_sign(&mut self, key: &Key, tries: usize) -> Result<Option<Put>> {
        let backend = &**self.manager.backend();
        let Some(Object { record, content }) = backend.get_expired(key)? else { return Ok(None) };
        if !record.format.is_signed() {
            return Ok(None);
        }
        self.done.checked += u64::from(self.state == State::First && tries == 0);
        let signer = &self.manager.signer;
        let Some((parts, tag)) = signer.renew(&self.ring, backend, key, &record, content)? else {
            return Ok(None);
        };
        let left = record.expiry.map(|expiry| expiry.remaining(&self.manager.options.clock));
        Ok(Some(Put {
            codec: record.codec,
            signature: Some(tag),
            ttl: left.map(|millis| millis.max(1)),
            tags: record.tags.clone(),
            metadata: record.metadata.clone(),
            condition: Condition::Matches(record.etag()),
            // The old key is thrown away afterwards.
            durability: Durability::Disk,
            token: cancel::current(),
            continues: Some(record.clone()),
            ..Put::new(key.clone(), record.format, parts)
        }))
    }

    fn place(&mut self, ready: Vec<Ready>) {
        let mut ready = ready;
        while !ready.is_empty() {
            let about: Vec<_> = ready.iter().map(|one| (one.put.key.clone(), one.tries)).collect();
            let puts = ready.into_iter().map(|one| one.put).collect();
            let placed = self.manager.backend().put_many(puts);
            let mut again = Vec::new();
            for ((key, tries), placed) in about.into_iter().zip(placed) {
                match placed {
                    Ok(_) => self.done.resigned += 1,
                    // Somebody else has saved it meanwhile, perhaps with the old key.
                    Err(error) if error.kind() == ErrorKind::Conflict && tries < RETRIES => {
                        again.extend(self.prepared(&key, tries + 1));
                    }
                    Err(error) => self.report(&key, error, false),
                }
            }
            ready = again;
        }
    }

    /// Notes what was not signed; `is_final` if trying again does not help.
    fn report(&mut self, key: &Key, error: Error, is_final: bool) {
        let error = error.on_key(key.as_str()).during("sign anew");
        let text = key.as_str().to_owned();
        if is_final {
            self.refused.insert(text.clone());
            self.done.refused.push((text, error));
        } else {
            self.done.failed.push((text, error));
        }
    }
}

fn during(error: Error) -> Error {
    error.during("rotate the signing key of the store")
}
