//! What can be typed: the options that every command has, and the list of commands.

use std::path::PathBuf;

use clap::{ArgAction, Parser, ValueEnum};

use crate::commands::Command;

/// Looks into a holdall store, moves values in and out, and keeps it healthy.
#[derive(Debug, Parser)]
#[command(name = "holdall", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 done, 1 findings, 2 usage, 3 no such key, 4 no store, \
                        5 damaged or untrusted, 6 busy, 7 system, 130 interrupted.")]
pub(crate) struct Arguments {
    /// The folder of the store [default: what BLOB_STORAGE_BASE_PATH and .env say]
    #[arg(short, long, global = true, value_name = "DIR")]
    pub(crate) store: Option<PathBuf>,

    /// Print JSON: one document, or for listings one object on each line
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Say less: no progress and no summary
    #[arg(short, long, global = true, action = ArgAction::SetTrue)]
    pub(crate) quiet: bool,

    /// Colours; NO_COLOR switches them off too
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub(crate) color: Color,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// When there are colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl Color {
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
