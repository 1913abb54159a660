//! Threads for work that blocks, and futures for its results that need no particular runtime.
//!
//! The managers' methods block on the disk. An asynchronous program moves a call to the pool and
//! awaits the [`Task`], on whatever runtime it has:
//!
//! ```
//! use holdall::{BlobManager, Format, pool};
//!
//! # let folder = tempfile::tempdir()?;
//! let store = BlobManager::new(folder.path());
//! let task = pool::spawn(move || store.save("answer", &42, Format::Json));
//! # let metadata = holdall::pool::block_on(async move { task.await })?;
//! # assert_eq!(metadata.size, 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::fork;
use crate::sync::thread::{self, Thread};
use crate::sync::{Condvar, Mutex, MutexGuard, thread_local};

/// Enough that flushes of several callers meet, few enough that threads do not stand in line.
const MOST_THREADS: usize = 8;

/// So many more while others wait for a lock that somebody holds for long, maybe a process that was
/// stopped: whoever wants something else must not stand behind them.
const MOST_WAITING: usize = 256;

/// A thread that had nothing to do for so long ends.
const IDLE: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

/// Queue and threads of one process.
#[derive(Default)]
struct Pool {
    #[cfg_attr(shuttle, allow(dead_code, reason = "no schedule forks"))]
    made_in: u64,
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    /// Threads in [`while_waiting`].
    waiting: usize,
}

impl State {
    /// How many threads there may be now.
    fn most_threads(&self) -> usize {
        MOST_THREADS + self.waiting.min(MOST_WAITING)
    }
}

thread_local! {
    /// The pool that this thread belongs to.
    static MINE: Cell<Option<&'static Pool>> = const { Cell::new(None) };
}

/// The pool of this schedule.
#[cfg(shuttle)]
fn pool() -> &'static Pool {
    shuttle::lazy_static! {
        static ref POOL: Pool = Pool { made_in: fork::generation(), ..Pool::default() };
    }
    &POOL
}

/// The pool of this process; a forked child has none of its parent's threads and gets its own.
#[cfg(not(shuttle))]
#[allow(unsafe_code, reason = "a lock here could be left locked in a forked child")]
fn pool() -> &'static Pool {
    use std::sync::atomic::{AtomicPtr, Ordering};

    static CURRENT: AtomicPtr<Pool> = AtomicPtr::new(std::ptr::null_mut());
    let generation = fork::generation();
    let current = CURRENT.load(Ordering::Acquire);
    // SAFETY: the pointer is null or comes from `Box::leak` below, so it is valid for ever.
    match unsafe { current.as_ref() } {
        Some(pool) if pool.made_in == generation => pool,
        _ => {
            let new: *mut Pool =
                Box::leak(Box::new(Pool { made_in: generation, ..Pool::default() }));
            let won = CURRENT.compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire);
            // SAFETY: as above; whoever came first has set one that is as new as ours.
            unsafe { &*won.map_or_else(|theirs| theirs, |_| new) }
        }
    }
}

/// Runs `work` on a thread of the pool, some time soon. A panic in it ends nothing but the work.
pub fn execute(work: impl FnOnce() + Send + 'static) {
    let pool = pool();
    let mut state = pool.state();
    state.jobs.push_back(Box::new(work));
    if state.jobs.len() <= state.idle {
        drop(state);
        pool.work.notify_one();
    } else {
        pool.start(state);
    }
}

/// Runs `work`, which waits for somebody else, and lets another thread of the pool take the place of
/// this one meanwhile. Elsewhere it only runs it.
pub(crate) fn while_waiting<T>(work: impl FnOnce() -> T) -> T {
    /// Takes the place back, also after a panic.
    struct Waiting(&'static Pool);
    impl Drop for Waiting {
        fn drop(&mut self) {
            self.0.state().waiting -= 1;
        }
    }
    let Some(pool) = MINE.with(Cell::get) else { return work() };
    let mut state = pool.state();
    state.waiting += 1;
    let _waiting = Waiting(pool);
    if state.jobs.len() > state.idle {
        pool.start(state);
    } else {
        drop(state);
    }
    work()
}

impl Pool {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts one more thread, if there may be one.
    fn start(&'static self, mut state: MutexGuard<'_, State>) {
        if state.threads >= state.most_threads() {
            return;
        }
        state.threads += 1;
        drop(state);
        let started = thread::Builder::new().name("holdall".into()).spawn(|| {
            MINE.with(|mine| mine.set(Some(self)));
            self.run();
        });
        if started.is_err() {
            let mut state = self.state();
            state.threads -= 1;
            // No thread can be had: do the work here rather than never.
            let job = if state.threads == 0 { state.jobs.pop_front() } else { None };
            drop(state);
            if let Some(job) = job {
                job();
            }
        }
    }

    fn run(&self) {
        let mut state = self.state();
        loop {
            while let Some(job) = state.jobs.pop_front() {
                drop(state);
                if catch_unwind(AssertUnwindSafe(job)).is_err() {
                    tracing::error!("a job of the pool has panicked");
                }
                state = self.state();
                if state.threads > state.most_threads() {
                    // Those that it stood in for are back.
                    state.threads -= 1;
                    return;
                }
            }
            state.idle += 1;
            let (woken, waited) =
                self.work.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if waited.timed_out() && state.jobs.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }
}

/// Runs `work` on a thread of the pool and gives its result to whoever awaits the task.
///
/// Dropping the task does not stop the work. If the work panics, so does the one that awaits.
pub fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Task<T> {
    let shared = Arc::new(Mutex::new(Shared { result: None, waker: None }));
    let task = Task { shared: Arc::clone(&shared) };
    execute(move || {
        let result = catch_unwind(AssertUnwindSafe(work));
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.result = Some(result);
        if let Some(waker) = shared.waker.take() {
            waker.wake();
        }
    });
    task
}

/// The future result of work on the pool.
#[derive(Debug)]
pub struct Task<T> {
    shared: Arc<Mutex<Shared<T>>>,
}

#[derive(Debug)]
struct Shared<T> {
    result: Option<std::thread::Result<T>>,
    waker: Option<Waker>,
}

impl<T> Future for Task<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        match shared.result.take() {
            Some(Ok(value)) => Poll::Ready(value),
            Some(Err(panic)) => {
                drop(shared);
                resume_unwind(panic)
            }
            None => {
                shared.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// Waits for a future on this thread; enough for programs and tests without a runtime.
pub fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_gets_its_own_result() {
        let many = if cfg!(miri) { 12 } else { 500_u32 };
        let tasks: Vec<_> = (0..many).map(|n| spawn(move || n * 2)).collect();
        for (n, task) in (0..).zip(tasks) {
            assert_eq!(block_on(task), n * 2);
        }
    }

    #[test]
    fn threads_that_need_the_pool_at_the_same_moment_share_one() {
        let ask = || (std::ptr::from_ref(pool()) as usize, pool().made_in);
        let found: Vec<_> = thread::scope(|scope| {
            let all: Vec<_> = (0..3).map(|_| scope.spawn(ask)).collect();
            all.into_iter().map(|one| one.join().expect("no panic")).collect()
        });
        assert_eq!(found, [found[0]; 3]);
    }

    #[test]
    fn a_panic_reaches_the_one_that_awaits_and_nobody_else() {
        let bad = spawn(|| panic!("on purpose"));
        let good = spawn(|| 1);
        assert!(catch_unwind(AssertUnwindSafe(|| block_on(bad))).is_err());
        assert_eq!(block_on(good), 1);
    }
}
