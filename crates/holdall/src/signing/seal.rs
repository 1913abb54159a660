//! Signatures of large payloads, made of blocks in any order and on several threads.
//!
//! BLAKE3 is a tree: what is hashed in blocks of a power of two gives the same MAC as the whole.

use std::sync::{Mutex, PoisonError};

use blake3::Hasher;
use blake3::hazmat::{
    ChainingValue, HasherExt as _, Mode, merge_subtrees_non_root, merge_subtrees_root,
};

use super::{SigningKey, Tag};

/// All that a signature covers and needs but the payload.
#[derive(Debug, Clone)]
pub struct Seal {
    key: SigningKey,
    /// The fields before the payload.
    lead: Vec<u8>,
}

impl Seal {
    pub(super) fn new(key: SigningKey, lead: Vec<u8>) -> Self {
        Self { key, lead }
    }

    /// Begins the MAC of a payload of `length` bytes, in blocks of `block` bytes, a power of two
    /// and more than the longest key.
    pub(crate) fn blocks(&self, length: u64, block: usize) -> BlockMac<'_> {
        debug_assert!(block.is_power_of_two() && block > self.lead.len().max(blake3::CHUNK_LEN));
        let total = self.lead.len() as u64 + length + 8;
        let count = usize::try_from(total.div_ceil(block as u64)).unwrap_or(usize::MAX);
        BlockMac { seal: self, length, block, values: Mutex::new(vec![[0; 32]; count]) }
    }
}

/// A MAC that grows block by block. A block that is left out makes it wrong.
pub(crate) struct BlockMac<'a> {
    seal: &'a Seal,
    length: u64,
    block: usize,
    values: Mutex<Vec<ChainingValue>>,
}

impl BlockMac<'_> {
    /// How many bytes of the payload the first block has; the others have `block`, the last what is
    /// left.
    pub(crate) fn first(&self) -> usize {
        self.block - self.seal.lead.len()
    }

    /// Takes the block with this number.
    pub(crate) fn take(&self, index: usize, payload: &[u8]) {
        let begin = index as u64 * self.block as u64;
        let suffix = self.length.to_le_bytes();
        // Where the length, which follows the payload, falls into this block.
        let after = self.seal.lead.len() as u64 + self.length;
        let within = |at: u64| at.saturating_sub(after).min(8) as usize;
        let suffix = &suffix[within(begin)..within(begin + self.block as u64)];
        let mut hasher = Hasher::new_keyed(&self.seal.key.0);
        hasher.set_input_offset(begin);
        if index == 0 {
            hasher.update(&self.seal.lead);
        }
        hasher.update(payload).update(suffix);
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        values[index] = match values.len() {
            1 => hasher.finalize().into(),
            _ => hasher.finalize_non_root(),
        };
    }

    /// The signature, after every block of the payload was taken.
    pub(crate) fn finish(self) -> Tag {
        let after = self.seal.lead.len() as u64 + self.length;
        let count = {
            let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
            values.len()
        };
        // The length may begin a block of its own.
        let with_payload = usize::try_from(after.div_ceil(self.block as u64)).unwrap_or(count);
        (with_payload..count).for_each(|index| self.take(index, &[]));
        let key = &self.seal.key;
        let values = self.values.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mode = Mode::KeyedHash(&key.0);
        let mac = match &values[..] {
            [root] => *root,
            several => {
                let (left, right) = several.split_at(left_of(several.len()));
                *merge_subtrees_root(&merge(left, mode), &merge(right, mode), mode).as_bytes()
            }
        };
        Tag { key_id: key.id(), mac }
    }

    /// Whether the signature is this one; takes the same time wherever they differ.
    pub(crate) fn is(self, tag: &Tag) -> bool {
        let own = self.finish();
        own.key_id == tag.key_id && blake3::Hash::from(own.mac) == blake3::Hash::from(tag.mac)
    }
}

/// How many of several blocks the left half of the tree has: the largest power of two below.
fn left_of(count: usize) -> usize {
    count.next_power_of_two() / 2
}

fn merge(values: &[ChainingValue], mode: Mode<'_>) -> ChainingValue {
    if let [one] = values {
        return *one;
    }
    let (left, right) = values.split_at(left_of(values.len()));
    merge_subtrees_non_root(&merge(left, mode), &merge(right, mode), mode)
}

#[cfg(test)]
mod tests {
    use super::super::Keyring;
    use super::*;

    #[test]
    fn a_signature_of_blocks_is_that_of_the_whole() {
        const BLOCK: usize = 4_096;
        let secret = SigningKey::from_secret("sixteen bytes or more");
        let keyring = Keyring::from(secret.expect("long enough"));
        let store = [7; 16];
        let seal = keyring.seal(&store, "joblib", "a key");
        let first = seal.blocks(0, BLOCK).first();
        let data: Vec<u8> = (0..70_000_u32).map(|n| (n * 31) as u8).collect();
        let around = |edge: usize| (edge.saturating_sub(10)..edge + 3).collect::<Vec<_>>();
        let lengths = [0, first, first + BLOCK, first + 6 * BLOCK, first + 7 * BLOCK, 69_000];
        for length in lengths.into_iter().flat_map(around) {
            let payload = &data[..length];
            let mac = seal.blocks(length as u64, BLOCK);
            let (head, rest) = payload.split_at(length.min(first));
            let mut blocks: Vec<_> =
                std::iter::once(head).chain(rest.chunks(BLOCK)).enumerate().collect();
            blocks.reverse();
            blocks.iter().for_each(|(index, block)| mac.take(*index, block));
            let tag = keyring.sign(&store, "joblib", "a key", [payload]);
            assert_eq!(mac.finish(), tag, "{length} bytes");
        }
    }
}
