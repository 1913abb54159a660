//! Locks, flags and threads: those of the standard library.
//!
//! Where these sources are built to be explored, with `cfg(shuttle)` (crates/holdall-races), they are
//! shuttle's, which runs one thread at a time and chooses who is next. So what is explored is the
//! code that ships.

#[cfg(shuttle)]
mod explored;

#[cfg(not(shuttle))]
pub(crate) use std::{
    sync::{
        Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU64},
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

/// Work of so many steps that others hardly ever came first elsewhere.
#[inline(always)]
pub(crate) fn at_once<T>(work: impl FnOnce() -> T) -> T {
    #[cfg(shuttle)]
    return explored::at_once(work);
    #[cfg(not(shuttle))]
    work()
}

/// Microseconds that have passed where nothing but waiting takes time; `None` where it is real.
#[inline(always)]
pub(crate) fn explored_micros() -> Option<u64> {
    #[cfg(shuttle)]
    return Some(explored::micros());
    #[cfg(not(shuttle))]
    None
}

/// A static of the process; of the schedule where schedules are explored.
macro_rules! of_process {
    ($(#[$doc:meta])* static $name:ident: $type:ty = $value:expr;) => {
        #[cfg(not(shuttle))]
        $(#[$doc])*
        static $name: $type = $value;
        #[cfg(shuttle)]
        shuttle::lazy_static! {
            $(#[$doc])*
            static ref $name: $type = $value;
        }
    };
}
pub(crate) use of_process;
