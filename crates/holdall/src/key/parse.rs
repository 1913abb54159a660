//! From name to key.

use super::name::{
    BASE32, EMPTY_SEGMENT, FOLDERS_MAX, HASH_DIGITS, HASH_MARK, SEGMENTS_MAX, SLUG_MAX,
};
use super::{CaseRule, Key};

/// What a name says about the key of its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParsedName {
    /// The key, and that its name is this one, byte for byte.
    Key(Key),
    /// A hashed name. The key is in the file's stamp; it is the file's key only if
    /// [`Key::name`] of it is this name.
    Hashed,
}

/// The key of a relative path without suffix; `None` if no key has exactly this name, so that the
/// file is somebody else's and is left alone.
#[must_use]
pub fn parse_name(name: &str, case: CaseRule) -> Option<ParsedName> {
    let last = name.rsplit('/').next().unwrap_or(name);
    if let Some((slug, hash)) = last.split_once(HASH_MARK) {
        let folders = &name[..name.len() - last.len()];
        let whole = is_slug(slug) && is_hash(hash) && are_folders(folders, case);
        return whole.then_some(ParsedName::Hashed);
    }
    let key = Key::new(&decode(name)?).ok()?;
    (key.name(case) == name).then_some(ParsedName::Key(key))
}

/// Undoes the escapes, strictly enough to be short; the caller compares with the key's own name.
fn decode(name: &str) -> Option<String> {
    let mut text = Vec::with_capacity(name.len());
    for (index, segment) in name.split('/').enumerate() {
        if index > 0 {
            text.push(b'/');
        }
        if segment == EMPTY_SEGMENT {
            continue;
        }
        let mut bytes = segment.bytes();
        while let Some(byte) = bytes.next() {
            text.push(match byte {
                b'%' => (hex_digit(bytes.next()?)? << 4) | hex_digit(bytes.next()?)?,
                byte => byte,
            });
        }
    }
    String::from_utf8(text).ok()
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

fn is_slug(slug: &str) -> bool {
    slug.len() <= SLUG_MAX
        && slug.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
        && !slug.starts_with('-')
        && !slug.ends_with('-')
        && !slug.contains("--")
}

/// The last digit carries one bit, so it is `a` or `q`.
fn is_hash(hash: &str) -> bool {
    hash.len() == HASH_DIGITS
        && hash.bytes().all(|byte| BASE32.contains(&byte))
        && matches!(hash.as_bytes().last(), Some(b'a' | b'q'))
}

/// Whether `folders`, empty or with a slash at its end, are the folders of some key.
fn are_folders(folders: &str, case: CaseRule) -> bool {
    if folders.is_empty() {
        return true;
    }
    // Any last segment will do: it has no say in how the folders before it are written.
    let probe = format!("{folders}x");
    let known = || Some(Key::new(&decode(&probe)?).ok()?.name(case) == probe);
    folders.len() <= FOLDERS_MAX
        && folders.bytes().filter(|&byte| byte == b'/').count() < SEGMENTS_MAX
        && known() == Some(true)
}
