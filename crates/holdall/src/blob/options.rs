//! What a manager, and one save, can be told.

use std::path::PathBuf;
use std::time::Duration;

use super::limits::{Eviction, Limits};
use crate::backend::file::{FileBackend, FileOptions};
use crate::backend::{Condition, Durability, Part};
use crate::clock::{Clock, Ttl};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Codec, Format};
use crate::signing::KeySource;

/// Which payloads that could run code are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trust {
    /// Those that were signed with a key of this manager.
    #[default]
    Own,
    /// All of them: whoever can write a file can run code here.
    Any,
}

impl Trust {
    /// The level with this name.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] naming the levels.
    pub fn from_name(name: &str) -> Result<Self> {
        match name {
            "own" => Ok(Self::Own),
            "any" => Ok(Self::Any),
            _ => Err(not_one_of("trust", name, "\"own\" and \"any\"")),
        }
    }
}

/// What a load makes of a damaged value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnCorrupt {
    /// An error.
    #[default]
    Raise,
    /// A miss, with a warning in the log.
    Miss,
}

impl OnCorrupt {
    /// The behaviour with this name.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] naming both.
    pub fn from_name(name: &str) -> Result<Self> {
        match name {
            "raise" => Ok(Self::Raise),
            "miss" => Ok(Self::Miss),
            _ => Err(not_one_of("on_corrupt", name, "\"raise\" and \"miss\"")),
        }
    }
}

pub(super) fn not_one_of(argument: &str, value: &str, allowed: &str) -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        format!("{argument} is {value:?}, allowed are {allowed}"),
    )
}

/// How a [`super::BlobManager`] behaves.
#[derive(Debug, Clone)]
pub struct BlobOptions {
    /// The directory of the store. Default: `tmp/storage`.
    pub base_path: PathBuf,
    /// What an acknowledged save survives. Default: the death of the process.
    pub durability: Durability,
    /// Which pickles are read. Default: the store's own.
    pub trust: Trust,
    /// The keys that sign and verify them. Default: environment, else the user's own key file.
    pub signing_key: KeySource,
    /// The largest value that is saved or read, bytes. Default: 8 GiB.
    pub max_value_bytes: u64,
    /// Values of fewer bytes are kept in a database of the store instead of files of their own;
    /// at most [`MOST_INLINE`](crate::backend::file::MOST_INLINE). Values that are there stay as
    /// they are until they are saved again. Default: 0, so that every value is a file.
    pub inline_below: u64,
    /// How values are compressed that get smaller by it; each is read as it was written. Default: not
    /// at all.
    pub compression: Codec,
    /// What a load makes of a damaged value. Default: an error.
    pub on_corrupt: OnCorrupt,
    /// Go on, without memory, on a file system that other machines share. Default: no.
    pub allow_network_fs: bool,
    /// How long a write, or a listing, waits for another process. Default: 30 seconds.
    pub lock_timeout: Duration,
    /// How much the store may hold. Default: as much as there is room for.
    pub limits: Limits,
    /// What tells the time.
    pub clock: Clock,
}

impl Default for BlobOptions {
    fn default() -> Self {
        let FileOptions {
            allow_network_fs,
            lock_timeout,
            max_value_bytes,
            inline_below,
            clock,
            ..
        } = FileOptions::default();
        Self {
            base_path: PathBuf::from("tmp/storage"),
            durability: Durability::default(),
            trust: Trust::default(),
            signing_key: KeySource::discovered(),
            max_value_bytes,
            inline_below,
            compression: Codec::None,
            on_corrupt: OnCorrupt::default(),
            allow_network_fs,
            lock_timeout,
            limits: Limits::default(),
            clock,
        }
    }
}

impl BlobOptions {
    pub(crate) fn file_backend(&self) -> FileBackend {
        let options = FileOptions {
            allow_network_fs: self.allow_network_fs,
            lock_timeout: self.lock_timeout,
            max_value_bytes: self.max_value_bytes,
            inline_below: self.inline_below,
            notes_uses: self.limits.eviction == Eviction::LeastRecentlyUsed,
            clock: self.clock.clone(),
        };
        FileBackend::new(&self.base_path, options)
    }
}

/// What one save can be told.
#[derive(Debug, Clone, Default)]
pub struct SaveOptions {
    /// How long the value lives. Default: for ever.
    pub ttl: Ttl,
    /// Names under which the value can be found together with others.
    pub tags: Vec<String>,
    /// What the caller notes, as JSON.
    pub metadata: Option<Vec<u8>>,
    /// When the value was first saved, where another store knows that: milliseconds since 1970,
    /// not after now. Default: when the value that it replaces was, else now.
    pub created: Option<u64>,
    /// What must hold of the value that is there.
    pub condition: Condition,
    /// A value that takes the place of one that lies inline lies there, too, whatever the manager's
    /// `inline_below` says, unless it is too large for any.
    pub stays_inline: bool,
    /// Other than the manager's.
    pub durability: Option<Durability>,
    /// Other than the manager's.
    pub compression: Option<Codec>,
}

/// One of several values to be saved.
#[derive(Debug, Clone)]
pub struct Save {
    /// Under which key.
    pub key: String,
    /// In which format the parts are.
    pub format: Format,
    /// The bytes.
    pub parts: Vec<Part>,
    /// What else is to be known.
    pub options: SaveOptions,
}
