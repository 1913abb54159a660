//! From key to name.

use super::CaseRule;

/// The longest segment of a literal name in bytes; leaves 55 for suffixes below `NAME_MAX`.
pub(super) const SEGMENT_MAX: usize = 200;
/// The longest literal name in bytes, slashes counted.
pub(super) const PATH_MAX: usize = 1_024;
/// The most segments of a name.
pub(super) const SEGMENTS_MAX: usize = 32;
/// The longest slug in bytes.
pub(super) const SLUG_MAX: usize = 40;
/// The most bytes of folders before a hashed segment, a slash after each counted: what is left of
/// [`PATH_MAX`] when 100 bytes are set aside for slug and hash.
pub(super) const FOLDERS_MAX: usize = PATH_MAX - 100;
/// Between slug and hash; in no literal name.
pub(super) const HASH_MARK: &str = "%=";
/// The name of an empty segment.
pub(super) const EMPTY_SEGMENT: &str = "%-";
/// 256 bits in digits of 5 bits.
pub(super) const HASH_DIGITS: usize = 52;
/// RFC 4648 base32, in lower case so that it reads the same where case is ignored.
pub(super) const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

pub(super) fn encode(key: &str, case: CaseRule) -> String {
    literal(key, case).unwrap_or_else(|| hashed(key, case))
}

/// The literal name, unless a limit is passed.
fn literal(key: &str, case: CaseRule) -> Option<String> {
    if key.len() > PATH_MAX {
        return None;
    }
    let mut name = String::with_capacity(key.len() + 16);
    let mut rest = Some(key);
    let mut segments = 0;
    while let Some(text) = rest {
        let (segment, tail) = split_segment(text);
        let start = name.len();
        push_segment(&mut name, segment, tail.is_none(), case);
        segments += 1;
        if name.len() - start > SEGMENT_MAX || name.len() > PATH_MAX || segments > SEGMENTS_MAX {
            return None;
        }
        if tail.is_some() {
            name.push('/');
        }
        rest = tail;
    }
    Some(name)
}

/// The folders that fit, then slug and hash.
fn hashed(key: &str, case: CaseRule) -> String {
    let mut name = String::new();
    let mut rest = key;
    for _ in 0..SEGMENTS_MAX - 1 {
        let (segment, Some(tail)) = split_segment(rest) else { break };
        // Escaping never shortens, so this spares encoding what cannot fit.
        if segment.len() > SEGMENT_MAX {
            break;
        }
        let start = name.len();
        push_segment(&mut name, segment, false, case);
        if name.len() - start > SEGMENT_MAX || name.len() + 1 > FOLDERS_MAX {
            name.truncate(start);
            break;
        }
        name.push('/');
        rest = tail;
    }
    push_slug(&mut name, rest);
    name.push_str(HASH_MARK);
    push_base32(&mut name, blake3::hash(key.as_bytes()).as_bytes());
    name
}

fn split_segment(text: &str) -> (&str, Option<&str>) {
    match text.split_once('/') {
        Some((segment, tail)) => (segment, Some(tail)),
        None => (text, None),
    }
}

fn push_segment(name: &mut String, segment: &str, last: bool, case: CaseRule) {
    if segment.is_empty() {
        name.push_str(EMPTY_SEGMENT);
        return;
    }
    let reserved = is_reserved(segment);
    let end = segment.len() - 1;
    for (at, byte) in segment.bytes().enumerate() {
        let stands = match byte {
            b'a'..=b'z' => !(reserved && at == 0),
            b'A'..=b'Z' => case == CaseRule::Sensitive && !(reserved && at == 0),
            b'0'..=b'9' | b'_' | b'-' => true,
            b'.' => last && at != 0 && at != end,
            _ => false,
        };
        if stands {
            name.push(char::from(byte));
        } else {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            name.push('%');
            name.push(char::from(HEX[usize::from(byte >> 4)]));
            name.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

/// Whether Windows would take the segment for a device.
fn is_reserved(segment: &str) -> bool {
    let stem = segment.as_bytes().split(|&byte| byte == b'.').next().unwrap_or_default();
    match stem {
        [device @ .., number] if device.len() == 3 => {
            number.is_ascii_digit()
                && (device.eq_ignore_ascii_case(b"com") || device.eq_ignore_ascii_case(b"lpt"))
        }
        _ => {
            [b"con", b"prn", b"aux", b"nul"].iter().any(|device| stem.eq_ignore_ascii_case(*device))
        }
    }
}

/// The beginning of a text as part of a readable name; may be empty.
pub(super) fn slug(text: &str) -> String {
    let mut slug = String::new();
    push_slug(&mut slug, text);
    slug
}

fn push_slug(name: &mut String, text: &str) {
    let start = name.len();
    let mut gap = false;
    for letter in text.chars() {
        if !(letter.is_ascii_alphanumeric() || letter == '_') {
            gap = true;
            continue;
        }
        let dash = gap && name.len() > start;
        if name.len() - start + usize::from(dash) >= SLUG_MAX {
            break;
        }
        if dash {
            name.push('-');
        }
        name.push(letter.to_ascii_lowercase());
        gap = false;
    }
}

fn push_base32(name: &mut String, hash: &[u8; 32]) {
    let (mut bits, mut held) = (0_u32, 0);
    for byte in hash {
        bits = (bits << 8) | u32::from(*byte);
        held += 8;
        while held >= 5 {
            held -= 5;
            name.push(char::from(BASE32[(bits >> held) as usize & 31]));
        }
        bits &= (1 << held) - 1;
    }
    name.push(char::from(BASE32[(bits << (5 - held)) as usize & 31]));
}
