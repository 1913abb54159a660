//! What must hold for the bytes of any row.

use super::row::{Listed, Row, checksum};

/// A row is read as what it says, or not at all, and a listing reads the same.
pub(crate) fn row(data: &[u8]) {
    let (split, rest) = data.split_first().map_or((0, data), |(first, rest)| (*first, rest));
    let (key, fields) = rest.split_at(usize::from(split).min(rest.len()));
    let mended = [&checksum(key, fields).to_le_bytes(), fields].concat();
    for bytes in [fields, &mended[..]] {
        let listed = Listed::decode(key, bytes);
        let Ok(row) = Row::decode(key, bytes) else { continue };
        assert!(listed.is_ok_and(|listed| listed.key == row.key));
        if let Ok(again) = row.encode() {
            assert_eq!(Row::decode(key, &again).ok().as_ref(), Some(&row));
        }
    }
}
