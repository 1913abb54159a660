//! Releases: of this program, and of the one that made the store.

use serde_json::Value;

use super::{About, Findings};
use crate::store;

/// The layout that this release reads and writes.
const LAYOUT: u64 = 1;

pub(super) fn examine(about: &About<'_>, findings: &mut Findings) {
    findings.good(format!("this is holdall {}", env!("CARGO_PKG_VERSION")));
    let Some(folder) = about.folder.filter(|folder| store::holds_store(folder)) else { return };
    let path = folder.join(".holdall/store.json");
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) => {
            let what = format!("{}: {error}", path.display());
            return findings.error(what, "run `holdall verify`");
        }
    };
    let Ok(noted) = serde_json::from_slice::<Value>(&text) else {
        let what = format!("{} is damaged", path.display());
        return findings.error(what, "see docs/repair.md: restore it, or have it made anew");
    };
    let release = noted["release"].as_str().unwrap_or("an unknown release");
    match noted["format"].as_u64() {
        Some(LAYOUT) => findings.good(format!("the store has layout {LAYOUT}, made by {release}")),
        Some(other) => findings.error(
            format!("the store has layout {other}, made by {release}; this one reads {LAYOUT}"),
            "use that release or a later one; nothing was touched",
        ),
        None => findings.error("the store names no layout", "see docs/repair.md"),
    }
}
