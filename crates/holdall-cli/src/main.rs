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

use clap::Parser;

use arguments::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::try_parse().unwrap_or_else(|error| suggest::improve(error).exit());
    arguments.color.hold_for_all();
    match commands::run(arguments) {
        Ok(code) => code.into(),
        Err(failure) => failure.report(),
    }
}
