//! What can be typed: the options that every command has, and the list of commands.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Parser, ValueEnum};

use crate::commands::Command;

/// Apart from those that a command has of its own.
const GLOBAL: &str = "Options of every command";

/// Looks into a holdall store, moves values in and out, and keeps it healthy.
#[derive(Debug, Parser)]
#[command(name = "holdall", version, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 done, 1 findings, 2 usage, 3 no such key, 4 no store, \
                        5 damaged or untrusted, 6 busy, 7 system, 130 interrupted.")]
pub(crate) struct Arguments {
    /// The folder of the store [default: what BLOB_STORAGE_BASE_PATH and .env say]
    #[arg(short, long, global = true, value_name = "DIR", help_heading = GLOBAL)]
    pub(crate) store: Option<PathBuf>,

    /// Print JSON: one document, or for listings one object on each line
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub(crate) json: bool,

    /// Say less: no progress and no summary
    #[arg(short, long, global = true, action = ArgAction::SetTrue, help_heading = GLOBAL)]
    pub(crate) quiet: bool,

    /// When there are colours; NO_COLOR switches them off too
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    #[arg(value_name = "WHEN", help_heading = GLOBAL)]
    pub(crate) color: Color,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// When there are colours. Without a text for each, `-h` and `--help` are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

impl Color {
    /// What was asked for, found out before all is read: what is said of a wrong word, and the help,
    /// have colours too.
    pub(crate) fn asked(words: impl IntoIterator<Item = OsString>) -> Self {
        let mut words = words.into_iter().map(|word| word.to_string_lossy().into_owned());
        let mut asked = Self::Auto;
        while let Some(word) = words.next() {
            let when = match word.as_str() {
                "--" => break,
                "--color" => words.next(),
                word => word.strip_prefix("--color=").map(str::to_owned),
            };
            asked = when.and_then(|when| Self::from_str(&when, false).ok()).unwrap_or(asked);
        }
        asked
    }

    /// The same for the messages of the parser.
    pub(crate) fn of_parser(self) -> clap::ColorChoice {
        match self {
            Self::Auto => clap::ColorChoice::Auto,
            Self::Always => clap::ColorChoice::Always,
            Self::Never => clap::ColorChoice::Never,
        }
    }

    /// Makes it hold for all output of the process.
    pub(crate) fn hold_for_all(self) {
        let choice = match self {
            Self::Auto => anstream::ColorChoice::Auto,
            Self::Always => anstream::ColorChoice::Always,
            Self::Never => anstream::ColorChoice::Never,
        };
        choice.write_global();
    }
}
