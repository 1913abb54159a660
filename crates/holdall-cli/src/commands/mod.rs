//! The commands. A new one is a file here, a line in the list and its arm.

mod completions;
mod copy;
mod doctor;
mod du;
mod evict;
mod expire;
pub(crate) mod export;
mod get;
mod import;
mod ls;
pub(crate) mod migrate;
mod put;
mod repair;
mod rm;
mod stat;
mod stats;
mod trust;
mod verify;

use clap::Subcommand;
use holdall::BlobManager;

use crate::arguments::Arguments;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::Output;
use crate::store;

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the keys, in order
    Ls(ls::Ls),
    /// Print a value; a pickle is described and never run
    Get(get::Get),
    /// Save a file or the standard input as a value
    Put(put::Put),
    /// Remove values
    Rm(rm::Rm),
    /// Show what is known of a value
    Stat(stat::Stat),
    /// Show how many values and bytes there are
    Stats(stats::Stats),
    /// Show how much lies below each part of the keys
    Du(du::Du),
    /// Read everything and name what is damaged
    Verify(verify::Verify),
    /// Rebuild the index, sweep leftovers, set damaged values aside
    Repair(repair::Repair),
    /// Remove values whose time is over
    Expire(expire::Expire),
    /// Remove the values with a tag
    Evict(evict::Evict),
    /// Bring values to another format or compression
    Migrate(migrate::Migrate),
    /// Copy a value to another key, or values into another store
    Copy(copy::Copy),
    /// Write values as plain files into a new folder
    Export(export::Export),
    /// Take values out of another library's store, or files
    Import(import::Import),
    /// Show unsigned pickles, and sign those that you trust
    Trust(trust::Trust),
    /// Look at configuration, permissions, disk, limits, versions, key and leftovers
    Doctor(doctor::Doctor),
    /// Print the completions for a shell
    Completions(completions::Completions),
}

/// What a command is run with.
pub(crate) struct Context {
    folder: Option<std::path::PathBuf>,
    pub(crate) out: Output,
}

impl Context {
    /// Opens the store, which has to be there.
    pub(crate) fn open(&self) -> Result<BlobManager, Failure> {
        store::open(&self.folder()?)
    }

    /// The folder that `--store` names.
    pub(crate) fn named(&self) -> Option<std::path::PathBuf> {
        self.folder.clone()
    }

    /// The folder that was named behind the command, else that of the store.
    pub(crate) fn folder_or(
        &self,
        named: Option<std::path::PathBuf>,
    ) -> Result<std::path::PathBuf, Failure> {
        named.map_or_else(|| self.folder(), Ok)
    }

    /// The folder of the store.
    pub(crate) fn folder(&self) -> Result<std::path::PathBuf, Failure> {
        store::folder(self.folder.clone())
    }
}

/// Runs the command that was typed.
pub(crate) fn run(arguments: Arguments) -> Outcome {
    let Arguments { store, json, quiet, color: _, command } = arguments;
    let mut context = Context { folder: store, out: Output::new(json, quiet) };
    let exit = match command {
        Command::Ls(ls) => ls.run(&mut context),
        Command::Get(get) => get.run(&mut context),
        Command::Put(put) => put.run(&mut context),
        Command::Rm(rm) => rm.run(&mut context),
        Command::Stat(stat) => stat.run(&mut context),
        Command::Stats(stats) => stats.run(&mut context),
        Command::Du(du) => du.run(&mut context),
        Command::Verify(verify) => verify.run(&mut context),
        Command::Repair(repair) => repair.run(&mut context),
        Command::Expire(expire) => expire.run(&mut context),
        Command::Evict(evict) => evict.run(&mut context),
        Command::Migrate(migrate) => migrate.run(&mut context),
        Command::Copy(copy) => copy.run(&mut context),
        Command::Export(export) => export.run(&mut context),
        Command::Trust(trust) => trust.run(&mut context),
        Command::Doctor(doctor) => doctor.run(&mut context),
        Command::Import(import) => import.run(&mut context),
        Command::Completions(completions) => completions.run(&mut context),
    }?;
    context.out.finish()?;
    Ok(exit)
}

/// The code of a command that met `failed` values that it could not do.
pub(crate) fn done(failed: u64) -> Exit {
    if failed == 0 { Exit::Success } else { Exit::Findings }
}
