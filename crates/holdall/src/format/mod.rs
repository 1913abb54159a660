//! The formats that a value may have on disk, and how Rust encodes those that it can.
//!
//! A format knows bytes and values only: it opens no file, sees no key and logs nothing. To add
//! one, add a line to the table below; if Rust encodes it, also a file with `encode` and `decode`,
//! a variant of `Codable` and its two arms.
//!
//! `custom_json` is JSON whose writer had an encoder of its own for what JSON lacks. It shares the
//! suffix of `json`, and the file's stamp tells which of the two it is; a `.json` file without a
//! stamp is `json`. In Rust the two are the same, since serde's attributes are that encoder.

mod bytes;
mod compression;
mod conversion;
mod finite;
mod json;
mod suffix;
#[cfg(test)]
mod tests;
mod text;

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Result};

pub(crate) use compression::{compress, decompress, plausible, unpacks};
pub(crate) use conversion::convert;
pub use conversion::converts;
pub(crate) use suffix::Ending;
pub use suffix::{Codec, split_suffix};

/// What of this module encodes a format.
#[derive(Clone, Copy)]
enum Codable {
    Json,
    Text,
    Bytes,
    /// Python alone does.
    Foreign,
}

struct Row {
    format: Format,
    name: &'static str,
    alias: Option<&'static str>,
    suffix: &'static str,
    signed: bool,
    codable: Codable,
}

macro_rules! formats {
    ($($variant:ident = $id:literal, $name:literal $(or $alias:literal)?, $suffix:literal,
       signed: $signed:literal, $codable:ident, $about:literal;)*) => {
        /// A format that the store knows on disk.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum Format { $(#[doc = $about] $variant = $id,)* }

        const TABLE: &[Row] = &[$(Row {
            format: Format::$variant,
            name: $name,
            alias: { let alias: &[&str] = &[$($alias)?]; alias.first().copied() },
            suffix: $suffix,
            signed: $signed,
            codable: Codable::$codable,
        },)*];

        const fn row_of(format: Format) -> &'static Row {
            // One arm for each line of the table, so the search ends.
            let mut index = 0;
            while TABLE[index].format as u8 != format as u8 {
                index += 1;
            }
            &TABLE[index]
        }

        const ALL: &[Format] = &[$(Format::$variant,)*];
    };
}

// Numbers, names and suffixes are on disk for ever. Where two share a suffix, the first has it.
formats! {
    Json       = 1, "json",              ".json",   signed: false, Json,    "JSON, UTF-8.";
    CustomJson = 2, "custom_json",       ".json",   signed: false, Json,    "JSON by an encoder of the caller's.";
    Pickle     = 3, "pickle",            ".pkl",    signed: true,  Foreign, "Python's pickle; reading it may run code.";
    Joblib     = 4, "joblib",            ".joblib", signed: true,  Foreign, "joblib's pickle with arrays; reading it may run code.";
    String     = 5, "string" or "text",  ".txt",    signed: false, Text,    "Text, UTF-8, as it is.";
    Bytes      = 6, "bytes",             ".bin",    signed: false, Bytes,  "Bytes, as they are.";
    Npy        = 7, "npy",               ".npy",    signed: false, Foreign, "One NumPy array without objects.";
}

impl Format {
    /// Every format, in the order of the numbers.
    #[must_use]
    pub const fn all() -> &'static [Self] {
        ALL
    }

    /// The name that callers use: `json`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        row_of(self).name
    }

    /// The number on disk.
    #[must_use]
    pub const fn id(self) -> u8 {
        self as u8
    }

    /// The end of the file's name, with the dot: `.json`.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        row_of(self).suffix
    }

    /// Whether reading it may run code, so that the payload carries a signature.
    #[must_use]
    pub const fn is_signed(self) -> bool {
        row_of(self).signed
    }

    /// The format of this name or alias; [`ErrorKind::InvalidArgument`] lists the allowed ones.
    pub fn from_name(name: &str) -> Result<Self> {
        let known = |row: &&Row| row.name == name || row.alias == Some(name);
        TABLE.iter().find(known).map(|row| row.format).ok_or_else(|| {
            let names: Vec<_> = TABLE.iter().map(|row| row.name).collect();
            let cause = format!("there is no format {}", crate::error::shown_key(name));
            Error::new(ErrorKind::InvalidArgument, cause)
                .remedy(format!("use one of {}", names.join(", ")))
        })
    }

    /// The format of this number; `None` if this release does not know it.
    #[must_use]
    pub fn from_id(id: u8) -> Option<Self> {
        TABLE.iter().map(|row| row.format).find(|format| format.id() == id)
    }

    /// The format of a file with this suffix (`.json`) and no stamp.
    #[must_use]
    pub fn from_suffix(suffix: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.suffix == suffix).map(|row| row.format)
    }

    fn foreign(self) -> Error {
        let cause = format!("{self} is a Python format, which Rust does not encode or decode");
        Error::new(ErrorKind::InvalidArgument, cause)
            .remedy("use json, string or bytes, or hand over encoded bytes with save_bytes")
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The bytes of `value` in `format`.
///
/// [`ErrorKind::Encode`] if the format cannot hold the value so that it comes back equal,
/// [`ErrorKind::InvalidArgument`] if only Python encodes the format.
pub fn encode<T: Serialize + ?Sized>(format: Format, value: &T) -> Result<Vec<u8>> {
    match row_of(format).codable {
        Codable::Json => json::encode(value),
        Codable::Text => text::encode(value),
        Codable::Bytes => bytes::encode(value),
        Codable::Foreign => Err(format.foreign()),
    }
}

/// The value that `bytes` hold in `format`.
///
/// [`ErrorKind::Decode`] if they do not hold a `T`, with line and column where there are some;
/// [`ErrorKind::InvalidArgument`] if only Python decodes the format.
pub fn decode<T: DeserializeOwned>(format: Format, bytes: &[u8]) -> Result<T> {
    match row_of(format).codable {
        Codable::Json => json::decode(bytes),
        Codable::Text => text::decode(bytes),
        Codable::Bytes => bytes::decode(bytes),
        Codable::Foreign => Err(format.foreign()),
    }
}
