//! Knowing that this process is a forked child.
#![allow(unsafe_code, reason = "pthread_atfork takes a function pointer to C")]

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

static FORKS: AtomicU64 = AtomicU64::new(0);
static HANDLER: Once = Once::new();

/// How often this process, or an ancestor that used this crate, was a forked child. Whatever
/// holds threads, locks or descriptors remembers the number and starts anew when it has changed.
pub(crate) fn generation() -> u64 {
    HANDLER.call_once(|| {
        // SAFETY: the function is `extern "C"`, lives for ever, and only adds to an atomic.
        unsafe { libc::pthread_atfork(None, None, Some(count)) };
    });
    FORKS.load(Ordering::Acquire)
}

extern "C" fn count() {
    FORKS.fetch_add(1, Ordering::AcqRel);
}

#[cfg(test)]
pub(crate) mod tests_support {
    /// Runs `work` in a forked child; whether it returned true there.
    pub(crate) fn in_child(work: impl FnOnce() -> bool) -> bool {
        // SAFETY: the child runs `work` and leaves by `_exit`, without returning into the test
        // harness; it takes no lock that another thread of the parent could hold but those of
        // the allocator, which glibc makes safe across a fork.
        unsafe {
            let child = libc::fork();
            assert!(child >= 0, "the process can be forked");
            if child == 0 {
                let work = std::panic::AssertUnwindSafe(work);
                let good = std::panic::catch_unwind(work).unwrap_or(false);
                libc::_exit(i32::from(!good));
            }
            let mut status = 0;
            assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
            libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
        }
    }
}
