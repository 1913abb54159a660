//! One row as bytes: every field length-prefixed, with a checksum that is bound to the key.

use std::fmt;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::error::{Error, ErrorKind, Result};

/// The most bytes that a record (a stamp) may have.
pub(super) const MAX_RECORD: usize = 8 * 1024;
/// The most bytes that a key may have here, and likewise one row without its key.
pub(super) const MAX_KEY: usize = 64 * 1024;

const FOREIGN: u8 = 1;
const EXPIRES: u8 = 2;

/// What the index knows of one file.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// The whole key, however its file is called.
    pub key: String,
    /// Which save made the file; higher is newer.
    pub generation: u64,
    /// Bytes of the file.
    pub size: u64,
    /// When it ends, in wall milliseconds since 1970.
    pub expires_at: Option<u64>,
    /// The format's name.
    pub format: String,
    /// Whether holdall found the file, not placed it.
    pub foreign: bool,
    /// The tags by which it can be evicted.
    pub tags: Vec<String>,
    /// The stamp, opaque here; at most [`MAX_RECORD`] bytes.
    pub record: Vec<u8>,
}

/// Without the record and the tags, which come from the user.
impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, generation, size, expires_at, foreign, .. } = self;
        write!(f, "Row({key:?}, generation {generation}, {size} bytes, ")?;
        write!(f, "expires at {expires_at:?}, foreign {foreign})")
    }
}

impl Row {
    /// Everything but the key as bytes, the checksum first.
    ///
    /// # Errors
    /// `InvalidArgument` if a field is longer than its limit.
    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        if self.key.len() > MAX_KEY {
            return Err(too_long("the key", MAX_KEY));
        }
        if self.record.len() > MAX_RECORD {
            return Err(too_long("the record", MAX_RECORD));
        }
        let mut bytes = Vec::with_capacity(64 + self.record.len());
        bytes.extend_from_slice(&[0; 8]);
        let expires = if self.expires_at.is_some() { EXPIRES } else { 0 };
        bytes.push(expires | if self.foreign { FOREIGN } else { 0 });
        for number in [self.generation, self.size, self.expires_at.unwrap_or(0)] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        let lists = [self.format.as_bytes(), &self.record];
        for field in lists.into_iter().chain(self.tags.iter().map(String::as_bytes)) {
            let length = u16::try_from(field.len()).map_err(|_| too_long("a field", MAX_KEY))?;
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(field);
        }
        if bytes.len() > MAX_KEY {
            return Err(too_long("the tags together", MAX_KEY));
        }
        let sum = checksum(self.key.as_bytes(), &bytes[8..]);
        bytes[..8].copy_from_slice(&sum.to_le_bytes());
        Ok(bytes)
    }

    /// The row of `key` from its bytes, whatever they are.
    ///
    /// # Errors
    /// `Corrupt` unless these are the bytes that [`Row::encode`] made for this key.
    pub(super) fn decode(key: &[u8], bytes: &[u8]) -> Result<Self> {
        let key = std::str::from_utf8(key).map_err(|_| damaged())?;
        Self::fields(key, bytes).ok_or_else(|| damaged().on_key(key))
    }

    fn fields(key: &str, bytes: &[u8]) -> Option<Self> {
        let mut rest = checked(key.as_bytes(), bytes)?;
        let flags = rest.take(1)?[0];
        let (generation, size, expires) = (rest.number()?, rest.number()?, rest.number()?);
        let format = rest.text()?;
        let record = rest.bytes()?.to_vec();
        let mut tags = Vec::new();
        while !rest.0.is_empty() {
            tags.push(rest.text()?);
        }
        Some(Self {
            key: key.to_owned(),
            generation,
            size,
            expires_at: (flags & EXPIRES != 0).then_some(expires),
            format,
            foreign: flags & FOREIGN != 0,
            tags,
            record,
        })
    }
}

/// What a listing of keys has to know of a row; the row is checked as a whole all the same.
pub(super) struct Listed<'b> {
    pub(super) key: &'b str,
    /// The stamp, if it says when the value ends.
    pub(super) stamp_of_expiry: Option<&'b [u8]>,
}

impl<'b> Listed<'b> {
    /// As [`Row::decode`], without copies.
    ///
    /// # Errors
    /// `Corrupt` unless these are the bytes that [`Row::encode`] made for this key.
    pub(super) fn decode(key: &'b [u8], bytes: &'b [u8]) -> Result<Self> {
        let key = std::str::from_utf8(key).map_err(|_| damaged())?;
        Self::fields(key, bytes).ok_or_else(|| damaged().on_key(key))
    }

    fn fields(key: &'b str, bytes: &'b [u8]) -> Option<Self> {
        let mut rest = checked(key.as_bytes(), bytes)?;
        if rest.take(1)?[0] & EXPIRES == 0 {
            return Some(Self { key, stamp_of_expiry: None });
        }
        // Generation, size, expiry and format lie before it.
        rest.take(3 * 8)?;
        rest.bytes()?;
        Some(Self { key, stamp_of_expiry: Some(rest.bytes()?) })
    }
}

/// The fields of a row, if its checksum is that of these fields and this key.
fn checked<'b>(key: &[u8], bytes: &'b [u8]) -> Option<Fields<'b>> {
    let mut rest = Fields(bytes);
    (rest.number()? == checksum(key, rest.0)).then_some(rest)
}

/// What is left to read; every step answers `None` where the bytes end too early.
pub(super) struct Fields<'b>(pub(super) &'b [u8]);

impl<'b> Fields<'b> {
    fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    fn bytes(&mut self) -> Option<&'b [u8]> {
        let length = self.take(2)?.try_into().ok().map(u16::from_le_bytes)?;
        self.take(usize::from(length))
    }

    fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
    }
}

/// xxh3 over the length-prefixed key and the fields.
pub(super) fn checksum(key: &[u8], fields: &[u8]) -> u64 {
    // A listing takes it of every row: in one go it costs a third.
    let mut whole = [0; 512];
    let length = 8 + key.len() + fields.len();
    if let Some(whole) = whole.get_mut(..length) {
        let (head, tail) = whole.split_at_mut(8 + key.len());
        head[..8].copy_from_slice(&(key.len() as u64).to_le_bytes());
        head[8..].copy_from_slice(key);
        tail.copy_from_slice(fields);
        return xxh3_64(whole);
    }
    let mut hash = Xxh3::new();
    hash.update(&(key.len() as u64).to_le_bytes());
    hash.update(key);
    hash.update(fields);
    hash.digest()
}

/// The error that says that a row, or what leads to it, is not what was committed.
pub(super) fn damaged() -> Error {
    Error::new(ErrorKind::Corrupt, "a row of the database is damaged")
}

fn too_long(what: &str, most: usize) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("{what} is longer than {most} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        Row {
            key: "users/é".into(),
            generation: u64::MAX,
            size: 3,
            expires_at: Some(0),
            format: "json".into(),
            foreign: true,
            tags: vec!["a".into(), String::new()],
            record: vec![0, 255],
        }
    }

    #[test]
    fn a_row_comes_back_as_it_was() {
        for row in [row(), Row { expires_at: None, foreign: false, tags: vec![], ..row() }] {
            let bytes = row.encode().unwrap();
            assert_eq!(Row::decode(row.key.as_bytes(), &bytes).unwrap(), row);
        }
    }

    #[test]
    fn any_flipped_bit_any_cut_and_any_other_key_is_damage() {
        let bytes = row().encode().unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let error = Row::decode("users/é".as_bytes(), &flipped).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
        }
        for end in 0..bytes.len() {
            assert!(Row::decode("users/é".as_bytes(), &bytes[..end]).is_err());
        }
        assert!(Row::decode(b"users/e", &bytes).is_err());
        assert!(Row::decode(b"\xff", &bytes).is_err());
    }

    #[test]
    fn a_listing_believes_a_row_only_as_a_whole() {
        for row in [row(), Row { expires_at: None, ..row() }] {
            let bytes = row.encode().unwrap();
            let listed = Listed::decode(row.key.as_bytes(), &bytes).unwrap();
            assert_eq!(listed.key, row.key);
            let stamp = row.expires_at.map(|_| &row.record[..]);
            assert_eq!(listed.stamp_of_expiry, stamp);
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(Listed::decode(row.key.as_bytes(), &flipped).is_err());
            }
            assert!(Listed::decode(b"users/e", &bytes).is_err());
        }
    }

    #[test]
    fn the_checksum_of_a_short_row_is_that_of_its_pieces() {
        let fields = [7; 1_000];
        for length in [0, 1, 400, 480, 490, 500, 504, 505, 1_000] {
            for key in ["", "k", "users/42"] {
                let mut hash = Xxh3::new();
                hash.update(&(key.len() as u64).to_le_bytes());
                hash.update(key.as_bytes());
                hash.update(&fields[..length]);
                assert_eq!(checksum(key.as_bytes(), &fields[..length]), hash.digest());
            }
        }
    }

    #[test]
    fn fields_over_their_limits_are_refused() {
        let refused = [
            Row { record: vec![0; MAX_RECORD + 1], ..row() },
            Row { key: "k".repeat(MAX_KEY + 1), ..row() },
            Row { format: "f".repeat(MAX_KEY), ..row() },
            Row { tags: vec!["t".repeat(1_000); 70], ..row() },
        ];
        for row in refused {
            assert_eq!(row.encode().unwrap_err().kind(), ErrorKind::InvalidArgument);
        }
    }
}
