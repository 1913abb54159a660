//! Which variable came from where.

use std::path::Path;

use holdall::config::{Settings, Source};

use super::Findings;
use crate::words;

pub(super) fn examine(_: &Path, findings: &mut Findings) {
    let settings = match Settings::from_env() {
        Ok(settings) => settings,
        Err(error) => return findings.error(words::told(&error), "set it right, or remove it"),
    };
    let mut set = 0;
    for (name, source) in settings.sources().filter(|(_, source)| *source != Source::Default) {
        set += 1;
        findings.good(format!("{name} comes {source}"));
    }
    if set == 0 {
        findings.good("no variable is set, so the built-in defaults hold");
    }
    if !settings.blob_storage_enabled {
        findings.warning(
            "BLOB_STORAGE_ENABLED switches storage off: programs that use it keep nothing",
            "set it to true",
        );
    }
}
