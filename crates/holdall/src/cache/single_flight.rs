//! One load per missing key: whoever comes while it is under way waits for it.
//!
//! [`Flights`] has no lock of its own: its owner keeps it under the lock that also guards what is
//! loaded, so that "is it there?" and "is somebody fetching it?" are one question, and a loaded
//! value can be dropped if a write overtook it. Threads wait on the [`Flight`] without that lock.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError};

use crate::cancel::CancelToken;
use crate::sync::thread::{self, ThreadId};
use crate::sync::{Condvar, Mutex, MutexGuard};

/// The loads under way, by key, each with a result of type `T`.
pub struct Flights<T> {
    under_way: HashMap<Box<str>, Arc<Flight<T>>>,
}

/// A loaded value, or the error of whatever type the loader had.
pub type Loaded<V> = Result<V, Arc<dyn Any + Send + Sync>>;

/// One load, which one thread runs and any number wait for.
pub struct Flight<T> {
    /// After a fork only one thread is left; it must not wait for the others.
    process: u32,
    thread: ThreadId,
    state: Mutex<State<T>>,
    ended: Condvar,
    overtaken: CancelToken,
}

enum State<T> {
    UnderWay,
    Landed(T),
    Abandoned,
}

/// What a caller has to do.
pub enum Join<T> {
    /// Load it; and end the flight, whatever happens.
    Lead(Arc<Flight<T>>),
    /// Wait for whoever loads it.
    Wait(Arc<Flight<T>>),
    /// The caller is loading this key already, further up in its own stack: an error.
    Own,
}

impl<T> Flights<T> {
    /// No load under way.
    #[must_use]
    pub fn new() -> Self {
        Self { under_way: HashMap::new() }
    }

    /// Joins the load of a key, or begins it.
    pub fn join(&mut self, key: &str) -> Join<T> {
        let process = std::process::id();
        let thread = thread::current().id();
        match self.under_way.get(key) {
            Some(flight) if flight.process != process => {}
            Some(flight) if flight.thread == thread => return Join::Own,
            Some(flight) => return Join::Wait(Arc::clone(flight)),
            None => {}
        }
        let state = Mutex::new(State::UnderWay);
        let flight = Arc::new(Flight {
            process,
            thread,
            state,
            ended: Condvar::new(),
            overtaken: CancelToken::new(),
        });
        self.under_way.insert(key.into(), Arc::clone(&flight));
        Join::Lead(flight)
    }

    /// Ends the load of a key; whether what it loaded may be kept. It may not if a write or a
    /// delete overtook it.
    pub fn land(&mut self, key: &str, flight: &Arc<Flight<T>>) -> bool {
        let current = self.is_current(key, flight);
        if current {
            self.under_way.remove(key);
        }
        current
    }

    fn is_current(&self, key: &str, flight: &Arc<Flight<T>>) -> bool {
        self.under_way.get(key).is_some_and(|other| Arc::ptr_eq(other, flight))
    }

    /// Notes that a key was written or deleted: a load under way is older, and is not kept.
    pub fn overtake(&mut self, key: &str) {
        if !self.under_way.is_empty()
            && let Some(flight) = self.under_way.remove(key)
        {
            flight.overtaken.cancel();
        }
    }

    /// Lets whoever comes now load anew; the load under way may be kept all the same.
    pub fn set_apart(&mut self, key: &str) {
        self.under_way.remove(key);
    }

    /// As [`Flights::set_apart`], of every key.
    pub fn set_all_apart(&mut self) {
        self.under_way.clear();
    }

    /// Notes that every key was written or deleted.
    pub fn overtake_all(&mut self) {
        self.under_way.drain().for_each(|(_, flight)| flight.overtaken.cancel());
    }
}

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Flights<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flights({} under way)", self.under_way.len())
    }
}

impl<T: Clone> Flight<T> {
    /// Waits for the load to end (blocks). `None`: it was given up, so join anew.
    pub fn wait(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            match &*state {
                State::UnderWay => {
                    state = self.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                State::Landed(result) => return Some(result.clone()),
                State::Abandoned => return None,
            }
        }
    }
}

impl<T> Flight<T> {
    /// Cancelled when a write or a delete overtakes the load.
    #[must_use]
    pub fn overtaken(&self) -> &CancelToken {
        &self.overtaken
    }

    /// Ends the load with a result for all who wait.
    pub fn finish(&self, result: T) {
        self.end(State::Landed(result));
    }

    /// Ends the load without one: one of those who wait will load. Nothing happens if it has
    /// ended already, so that a guard may call this in any case.
    pub fn abandon(&self) {
        self.end(State::Abandoned);
    }

    fn end(&self, end: State<T>) {
        let mut state = self.lock();
        if matches!(*state, State::UnderWay) {
            *state = end;
            self.ended.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> fmt::Debug for Flight<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flight").field("thread", &self.thread).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lead<T>(flights: &mut Flights<T>) -> Arc<Flight<T>> {
        match flights.join("key") {
            Join::Lead(flight) => flight,
            Join::Wait(_) | Join::Own => panic!("somebody else is loading"),
        }
    }

    #[test]
    fn a_load_that_a_write_overtook_is_not_kept() {
        let mut flights = Flights::<u32>::new();
        let overtaken = lead(&mut flights);
        flights.overtake("key");
        let later = lead(&mut flights);
        assert!(!flights.land("key", &overtaken));
        assert!(overtaken.overtaken().check().is_err() && later.overtaken().check().is_ok());
        assert!(flights.land("key", &later));
        assert!(!flights.land("key", &later), "landed twice");
        let apart = lead(&mut flights);
        flights.set_apart("key");
        lead(&mut flights);
        assert!(apart.overtaken().check().is_ok());
    }

    #[test]
    fn loading_a_key_inside_its_own_load_is_noticed() {
        let mut flights = Flights::<u32>::new();
        let _flight = lead(&mut flights);
        assert!(matches!(flights.join("key"), Join::Own));
    }

    #[test]
    fn all_who_wait_get_the_one_result() {
        let mut flights = Flights::new();
        let flight = lead(&mut flights);
        thread::scope(|scope| {
            let mut waiting = Vec::new();
            for _ in 0..4 {
                let elsewhere = |flights: &mut Flights<_>| {
                    thread::scope(|scope| scope.spawn(|| flights.join("key")).join())
                };
                match elsewhere(&mut flights) {
                    Ok(Join::Wait(flight)) => waiting.push(scope.spawn(move || flight.wait())),
                    _ => panic!("a second load of the key"),
                }
            }
            flight.finish(42);
            flight.abandon();
            for waiting in waiting {
                assert_eq!(waiting.join().unwrap(), Some(42));
            }
        });
    }
}
