//! The end of a file's name: one format, then at most one compression.

use super::{Format, TABLE};
use crate::error::{Error, ErrorKind, Result};

/// How a payload is compressed, around its format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
#[non_exhaustive]
pub enum Codec {
    /// Not at all.
    #[default]
    None = 0,
    /// Zstandard frames.
    Zstd = 1,
    /// LZ4 frames.
    Lz4 = 2,
}

impl Codec {
    /// All of them, the one without compression first.
    pub const ALL: [Self; 3] = [Self::None, Self::Zstd, Self::Lz4];

    /// What it is called in options; `none` for [`Codec::None`].
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
        }
    }

    /// The codec of this name.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] naming those that there are.
    pub fn from_name(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|codec| codec.name() == name).ok_or_else(|| {
            let cause =
                format!("compression is {name:?}, allowed are \"zstd\", \"lz4\" and \"none\"");
            Error::new(ErrorKind::InvalidArgument, cause)
        })
    }

    /// The number on disk.
    #[must_use]
    pub const fn id(self) -> u8 {
        self as u8
    }

    /// The end of the file's name, with the dot; empty for [`Codec::None`].
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Zstd => ".zst",
            Self::Lz4 => ".lz4",
        }
    }

    /// The codec of this number; `None` if this release does not know it.
    #[must_use]
    pub fn from_id(id: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.id() == id)
    }
}

/// How a value lies in its file, which the end of the file's name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) format: Format,
    pub(crate) codec: Codec,
}

impl Ending {
    /// Whether a file's name cannot tell the two apart: formats may share a suffix.
    pub(crate) fn looks_like(self, other: Self) -> bool {
        self.codec == other.codec && self.format.suffix() == other.format.suffix()
    }

    /// The name of a file, without its end, together with that.
    pub(crate) fn after(self, name: &str) -> String {
        [name, self.format.suffix(), self.codec.suffix()].concat()
    }

    /// One number for both; never 0 or 255.
    pub(crate) const fn id(self) -> u8 {
        self.format.id() | self.codec.id() << 5
    }

    /// What has this number, if anything has.
    pub(crate) fn from_id(id: u8) -> Option<Self> {
        Some(Self { format: Format::from_id(id & 31)?, codec: Codec::from_id(id >> 5)? })
    }

    /// All that there are, those without compression first.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let formats =
            |codec| Format::all().iter().map(move |format| Self { format: *format, codec });
        Codec::ALL.into_iter().flat_map(formats)
    }
}

/// Splits a file name into the name of a key, its format and its codec; `None` if the file has no
/// suffix of ours or nothing before it.
///
/// ```
/// use holdall::format::{Codec, Format, split_suffix};
///
/// assert_eq!(split_suffix("a.json.zst"), Some(("a", Format::Json, Codec::Zstd)));
/// assert_eq!(split_suffix("a.json.txt"), Some(("a.json", Format::String, Codec::None)));
/// assert_eq!(split_suffix("a.zst"), None);
/// ```
#[must_use]
pub fn split_suffix(file_name: &str) -> Option<(&str, Format, Codec)> {
    let (inner, codec) = [Codec::Zstd, Codec::Lz4]
        .into_iter()
        .find_map(|codec| Some((file_name.strip_suffix(codec.suffix())?, codec)))
        .unwrap_or((file_name, Codec::None));
    let (stem, format) =
        TABLE.iter().find_map(|row| Some((inner.strip_suffix(row.suffix)?, row.format)))?;
    (!stem.is_empty() && !stem.ends_with('/')).then_some((stem, format, codec))
}
