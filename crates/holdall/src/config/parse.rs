//! The values of variables; the error says what is allowed, as the object of "set it to".

use std::path::PathBuf;
use std::time::Duration;

use super::Level;

pub(super) fn switch(value: &str) -> Result<bool, &'static str> {
    match value.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("true or false (or 1, 0, yes, no, on, off)"),
    }
}

pub(super) fn path(value: &str) -> Result<PathBuf, &'static str> {
    if value.contains(['\0', char::REPLACEMENT_CHARACTER]) {
        return Err("a path in UTF-8 without NUL characters");
    }
    Ok(PathBuf::from(value))
}

pub(super) fn entries(value: &str) -> Result<usize, &'static str> {
    match value.trim().parse() {
        Ok(entries) if entries > 0 => Ok(entries),
        _ => Err("a whole number of at least 1 (CACHE_ENABLED=false switches the cache off)"),
    }
}

pub(super) fn ttl(value: &str) -> Result<Option<Duration>, &'static str> {
    let value = value.trim();
    if value.eq_ignore_ascii_case("none") {
        return Ok(None);
    }
    let seconds = value.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    match seconds {
        Some(seconds) if !seconds.is_zero() => Ok(Some(seconds)),
        _ => Err("seconds above 0, or none for entries that never expire"),
    }
}

pub(super) fn level(value: &str) -> Result<Level, &'static str> {
    match value.trim().to_ascii_lowercase().as_str() {
        "trace" | "debug" => Ok(Level::Debug),
        "info" => Ok(Level::Info),
        "warn" | "warning" => Ok(Level::Warning),
        "error" => Ok(Level::Error),
        "fatal" | "critical" => Ok(Level::Critical),
        _ => Err("debug, info, warning, error or critical"),
    }
}
