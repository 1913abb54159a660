//! The command `holdall`: looks into a store, moves values in and out, keeps it healthy.
//!
//! The library does the work. Here arguments become calls, results become lines, and errors
//! become one sentence and an exit code (`exit.rs`). One file for each command in `commands/`.

mod arguments;
mod batch;
mod commands;
mod describe;
mod doctor;
mod exit;
mod import;
mod interrupt;
mod output;
mod parse;
mod python;
mod select;
mod signature;
mod store;
mod suggest;
mod words;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use arguments::{Arguments, Color};

fn main() -> ExitCode {
    let color = Color::asked(std::env::args_os().skip(1));
    let arguments = Arguments::command().color(color.of_parser()).try_get_matches();
    let arguments = arguments.and_then(|found| Arguments::from_arg_matches(&found));
    let arguments = arguments.unwrap_or_else(|error| suggest::improve(error).exit());
    arguments.color.hold_for_all();
    match commands::run(arguments) {
        Ok(code) => code.into(),
        Err(failure) => failure.report(),
    }
}
