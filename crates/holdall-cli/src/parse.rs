//! Texts of the command line that become formats, times and notes.

use std::time::Duration;

use holdall::format::Codec;
use holdall::{Format, Ttl};
use serde_json::Value;

/// The format of this name.
pub(crate) fn format(name: &str) -> Result<Format, String> {
    Format::from_name(name).map_err(|error| error.to_string())
}

/// The compression of this name.
pub(crate) fn codec(name: &str) -> Result<Codec, String> {
    Codec::from_name(name).map_err(|error| error.to_string())
}

/// Seconds, or a text with units: `90m`, `1h 30m`.
pub(crate) fn ttl(text: &str) -> Result<Ttl, String> {
    let after = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?,
        Err(_) => humantime::parse_duration(text)
            .map_err(|_| "it is no time: write seconds, or 90m, 12h, 7d".to_owned())?,
    };
    if after.is_zero() { Err("it has to be more than zero".into()) } else { Ok(Ttl::After(after)) }
}

/// A note beside a value.
pub(crate) fn note(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_seconds_or_has_its_units() {
        assert_eq!(ttl("1.5"), Ok(Ttl::After(Duration::from_millis(1_500))));
        assert_eq!(ttl("90m"), Ok(Ttl::After(Duration::from_secs(5_400))));
        for wrong in ["0", "-1", "soon", "nan", "inf"] {
            assert!(ttl(wrong).is_err(), "{wrong}");
        }
    }
}
