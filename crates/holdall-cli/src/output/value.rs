//! What the store knows of one value, as JSON and as lines.

use holdall::BlobMetadata;
use holdall::format::Codec;
use serde_json::{Map, Value, json};

use super::{moment, shown, size, style, time};

/// All of it; times are RFC 3339.
pub(crate) fn to_json(about: &BlobMetadata) -> Value {
    let record = about.record();
    let mut object = Map::new();
    object.insert("key".into(), json!(about.key));
    object.insert("format".into(), json!(about.format));
    object.insert("compression".into(), json!(compression(record.codec)));
    object.insert("size".into(), json!(about.size));
    object.insert("created_at".into(), json!(time(about.created_at)));
    object.insert("updated_at".into(), json!(time(about.updated_at)));
    object.insert("expires_at".into(), json!(about.expires_at.map(time)));
    object.insert("etag".into(), json!(about.etag));
    object.insert("tags".into(), json!(record.tags));
    object.insert("metadata".into(), metadata(record.metadata.as_deref()));
    object.insert("foreign".into(), json!(record.foreign));
    Value::Object(object)
}

/// What the caller has noted beside a value; it is JSON by the store's own rule.
pub(crate) fn metadata(noted: Option<&[u8]>) -> Value {
    noted.and_then(|noted| serde_json::from_slice(noted).ok()).unwrap_or(Value::Null)
}

/// The name of a compression, `null` for none.
pub(crate) fn compression(codec: Codec) -> Option<&'static str> {
    (codec != Codec::None).then(|| codec.name())
}

/// The head of a long listing.
pub(crate) fn long_head() -> String {
    let dim = style::DIM;
    format!("{dim}{:>11}  {:<20}  {:<11}  key{dim:#}", "size", "updated (UTC)", "format")
}

/// One line of a long listing: size, time, format, key.
pub(crate) fn long_line(about: &BlobMetadata) -> String {
    let (name, dim) = (style::NAME, style::DIM);
    let updated = moment(about.updated_at);
    let mut format = about.format.to_owned();
    if let Some(codec) = compression(about.record().codec) {
        format = format!("{format}+{codec}");
    }
    let mut line = format!(
        "{:>11}  {dim}{updated}{dim:#}  {name}{format:<11}{name:#}  {}",
        size(about.size),
        shown(&about.key)
    );
    if let Some(expires) = about.expires_at {
        line += &format!("  {dim}until {}{dim:#}", moment(expires));
    }
    line
}
