//! Values on their way to a backend.

use bytes::Bytes;

use super::{Condition, Durability};
use crate::cancel::CancelToken;
use crate::clock::Clock;
use crate::error::Result;
use crate::format::{Codec, Format};
use crate::key::Key;
use crate::record::Record;
use crate::signing::{Seal, Tag};

/// A piece of a value on its way to a backend.
#[derive(Debug, Clone)]
pub enum Part {
    /// Bytes that nobody changes; written as they are.
    Stable(Bytes),
    /// Bytes that their owner may change meanwhile, as those of an array. They are copied piece
    /// by piece on their way, so that checksum and file agree whatever happens to them.
    Volatile(Bytes),
}

impl Part {
    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        match self {
            Self::Stable(bytes) | Self::Volatile(bytes) => bytes,
        }
    }
}

impl From<Vec<u8>> for Part {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Stable(Bytes::from(bytes))
    }
}

/// A value to be placed.
#[derive(Debug, Clone)]
pub struct Put {
    /// Under which key.
    pub key: Key,
    /// In which format `parts` are.
    pub format: Format,
    /// How `parts` are compressed.
    pub codec: Codec,
    /// The content of the file, in order.
    pub parts: Vec<Part>,
    /// The signature over it, for formats that need one.
    pub signature: Option<Tag>,
    /// What makes the signature while the parts are written, of which it then is the trailer; only
    /// for backends that can, see [`super::Backend::signs_while_writing`].
    pub seal: Option<Seal>,
    /// How long it lives, milliseconds; `None` is for ever.
    pub ttl: Option<u64>,
    /// Tags of the value.
    pub tags: Vec<String>,
    /// What the caller notes, as JSON.
    pub metadata: Option<Vec<u8>>,
    /// When it was first saved, where another store knows that: milliseconds since 1970. Without
    /// it the time of the value that it replaces, else now.
    pub created: Option<u64>,
    /// What must hold for it to be placed.
    pub condition: Condition,
    /// The value is still the one with this record, and only its signature is new: it keeps the
    /// end of its life, and its place, and may be over already. The condition says that it is there.
    pub continues: Option<Record>,
    /// If the value that is there lies inline, so does this one, small or not by the terms of the
    /// backend, unless it is too large for any.
    pub stays_inline: bool,
    /// What it must survive.
    pub durability: Durability,
    /// What cancels it, asked under the lock of its key; of a batch, it alone.
    pub token: Option<CancelToken>,
}

impl Put {
    /// A value without lifetime, tags, metadata, signature and condition.
    #[must_use]
    pub fn new(key: Key, format: Format, parts: Vec<Part>) -> Self {
        Self {
            key,
            format,
            codec: Codec::None,
            parts,
            signature: None,
            seal: None,
            ttl: None,
            tags: Vec::new(),
            metadata: None,
            created: None,
            condition: Condition::Any,
            continues: None,
            stays_inline: false,
            durability: Durability::Process,
            token: None,
        }
    }

    /// Whether the put may still begin: neither it nor the call that this thread is in was
    /// cancelled.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Cancelled`].
    pub fn check(&self) -> Result<()> {
        self.token.as_ref().map_or(Ok(()), CancelToken::check).and_then(|()| crate::cancel::check())
    }

    /// Whether the value that is there is as the condition asks. One that is over is not there,
    /// but for a put that continues it.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Conflict`] that says what is there instead.
    pub fn admit(&self, current: Option<&Record>, clock: &Clock) -> Result<()> {
        let is_there = |found: &&Record| self.continues.is_some() || !found.is_expired(clock);
        self.condition.check(current.filter(is_there))
    }

    /// The length of all parts together, bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes().len() as u64).sum()
    }
}
