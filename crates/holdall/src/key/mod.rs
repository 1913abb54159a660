//! Keys, and the file names that they become.
//!
//! A [`Key`] is any non-empty text without a NUL. [`Key::name`] turns it into a readable relative
//! path, [`parse_name`] turns such a path back. The format is part of what lies on disk and never
//! changes:
//!
//! | key | name, before the format's suffix |
//! |---|---|
//! | `recipe_123` | `recipe_123` |
//! | `users/42` | `users/42` |
//! | `x.json` | `x.json` |
//! | `v1.2/a` | `v1%2E2/a` (a folder never has a dot) |
//! | `.k`, `k.`, `..` | `%2Ek`, `k%2E`, `%2E%2E` |
//! | `a//b`, `/abs`, `a/` | `a/%-/b`, `%-/abs`, `a/%-` |
//! | `Key` | `Key`, or `%4Bey` where the file system ignores case |
//! | `nul.txt`, `Com1` | `%6Eul.txt`, `%43om1` |
//! | `a b`, `50%`, `é` | `a%20b`, `50%25`, `%C3%A9` |
//! | `notes/` and 300 letters `a` | `notes/`, 40 letters `a`, `%=`, 52 base32 digits |
//!
//! **Literal names.** The UTF-8 text is split at `/`. `a-z`, `0-9`, `_` and `-` stand for
//! themselves, and so do `A-Z` under [`CaseRule::Sensitive`]. `.` stands for itself inside the last
//! segment, but not as its first or last byte. Every other byte is `%XX` with upper-case digits. An
//! empty segment is `%-`. If the part of a segment before its first dot is `con`, `prn`, `aux`,
//! `nul`, `com0`-`com9` or `lpt0`-`lpt9` in any case (looked at before anything is escaped, in
//! folders too), its first letter is escaped.
//!
//! **Hashed names.** If a segment of the literal name is over 200 bytes, or the whole is over 1,024
//! bytes or 32 segments, the leading folders stay as they are while each is at most 200 bytes, they
//! are at most 31, and they take at most 924 bytes with the slash after each. All that follows
//! becomes one segment: slug + `%=` + hash. The slug is the beginning of what is replaced, in lower
//! case, with every run of other characters than `a-z 0-9 _` as one `-`, none at its ends, 40 bytes
//! at most; it may be empty. The hash is BLAKE3 of the whole key in RFC 4648 base32 digits, lower
//! case, without padding. The key itself is in the file's stamp.
//!
//! Two keys never have one name, nor names that differ only in case on a file system that ignores
//! case: a literal name decodes to one key only; `%=` occurs in no literal name; hashed names
//! differ in the hash. A file name has a dot (the suffix's) and a folder name has none, so no value
//! stands where another needs a folder; none starts with a dot, so none is `..` or `.holdall`.

mod name;
mod page;
mod parse;
#[cfg(test)]
mod tests;

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Error, ErrorKind, Result, shown_key};

pub use page::KeyPage;
pub use parse::{ParsedName, parse_name};

/// The longest key, in bytes of UTF-8: every key has to fit into a row of the index.
pub const MAX_KEY: usize = 65_536;

/// The number of stripes that locks and clocks are divided into, on disk and in memory.
pub const STRIPES: usize = 4_096;

/// Whether the store's file system tells `Key` from `key`: probed when the store was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CaseRule {
    /// Capital letters stand for themselves.
    Sensitive,
    /// Capital letters are escaped.
    Insensitive,
}

/// A checked key: not empty, no NUL. 16 bytes; clones share the text.
///
/// ```
/// use holdall::key::{CaseRule, Key};
///
/// let key = Key::new("users/Ann")?;
/// assert_eq!(key.name(CaseRule::Insensitive), "users/%41nn");
/// assert!(Key::new("").is_err());
/// # Ok::<(), holdall::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// Checks `text` and copies it once; [`ErrorKind::InvalidKey`] if it is empty or has a NUL.
    pub fn new(text: &str) -> Result<Self> {
        const ALLOWED: &str = "use any text of at least one character without NUL characters";
        if text.len() > MAX_KEY {
            let cause = format!("the key has {} bytes, {MAX_KEY} are allowed", text.len());
            return Err(Error::new(ErrorKind::InvalidKey, cause).remedy("use a hash of it"));
        }
        if text.is_empty() {
            return Err(Error::new(ErrorKind::InvalidKey, "the key is empty").remedy(ALLOWED));
        }
        if let Some(at) = text.bytes().position(|byte| byte == 0) {
            let cause = format!("the key has a NUL character at byte {at}");
            return Err(Error::new(ErrorKind::InvalidKey, cause).on_key(text).remedy(ALLOWED));
        }
        Ok(Self(Arc::from(text)))
    }

    /// The text as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// XXH3 of the UTF-8 text with seed 0, the same in every process and release. Not for use
    /// against an adversary: names and signatures rest on BLAKE3.
    #[must_use]
    pub fn hash(&self) -> u64 {
        xxh3_64(self.0.as_bytes())
    }

    /// The stripe of locks and clocks that this key falls in, below [`STRIPES`].
    #[must_use]
    pub fn stripe(&self) -> usize {
        stripe_of(&self.0)
    }

    /// The relative path of the key's file, without the format's suffix (see the [module](self)).
    #[must_use]
    pub fn name(&self, case: CaseRule) -> String {
        name::encode(&self.0, case)
    }
}

/// A text as a part of names that only people read: the slug of hashed names, `value` where that is
/// empty.
pub(crate) fn shortened(text: &str) -> String {
    let slug = name::slug(text);
    if slug.is_empty() { "value".into() } else { slug }
}

/// The stripe of the key with this text.
pub(crate) fn stripe_of(text: &str) -> usize {
    (hash_of(text) % STRIPES as u64) as usize
}

/// [`Key::hash`] of the key with this text.
pub(crate) fn hash_of(text: &str) -> u64 {
    xxh3_64(text.as_bytes())
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", shown_key(&self.0))
    }
}

impl AsRef<str> for Key {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for Key {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self> {
        Self::new(text)
    }
}
