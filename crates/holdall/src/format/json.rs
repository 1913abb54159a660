//! JSON: what cannot come back equal is refused, not written.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use super::finite::Finite;
use crate::error::{Error, ErrorKind, Result};

/// Compact JSON. Refuses NaN and infinities, which JSON lacks, and more levels than are read back.
pub(super) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(&Finite::new(value)).map_err(|error| {
        let message = error.to_string();
        // A message of the caller's own types may quote the value, so only known ones are shown.
        let cause = match ENCODE_CAUSES.iter().find(|(known, _)| message.starts_with(known)) {
            Some((_, cause)) => *cause,
            None => "the value's own Serialize refused it",
        };
        Error::new(ErrorKind::Encode, cause)
            .remedy("change the value, or encode it yourself and use save_bytes")
    })
}

/// How messages of serde_json, serde and `finite` begin, and what is said instead.
const ENCODE_CAUSES: &[(&str, &str)] = &[
    (super::finite::NOT_FINITE, super::finite::NOT_FINITE),
    (super::finite::TOO_DEEP, super::finite::TOO_DEEP),
    ("float key must be finite", super::finite::NOT_FINITE),
    ("key must be a string", "JSON has text, numbers and booleans as keys of a map, nothing else"),
    ("can only flatten", "only structs and maps can be flattened into JSON"),
    ("path contains invalid UTF-8", "the value has a path that is not UTF-8"),
    ("number out of range", "the value has a number that is out of range"),
];

/// Reads one JSON value and nothing after it. The depth of levels is limited to 127.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let message = error.to_string();
        let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(text, _)| text);
        let cause = match error.classify() {
            Category::Data => {
                format!("the JSON is not of the type asked for: {}", unquoted(message))
            }
            _ => format!("the text is not valid JSON: {message}"),
        };
        let error = Error::new(ErrorKind::Decode, cause);
        if line == 0 { error } else { error.position(line, column) }
    })
}

/// What serde says about a mismatch, without the stored value that it quotes.
pub(super) fn unquoted(message: &str) -> String {
    let expected = message.rsplit_once(", expected ").map(|(_, expected)| expected);
    for kind in ["invalid type: ", "invalid value: "] {
        if let (Some(rest), Some(expected)) = (message.strip_prefix(kind), expected) {
            // `string "secret"`, `integer `5``: the word alone is told.
            let found = FOUND.iter().find(|found| rest.starts_with(**found)).unwrap_or(&"a value");
            return format!("{kind}{found}, expected {expected}");
        }
    }
    for kind in ["unknown field", "unknown variant"] {
        if let (true, Some(expected)) = (message.starts_with(kind), expected)
            && !message.contains(", there are no ")
        {
            return format!("{kind}, expected {expected}");
        }
    }
    // These speak of the type asked for; any other message may quote the value.
    let harmless = ["missing field ", "duplicate field ", "invalid length "];
    if harmless.iter().any(|kind| message.starts_with(kind)) {
        return message.to_owned();
    }
    "a value does not fit".to_owned()
}

/// serde's words for what it found.
const FOUND: &[&str] = &[
    "boolean",
    "integer",
    "floating point",
    "character",
    "string",
    "byte array",
    "null",
    "unit value",
    "Option value",
    "newtype struct",
    "sequence",
    "map",
    "enum",
];
