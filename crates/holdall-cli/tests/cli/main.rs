//! The program, run as people run it.

mod commands;
mod import;
mod manners;
mod support;
