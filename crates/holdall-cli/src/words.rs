//! Messages of the library in the words of the program: what to type, in place of what to call.

use holdall::Error;

/// A phrase of the library, and what stands for it here; longer ones before their parts.
const PHRASES: &[(&str, &str)] = &[
    ("save one first, or pass a default", "`holdall ls` shows what is there"),
    ("save one first", "`holdall ls` shows what is there"),
    ("choose another key, or overwrite it", "name another key, or add --overwrite"),
    ("load it again and decide anew", "look at it with `holdall stat` and decide anew"),
    (
        "choose a local base_path, or pass allow_network_fs=True",
        "name a folder on a local disk, or use it from Python with allow_network_fs=True",
    ),
    ("choose a base_path that can be", "name another folder with --store that can be"),
    ("choose another base_path", "name another folder with --store"),
    (", or raise lock_timeout", ""),
    (
        "raise max_value_bytes if the value is yours",
        "load it from Python with a larger max_value_bytes, if it is yours",
    ),
    (
        "raise max_value_bytes or split the value",
        "split the value, or save it from Python with a larger max_value_bytes",
    ),
    ("set HOLDALL_SIGNING_KEY or pass signing_key", "set HOLDALL_SIGNING_KEY"),
    ("use migrate_all of a BlobManager in Python", "run `python -m holdall migrate`"),
    ("make a new manager, which makes anew", "run it again, which makes anew"),
    ("use copy() or rename(), which sign it", "use `holdall copy`, which signs it"),
    (
        "load it with trust=\"any\", and save it again to have it signed",
        "sign it with `holdall trust --key`",
    ),
    ("load it with trust=\"any\", and save it again", "sign it with `holdall trust --key`"),
    ("rotate_signing_key()", "call rotate_signing_key() in Python"),
    (
        "rotate_signing_key(old_key_is_lost=True)",
        "rotate_signing_key(old_key_is_lost=True) in Python",
    ),
    ("or encode it yourself and use save_bytes", "or choose another format"),
    ("repair() the store", "run `holdall repair`"),
    ("run repair", "run `holdall repair`"),
    ("run verify", "run `holdall verify`"),
];

/// The message of an error.
pub(crate) fn told(error: &Error) -> String {
    let message = error.to_string();
    // What comes before the cause may be a key, which is nobody's phrase.
    let (before, after) = message.split_at(message.rfind(error.cause()).unwrap_or_default());
    format!("{before}{}", of(after))
}

/// The same in two: what is wrong, and what to do about it.
pub(crate) fn told_apart(error: &Error) -> (String, Option<String>) {
    let message = error.to_string();
    let end = message.rfind(error.cause()).map_or(0, |start| start + error.cause().len());
    match message[end..].split_once("; ") {
        Some((place, remedy)) => (format!("{}{place}", &message[..end]), Some(of(remedy))),
        None => (message, None),
    }
}

/// The same for a message that was made elsewhere.
pub(crate) fn of(message: &str) -> String {
    // A key is in quotation marks and ends at a colon; only what follows speaks.
    let mut told = message.to_owned();
    for (theirs, ours) in PHRASES {
        if told.contains(theirs) {
            told = told.replace(theirs, ours);
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn sources(folder: &Path, text: &mut String) {
        for entry in folder.read_dir().expect("it is there").flatten() {
            let path = entry.path();
            if path.is_dir() {
                sources(&path, text);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                text.push_str(&std::fs::read_to_string(&path).expect("it is text"));
            }
        }
    }

    #[test]
    fn every_phrase_is_one_that_the_library_still_says() {
        let mut text = String::new();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../holdall/src"), &mut text);
        // A phrase may go on behind the end of a line.
        let text = text.replace("\\\n", " ").replace("\\\"", "\"");
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for (theirs, _) in PHRASES {
            let is_there = text.contains(theirs) || theirs.starts_with("set HOLDALL_SIGNING_KEY");
            assert!(is_there, "{theirs}");
        }
    }

    #[test]
    fn a_message_says_what_to_type() {
        let error = Error::new(holdall::ErrorKind::NotFound, "there is no value under this key")
            .remedy("save one first, or pass a default");
        assert_eq!(
            told(&error),
            "there is no value under this key; `holdall ls` shows what is there"
        );
        assert_eq!(
            of("run repair, or run verify"),
            "run `holdall repair`, or run `holdall verify`"
        );
    }
}
