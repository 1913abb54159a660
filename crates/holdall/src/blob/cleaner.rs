//! The thread that cleans stores up: one for all of the process.
//!
//! It starts when the first store has something to be cleaned up, sleeps until a round is due, and
//! ends with the last store. A forked child has no such thread: its first save that needs one starts
//! its own. With a clock of its own (in tests) a store has no thread, and `clean_up` is asked for.

use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwapOption;

use super::cleaning::{Cleaning, NEVER};
use crate::clock::Clock;
use crate::fork;

static CREW: ArcSwapOption<Crew> = ArcSwapOption::const_empty();

/// The thread and the stores it looks after; made anew in each process.
struct Crew {
    made_in: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    stores: Vec<Store>,
    running: bool,
}

/// A store, and beside it when it is due: to look at that nobody has to hold the store, which could
/// be given up at that moment.
#[derive(Clone)]
struct Store {
    due: Arc<AtomicU64>,
    cleaning: Weak<Cleaning>,
}

/// Has the thread look when the store is due. Costs little unless it has to be started.
pub(super) fn wake(cleaning: &Arc<Cleaning>) {
    // Schedules of threads are explored without one that sleeps.
    if cfg!(shuttle) || !cleaning.clock.is_system() {
        return;
    }
    let crew = Crew::of_this_process();
    let mut state = crew.lock();
    if cleaning.joined.swap(crew.made_in + 1, Ordering::AcqRel) != crew.made_in + 1 {
        // A child may have come into being while its parent closed the store.
        cleaning.is_ending.store(false, Ordering::Release);
        let due = Arc::clone(&cleaning.due);
        state.stores.push(Store { due, cleaning: Arc::downgrade(cleaning) });
    }
    if !state.running {
        let started = {
            let crew = Arc::clone(&crew);
            thread::Builder::new().name("holdall-cleaning".into()).spawn(move || crew.run())
        };
        // Without a thread nothing is cleaned up unasked; the next save tries again.
        state.running = started.is_ok();
        if !state.running {
            cleaning.due.store(NEVER, Ordering::Release);
        }
    }
    drop(state);
    crew.changed.notify_one();
}

/// Says that a store is gone.
pub(super) fn left() {
    if let Some(crew) = Crew::there_is() {
        // Or the thread could look before it is told, and sleep for ever.
        drop(crew.lock());
        crew.changed.notify_one();
    }
}

/// Ends what this process cleans up in the background, as the end of each store does; for the end of
/// a process.
pub fn stop_cleaning() {
    let Some(crew) = Crew::there_is() else { return };
    let stores = crew.lock().stores.clone();
    for store in stores.iter().filter_map(|store| store.cleaning.upgrade()) {
        store.end();
    }
}

impl Crew {
    /// That of this process: in a forked child, the lock of its parent's may be held by a thread that
    /// is not there.
    fn there_is() -> Option<Arc<Self>> {
        CREW.load_full().filter(|crew| crew.made_in == fork::generation())
    }

    fn of_this_process() -> Arc<Self> {
        let made_in = fork::generation();
        loop {
            let current = CREW.load();
            if let Some(crew) = &*current
                && crew.made_in == made_in
            {
                return Arc::clone(crew);
            }
            let (state, changed) = (Mutex::default(), Condvar::new());
            let crew = Arc::new(Self { made_in, state, changed });
            // What a child inherits is left alone for good, for somebody may have held its lock.
            std::mem::forget(CREW.compare_and_swap(&current, Some(crew)));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let clock = Clock::system();
        let mut state = self.lock();
        loop {
            state.stores.retain(|store| store.cleaning.strong_count() > 0);
            if state.stores.is_empty() {
                state.running = false;
                return;
            }
            let now = clock.coarse_millis();
            let due = |store: &Store| store.due.load(Ordering::Acquire);
            let next = state.stores.iter().map(due).min().unwrap_or(NEVER);
            if next > now {
                state = self.wait(state, next, now);
                continue;
            }
            let ready: Vec<Store> =
                state.stores.iter().filter(|store| due(store) <= now).cloned().collect();
            drop(state);
            for store in ready {
                look_after(&store);
            }
            state = self.lock();
        }
    }

    fn wait<'s>(
        &self,
        state: MutexGuard<'s, State>,
        until: u64,
        now: u64,
    ) -> MutexGuard<'s, State> {
        if until == NEVER {
            return self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let time = Duration::from_millis(until - now);
        self.changed.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0
    }
}

fn look_after(store: &Store) {
    let Some(cleaning) = store.cleaning.upgrade() else { return };
    let round = panic::catch_unwind(AssertUnwindSafe(|| cleaning.run_if_due()));
    if round.is_err() {
        tracing::error!(target: "holdall::cleaning", "cleaning a store up has panicked");
    }
}
