//! The stamp as bytes. Every read is bounds-checked: a stamp comes from a file and is hostile.

use xxhash_rust::xxh3::xxh3_64;

use super::{Expiry, Record, Stamp, StoreMark};
use crate::format::{Codec, Format};
use crate::signing::Tag;

const HAS_CREATED: u8 = 1 << 0;
const HAS_EXPIRY: u8 = 1 << 1;
const HAS_SIGNATURE: u8 = 1 << 2;
const HAS_KEY: u8 = 1 << 3;
const HAS_TAGS: u8 = 1 << 4;
const HAS_METADATA: u8 = 1 << 5;
const IS_FOREIGN: u8 = 1 << 6;

/// The largest stamp that is read; nothing that this release writes is larger.
pub(crate) const MAX_STAMP: usize = 4_096;

impl Stamp {
    /// The layout that this release writes, and the latest that it reads.
    pub(crate) const VERSION: u8 = 1;

    /// The bytes of the stamp.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let record = &self.record;
        let mut out = Vec::with_capacity(64);
        let mut flags = 0;
        let mut flag = |set: bool, bit: u8| {
            if set {
                flags |= bit;
            }
        };
        flag(record.created != record.updated, HAS_CREATED);
        flag(record.expiry.is_some(), HAS_EXPIRY);
        flag(record.signature.is_some(), HAS_SIGNATURE);
        flag(self.key.is_some(), HAS_KEY);
        flag(!record.tags.is_empty(), HAS_TAGS);
        flag(record.metadata.is_some(), HAS_METADATA);
        flag(record.foreign, IS_FOREIGN);
        out.extend_from_slice(&[Self::VERSION, flags, record.format.id(), record.codec.id()]);
        out.extend_from_slice(&self.store.0.to_le_bytes());
        out.extend_from_slice(&self.key_hash.to_le_bytes());
        out.extend_from_slice(&record.generation.to_le_bytes());
        out.extend_from_slice(&record.checksum.to_le_bytes());
        put_varint(&mut out, record.length);
        put_difference(&mut out, record.updated, record.generation / 1_000);
        if record.created != record.updated {
            put_difference(&mut out, record.updated, record.created);
        }
        if let Some(Expiry { wall, boot, boot_id }) = record.expiry {
            put_difference(&mut out, wall, record.updated);
            put_varint(&mut out, boot);
            out.extend_from_slice(&boot_id.to_le_bytes());
        }
        if let Some(Tag { key_id, mac }) = &record.signature {
            out.extend_from_slice(key_id);
            out.extend_from_slice(mac);
        }
        if let Some(key) = &self.key {
            put_bytes(&mut out, key.as_bytes());
        }
        if !record.tags.is_empty() {
            put_varint(&mut out, record.tags.len() as u64);
            for tag in &record.tags {
                put_bytes(&mut out, tag.as_bytes());
            }
        }
        if let Some(metadata) = &record.metadata {
            put_bytes(&mut out, metadata);
        }
        let check = xxh3_64(&out) as u32;
        out.extend_from_slice(&check.to_le_bytes());
        out
    }

    /// Whether these bytes, which are no stamp of this layout, are one of a later layout.
    pub(crate) fn is_newer(bytes: &[u8]) -> bool {
        Self::later_version(bytes).is_some()
    }

    /// The version of a whole stamp that is later than ours. Every layout begins with its version
    /// and ends with the checksum.
    pub(crate) fn later_version(bytes: &[u8]) -> Option<u8> {
        let (body, check) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
        let version = *body.first()?;
        (version > Self::VERSION && (xxh3_64(body) as u32).to_le_bytes() == check)
            .then_some(version)
    }

    /// Reads a stamp; `None` if these bytes are none, or one of a later layout.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > MAX_STAMP {
            return None;
        }
        let (body, check) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
        if (xxh3_64(body) as u32).to_le_bytes() != check {
            return None;
        }
        let mut input = Input(body);
        let [version, flags, format, codec] = input.array()?;
        if version != Self::VERSION {
            return None;
        }
        let has = |bit: u8| flags & bit != 0;
        let store = StoreMark(u32::from_le_bytes(input.array()?));
        let key_hash = u64::from_le_bytes(input.array()?);
        let generation = u64::from_le_bytes(input.array()?);
        let checksum = u64::from_le_bytes(input.array()?);
        let length = input.varint()?;
        let updated = input.sum(generation / 1_000)?;
        let created = if has(HAS_CREATED) { input.less(updated)? } else { updated };
        let expiry = if has(HAS_EXPIRY) {
            let wall = input.sum(updated)?;
            let boot = input.varint()?;
            Some(Expiry { wall, boot, boot_id: u32::from_le_bytes(input.array()?) })
        } else {
            None
        };
        let signature = if has(HAS_SIGNATURE) {
            Some(Tag { key_id: input.array()?, mac: input.array()? })
        } else {
            None
        };
        let key = if has(HAS_KEY) { Some(input.text()?) } else { None };
        let mut tags = Vec::new();
        if has(HAS_TAGS) {
            for _ in 0..input.varint()? {
                tags.push(input.text()?);
            }
        }
        let metadata = if has(HAS_METADATA) { Some(input.bytes()?.to_vec()) } else { None };
        if !input.0.is_empty() {
            return None;
        }
        let record = Record {
            generation,
            format: Format::from_id(format)?,
            codec: Codec::from_id(codec)?,
            length,
            checksum,
            created,
            updated,
            expiry,
            signature,
            tags,
            metadata,
            foreign: has(IS_FOREIGN),
        };
        Some(Self { store, key_hash, key, record })
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// `value - base`, which may be negative, as a zigzag varint.
fn put_difference(out: &mut Vec<u8>, value: u64, base: u64) {
    let difference = value.wrapping_sub(base) as i64;
    put_varint(out, ((difference << 1) ^ (difference >> 63)) as u64);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// What is left to be read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn difference(&mut self) -> Option<i64> {
        let raw = self.varint()?;
        Some((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    fn sum(&mut self, base: u64) -> Option<u64> {
        Some(base.wrapping_add_signed(self.difference()?))
    }

    fn less(&mut self, base: u64) -> Option<u64> {
        Some(base.wrapping_sub(self.difference()? as u64))
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.varint()?).ok()?;
        self.take(length)
    }

    fn text(&mut self) -> Option<String> {
        Some(std::str::from_utf8(self.bytes()?).ok()?.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests_support::plain_stamp as plain;
    use super::*;

    #[test]
    fn the_common_stamp_stays_inside_the_inode() {
        let mut stamp = plain();
        assert!(stamp.encode().len() <= 44, "{}", stamp.encode().len());
        stamp.record.created -= 365 * 24 * 3_600 * 1_000;
        let month = 30 * 24 * 3_600 * 1_000;
        stamp.record.expiry =
            Some(Expiry { wall: stamp.record.updated + month, boot: month, boot_id: 1 });
        assert!(stamp.encode().len() <= 64, "{}", stamp.encode().len());
    }

    #[test]
    fn the_layout_is_fixed() {
        let hex: String = plain().encode().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "01000100efbeadde2a00000000000000401261018b6006000700000000000000c0843d002fb48868"
        );
    }

    prop_compose! {
        fn any_stamp()(
            store: u32, key_hash: u64, generation: u64, checksum: u64, length: u64,
            created: u64, updated: u64,
            expiry in proptest::option::of((any::<u64>(), any::<u64>(), any::<u32>())),
            signature in proptest::option::of((any::<[u8; 8]>(), any::<[u8; 32]>())),
            key in proptest::option::of("\\PC{1,40}"),
            tags in proptest::collection::vec("\\PC{1,10}", 0..4),
            metadata in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..50)),
            foreign: bool, format in 1_u8..=7,
        ) -> Stamp {
            Stamp {
                store: StoreMark(store), key_hash, key,
                record: Record {
                    generation, length, checksum, created, updated, tags, metadata, foreign,
                    format: Format::from_id(format).expect("ids 1 to 7 are known"),
                    codec: Codec::None,
                    expiry: expiry.map(|(wall, boot, boot_id)| Expiry { wall, boot, boot_id }),
                    signature: signature.map(|(key_id, mac)| Tag { key_id, mac }),
                },
            }
        }
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(stamp in any_stamp()) {
            prop_assert_eq!(Stamp::decode(&stamp.encode()), Some(stamp));
        }

        #[test]
        fn a_damaged_stamp_is_no_stamp(stamp in any_stamp(), at: prop::sample::Index, bit in 0..8_u32) {
            let mut bytes = stamp.encode();
            let at = at.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            prop_assert_eq!(Stamp::decode(&bytes), None);
            prop_assert_eq!(Stamp::decode(&bytes[..at]), None);
        }

        #[test]
        fn bytes_from_anywhere_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Stamp::decode(&bytes);
            let mut checked = bytes;
            let check = xxh3_64(&checked) as u32;
            checked.extend_from_slice(&check.to_le_bytes());
            let _ = Stamp::decode(&checked);
        }
    }
}
