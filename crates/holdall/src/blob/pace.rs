//! How fast a store is cleaned up: at once where somebody waits for it, else at a tenth of the time.

use std::any::Any;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::cleaning::Cleaning;
use crate::cancel;
use crate::clock::Clock;
use crate::error::Result;

/// Microseconds of work after which there is a pause, nine times as long as the work was.
const SLICE: u64 = 5_000;
const SHARE: u64 = 9;
/// Microseconds that a pause takes at most, and that it takes to notice that it is to end.
const LONGEST: u64 = 1_000_000;
const NAP: u64 = 10_000;

/// The turn at cleaning up, and how it is used.
pub(super) struct Pace<'c> {
    cleaning: &'c Cleaning,
    is_gentle: bool,
    since: u64,
    /// Keeps others from doing the same; given back in pauses.
    turn: Option<Box<dyn Any + Send>>,
}

impl<'c> Pace<'c> {
    /// For somebody who waits: after others, if they clean the store up, and without pauses.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`](crate::ErrorKind::Busy), [`ErrorKind::Io`](crate::ErrorKind::Io).
    pub(super) fn at_once(cleaning: &'c Cleaning) -> Result<Self> {
        let turn = cleaning.backend.begin_cleaning(true)?;
        Ok(Self { cleaning, is_gentle: false, since: now(), turn })
    }

    /// For the background; `None` if others clean the store up.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io).
    pub(super) fn gentle(cleaning: &'c Cleaning) -> Result<Option<Self>> {
        let turn = cleaning.backend.begin_cleaning(false)?;
        let since = now();
        Ok(turn.map(|turn| Self { cleaning, is_gentle: true, since, turn: Some(turn) }))
    }

    /// Makes a pause if it is time for one, but for what is urgent; false if the round is over,
    /// because the store is being closed or others do the rest.
    ///
    /// # Errors
    /// [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled), [`ErrorKind::Io`](crate::ErrorKind::Io).
    pub(super) fn go_on(&mut self, is_urgent: bool) -> Result<bool> {
        cancel::check()?;
        if !self.is_gentle {
            return Ok(true);
        }
        let worked = now().saturating_sub(self.since);
        if worked >= SLICE && !is_urgent {
            self.turn = None;
            let mut left = (worked * SHARE).min(LONGEST);
            while left > 0 && !self.is_ending() {
                let nap = left.min(NAP);
                std::thread::sleep(Duration::from_micros(nap));
                left -= nap;
            }
            self.turn = self.cleaning.backend.begin_cleaning(false)?;
            self.since = now();
        }
        Ok(self.turn.is_some() && !self.is_ending())
    }

    fn is_ending(&self) -> bool {
        self.cleaning.is_ending.load(Ordering::Acquire)
    }
}

fn now() -> u64 {
    Clock::system().boot_micros()
}
