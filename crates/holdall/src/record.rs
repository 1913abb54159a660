//! The record of a value, and the stamp: the same record as the bytes that travel with its file.
//!
//! A stamp is the value of the extended attribute `user.holdall`. It is set before the file gets
//! its name, so one rename places value and record together and they can never disagree. The
//! common stamp fits into the 64 bytes that ext4 keeps inside the inode; a signature, tags,
//! metadata or a long key make it larger.
//!
//! ```text
//! offset  bytes  field
//!      0      1  layout version, 1
//!      1      1  flags: which optional fields follow
//!      2      1  format id          3      1  codec id
//!      4      4  store id, its first four bytes
//!      8      8  XXH3-64 of the key
//!     16      8  generation         24     8  XXH3-64 of the file's content
//!     32      -  varints: length of the file; updated, as a difference to the generation
//!      -      -  optional, in this order: created, expiry, signature, key, tags, metadata
//!   last      4  XXH3-64 of all before, its low half
//! ```
//!
//! Integers are little-endian; varints are LEB128, signed ones zigzag; texts carry their length.

mod stamp;

pub(crate) use stamp::MAX_STAMP;

use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Codec, Ending, Format};
use crate::signing::Tag;

/// The most bytes that tags and metadata of one value may take together.
pub const MAX_ANNOTATIONS: usize = 2_000;

/// The most tags of one value: each takes some room of its own in the stamp, which has to fit into
/// one block of the file system.
pub const MAX_TAGS: usize = 500;

/// The longest key that is kept in the stamp itself; longer ones lie in a file of their own.
pub(crate) const MAX_KEY_IN_STAMP: usize = 1_000;

/// Which store wrote a stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoreMark(pub(crate) u32);

/// When a value ends, on both scales of time.
///
/// Within the boot in which it was written the time since boot decides, so that setting the
/// wall clock neither revives nor kills a value; after a reboot the wall clock does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiry {
    /// Milliseconds since 1970.
    pub wall: u64,
    /// Milliseconds since boot.
    pub boot: u64,
    /// Which boot: the first four bytes of the hash of the boot id.
    pub boot_id: u32,
}

impl Expiry {
    /// The end of a life of `millis`, beginning now.
    #[must_use]
    pub fn after(millis: u64, clock: &Clock) -> Self {
        Self {
            wall: (clock.wall_micros() / 1_000).saturating_add(millis),
            boot: clock.boot_millis().saturating_add(millis),
            boot_id: clock.boot_id(),
        }
    }

    /// Whether the end has come.
    #[must_use]
    pub fn is_over(&self, clock: &Clock) -> bool {
        self.remaining(clock) == 0
    }

    /// Milliseconds that are left.
    #[must_use]
    pub fn remaining(&self, clock: &Clock) -> u64 {
        if self.boot_id == clock.boot_id() {
            self.boot.saturating_sub(clock.boot_millis())
        } else {
            self.wall.saturating_sub(clock.wall_micros() / 1_000)
        }
    }
}

/// What the store knows of one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Counts the writes of a store upwards; the higher one of two is the later one.
    pub generation: u64,
    /// The format of the file.
    pub format: Format,
    /// How the file is compressed.
    pub codec: Codec,
    /// The length of the file, bytes.
    pub length: u64,
    /// XXH3-64 of the file's content.
    pub checksum: u64,
    /// When the key was first saved, milliseconds since 1970.
    pub created: u64,
    /// When this value was saved, milliseconds since 1970.
    pub updated: u64,
    /// When the value ends; `None` is never.
    pub expiry: Option<Expiry>,
    /// The signature over key, format and payload, for formats that could run code.
    pub signature: Option<Tag>,
    /// Names under which the value can be found and removed together with others.
    pub tags: Vec<String>,
    /// What the caller noted, as JSON.
    pub metadata: Option<Vec<u8>>,
    /// Whether another program put the file there or changed it.
    pub foreign: bool,
}

impl Record {
    /// The version tag of the value: changes with every save, equal in every process.
    #[must_use]
    pub fn etag(&self) -> String {
        Self::etag_of(self.generation)
    }

    /// That of the value with this generation.
    #[must_use]
    pub(crate) fn etag_of(generation: u64) -> String {
        format!("{generation:x}")
    }

    /// How the value lies in its file.
    pub(crate) fn ending(&self) -> Ending {
        Ending { format: self.format, codec: self.codec }
    }

    /// Whether the value has ended.
    #[must_use]
    pub fn is_expired(&self, clock: &Clock) -> bool {
        self.expiry.is_some_and(|expiry| expiry.is_over(clock))
    }
}

/// Refuses tags and metadata that would not fit beside the value.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] for an empty tag, a tag with a NUL, more than [`MAX_TAGS`] of
/// them or more than [`MAX_ANNOTATIONS`] bytes in all.
pub(crate) fn check_annotations(tags: &[String], metadata: Option<&[u8]>) -> Result<()> {
    if tags.iter().any(|tag| tag.is_empty() || tag.contains('\0')) {
        return Err(Error::new(ErrorKind::InvalidArgument, "a tag is empty or has a NUL")
            .remedy("leave it out"));
    }
    if tags.len() > MAX_TAGS {
        let cause = format!("there are {} tags, {MAX_TAGS} are allowed", tags.len());
        return Err(Error::new(ErrorKind::InvalidArgument, cause)
            .remedy("keep them in a value of their own"));
    }
    let bytes = tags.iter().map(String::len).sum::<usize>() + metadata.map_or(0, <[u8]>::len);
    if bytes > MAX_ANNOTATIONS {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            format!("tags and metadata take {bytes} bytes, {MAX_ANNOTATIONS} are allowed"),
        )
        .remedy("keep them in a value of their own"));
    }
    Ok(())
}

/// A record together with what binds it to one store and one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) store: StoreMark,
    pub(crate) key_hash: u64,
    /// The key, where the file's name is only its hash and the key is short enough.
    pub(crate) key: Option<String>,
    pub(crate) record: Record,
}

#[cfg(test)]
pub(crate) mod tests_support {
    use super::*;

    /// The stamp of a small JSON value without anything optional.
    pub(crate) fn plain_stamp() -> Stamp {
        Stamp {
            store: StoreMark(0xdead_beef),
            key_hash: 42,
            key: None,
            record: Record {
                generation: 1_795_000_000_123_456,
                format: Format::from_id(1).expect("json is format 1"),
                codec: Codec::None,
                length: 1_000_000,
                checksum: 7,
                created: 1_795_000_000_123,
                updated: 1_795_000_000_123,
                expiry: None,
                signature: None,
                tags: Vec::new(),
                metadata: None,
                foreign: false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn within_a_boot_setting_the_wall_clock_neither_revives_nor_kills() {
        let hands = ManualClock::new();
        let clock = hands.clock();
        let expiry = Expiry::after(60_000, &clock);
        hands.set_wall_micros(u64::MAX / 2);
        assert!(!expiry.is_over(&clock));
        hands.advance(Duration::from_secs(60));
        hands.set_wall_micros(0);
        assert!(expiry.is_over(&clock));
    }

    #[test]
    fn after_a_reboot_the_wall_clock_decides() {
        let hands = ManualClock::new();
        let clock = hands.clock();
        let here = Expiry::after(60_000, &clock);
        let earlier = Expiry { boot_id: here.boot_id + 1, ..here };
        assert_eq!(earlier.remaining(&clock), 60_000);
        hands.set_wall_micros(clock.wall_micros() + 60_000_000);
        assert!(earlier.is_over(&clock));
        assert!(!here.is_over(&clock));
    }

    #[test]
    fn annotations_that_do_not_fit_are_refused_before_anything_is_written() {
        assert!(check_annotations(&["a".into()], Some(b"{}")).is_ok());
        assert!(check_annotations(&[String::new()], None).is_err());
        assert!(check_annotations(&["x".repeat(MAX_ANNOTATIONS + 1)], None).is_err());
    }
}
