//! `holdall stat`: what is known of a value.

use clap::Args;
use holdall::ErrorKind;
use holdall::key::Key;
use serde_json::json;

use super::Context;
use crate::exit::{Exit, Outcome};
use crate::output::{count, moment, shown, size, value};

/// Arguments of `stat`.
#[derive(Debug, Args)]
pub(crate) struct Stat {
    /// The key
    key: String,
}

impl Stat {
    pub(crate) fn run(self, context: &mut Context) -> Outcome {
        let blobs = context.open()?;
        let about = blobs.metadata(&self.key)?;
        // Of the backend, which names the file of a compressed value, too.
        let path = match blobs.backend().locate(&Key::new(&self.key)?) {
            Ok(found) => found.map(|(path, _)| path),
            // An inline value has no file.
            Err(error) if error.kind() == ErrorKind::InvalidArgument => None,
            Err(error) => return Err(error.on_key(&self.key).during("locate").into()),
        };
        if context.out.json {
            let mut object = value::to_json(&about);
            object["path"] = json!(path);
            context.out.document(&object)?;
            return Ok(Exit::Success);
        }
        let record = about.record();
        let mut lines = vec![("key", shown(&about.key).into_owned())];
        let kept = value::compression(record.codec).map_or(String::new(), |c| format!(", {c}"));
        lines.push(("format", format!("{}{kept}", about.format)));
        let bytes = count(about.size, "byte");
        let is_small = about.size < 1_024;
        lines.push((
            "size",
            if is_small { bytes } else { format!("{} ({bytes})", size(about.size)) },
        ));
        lines.push(("created", moment(about.created_at)));
        lines.push(("updated", moment(about.updated_at)));
        lines.push(("expires", about.expires_at.map_or("never".into(), moment)));
        lines.push(("etag", about.etag.clone()));
        if !record.tags.is_empty() {
            let tags: Vec<_> = record.tags.iter().map(|tag| shown(tag)).collect();
            lines.push(("tags", tags.join(", ")));
        }
        if let Some(noted) = &record.metadata {
            lines.push(("metadata", context.out.noted(&value::metadata(Some(noted)))));
        }
        let place = match path {
            Some(path) => shown(&path.to_string_lossy()).into_owned(),
            None => "inline, in the store's database".into(),
        };
        lines.push(("where", place));
        if record.foreign {
            lines.push(("origin", "another program".into()));
        }
        for (name, text) in lines {
            context.out.line(format!("{name:<9} {text}"))?;
        }
        Ok(Exit::Success)
    }
}
