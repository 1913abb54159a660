//! What people type who know other tools, and the command that does it here.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// A command, and words for it.
const WORDS: &[(&str, &[&str])] = &[
    ("ls", &["list", "dir", "ll", "keys", "find", "search", "scan", "glob"]),
    ("get", &["cat", "show", "print", "load", "read", "view", "fetch", "less", "head", "open"]),
    (
        "put",
        &["set", "save", "store", "write", "add", "insert", "create", "update", "init", "touch"],
    ),
    ("rm", &["delete", "del", "remove", "unlink", "erase", "drop", "clear", "purge", "wipe"]),
    ("stat", &["info", "metadata", "meta", "describe", "inspect"]),
    ("stats", &["status", "count", "summary"]),
    ("du", &["usage", "size", "sizes", "df"]),
    ("verify", &["check", "fsck", "scrub", "validate", "test", "audit"]),
    ("repair", &["fix", "heal", "recover", "rebuild", "reindex"]),
    ("expire", &["gc", "clean", "cleanup", "vacuum", "prune"]),
    ("evict", &["untag"]),
    ("migrate", &["convert", "upgrade", "compress", "recompress"]),
    ("copy", &["cp", "clone", "duplicate", "mv", "move", "rename", "sync"]),
    ("export", &["dump", "backup", "extract"]),
    ("import", &["restore", "ingest"]),
    ("trust", &["sign", "allow", "approve"]),
    ("doctor", &["diagnose", "health", "config", "env"]),
    ("completions", &["completion", "complete"]),
];

/// The same error, with a suggestion for a word that is no command.
pub(crate) fn improve(mut error: clap::Error) -> clap::Error {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return error;
    }
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else {
        return error;
    };
    let found = known(word).map_or_else(|| near(word), |command| vec![command]);
    error.remove(ContextKind::SuggestedSubcommand);
    if found.is_empty() {
        // Goes with it, and leaves a line without a word.
        error.remove(ContextKind::Suggested);
    } else {
        let suggested = ContextValue::Strings(found.into_iter().map(str::to_owned).collect());
        error.insert(ContextKind::SuggestedSubcommand, suggested);
    }
    error
}

fn known(word: &str) -> Option<&'static str> {
    let word = word.to_lowercase();
    WORDS.iter().find(|(_, words)| words.contains(&word.as_str())).map(|(command, _)| *command)
}

/// The commands that a word is a slip of: nearest to it, by one slip in three letters at most.
fn near(word: &str) -> Vec<&'static str> {
    let slips = |command: &str| strsim::osa_distance(command, word);
    let commands = || WORDS.iter().map(|(command, _)| *command);
    let most = (word.chars().count() / 3).max(1);
    let fewest = commands().map(slips).min().filter(|fewest| *fewest <= most);
    fewest.map_or(Vec::new(), |fewest| commands().filter(|c| slips(c) == fewest).collect())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::arguments::Arguments;

    #[test]
    fn every_word_leads_to_a_command_and_is_none() {
        let program = Arguments::command();
        let commands: Vec<_> = program.get_subcommands().map(clap::Command::get_name).collect();
        for (command, words) in WORDS {
            assert!(commands.contains(command), "{command}");
            for word in *words {
                assert!(!commands.contains(word), "{word}");
                assert_eq!(known(word), Some(*command), "{word} is there twice");
            }
        }
        assert!(commands.iter().all(|name| WORDS.iter().any(|(command, _)| command == name)));
    }

    #[test]
    fn a_slip_leads_to_what_was_meant_and_another_word_to_nothing() {
        for (slip, meant) in [
            ("lss", &["ls"][..]),
            ("sl", &["ls"]),
            ("improt", &["import"]),
            ("verfiy", &["verify"]),
            ("stas", &["stat", "stats"]),
            ("completoins", &["completions"]),
        ] {
            assert_eq!(near(slip), meant, "{slip}");
        }
        for other in ["serve", "top", "mount", "start"] {
            assert!(!near(other).iter().any(|found| ["expire", "copy"].contains(found)), "{other}");
        }
        assert!(near("serve").is_empty() && near("top").is_empty());
    }
}
