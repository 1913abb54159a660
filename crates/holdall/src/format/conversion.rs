//! From one format to another, without Python.

use super::{Format, json};
use crate::error::{Error, ErrorKind, Result};

/// Whether values of one format can become values of the other without Python. Whether a single
/// one can is told by the attempt: bytes need not be text.
#[must_use]
pub const fn converts(from: Format, to: Format) -> bool {
    use Format::{Bytes, CustomJson, Json, String};
    from as u8 == to as u8
        || matches!(
            (from, to),
            (Json | CustomJson | String, Json | CustomJson | String)
                | (String, Bytes)
                | (Bytes, String)
        )
}

/// The payload of the same value in the other format.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] if it takes Python; [`ErrorKind::Encode`] if the value is none of
/// that format.
pub(crate) fn convert(from: Format, to: Format, payload: Vec<u8>) -> Result<Vec<u8>> {
    use Format::{Bytes, CustomJson, Json, String};
    match (from, to) {
        _ if from as u8 == to as u8 => Ok(payload),
        (Json | CustomJson, Json | CustomJson) | (String, Bytes) => Ok(payload),
        (Bytes, String) => match std::str::from_utf8(&payload) {
            Ok(_) => Ok(payload),
            Err(_) => Err(unfit(to, "it is no UTF-8 text")),
        },
        (String, Json | CustomJson) => match std::str::from_utf8(&payload) {
            Ok(text) => json::encode(text),
            Err(_) => Err(unfit(to, "it is no UTF-8 text")),
        },
        (Json | CustomJson, String) => match json::decode::<std::string::String>(&payload) {
            Ok(text) => Ok(text.into_bytes()),
            Err(_) => Err(unfit(to, "it is JSON, and no text alone")),
        },
        _ => {
            let cause = format!("from {from} to {to} it takes Python to convert a value");
            Err(Error::new(ErrorKind::InvalidArgument, cause)
                .remedy("use migrate_all of a BlobManager in Python"))
        }
    }
}

fn unfit(to: Format, cause: &'static str) -> Error {
    Error::new(ErrorKind::Encode, cause)
        .remedy(format!("leave it as it is, or save it as {to} anew"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_becomes_json_and_comes_back() {
        let text = "a \"b\"\n".as_bytes().to_vec();
        let json = convert(Format::String, Format::Json, text.clone()).expect("any text can");
        assert_eq!(json, br#""a \"b\"\n""#);
        assert_eq!(convert(Format::Json, Format::String, json).expect("it is one"), text);
    }

    #[test]
    fn what_would_come_back_different_is_refused() {
        for (from, to, payload) in [
            (Format::Json, Format::String, &b"[1]"[..]),
            (Format::Bytes, Format::String, b"\xff"),
            (Format::Pickle, Format::Json, b"N."),
        ] {
            assert!(convert(from, to, payload.to_vec()).is_err(), "{from} to {to}");
        }
    }

    #[test]
    fn what_is_said_to_be_convertible_is_tried() {
        for from in Format::all() {
            for to in Format::all() {
                let refused = convert(*from, *to, b"\"\"".to_vec())
                    .is_err_and(|error| error.kind() == ErrorKind::InvalidArgument);
                assert_eq!(converts(*from, *to), !refused, "{from} to {to}");
            }
        }
    }
}
