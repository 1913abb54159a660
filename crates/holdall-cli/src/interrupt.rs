//! Ctrl-C: work in steps ends after the step that it is in, says how far it came, and can be run
//! again. A second one ends the process at once, which loses nothing either.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

use holdall::CancelToken;

use crate::exit::Exit;

static ASKED: AtomicBool = AtomicBool::new(false);

/// The one that Ctrl-C cancels, whatever part of a command listens.
static TOKEN: LazyLock<CancelToken> = LazyLock::new(|| {
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
});

/// From now on Ctrl-C asks; without a call of this it ends the process as ever.
pub(crate) fn listen() -> CancelToken {
    TOKEN.clone()
}

/// Whether somebody has asked to stop.
pub(crate) fn is_asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    #[test]
    fn every_part_of_a_command_that_listens_is_asked() {
        let parts = [listen(), listen()];
        kill_process(getpid(), Signal::INT).expect("it is this process");
        for _ in 0..500 {
            if parts.iter().all(|part| part.check().is_err()) {
                return assert!(is_asked());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("a part was not asked");
    }
}
