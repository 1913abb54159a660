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
    let has_own = error.get(ContextKind::SuggestedSubcommand).is_some();
    let found = known(word).or_else(|| if has_own { None } else { near(word) });
    if let Some(command) = found {
        let suggested = ContextValue::Strings(vec![command.to_owned()]);
        error.insert(ContextKind::SuggestedSubcommand, suggested);
    }
    error
}

fn known(word: &str) -> Option<&'static str> {
    let word = word.to_lowercase();
    WORDS.iter().find(|(_, words)| words.contains(&word.as_str())).map(|(command, _)| *command)
}

/// A command that differs in one letter or in the order of two: the short ones are too short for
/// measures of likeness.
fn near(word: &str) -> Option<&'static str> {
    let is_near = |command: &&str| {
        let (command, word) = (command.as_bytes(), word.as_bytes());
        let differs = |at: &usize| command[*at] != word[*at];
        if command.len() != word.len() {
            return false;
        }
        match (0..word.len()).filter(differs).collect::<Vec<_>>()[..] {
            [_] => true,
            [at, next] => command[at] == word[next] && command[next] == word[at],
            _ => false,
        }
    };
    WORDS.iter().map(|(command, _)| *command).find(is_near)
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
}
