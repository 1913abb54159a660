//! Waiting for another process, which tells nobody when it is done.

use std::time::Duration;

use crate::clock::Clock;
use crate::error::Result;
use crate::pool;
use crate::sync::thread;

const FIRST_PAUSE: Duration = Duration::from_micros(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(1);

/// Asks until the answer is yes, again after 20 us at first and every millisecond in the end; no at
/// `deadline` (milliseconds since boot on `clock`). Asks once at least.
///
/// # Errors
/// As `ask`.
pub(crate) fn until(
    clock: &Clock,
    deadline: u64,
    mut ask: impl FnMut() -> Result<bool>,
) -> Result<bool> {
    let mut answer = || {
        let is_yes = ask()?;
        Ok((is_yes || clock.boot_millis() >= deadline).then_some(is_yes))
    };
    let mut pause = FIRST_PAUSE;
    while pause <= LONGEST_PAUSE {
        if let Some(answer) = answer()? {
            return Ok(answer);
        }
        thread::sleep(pause);
        pause *= 2;
    }
    // Whoever it is may have been stopped.
    pool::while_waiting(|| {
        loop {
            if let Some(answer) = answer()? {
                return Ok(answer);
            }
            thread::sleep(LONGEST_PAUSE);
        }
    })
}
