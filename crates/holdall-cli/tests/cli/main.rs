//! The program, run as people run it.

mod bad_input;
mod commands;
mod import;
mod interrupted;
mod manners;
mod support;
