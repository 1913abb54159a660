//! What a program has noted of a value in a file beside it: `users/1.meta` of `users/1.json`.
//!
//! A JSON object with the times, the tags and the notes of the value. Anybody may have written it, so
//! it is read as data, up to a size, and what is wrong with it never costs the value.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use holdall::Format;
use serde_json::{Map, Value};

use super::Item;
use crate::output::size;

/// How such a file is called behind the key, or behind the name of the file with the value.
const ENDINGS: [&str; 6] =
    [".meta", ".metadata", ".meta.json", ".metadata.json", "_meta.json", "_metadata.json"];
/// Larger ones are not read, bytes.
const LARGEST: u64 = 64 << 10;
/// A number that is larger is of milliseconds, a smaller one of seconds: the year 5138.
const MILLIS_FROM: f64 = 1e11;

/// What a file says.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Sidecar {
    pub(crate) key: Option<String>,
    pub(crate) format: Option<String>,
    /// Milliseconds since 1970.
    created: Option<u64>,
    /// The same, of the last save.
    updated: Option<u64>,
    /// The same, of the end of its life.
    expires: Option<u64>,
    /// Its life from the last save on, milliseconds.
    ttl: Option<u64>,
    /// It ends, and when cannot be read.
    is_end_unknown: bool,
    tags: Vec<String>,
    /// All the rest.
    note: Map<String, Value>,
}

/// The name of what a file is about, if it is called like a sidecar.
pub(crate) fn about(name: &str) -> Option<&str> {
    let about = ENDINGS.iter().find_map(|ending| name.strip_suffix(ending))?;
    (!about.is_empty() && !about.ends_with('/')).then_some(about)
}

/// Whether it can be nothing else by its name; `k.meta.json` may be a value too.
pub(crate) fn is_certain(name: &str) -> bool {
    !name.ends_with(".json")
}

impl Sidecar {
    /// Reads a file, or says why not, a clause.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let mut text = Vec::new();
        let read = File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut text));
        read.map_err(super::told)?;
        if text.len() as u64 > LARGEST {
            return Err(format!("it has more than {}", size(LARGEST)));
        }
        let found: Value = serde_json::from_slice(&text).map_err(|_| "it is no JSON")?;
        let Value::Object(fields) = found else { return Err("it is no JSON object".into()) };
        Self::of(fields).ok_or_else(|| "it has nothing of what is known of a value".into())
    }

    /// Takes the fields apart; `None` if none of them is one that is noted of a value. What cannot be
    /// understood stays among the notes.
    fn of(mut fields: Map<String, Value>) -> Option<Self> {
        let mut found = Self::default();
        let mut is_one = false;
        let mut take = |names: &[&str], read: &mut dyn FnMut(&Value) -> bool| {
            let name = names.iter().find(|name| fields.contains_key(**name));
            let Some(name) = name else { return false };
            is_one = true;
            let is_understood =
                fields.get(*name).is_none_or(|value| value.is_null() || read(value));
            if is_understood {
                fields.remove(*name);
            }
            !is_understood
        };
        take(&["key"], &mut |value| text(value, &mut found.key));
        take(&["format"], &mut |value| text(value, &mut found.format));
        take(&["created_at", "created"], &mut |value| time(value, &mut found.created));
        take(&["tags"], &mut |value| tags(value, &mut found.tags));
        found.is_end_unknown =
            take(&["expires_at", "expires"], &mut |value| time(value, &mut found.expires));
        found.is_end_unknown |= take(&["ttl"], &mut |value| life(value, &mut found.ttl));
        // The store finds it for itself.
        take(&["size", "size_bytes"], &mut |_| true);
        // No store takes the time of a save that was not its own.
        take(&["updated_at", "modified_at", "updated"], &mut |value| {
            time(value, &mut found.updated);
            false
        });
        if !is_one {
            return None;
        }
        found.note = match fields.remove("metadata") {
            Some(Value::Object(noted)) => noted,
            Some(Value::Null) | None => Map::new(),
            Some(other) => Map::from_iter([("metadata".to_owned(), other)]),
        };
        for (name, value) in fields {
            found.note.entry(name).or_insert(value);
        }
        Some(found)
    }

    /// Whether it says that the value is of this format. Several share the ending of a file.
    pub(crate) fn fits(&self, format: Format) -> bool {
        self.named().is_none_or(|named| named.suffix() == format.suffix())
    }

    fn named(&self) -> Option<Format> {
        match self.format.as_deref()? {
            "text" | "str" => Some(Format::String),
            name => Format::from_name(name).ok(),
        }
    }

    /// The value with what is known of it; `None` if its life is over at `now`. The file with the
    /// value was changed at `changed`; both milliseconds.
    pub(crate) fn onto(self, item: Item, changed: u64, now: u64) -> Option<Item> {
        let begins = self.updated.or(self.created).unwrap_or(changed);
        let expires = self.expires.or(self.ttl.map(|ttl| begins.saturating_add(ttl)));
        if expires.is_some_and(|end| end <= now) {
            return None;
        }
        let format = self.named().filter(|named| named.suffix() == item.format.suffix());
        let unknown = "an end of its life, which is among its notes and cannot be understood";
        Some(Item {
            format: format.unwrap_or(item.format),
            created: self.created,
            ttl: expires.map(|end| (end - now) as f64 / 1e3),
            tags: self.tags,
            metadata: (!self.note.is_empty()).then_some(Value::Object(self.note)),
            has_sidecar: true,
            lacks: self.is_end_unknown.then(|| unknown.to_owned()),
            ..item
        })
    }
}

fn text(value: &Value, to: &mut Option<String>) -> bool {
    *to = value.as_str().map(str::to_owned);
    to.is_some()
}

fn time(value: &Value, to: &mut Option<u64>) -> bool {
    *to = millis(value);
    to.is_some()
}

/// Seconds.
fn life(value: &Value, to: &mut Option<u64>) -> bool {
    let seconds = value.as_f64().filter(|seconds| *seconds > 0.0 && *seconds < MILLIS_FROM);
    *to = seconds.map(|seconds| (seconds * 1e3) as u64);
    to.is_some()
}

/// A list of texts, or one; a number is as good.
fn tags(value: &Value, to: &mut Vec<String>) -> bool {
    let tag = |value: &Value| match value {
        Value::String(tag) => Some(tag.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let found = match value {
        Value::Array(tags) => tags.iter().map(tag).collect::<Option<Vec<_>>>(),
        other => tag(other).map(|tag| vec![tag]),
    };
    *to = found.unwrap_or_default();
    !to.is_empty() || value.as_array().is_some_and(Vec::is_empty)
}

/// A time as programs note it: seconds or milliseconds since 1970, or ISO 8601 with or without an
/// offset; without one it is taken for UTC.
fn millis(value: &Value) -> Option<u64> {
    if let Some(number) = value.as_f64() {
        let seconds = if number >= MILLIS_FROM { number / 1e3 } else { number };
        return (seconds > 0.0 && seconds < MILLIS_FROM).then_some((seconds * 1e3) as u64);
    }
    let text = value.as_str()?;
    let (text, offset) = match text.rfind(['+', '-']).filter(|at| *at > 10) {
        Some(at) => (text.get(..at)?, offset(text.get(at..)?)?),
        None => (text, 0),
    };
    let time = humantime::parse_rfc3339_weak(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    let since = time
        .as_millis()
        .try_into()
        .ok()
        .and_then(|millis: u64| millis.checked_add_signed(-offset * 60_000))?;
    (Duration::from_millis(since) < Duration::from_secs(MILLIS_FROM as u64)).then_some(since)
}

/// Minutes of `+02:00`, `-0530` or `+02`.
fn offset(text: &str) -> Option<i64> {
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let digits = text.get(1..)?.replace(':', "");
    let is_one =
        matches!(digits.len(), 2 | 4) && digits.bytes().all(|digit| digit.is_ascii_digit());
    let (hours, minutes) = digits.split_at_checked(2).filter(|_| is_one)?;
    let minutes = if minutes.is_empty() { 0 } else { minutes.parse::<i64>().ok()? };
    Some(sign * (hours.parse::<i64>().ok()? * 60 + minutes))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(value: Value) -> Option<Sidecar> {
        let Value::Object(fields) = value else { return None };
        Sidecar::of(fields)
    }

    #[test]
    fn a_time_is_read_as_programs_write_it() {
        let at = Some(1_764_151_445_000);
        for text in [
            "2025-11-26T10:04:05Z",
            "2025-11-26T10:04:05+00:00",
            "2025-11-26T12:04:05.000000+02:00",
            "2025-11-26 04:34:05-0530",
            "2025-11-26T10:04:05",
        ] {
            assert_eq!(millis(&json!(text)), at, "{text}");
        }
        assert_eq!(millis(&json!(1_764_151_445)), at);
        assert_eq!(millis(&json!(1_764_151_445_000_u64)), at);
        for hostile in [
            json!("soon"),
            json!("2025-11-26T10:04:05+é"),
            json!("2025-11-26T10:04:05+02:9223372036854775807"),
            json!("2025-11-26T10:04:05--2"),
            json!(-1),
            json!(1e300),
            json!([]),
        ] {
            assert_eq!(millis(&hostile), None, "{hostile}");
        }
    }

    #[test]
    fn what_is_noted_of_a_value_is_told_from_any_other_object() {
        assert_eq!(of(json!({"theme": "dark"})), None);
        let noted = of(json!({
            "key": "k", "size": 3, "format": "json", "created_at": 1_000, "updated_at": 2_000,
            "ttl": 60, "tags": ["a", 1, "b"], "metadata": {"by": "me"}, "version": 2
        }));
        let noted = noted.expect("it is one");
        assert_eq!((noted.created, noted.updated), (Some(1_000_000), Some(2_000_000)));
        assert_eq!((noted.ttl, noted.is_end_unknown), (Some(60_000), false));
        assert_eq!(noted.tags, ["a", "1", "b"]);
        assert_eq!(
            Value::Object(noted.note),
            json!({"by": "me", "version": 2, "updated_at": 2_000})
        );
    }

    #[test]
    fn a_life_without_a_time_of_the_save_begins_when_the_file_was_changed() {
        let item = || Item::new("k".into(), Format::Json, Vec::new());
        let noted = of(json!({"ttl": 60})).expect("it is one");
        let alive = noted.clone().onto(item(), 1_000_000, 1_050_000).expect("ten seconds are left");
        assert_eq!(alive.ttl, Some(10.0));
        assert!(noted.onto(item(), 1_000_000, 1_060_000).is_none());
    }

    #[test]
    fn what_cannot_be_understood_stays_among_the_notes() {
        let odd =
            json!({"created_at": "long ago", "expires_at": "never", "ttl": -1, "tags": {"a": 1}});
        let noted = of(odd.clone()).expect("it is one");
        assert!(noted.is_end_unknown && noted.tags.is_empty());
        assert_eq!(Value::Object(noted.note), odd);
        assert!(!of(json!({"ttl": null, "expires_at": null})).expect("it is one").is_end_unknown);
    }
}
