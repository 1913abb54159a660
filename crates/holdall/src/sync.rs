//! Locks, flags and threads: those of the standard library.
//!
//! Where these sources are built to be explored, with `cfg(shuttle)`, they are shuttle's, which runs
//! one thread at a time and chooses who is next. So what is explored is the code that ships.

#[cfg(not(shuttle))]
pub(crate) use std::{
    sync::{
        Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic::AtomicBool,
    },
    thread, thread_local,
};

#[cfg(shuttle)]
pub(crate) use self::explored::*;

/// A point at which another thread may come first, where what follows is not of this module.
#[inline(always)]
pub(crate) fn step() {
    #[cfg(shuttle)]
    explored::step();
}

#[cfg(shuttle)]
mod explored {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, LockResult, PoisonError};
    use std::time::Duration;

    use shuttle::rand::Rng as _;
    pub(crate) use shuttle::sync::atomic::AtomicBool;
    pub(crate) use shuttle::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
    pub(crate) use shuttle::{thread, thread_local};

    pub(crate) fn step() {
        thread::sleep(Duration::ZERO);
    }

    /// Shuttle's, with waits that end by themselves: a schedule has no time, so each of them lasts
    /// for a few turns of the others.
    #[derive(Debug, Default)]
    pub(crate) struct Condvar {
        inner: Arc<shuttle::sync::Condvar>,
        notices: AtomicU64,
    }

    pub(crate) struct WaitTimeoutResult(bool);

    impl WaitTimeoutResult {
        pub(crate) fn timed_out(&self) -> bool {
            self.0
        }
    }

    impl Condvar {
        pub(crate) fn new() -> Self {
            Self::default()
        }

        pub(crate) fn wait<'a, T>(
            &self,
            guard: MutexGuard<'a, T>,
        ) -> LockResult<MutexGuard<'a, T>> {
            self.inner.wait(guard)
        }

        pub(crate) fn wait_timeout<'a, T>(
            &self,
            guard: MutexGuard<'a, T>,
            _: Duration,
        ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
            let before = self.notices.load(Ordering::Relaxed);
            let is_awake = Arc::new(AtomicBool::new(false));
            let (inner, told) = (Arc::clone(&self.inner), Arc::clone(&is_awake));
            let turns = shuttle::rand::thread_rng().gen_range(1..8);
            let timer = thread::spawn(move || {
                (0..turns).for_each(|_| thread::yield_now());
                while !told.load(Ordering::SeqCst) {
                    inner.notify_all();
                    thread::yield_now();
                }
            });
            drop(timer);
            let woken = self.inner.wait(guard);
            is_awake.store(true, Ordering::SeqCst);
            let is_over = self.notices.load(Ordering::Relaxed) == before;
            match woken {
                Ok(guard) => Ok((guard, WaitTimeoutResult(is_over))),
                Err(error) => {
                    Err(PoisonError::new((error.into_inner(), WaitTimeoutResult(is_over))))
                }
            }
        }

        pub(crate) fn notify_one(&self) {
            self.notices.fetch_add(1, Ordering::Relaxed);
            self.inner.notify_one();
        }

        pub(crate) fn notify_all(&self) {
            self.notices.fetch_add(1, Ordering::Relaxed);
            self.inner.notify_all();
        }
    }
}
