//! What must hold whatever the schedule: each function is one run of one property, to be repeated
//! by an explorer (`crates/holdall-races/tests/races.rs`). They panic where it does not hold; a
//! thread that is never woken, or two that wait for each other, are found by the explorer.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a property may end here, its name says what it is"
)]

mod cache;
mod files;
mod groups;
mod locks;
mod storage;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use self::cache::*;
pub use self::files::*;
pub use self::groups::*;
pub use self::locks::*;
pub use self::storage::*;
use crate::sync::{Condvar, Mutex, end_long_waits, step, thread};

/// Runs a property, and then lets idle threads go.
pub fn run(property: fn()) {
    property();
    end_long_waits();
}

type Work = Box<dyn FnOnce() + Send>;

/// Runs each of several functions on a thread of its own, to the end.
fn together(work: Vec<Work>) {
    let threads: Vec<_> = work.into_iter().map(thread::spawn).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// A number that threads look at between the steps of others.
#[derive(Clone, Default)]
struct Number(Arc<AtomicU64>);

impl Number {
    fn new(value: u64) -> Self {
        Self(Arc::new(AtomicU64::new(value)))
    }

    fn get(&self) -> u64 {
        step();
        self.0.load(Ordering::SeqCst)
    }

    fn raise(&self, value: u64) {
        step();
        self.0.fetch_max(value, Ordering::SeqCst);
    }

    fn set(&self, value: u64) {
        step();
        self.0.store(value, Ordering::SeqCst);
    }

    /// The number after one more.
    fn add(&self) -> u64 {
        step();
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }
}

/// Counts what is over, and lets somebody wait for that without a turn in between.
#[derive(Clone, Default)]
struct Tally(Arc<(Mutex<u64>, Condvar)>);

impl Tally {
    fn add(&self) {
        *self.0.0.lock().unwrap() += 1;
        self.0.1.notify_all();
    }

    fn wait_for(&self, count: u64) {
        let mut over = self.0.0.lock().unwrap();
        while *over < count {
            over = self.0.1.wait(over).unwrap();
        }
        assert_eq!(*over, count, "something was over twice");
    }
}
