//! Shuttle's locks, flags and threads, with waits that may end by themselves.
//!
//! A schedule has no time. A short wait ends after some turns of the others, and the time that it
//! was to take has passed then. A long one does not end, so that a wake-up which was lost is a
//! deadlock and not a delay; [`end_long_waits`] ends those that are left when nothing more happens.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64 as StdAtomicU64, Ordering};
use std::sync::{Arc, LockResult, PoisonError};
use std::time::Duration;

use shuttle::rand::Rng as _;
pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU64};
pub(crate) use shuttle::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
pub(crate) use shuttle::thread_local;

pub(crate) mod thread {
    pub(crate) use shuttle::thread::*;

    /// Lets others come first: whoever sleeps waits for them.
    pub(crate) fn sleep(_: std::time::Duration) {
        yield_now();
    }
}

std::thread_local! {
    /// All threads of a schedule are one thread of the system.
    static AT_ONCE: Cell<bool> = const { Cell::new(false) };
}

/// What [`super::step`] does.
pub(super) fn step() {
    if !AT_ONCE.get() {
        // Not a yield, which tells the explorer that nothing comes of going on here.
        shuttle::thread::sleep(Duration::ZERO);
    }
}

/// What [`super::at_once`] does.
pub(super) fn at_once<T>(work: impl FnOnce() -> T) -> T {
    AT_ONCE.set(true);
    let done = work();
    AT_ONCE.set(false);
    done
}

/// A wait that is longer does not end by itself.
const SHORT: Duration = Duration::from_millis(100);

/// The time of one schedule.
#[derive(Default)]
struct Time {
    passed: StdAtomicU64,
    waiting: Mutex<Waiting>,
}

/// Those that wait for long.
#[derive(Default)]
struct Waiting {
    /// Nothing more happens: no other one begins to wait.
    is_over: bool,
    places: Vec<Arc<shuttle::sync::Condvar>>,
}

fn time() -> &'static Time {
    shuttle::lazy_static! {
        static ref TIME: Time = Time::default();
    }
    &TIME
}

/// What [`super::explored_micros`] tells: a second, and what short waits took.
pub(super) fn micros() -> u64 {
    1_000_000 + time().passed.load(Ordering::SeqCst)
}

/// Ends the long waits, and lets no other one begin.
pub(crate) fn end_long_waits() {
    loop {
        let left = {
            let mut waiting = waiting();
            waiting.is_over = true;
            waiting.places.clone()
        };
        if left.is_empty() {
            return;
        }
        // Once more for those that have not quite begun.
        left.iter().for_each(|one| one.notify_all());
        thread::yield_now();
    }
}

fn waiting() -> MutexGuard<'static, Waiting> {
    time().waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, Default)]
pub(crate) struct Condvar(Arc<shuttle::sync::Condvar>);

pub(crate) struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    pub(crate) fn timed_out(&self) -> bool {
        self.0
    }
}

type Woken<'a, T> = LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)>;

impl Condvar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }

    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        self.0.wait(guard)
    }

    pub(crate) fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        most: Duration,
    ) -> Woken<'a, T> {
        if most > SHORT { self.wait_long(guard) } else { self.wait_short(guard, most) }
    }

    fn wait_long<'a, T>(&self, guard: MutexGuard<'a, T>) -> Woken<'a, T> {
        let mut others = waiting();
        if others.is_over {
            return Ok((guard, WaitTimeoutResult(true)));
        }
        others.places.push(Arc::clone(&self.0));
        drop(others);
        let woken = self.0.wait(guard);
        let mut others = waiting();
        let own = others.places.iter().position(|one| Arc::ptr_eq(one, &self.0));
        own.map(|at| others.places.swap_remove(at));
        with(woken, others.is_over)
    }

    fn wait_short<'a, T>(&self, guard: MutexGuard<'a, T>, most: Duration) -> Woken<'a, T> {
        #[derive(PartialEq)]
        enum Ended {
            Not,
            ByTime,
            Otherwise,
        }
        let ended = Arc::new(Mutex::new(Ended::Not));
        let (inner, told) = (Arc::clone(&self.0), Arc::clone(&ended));
        let turns = shuttle::rand::thread_rng().gen_range(1..8);
        let timer = thread::spawn(move || {
            (0..turns).for_each(|_| thread::yield_now());
            loop {
                {
                    let mut ended = told.lock().unwrap_or_else(PoisonError::into_inner);
                    match *ended {
                        Ended::Otherwise => return,
                        Ended::ByTime => {}
                        Ended::Not => {
                            *ended = Ended::ByTime;
                            let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
                            time().passed.fetch_add(micros, Ordering::SeqCst);
                        }
                    }
                }
                // Once more if the wait had not begun.
                inner.notify_all();
                thread::yield_now();
            }
        });
        drop(timer);
        let woken = self.0.wait(guard);
        let mut ended = ended.lock().unwrap_or_else(PoisonError::into_inner);
        let by_time = *ended == Ended::ByTime;
        *ended = Ended::Otherwise;
        with(woken, by_time)
    }
}

fn with<T>(woken: LockResult<MutexGuard<'_, T>>, timed_out: bool) -> Woken<'_, T> {
    match woken {
        Ok(guard) => Ok((guard, WaitTimeoutResult(timed_out))),
        Err(error) => Err(PoisonError::new((error.into_inner(), WaitTimeoutResult(timed_out)))),
    }
}
