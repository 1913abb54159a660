//! Ctrl-C: work in steps ends after the step that it is in, says how far it came, and can be run
//! again. A second one ends the process at once, which loses nothing either.

use std::sync::atomic::{AtomicBool, Ordering};

use holdall::CancelToken;

use crate::exit::Exit;

static ASKED: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C asks; without a call of this it ends the process as ever.
pub(crate) fn listen() -> CancelToken {
    let token = CancelToken::new();
    let cancelled = token.clone();
    let handler = move || {
        if ASKED.swap(true, Ordering::Relaxed) {
            std::process::exit(Exit::Interrupted as i32);
        }
        cancelled.cancel();
    };
    // It fails if somebody has set one before: then that one answers.
    let _ = ctrlc::set_handler(handler);
    token
}

/// Whether somebody has asked to stop.
pub(crate) fn is_asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}
