//! Giving up calls that run on another thread.
//!
//! A write looks whether it was cancelled once it holds the lock of its key and before it changes
//! anything. So a cancelled write either came before whatever is called afterwards, or never
//! comes: it cannot overtake a later save or bring back what was deleted meanwhile.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error::{Error, ErrorKind, Result};
use crate::sync::{AtomicBool, thread_local};

thread_local! {
    /// Of the call that this thread is in.
    static CURRENT: RefCell<Option<CancelToken>> = const { RefCell::new(None) };
}

/// Tells a call on another thread that nobody wants it any more. Clones are one token.
///
/// ```
/// use holdall::{BlobManager, CancelToken, ErrorKind, Format};
///
/// # let folder = tempfile::tempdir()?;
/// let store = BlobManager::new(folder.path());
/// let token = CancelToken::new();
/// token.cancel();
/// let error = token.run(|| store.save("k", &1, Format::Json)).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Cancelled);
/// assert!(!store.exists("k")?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct CancelToken {
    is_cancelled: Arc<AtomicBool>,
    /// Cancels the same calls.
    around: Option<Arc<CancelToken>>,
}

impl CancelToken {
    /// A token that is not cancelled.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels the calls that run with this token, as far as they have not begun to change
    /// anything. Never blocks.
    pub fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Release);
    }

    /// Asked by a backend when it holds the lock of a key, before it changes anything.
    ///
    /// # Errors
    /// [`ErrorKind::Cancelled`] if it was cancelled.
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Cancelled, "the call was cancelled"));
        }
        self.around.as_deref().map_or(Ok(()), Self::check)
    }

    /// Makes calls on this thread that the token can cancel: they fail with
    /// [`ErrorKind::Cancelled`]. Of a batch, what came before the cancellation stays.
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        with(Some(self.clone()), work)
    }

    /// As [`CancelToken::run`]; the token of the call that this thread is in counts too.
    pub(crate) fn run_within<T>(&self, work: impl FnOnce() -> T) -> T {
        let around = current().map(Arc::new);
        Self { is_cancelled: Arc::clone(&self.is_cancelled), around }.run(work)
    }
}

/// Runs the rest of a call that has begun to change something.
pub(crate) fn shielded<T>(work: impl FnOnce() -> T) -> T {
    with(None, work)
}

/// As [`CancelToken::check`], with the token of the call that this thread is in.
///
/// # Errors
/// [`ErrorKind::Cancelled`] if that call was cancelled.
pub fn check() -> Result<()> {
    CURRENT.with(|token| token.borrow().as_ref().map_or(Ok(()), CancelToken::check))
}

/// The token of the call that this thread is in.
pub(crate) fn current() -> Option<CancelToken> {
    CURRENT.with(|token| token.borrow().clone())
}

fn with<T>(token: Option<CancelToken>, work: impl FnOnce() -> T) -> T {
    /// Puts the token of the call around this one back, also after a panic.
    struct Restore(Option<CancelToken>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.with(|token| token.replace(self.0.take()));
        }
    }
    let _restore = Restore(CURRENT.with(|current| current.replace(token)));
    work()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_counts_inside_its_call_only() {
        let (outer, inner) = (CancelToken::new(), CancelToken::new());
        inner.cancel();
        outer.run(|| {
            assert!(inner.run(check).is_err());
            assert!(check().is_ok());
            outer.cancel();
            assert!(check().is_err());
            assert!(shielded(check).is_ok());
            assert!(CancelToken::new().run_within(check).is_err());
        });
        assert!(CancelToken::new().run(|| inner.run_within(check)).is_err());
        assert!(CancelToken::new().run_within(check).is_ok());
        assert!(check().is_ok());
    }
}
