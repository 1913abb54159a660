//! What the disk may do to a call, at each of its system calls: the old value stands, or the new one
//! if the call has succeeded; the error says what to do; work goes on, here and in other processes;
//! nothing is left behind.
//!
//! Each test takes the calls of `scenarios`, one after the other, and for each fault its system calls,
//! one after the other, once and from there on. A part of these states is tried; all of them with
//! `make faults`, which sets `HOLDALL_FAULTS=all`; `1/8` tries one of eight. A failure names scenario, fault and number;
//! `HOLDALL_FAULTS="stream-disk:EIO at 42"` tries the states whose names begin so.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod calls;
mod check;
mod injector;
mod openings;
mod run;
mod scenarios;
mod store;

#[allow(dead_code, reason = "not every test binary needs all of it")]
#[path = "../common/helper.rs"]
mod helper;

use run::try_all;
use scenarios::Group;

#[test]
fn a_save_at_whose_calls_the_disk_fails_leaves_the_old_value_and_nothing_else() {
    try_all(Group::Saves);
}

#[test]
fn a_save_of_an_inline_value_at_whose_calls_the_disk_fails_leaves_the_old_value() {
    try_all(Group::Inline);
}

#[test]
fn a_removal_or_move_at_whose_calls_the_disk_fails_loses_no_value() {
    try_all(Group::Removals);
}

#[test]
fn a_read_at_whose_calls_the_disk_fails_is_an_error_and_never_a_miss_or_damage() {
    try_all(Group::Reads);
}

#[test]
fn a_store_at_whose_opening_the_disk_fails_loses_nothing_even_after_a_crash() {
    try_all(Group::Openings);
}

#[test]
#[ignore = "run by the tests above, in its own process"]
fn helper_that_uses_the_store() {
    check::serve();
}
