//! Whether JSON can be loaded, found out without making anything of it.

use std::fmt;

use holdall::Format;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// The most levels that Python reads; Rust reads fewer.
const DEEPEST: usize = 200;

/// Why no load takes it, a clause.
pub(crate) fn fault(payload: &[u8]) -> Option<String> {
    let error = holdall::format::decode::<Whole>(Format::Json, payload).err()?;
    // Whole, and more than is read in Rust: from Python it can be loaded.
    let is_read_by_python = match error.cause() {
        cause if cause.ends_with("number out of range") => true,
        cause if cause.ends_with("recursion limit exceeded") => levels(payload) <= DEEPEST,
        _ => false,
    };
    if is_read_by_python {
        return serde_json::from_slice::<serde::de::IgnoredAny>(payload)
            .err()
            .map(|error| error.to_string());
    }
    let place = error
        .text_position()
        .map_or(String::new(), |place| format!(" at line {} column {}", place.line, place.column));
    let cause = error.cause();
    Some(format!("{}{place}", cause.strip_prefix("the text is not valid JSON: ").unwrap_or(cause)))
}

/// How deep lists and objects are nested.
fn levels(payload: &[u8]) -> usize {
    let (mut level, mut deepest) = (0_usize, 0);
    let mut bytes = payload.iter();
    let mut is_text = false;
    while let Some(byte) = bytes.next() {
        match (byte, is_text) {
            (b'\\', true) => drop(bytes.next()),
            (b'"', _) => is_text = !is_text,
            (b'[' | b'{', false) => level += 1,
            (b']' | b'}', false) => level = level.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(level);
    }
    deepest
}

/// JSON of which every text and number was read, and nothing is kept.
struct Whole;

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Whole {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self, A::Error> {
        while list.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_load_refuses_is_a_fault_and_what_python_reads_is_none() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let good =
            ["null", "[1, -2, 0.5, true]", "{\"a\": {\"b\": \"\\ud83d\\ude00\"}}", "[1e999]"];
        let deep = [nested(127), nested(200), format!("[\"{}\"]", nested(500))];
        for json in good.into_iter().map(str::to_owned).chain(deep) {
            assert_eq!(fault(json.as_bytes()), None, "{json}");
        }
        let bad = ["", "{", "[\"\\ud800\"]", "{\"\\ud800\": 1}", "[1] 2", "[1e999", "[\"\u{1}\"]"];
        for json in bad.into_iter().map(str::to_owned).chain([nested(201), nested(100_000)]) {
            assert!(fault(json.as_bytes()).is_some(), "{json}");
        }
    }
}
