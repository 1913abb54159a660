//! Verifying and repairing a store as a whole.

use super::BlobManager;
use super::signed::{Signer, name_of};
use crate::backend::health::{
    Examiner, Finding, Problem, ProblemKind, Progress, RepairReport, VerifyReport, Verifying,
};
use crate::backend::{Backend, Reading};
use crate::error::{ErrorKind, Result};
use crate::format::{Codec, unpacks};
use crate::key::Key;
use crate::record::Record;
use crate::signing::{Tag, fingerprint, trailer};

/// How much of a payload is read at a time; more than the longest key.
const BLOCK: usize = 128 * 1_024;

/// Compressed values of more bytes are not unpacked: their checksum has to do.
const MOST_UNPACKED: u64 = 64 << 20;

impl BlobManager {
    /// Reads every value and everything else that belongs to the store, and says what is damaged.
    ///
    /// Nothing is changed, but that files of other programs are listed from then on. Nobody waits
    /// for it: what looks wrong because a writer is at work is looked at again. No value is decoded.
    ///
    /// ```
    /// use holdall::{BlobManager, Format};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// let store = BlobManager::new(folder.path());
    /// store.save("a", &1, Format::Json)?;
    /// assert!(store.verify(|_| ())?.is_ok());
    /// let file = std::fs::OpenOptions::new().write(true).open(folder.path().join("a.json"))?;
    /// file.set_len(0)?;
    /// # file.set_modified(std::time::SystemTime::UNIX_EPOCH
    /// #     + std::time::Duration::from_millis(store.metadata("a").map_or(0, |m| m.updated_at)))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if the store cannot be opened, [`ErrorKind::Version`],
    /// [`ErrorKind::Cancelled`]. Damage is no error.
    pub fn verify(&self, mut progress: impl FnMut(Progress)) -> Result<VerifyReport> {
        let mut verification = self.verification()?;
        while let Some(step) = verification.step()? {
            progress(step);
        }
        Ok(verification.report())
    }

    /// As [`BlobManager::verify`], in steps, each of which ends after some milliseconds or one
    /// large value.
    ///
    /// # Errors
    /// As there.
    pub fn verification(&self) -> Result<Verification> {
        let work = self.backend.verification();
        let work = work.map_err(|error| error.during("verify the store"))?;
        let (unknown, signer) = self.unknown_signer();
        Ok(Verification { blobs: self.clone(), work, unknown, signer })
    }

    /// Verifies the store and sets right what it finds; with `dry_run` says only what it would do.
    ///
    /// The index is made anew from the files, what dead writers have left is removed, and what is
    /// damaged is taken out of the store and kept in `.holdall/quarantine`. Nothing is signed, and
    /// files of other programs are left alone. It may be interrupted and run again.
    ///
    /// # Errors
    /// As for [`BlobManager::verify`], and [`ErrorKind::Busy`]; [`ErrorKind::Io`] where nothing can
    /// be written. What was done before is done.
    pub fn repair(&self, dry_run: bool, progress: impl FnMut(Progress)) -> Result<RepairReport> {
        let found = self.verify(progress)?;
        self.mend(&found, dry_run)
    }

    /// Sets right what a verification has found, as far as it is still there.
    ///
    /// # Errors
    /// As for [`BlobManager::repair`].
    pub fn mend(&self, found: &VerifyReport, dry_run: bool) -> Result<RepairReport> {
        let (unknown, _) = self.unknown_signer();
        let inspect = |key: &Key, record: &Record, content: &dyn Reading| {
            self.inspect(key, record, content, unknown.as_deref())
        };
        let mended = self.backend.mend(found, &inspect, dry_run);
        mended.map_err(|error| error.during("repair the store"))
    }

    /// The fingerprint of the key that signs in this store, if it is not among ours.
    fn unknown_signer(&self) -> (Option<String>, Option<Problem>) {
        let Ok(Some(noted)) = self.backend.signer() else { return (None, None) };
        if noted.len() != 16 || !noted.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            // It is no fingerprint, which the backend has told.
            return (None, None);
        }
        match self.signer.known(&noted) {
            Err(error) if error.kind() == ErrorKind::Untrusted => {
                let problem = Problem::new(ProblemKind::SignerUnknown, error.cause());
                (Some(noted), Some(problem))
            }
            Err(error) => {
                let problem = Problem::new(ProblemKind::SignaturesUnchecked, error.cause());
                (Some(noted), Some(problem))
            }
            Ok(_) => (None, None),
        }
    }

    /// Judges a value whose length and checksum are right. Those signed with the key `unknown` are
    /// not judged: that it is not here was said already.
    fn inspect(
        &self,
        key: &Key,
        record: &Record,
        content: &dyn Reading,
        unknown: Option<&str>,
    ) -> Result<Option<Finding>> {
        if record.format.is_signed()
            && let Some(found) =
                signature(&self.signer, &*self.backend, key, record, content, unknown)?
        {
            return Ok(Some(found));
        }
        if record.codec == Codec::None || record.length > MOST_UNPACKED {
            return Ok(None);
        }
        let whole = read(content, 0, record.length)?;
        Ok(match unpacks(record.codec, &whole, self.options.max_value_bytes) {
            Ok(()) => None,
            Err(error) => {
                let what = error.cause().to_owned();
                Some(Finding { kind: ProblemKind::CompressionDamaged, what })
            }
        })
    }
}

/// A verification under way.
#[derive(Debug)]
pub struct Verification {
    blobs: BlobManager,
    work: Box<dyn Verifying>,
    unknown: Option<String>,
    signer: Option<Problem>,
}

impl Verification {
    /// Goes on for some milliseconds, or one large value; `None` when all is done.
    ///
    /// # Errors
    /// As for [`BlobManager::verify`].
    pub fn step(&mut self) -> Result<Option<Progress>> {
        let Self { blobs, work, unknown, .. } = self;
        let inspect = |key: &Key, record: &Record, content: &dyn Reading| {
            blobs.inspect(key, record, content, unknown.as_deref())
        };
        let examiner = Examiner { backend: &*blobs.backend, inspect: &inspect };
        work.step(examiner).map_err(|error| error.during("verify the store"))
    }

    /// What was found up to now.
    #[must_use]
    pub fn report(self) -> VerifyReport {
        let mut report = self.work.report();
        if let Some(problem) = self.signer {
            report.add(problem);
        }
        report
    }
}

/// What is wrong with the signature of a value.
fn signature(
    signer: &Signer,
    backend: &dyn Backend,
    key: &Key,
    record: &Record,
    content: &dyn Reading,
    unknown: Option<&str>,
) -> Result<Option<Finding>> {
    let finding = |kind, what: &str| Ok(Some(Finding { kind, what: what.to_owned() }));
    let (length, tag) = trailer_of(record, content)?;
    let Some(tag) = record.signature.or(tag) else {
        return finding(ProblemKind::SignatureMissing, "there is no signature");
    };
    let signed_by = fingerprint(&tag.key_id);
    if unknown == Some(&signed_by) {
        return Ok(None);
    }
    let keyring = match signer.known(&signed_by) {
        Ok(keyring) => keyring,
        Err(_) => {
            let what = format!("it was signed with key {signed_by}, which is not here");
            return finding(ProblemKind::SignatureUnknownKey, &what);
        }
    };
    let name = name_of(record.format, record.codec);
    let Some(seal) = keyring.seal_of(&tag, &backend.store_id()?, &name, key.as_str()) else {
        return finding(ProblemKind::SignatureUnknownKey, "its key is not here");
    };
    let mac = seal.blocks(length, BLOCK);
    let (mut position, mut index) = (0, 0);
    loop {
        crate::cancel::check()?;
        let most = if index == 0 { mac.first() } else { BLOCK } as u64;
        let piece = read(content, position, most.min(length - position))?;
        mac.take(index, &piece);
        position += piece.len() as u64;
        index += 1;
        // Somebody may have shortened it meanwhile.
        if position >= length || piece.is_empty() {
            break;
        }
    }
    // In constant time, as every comparison of signatures.
    if blake3::Hash::from(mac.finish().mac) == blake3::Hash::from(tag.mac) {
        return Ok(None);
    }
    let what = "the signature is not of this content under this key, format and store";
    finding(ProblemKind::SignatureWrong, what)
}

/// The length of the payload, and the signature that follows it.
fn trailer_of(record: &Record, content: &dyn Reading) -> Result<(u64, Option<Tag>)> {
    const FRAMED: u64 = trailer::LENGTH as u64 + 8;
    let begin = record.length.saturating_sub(FRAMED);
    let end = read(content, begin, record.length - begin)?;
    let (payload, tag) = match record.codec {
        Codec::None => trailer::split(&end),
        _ => trailer::split_frame(&end),
    };
    Ok((begin + payload.len() as u64, tag))
}

/// Bytes of a value, all of them.
fn read(content: &dyn Reading, position: u64, length: u64) -> Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    let mut filled = 0;
    while filled < bytes.len() {
        let read = content.read_at(&mut bytes[filled..], position + filled as u64)?;
        if read == 0 {
            // Somebody has shortened it since its checksum was taken.
            bytes.truncate(filled);
            break;
        }
        filled += read;
    }
    Ok(bytes)
}
