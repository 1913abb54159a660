//! Frees what has expired without being asked: one thread for all caches of the process.
//!
//! It starts with the first entry that expires, sleeps until the next expiry, sweeps in slices
//! with the cache's lock released in between, and ends when no cache is left. Expired entries are
//! never returned, whether it runs or not; it gives their memory back, 40 ms late at most unless
//! very much is due at once.
//!
//! After a fork the child has no such thread. It starts its own with the next entry that expires
//! there, or, if the parent's plan seemed early enough, with the first one after that plan
//! turned out not to be kept.

use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwapOption;

use crate::clock::Clock;

/// Steps that one call of [`Sweep::sweep`] may take.
const SLICE: usize = 256;
/// Milliseconds between two rounds at least, and the lateness that is not worth waking up for.
const PAUSE: u64 = 20;
/// Between two slices. Where it is too short, those who wait for the interpreter lock do not get it
/// before the interpreter forces a switch, 5 ms later.
const GAP: Duration = Duration::from_micros(250);
/// Milliseconds after which a plan that was not kept means that there is no thread.
const OVERDUE: u64 = 1_000;

/// Something that holds what expires. All times are [`Clock::coarse_millis`] of the system.
///
/// Both methods run on the housekeeping thread. Where a fork is possible, both should take their
/// locks under one that the forking thread holds too (in Python: the interpreter's), or else the
/// child may inherit a lock that nobody will release.
pub trait Sweep: Send + Sync {
    /// Frees some of what has expired, in at most `max` short steps, taking and releasing
    /// whatever locks that needs; whether there is more to do.
    fn sweep(&self, max: usize) -> bool;

    /// When there is something to sweep next, or any time before; `None` if nothing expires.
    fn next_expiry(&self) -> Option<u64>;
}

/// A cache's tie to the housekeeping thread; lives as long as the cache, inside of it.
pub struct Housekeeping {
    cache: Weak<dyn Sweep>,
    /// The number of the crew that knows this cache; 0 is none.
    joined: AtomicU64,
}

impl Housekeeping {
    /// Ties a cache; made with [`Arc::new_cyclic`]. Starts nothing yet.
    #[must_use]
    pub fn new(cache: Weak<dyn Sweep>) -> Self {
        Self { cache, joined: AtomicU64::new(0) }
    }

    /// To be called after a write of something that expires at `at`, without holding any lock
    /// that `sweep` takes. Costs a few nanoseconds unless the thread has to be woken or started.
    pub fn expires(&self, at: u64, now: u64) {
        let plan = PLAN.load(Ordering::SeqCst);
        if self.joined.load(Ordering::SeqCst) != CURRENT.load(Ordering::SeqCst)
            || plan > at.saturating_add(PAUSE)
            || now > plan.saturating_add(OVERDUE)
        {
            self.wake(at);
        }
    }

    #[cold]
    fn wake(&self, at: u64) {
        let crew = Crew::of_this_process();
        let mut state = crew.lock();
        if self.joined.swap(crew.number, Ordering::SeqCst) != crew.number {
            state.caches.push(Weak::clone(&self.cache));
        }
        state.earliest = state.earliest.min(at);
        if !state.running {
            let started = {
                let crew = Arc::clone(&crew);
                thread::Builder::new().name("holdall-housekeeping".into()).spawn(move || crew.run())
            };
            // Without a thread expired entries are still never returned; the next write retries.
            state.running = started.is_ok();
        }
        drop(state);
        crew.changed.notify_one();
    }
}

impl Drop for Housekeeping {
    fn drop(&mut self) {
        let joined = *self.joined.get_mut();
        let Some(crew) = CREW.load_full().filter(|crew| crew.number == joined) else { return };
        // In a forked child the lock may be held by a thread that is not there.
        if crew.process == std::process::id() {
            crew.lock().left = true;
            crew.changed.notify_one();
        }
    }
}

static CREW: ArcSwapOption<Crew> = ArcSwapOption::const_empty();
/// The number of that crew, and when its thread will look next: `u64::MAX` is "when told", and while it
/// is looking. Beside it, because every write looks at them.
static CURRENT: AtomicU64 = AtomicU64::new(0);
static PLAN: AtomicU64 = AtomicU64::new(u64::MAX);

/// The thread and the caches it looks after; made anew in each process.
struct Crew {
    process: u32,
    /// Different for each crew, also across a fork.
    number: u64,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    caches: Vec<Weak<dyn Sweep>>,
    /// The earliest expiry told since the thread began its last round.
    earliest: u64,
    running: bool,
    /// A cache has gone, perhaps the last.
    left: bool,
}

impl Crew {
    fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let (earliest, running, left) = (u64::MAX, false, false);
        Self {
            process: std::process::id(),
            number: NUMBER.fetch_add(1, Ordering::SeqCst),
            state: Mutex::new(State { caches: Vec::new(), earliest, running, left }),
            changed: Condvar::new(),
        }
    }

    fn of_this_process() -> Arc<Self> {
        let process = std::process::id();
        loop {
            let current = CREW.load();
            if let Some(crew) = &*current
                && crew.process == process
            {
                return Arc::clone(crew);
            }
            let crew = Arc::new(Self::new());
            let number = crew.number;
            let before = CREW.compare_and_swap(&current, Some(crew));
            if before.as_ref().map(|crew| crew.number) == current.as_ref().map(|crew| crew.number) {
                // The plan of another process's thread is none.
                PLAN.store(u64::MAX, Ordering::SeqCst);
                CURRENT.store(number, Ordering::SeqCst);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says when the thread will look next.
    fn plan(&self, plan: u64) {
        if CURRENT.load(Ordering::SeqCst) == self.number {
            PLAN.store(plan, Ordering::SeqCst);
        }
    }

    fn run(&self) {
        let clock = Clock::system();
        loop {
            let caches = {
                let mut state = self.lock();
                state.left = false;
                state.earliest = u64::MAX;
                // Until the round is over, every write reports its expiry to `earliest`.
                self.plan(u64::MAX);
                state.caches.retain(|cache| cache.strong_count() > 0);
                if state.caches.is_empty() {
                    state.running = false;
                    return;
                }
                state.caches.clone()
            };
            let next = caches.iter().filter_map(sweep_all).min().unwrap_or(u64::MAX);
            self.rest(&clock, next);
        }
    }

    /// Sleeps until `next`, or until something told meanwhile expires, or the last cache goes.
    fn rest(&self, clock: &Clock, next: u64) {
        let soonest = clock.coarse_millis() + PAUSE;
        let mut state = self.lock();
        loop {
            if std::mem::take(&mut state.left) {
                state.caches.retain(|cache| cache.strong_count() > 0);
                if state.caches.is_empty() {
                    return;
                }
            }
            let plan = next.min(state.earliest).max(soonest);
            self.plan(plan);
            let now = clock.coarse_millis();
            if plan <= now {
                return;
            }
            state = if plan == u64::MAX {
                self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
            } else {
                let time = Duration::from_millis(plan - now);
                self.changed.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0
            };
        }
    }
}

/// Sweeps one cache until nothing is due; when there is something to do next.
fn sweep_all(cache: &Weak<dyn Sweep>) -> Option<u64> {
    let cache = cache.upgrade()?;
    let next = panic::catch_unwind(AssertUnwindSafe(|| {
        while cache.sweep(SLICE) {
            // Whoever waits for a lock that `sweep` takes has to be woken before it is taken again.
            thread::sleep(GAP);
        }
        cache.next_expiry()
    }));
    // A callback of the user's panicked: what expired has gone all the same. Look again soon.
    next.unwrap_or(Some(0))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::cache::{CacheManager, CacheOptions, Cause};
    use crate::clock::Ttl;

    /// A test waits for what must happen; this is only for when it does not.
    const PATIENCE: Duration = Duration::from_secs(20);

    fn reporting() -> (CacheManager<u32>, mpsc::Receiver<(String, Cause)>) {
        let (send, receive) = mpsc::channel();
        let send = Mutex::new(send);
        let options = CacheOptions {
            on_evict: Some(Box::new(move |key: &str, _: &u32, cause| {
                send.lock().unwrap().send((key.to_owned(), cause)).unwrap();
            })),
            ..CacheOptions::default()
        };
        (CacheManager::with_options(options).unwrap(), receive)
    }

    fn millis(millis: u64) -> Ttl {
        Ttl::After(Duration::from_millis(millis))
    }

    #[test]
    fn what_expires_is_freed_without_being_asked_for_the_soonest_first() {
        let (cache, left) = reporting();
        cache.set("later", 1, millis(60)).unwrap();
        cache.set("soon", 2, millis(1)).unwrap();
        cache.set("ever", 3, Ttl::Never).unwrap();
        let next = || left.recv_timeout(PATIENCE).unwrap();
        assert_eq!(next(), ("soon".to_owned(), Cause::Expired));
        assert_eq!(next(), ("later".to_owned(), Cause::Expired));
        assert_eq!(cache.get_stats().entries, 1);
    }

    #[test]
    fn a_callback_that_panics_does_not_end_the_housekeeping() {
        let options = CacheOptions {
            on_evict: Some(Box::new(|_: &str, _: &u32, _| {
                panic::resume_unwind(Box::new("a broken callback"));
            })),
            ..CacheOptions::default()
        };
        let broken = CacheManager::with_options(options).unwrap();
        broken.set("a", 1, millis(1)).unwrap();
        let (cache, left) = reporting();
        for _ in 0..3 {
            cache.set("b", 1, millis(30)).unwrap();
            assert_eq!(left.recv_timeout(PATIENCE).unwrap().1, Cause::Expired);
        }
    }

    /// Counts rounds by itself, in a crew of its own.
    struct Counting(Mutex<mpsc::Sender<()>>);

    impl Sweep for Counting {
        fn sweep(&self, _max: usize) -> bool {
            self.0.lock().unwrap().send(()).unwrap();
            false
        }

        fn next_expiry(&self) -> Option<u64> {
            None
        }
    }

    #[test]
    fn the_thread_ends_with_the_last_cache() {
        let (send, receive) = mpsc::channel();
        let cache: Arc<dyn Sweep> = Arc::new(Counting(Mutex::new(send)));
        let crew = Arc::new(Crew::new());
        {
            let mut state = crew.lock();
            state.caches.push(Arc::downgrade(&cache));
            state.running = true;
        }
        let thread = {
            let crew = Arc::clone(&crew);
            thread::spawn(move || crew.run())
        };
        receive.recv_timeout(PATIENCE).unwrap();
        drop(cache);
        crew.lock().left = true;
        crew.changed.notify_one();
        thread.join().unwrap();
        assert!(!crew.lock().running);
    }

    #[test]
    #[allow(unsafe_code, reason = "only a real fork shows what is left after one")]
    fn a_forked_child_has_housekeeping_of_its_own() {
        let (cache, left) = reporting();
        cache.set("in the parent", 1, millis(1)).unwrap();
        left.recv_timeout(PATIENCE).unwrap();
        // SAFETY: the child runs on a copy of this thread's stack; what it uses is its own, or
        // locks that no other thread of the parent takes (`cache`, its channel), or allocates,
        // which the C library makes safe after fork. It leaves by `_exit`, running no destructor.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let (fresh, fresh_left) = reporting();
            let set = fresh.set("in the child", 2, millis(1));
            let freed = set.is_ok() && fresh_left.recv_timeout(PATIENCE).is_ok();
            // SAFETY: ends the process at once, and has no other condition.
            unsafe { libc::_exit(if freed { 0 } else { 1 }) };
        }
        assert!(child > 0, "fork failed");
        let mut status = -1;
        // SAFETY: `child` is a child of this process that nobody else waits for, and `status` is
        // a valid place for the answer.
        let ended = unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!((ended, status), (child, 0), "the child's entry was not freed");
    }
}
