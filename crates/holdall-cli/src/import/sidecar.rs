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
const ENDINGS: [&str; 4] = [".meta", ".metadata", ".meta.json", ".metadata.json"];
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
    /// The same, of the end of its life.
    expires: Option<u64>,
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

    /// Takes the fields apart; `None` if none of them is one that is noted of a value.
    fn of(mut fields: Map<String, Value>) -> Option<Self> {
        let mut is_one = false;
        let mut take = |names: &[&str]| {
            let found = names.iter().find_map(|name| fields.remove(*name))?;
            is_one = true;
            Some(found).filter(|value| !value.is_null())
        };
        let text = |value: Value| value.as_str().map(str::to_owned);
        let created = take(&["created_at", "created"]);
        let updated = take(&["updated_at", "modified_at", "updated"]);
        let (key, format) = (take(&["key"]).and_then(text), take(&["format"]).and_then(text));
        let tags = take(&["tags"]);
        let ttl = take(&["ttl"]).and_then(|ttl| ttl.as_f64());
        let ends = take(&["expires_at", "expires"]);
        // They tell what the store finds for itself.
        take(&["size", "size_bytes"]);
        if !is_one {
            return None;
        }
        let mut note = match fields.remove("metadata") {
            Some(Value::Object(noted)) => noted,
            Some(Value::Null) | None => Map::new(),
            Some(other) => Map::from_iter([("metadata".to_owned(), other)]),
        };
        let times = [&created, &updated].map(|time| time.as_ref().and_then(millis));
        // A life is counted from the last save.
        let begins = times[1].or(times[0]).unwrap_or(0);
        let life = ttl.filter(|ttl| ttl.is_finite() && *ttl > 0.0 && begins > 0);
        let expires = life.map(|ttl| begins.saturating_add((ttl * 1e3) as u64));
        for (name, value) in fields.into_iter().chain(updated.map(|at| ("updated_at".into(), at))) {
            note.entry(name).or_insert(value);
        }
        Some(Self {
            key,
            format,
            created: times[0],
            expires: ends.as_ref().and_then(millis).or(expires),
            tags: match tags {
                Some(Value::Array(tags)) => tags.into_iter().filter_map(text).collect(),
                Some(Value::String(tag)) => vec![tag],
                _ => Vec::new(),
            },
            note,
        })
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

    /// The value with what is known of it; `None` if its life is over at `now`, milliseconds.
    pub(crate) fn onto(self, item: Item, now: u64) -> Option<Item> {
        if self.expires.is_some_and(|end| end <= now) {
            return None;
        }
        let format = self.named().filter(|named| named.suffix() == item.format.suffix());
        let ttl = self.expires.map(|end| (end - now) as f64 / 1e3);
        Some(Item {
            format: format.unwrap_or(item.format),
            created: self.created,
            ttl,
            tags: self.tags,
            metadata: (!self.note.is_empty()).then_some(Value::Object(self.note)),
            has_sidecar: true,
            ..item
        })
    }
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

/// Minutes of `+02:00` or `-0530`.
fn offset(text: &str) -> Option<i64> {
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let digits = text.get(1..)?.replace(':', "");
    let (hours, minutes) = digits.split_at_checked(2)?;
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
        for hostile in
            [json!("soon"), json!("2025-11-26T10:04:05+é"), json!(-1), json!(1e300), json!([])]
        {
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
        assert_eq!((noted.created, noted.expires), (Some(1_000_000), Some(2_060_000)));
        assert_eq!(noted.tags, ["a", "b"]);
        assert_eq!(
            Value::Object(noted.note),
            json!({"by": "me", "version": 2, "updated_at": 2_000})
        );
    }
}
