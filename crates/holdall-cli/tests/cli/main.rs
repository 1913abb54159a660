//! The program, run as people run it.

mod bad_input;
mod commands;
mod import;
mod import_folder;
mod import_kinds;
mod interrupted;
mod manners;
mod support;
mod terminal;
