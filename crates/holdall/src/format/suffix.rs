//! The end of a file's name: one format, then at most one compression.

use super::{Format, TABLE};

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
    const ALL: [Self; 3] = [Self::None, Self::Zstd, Self::Lz4];

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
