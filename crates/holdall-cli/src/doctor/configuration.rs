//! Which variable came from where, and which ones nobody reads.

use std::path::Path;

use holdall::config::Source;
use holdall::signing;

use super::{About, Findings};
use crate::{python, words};

/// Those that are no settings of the library.
const OTHERS: [&str; 2] = [signing::VARIABLE, "HOLDALL_PYTHON"];
/// What no other program's variable begins with.
const OURS: [&str; 2] = ["HOLDALL_", "BLOB_STORAGE_"];
/// How many letters may be wrong in a name that is meant for another one.
const SLIPS: usize = 2;

pub(super) fn examine(about: &About<'_>, findings: &mut Findings) {
    let settings = &about.configured.settings;
    for error in &about.configured.errors {
        let (what, remedy) = words::told_apart(error);
        findings.error(what, remedy.unwrap_or_else(|| "set it right, or remove it".into()));
    }
    let is_wrong = |name: &str| about.is_wrong(name);
    for (name, source) in settings.sources().filter(|(name, _)| !is_wrong(name)) {
        let mut what = format!("{name}={} ({source})", settings.shown(name));
        if name == super::FOLDER && about.is_named {
            what += ", which --store or a folder that was named overrides";
        }
        findings.good(what);
    }
    for name in OTHERS {
        if let Some((_, source)) = about.configured.names.iter().find(|named| named.0 == name) {
            let secret = if name == signing::VARIABLE { ", a secret" } else { "" };
            findings.good(format!("{name} is set ({source}){secret}"));
        }
    }
    if let Some(named) = python::named().filter(|named| !python::is_program(named)) {
        findings.warning(
            format!("HOLDALL_PYTHON is {}, which is no program", Path::new(&named).display()),
            "set it to a Python with holdall in it, or remove it",
        );
    }
    if !settings.blob_storage_enabled {
        findings.warning(
            "BLOB_STORAGE_ENABLED switches storage off: programs that use it keep nothing",
            "set it to true",
        );
    }
    strangers(about, findings);
}

/// Names that look like ours and are not.
fn strangers(about: &About<'_>, findings: &mut Findings) {
    let known: Vec<&str> =
        about.configured.settings.sources().map(|(name, _)| name).chain(OTHERS).collect();
    for (name, source) in &about.configured.names {
        if known.contains(&name.as_str()) {
            continue;
        }
        let upper = name.to_ascii_uppercase();
        let slips = |right: &str| strsim::osa_distance(&upper, right);
        let nearest = known.iter().copied().min_by_key(|right| slips(right));
        let is_ours = OURS.iter().any(|begin| upper.starts_with(begin));
        let what = format!("{name} ({source}) is read by nobody");
        match nearest.filter(|right| slips(right) <= SLIPS) {
            Some(right) if is_ours => findings.warning(what, format!("call it {right}")),
            // It may belong to somebody else.
            Some(right) if upper.len() > 2 * SLIPS => {
                findings.notice(
                    format!("{name} ({source}) is not read here"),
                    format!("call it {right}, if it is meant for holdall"),
                );
            }
            _ if is_ours => {
                let names = "see docs/concepts.md for the variables that there are";
                // A whole word too much or too little is more than a slip.
                let remedy = match nearest.filter(|right| slips(right) <= upper.len() / 2) {
                    Some(right) => format!("call it {right}, if that is meant, or remove it"),
                    None => names.into(),
                };
                findings.warning(what, remedy);
            }
            _ => {}
        }
    }
}

/// Where a variable was found, if it is set.
pub(super) fn source_of(about: &About<'_>, name: &str) -> Option<Source> {
    about.configured.names.iter().find(|named| named.0 == name).map(|named| named.1)
}

#[cfg(test)]
mod tests {
    use holdall::config::Examined;

    use super::super::{About, Findings, Level};
    use super::*;

    fn findings(variables: &[(&str, &str)], dotenv: &str) -> Vec<String> {
        let configured = Examined::resolve(variables, Some(dotenv));
        let about = About { folder: None, configured: &configured, is_named: false };
        let mut found = Findings { topic: "configuration", found: Vec::new() };
        examine(&about, &mut found);
        let line =
            |level, what: &str, remedy: Option<&str>| format!("{level:?} {what} -> {remedy:?}");
        let bad = found.found.iter().filter(|one| one.level > Level::Good);
        bad.map(|one| line(one.level, &one.what, one.remedy.as_deref())).collect()
    }

    #[test]
    fn a_misspelt_variable_is_named_with_the_right_one() {
        for (wrong, right) in [
            ("HOLDALL_SINGING_KEY", "HOLDALL_SIGNING_KEY"),
            ("holdall_signing_key", "HOLDALL_SIGNING_KEY"),
            ("BLOB_STORAGE_PATH", "BLOB_STORAGE_BASE_PATH"),
            ("CACHE_MAXSIZE", "CACHE_MAX_SIZE"),
            ("LOGLEVEL", "LOG_LEVEL"),
        ] {
            let found = findings(&[(wrong, "x")], "");
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].contains(wrong) && found[0].contains(right), "{found:?}");
            assert!(!found[0].contains("\"x\""), "its value may be a secret: {found:?}");
            let found = findings(&[], &format!("A=1\n{wrong}=x\n"));
            assert!(found[0].contains("from line 2 of .env"), "{found:?}");
        }
        let others = [("HOME", "/h"), ("LOG_FILE", "x"), ("CACHE_DIR", "x"), ("PATH", "x")];
        assert_eq!(findings(&others, "DATABASE_URL=x\nDEBUG=1"), [""; 0]);
    }

    #[test]
    fn every_mistake_is_told_and_the_rest_of_env_holds() {
        let variables = [("CACHE_MAX_SIZE", "many"), ("LOG_LEVEL", "loud")];
        let found = findings(&variables, "CACHE_ENABLED=perhaps\nBLOB_STORAGE_BASE_PATH=/data\n");
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found.iter().all(|one| one.starts_with("Error") && one.contains("set it to")));
    }
}
