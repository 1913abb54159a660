//! For tests: the moments at which a repair can be killed.

use std::cell::Cell;

thread_local! {
    /// How many more moments this thread lives to see; `None` is all of them.
    static LEFT: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Has the process killed at the moment with this number, counted from 0.
pub(in super::super) fn at(number: u32) {
    LEFT.set(Some(number));
}

pub(super) fn here() {
    match LEFT.get() {
        Some(0) => {
            let me = rustix::process::getpid();
            let _ = rustix::process::kill_process(me, rustix::process::Signal::KILL);
        }
        Some(left) => LEFT.set(Some(left - 1)),
        None => {}
    }
}
