//! Small files of the store's own: keys that are too long for a stamp, and who signs.

use std::collections::HashSet;
use std::io::Write as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{AtFlags, Dir, linkat, unlinkat};
use rustix::io::Errno;

use super::dir::{open_file, open_folder, read_small};
use super::flush::FlushedFolders;
use super::layout::{OWN, own_folder};
use super::open::{Live, Opened};
use super::temp::Temp;
use crate::backend::Put;
use crate::error::{Error, ErrorKind, Result};
use crate::flush::flush;
use crate::key::{Key, ParsedName, parse_name};
use crate::record::MAX_KEY_IN_STAMP;
use crate::signing;

const SIGNER: &str = "signer";
const KEYS: &str = "keys";

impl Opened {
    /// Keeps the key of a file where its name does not tell it: answers with the text if the stamp
    /// has room for it, and puts it into a file of its own if not. Flushes what is new, and with
    /// `durable` what somebody else has made and may not have flushed.
    pub(crate) fn keep_key(&self, live: &Live, key: &Key, durable: bool) -> Result<Option<String>> {
        let name = key.name(self.case_rule());
        if !matches!(parse_name(&name, self.case_rule()), Some(ParsedName::Hashed)) {
            return Ok(None);
        }
        if key.as_str().len() <= MAX_KEY_IN_STAMP {
            return Ok(Some(key.as_str().to_owned()));
        }
        live.keep_long_key(key, &name, durable.then_some(&self.flushed))?;
        Ok(None)
    }

    /// Removes the text of a key that has no file any more. The caller holds its lock: whoever is
    /// about to place another file keeps the text anew.
    pub(crate) fn forget_key(&self, live: &Live, key: &Key) {
        if key.as_str().len() > MAX_KEY_IN_STAMP
            && let Ok(folder) = open_folder(live.own.as_fd(), KEYS)
        {
            let _ = unlinkat(&folder, digest(&key.name(self.case_rule())), AtFlags::empty());
        }
    }

    /// Removes the texts of all keys but these, which are those that have files of ours, and of those
    /// that have other files; every lock is held.
    pub(crate) fn forget_other_keys<'k>(&self, live: &Live, keys: impl Iterator<Item = &'k Key>) {
        let Ok(folder) = open_folder(live.own.as_fd(), KEYS) else { return };
        let long = keys.filter(|key| key.as_str().len() > MAX_KEY_IN_STAMP);
        let names = long.map(|key| digest(&key.name(self.case_rule())).to_owned());
        let names: HashSet<String> = names.collect();
        let Ok(entries) = Dir::read_from(&folder) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            // A file whose stamp cannot be read was not found, and its text says whose it is.
            if name.to_str().is_ok_and(|name| {
                !matches!(name, "." | "..")
                    && !names.contains(name)
                    && self.is_unused_key(live, name)
            }) {
                let _ = unlinkat(&folder, name, AtFlags::empty());
            }
        }
    }
}

impl Opened {
    /// As [`Live::signer`], also where the store can only be read. Where this user may not open
    /// the store's own folder or the note, it does not say.
    pub(crate) fn signer(&self) -> Result<Option<String>> {
        let signer = match self.maybe_live() {
            Some(live) => live.signer(),
            None => match open_folder(self.base.as_fd(), OWN) {
                // The note is its owner's alone, as all files are.
                Ok(own) => noted(own.as_fd()).or_else(|error| {
                    let is_refused = error.os_error() == Some(Errno::ACCESS.raw_os_error());
                    if is_refused { Ok(None) } else { Err(error) }
                }),
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => Ok(None),
                Err(error) => Err(Error::io(error.into(), OWN)),
            },
        };
        signer.map_err(|error| error.below(&self.path))
    }
}

impl Live {
    /// The fingerprint of the key that signs here.
    ///
    /// # Errors
    /// [`ErrorKind::Untrusted`] if the note of it is damaged; [`ErrorKind::Io`].
    pub(crate) fn signer(&self) -> Result<Option<String>> {
        noted(self.own.as_fd())
    }

    /// Notes who signs, unless that is known; of two processes at once the first one counts. Nothing
    /// signed is placed before the note is on the disk: once in the life of a store every lock is
    /// held for a flush.
    pub(crate) fn note_signer(&self, fingerprint: &str, timeout: Duration) -> Result<()> {
        let _all = self.locks.lock_all(timeout)?;
        if self.signer()?.is_some() {
            return Ok(());
        }
        let is_ours = self.link(&self.own, SIGNER, format!("{fingerprint}\n").as_bytes())?;
        flush(self.own.as_fd()).map_err(|error| {
            if is_ours {
                // Or the next one would find it and take it for flushed.
                let _ = unlinkat(&self.own, SIGNER, AtFlags::empty());
            }
            Error::io(error.into(), format!("{OWN}/{SIGNER}"))
        })
    }

    /// Refuses a value that was signed with another key than the one that is noted as signing here;
    /// its lock is held. One that continues a value is of a rotation, which is ahead of the store.
    pub(crate) fn check_signer(&self, put: &Put) -> Result<()> {
        let Some(tag) = put.signature.filter(|_| put.continues.is_none()) else { return Ok(()) };
        let signed = signing::fingerprint(&tag.key_id);
        match self.signer()? {
            Some(known) if known != signed => {
                let cause = format!("it is signed with key {signed}, and {known} signs by now");
                Err(Error::new(ErrorKind::Untrusted, cause).remedy("save it again"))
            }
            Some(_) => Ok(()),
            None => Err(unnamed(&signed)),
        }
    }

    /// Notes who signs from now on; a reader sees the old or the new one. Nothing that was signed
    /// with the old key is placed afterwards.
    pub(crate) fn replace_signer(&self, fingerprint: &str, timeout: Duration) -> Result<()> {
        let io = |error: std::io::Error| Error::io(error, format!("{OWN}/{SIGNER}"));
        // What was signed anew must be there when the old key is thrown away.
        rustix::fs::syncfs(&self.own).map_err(|error| io(error.into()))?;
        let mut temp = self.small(SIGNER, format!("{fingerprint}\n").as_bytes())?;
        // Whoever has compared his key with the old one has placed his value by then.
        let all = self.locks.lock_all(timeout)?;
        temp.place(self.own.as_fd(), SIGNER).map_err(|error| io(error.into()))?;
        drop(all);
        flush(self.own.as_fd()).map_err(|error| io(error.into()).after("the new key signs already"))
    }

    /// Keeps the text of a key that neither a name nor a stamp can hold. With `flushed`, one that is
    /// there is on the disk afterwards, as one that is new is.
    pub(super) fn keep_long_key(
        &self,
        key: &Key,
        name: &str,
        flushed: Option<&FlushedFolders>,
    ) -> Result<()> {
        let folder = own_folder(&self.own, KEYS)?;
        let io = |error: Errno| Error::io(error.into(), format!("{OWN}/{KEYS}"));
        let open = || open_file(folder.as_fd(), digest(name)).map_err(io);
        let flush_name = || {
            flush(folder.as_fd()).inspect_err(|_| {
                // Other writers of the key may need the text by now, so it stays. But the kernel may
                // have given this name up, and no later flush would tell: it gets a new one.
                if let Err(error) = self.renew(&folder, digest(name), key.as_str().as_bytes()) {
                    tracing::warn!("the text of a long key was not written anew: {error}");
                }
            })
        };
        match (open()?, flushed) {
            // By somebody who may not have flushed its name yet.
            (Some(text), Some(flushed)) => flushed.once(text.as_fd(), flush_name).map_err(io),
            (Some(_), None) => Ok(()),
            (None, flushed) => {
                self.link(&folder, digest(name), key.as_str().as_bytes())?;
                flush_name().map_err(io)?;
                match (open()?, flushed) {
                    (Some(text), Some(flushed)) => {
                        flushed.once(text.as_fd(), || Ok(())).map_err(io)
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    /// Removes the text of a long key.
    pub(crate) fn forget_long_key(&self, name: &str) -> Result<()> {
        let folder = own_folder(&self.own, "keys")?;
        match unlinkat(&folder, digest(name), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(Error::io(error.into(), format!("{OWN}/keys"))),
        }
    }

    /// Adds a small file, unless it is there already; its content is flushed, its name is not yet.
    /// Answers whether it was added.
    fn link(&self, folder: &OwnedFd, name: &str, content: &[u8]) -> Result<bool> {
        let temp = self.small(name, content)?;
        match linkat(&self.temporary, temp.name(), folder, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(Error::io(error.into(), format!("{OWN}/{name}"))),
        }
    }

    /// Puts a small file in the place of the one that has this name; the name is not yet flushed.
    fn renew(&self, folder: &OwnedFd, name: &str, content: &[u8]) -> Result<()> {
        let placed = self.small(name, content)?.place(folder.as_fd(), name);
        placed.map_err(|error| Error::io(error.into(), format!("{OWN}/{name}")))
    }

    /// A temporary file with this content, flushed.
    fn small(&self, name: &str, content: &[u8]) -> Result<Temp<'_>> {
        let io = |error: std::io::Error| Error::io(error, format!("{OWN}/{name}"));
        let temp = self.temp()?;
        let mut file = std::fs::File::from(temp.file().try_clone_to_owned().map_err(io)?);
        file.write_all(content).and_then(|()| Ok(flush(file.as_fd())?)).map_err(io)?;
        Ok(temp)
    }

    /// The text of a long key.
    pub(crate) fn long_key(&self, name: &str) -> Option<String> {
        const LONGEST: u64 = 64 * 1_024 * 1_024;
        let folder: OwnedFd = open_folder(self.own.as_fd(), KEYS).ok()?;
        let text = read_small(folder.as_fd(), digest(name), LONGEST).ok()??;
        String::from_utf8(text).ok()
    }
}

/// What the note in a store's own folder says.
fn noted(own: BorrowedFd<'_>) -> Result<Option<String>> {
    let path = || format!("{OWN}/{SIGNER}");
    let text = read_small(own, SIGNER, 64).map_err(|error| Error::io(error, path()))?;
    let Some(text) = text else { return Ok(None) };
    match std::str::from_utf8(&text).ok().and_then(fingerprint_in) {
        Some(fingerprint) => Ok(Some(fingerprint.to_owned())),
        None => {
            let cause = "the note of who signs in this store is damaged";
            Err(Error::new(ErrorKind::Untrusted, cause).at(path()).remedy(
                "run repair, which keeps it aside: the next value that is signed notes it anew",
            ))
        }
    }
}

/// The fingerprint that a note of who signs holds: 16 hex digits, as they are written here, on one
/// line and nothing else.
pub(super) fn fingerprint_in(text: &str) -> Option<&str> {
    let line = text.strip_suffix('\n').unwrap_or(text);
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (line.len() == 16 && line.bytes().all(is_digit)).then_some(line)
}

/// The store does not say who signs: whoever comes next would note another key.
fn unnamed(signed: &str) -> Error {
    let cause = format!("it is signed with key {signed}, which the store does not name");
    Error::new(ErrorKind::Untrusted, cause)
        .remedy("save it again; if that does not help, repair() the store")
}

/// The part of a hashed name that is the hash.
fn digest(name: &str) -> &str {
    name.rsplit_once("%=").map_or(name, |(_, digest)| digest)
}
