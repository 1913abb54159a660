//! The program, run as people run it.

mod bad_input;
mod commands;
mod doctor;
mod import;
mod import_folder;
mod import_kinds;
mod interrupted;
mod manners;
mod others;
mod support;
mod terminal;
