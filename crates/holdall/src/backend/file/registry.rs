//! One open store per directory and process, and what happens to it in a `fork`.
//!
//! Before a fork the index engines are closed, for their state does not survive one; parent and
//! child open them again when they next need them. The child also gives up everything else that
//! it inherited: its first call finds a new fork generation and opens the store anew. Locks that
//! the parent's threads held belong to the parent; the child closes its copy of their file, or it
//! would keep them alive beyond the parent's death.
#![allow(unsafe_code, reason = "pthread_atfork takes function pointers to C")]

use std::cell::RefCell;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::sync::{Arc, Once, PoisonError, Weak};

use super::catalog::Suspended;
use super::inline::SuspendedValues;
use super::layout::open_base;
use super::open::{OpenOptions, Opened};
use crate::error::Result;
use crate::sync::{Mutex, MutexGuard, of_process};

of_process! {
    static REGISTRY: Mutex<Vec<Weak<Opened>>> = Mutex::new(Vec::new());
}
static HANDLERS: Once = Once::new();

/// The open store at `path`: the one that another manager has opened, or a new one.
pub(crate) fn open(path: &Path, options: OpenOptions) -> Result<Arc<Opened>> {
    HANDLERS.call_once(|| {
        // SAFETY: the three functions are `extern "C"`, live for ever and may be called at any
        // time on any thread.
        unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) };
    });
    let mut registry = registry();
    registry.retain(|opened| opened.strong_count() > 0);
    // A new folder may have the inode of one that was deleted.
    if let Ok(base) = open_base(path)
        && let Ok(stat) = rustix::fs::fstat(&base)
    {
        let same = |opened: &Arc<Opened>| opened.identity == (stat.st_dev, stat.st_ino);
        // One that was opened read-only is tried again: the reason may be gone.
        let there = registry.iter().filter_map(Weak::upgrade).filter(|one| !one.is_deleted());
        let shared = there.into_iter().find(same);
        if let Some(opened) = shared.filter(|opened| opened.live().is_ok()) {
            return Ok(opened);
        }
    }
    let opened = Opened::open(path, options)?;
    registry.push(Arc::downgrade(&opened));
    Ok(opened)
}

/// All that are open.
pub(crate) fn all() -> Vec<Arc<Opened>> {
    registry().iter().filter_map(Weak::upgrade).collect()
}

fn registry() -> MutexGuard<'static, Vec<Weak<Opened>>> {
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the forking thread holds while the fork takes place.
struct Fork {
    // Declared in the order in which they are given back.
    suspended: Vec<Suspended<'static>>,
    values: Vec<SuspendedValues<'static>>,
    stores: Vec<Arc<Opened>>,
    _registry: MutexGuard<'static, Vec<Weak<Opened>>>,
}

thread_local! {
    static FORK: RefCell<Option<Fork>> = const { RefCell::new(None) };
}

extern "C" fn prepare() {
    let registry = registry();
    let stores: Vec<Arc<Opened>> = registry.iter().filter_map(Weak::upgrade).collect();
    let live = || stores.iter().filter_map(|opened| opened.maybe_live());
    let suspended = live().map(|live| {
        let suspended = live.catalog.suspend();
        // SAFETY: the guard borrows from a store in `stores`, which `Fork` keeps alive for
        // longer: its fields are dropped in the order of their declaration.
        unsafe { std::mem::transmute::<Suspended<'_>, Suspended<'static>>(suspended) }
    });
    let suspended = suspended.collect();
    // In this order: whoever fills an index asks the values too.
    let values = live().map(|live| {
        let suspended = live.inline.suspend();
        // SAFETY: as above.
        unsafe { std::mem::transmute::<SuspendedValues<'_>, SuspendedValues<'static>>(suspended) }
    });
    let values = values.collect();
    let fork = Fork { suspended, values, stores, _registry: registry };
    FORK.with(|slot| *slot.borrow_mut() = Some(fork));
}

extern "C" fn parent() {
    FORK.with(|slot| drop(slot.borrow_mut().take()));
}

extern "C" fn child() {
    FORK.with(|slot| {
        let Some(mut fork) = slot.borrow_mut().take() else { return };
        for suspended in fork.suspended.drain(..) {
            // What it guards is never used again in this process.
            std::mem::forget(suspended);
        }
        for suspended in fork.values.drain(..) {
            std::mem::forget(suspended);
        }
        for opened in fork.stores.drain(..) {
            if let Some(live) = opened.maybe_live() {
                let file = live.locks.file().as_raw_fd();
                // SAFETY: the descriptor is this process's own copy; the store that owns it is
                // leaked below, so nobody closes it a second time.
                unsafe { libc::close(file) };
            }
            std::mem::forget(opened);
        }
        fork._registry.clear();
    });
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{OpenOptions, Opened};

    #[test]
    fn two_openings_of_one_directory_agree_on_its_identity() {
        let options = OpenOptions { allow_network_fs: false, lock_timeout: Duration::from_secs(5) };
        let dir = tempfile::tempdir().expect("a temporary directory");
        let one = Opened::open(dir.path(), options).expect("opened");
        let two = Opened::open(dir.path(), options).expect("opened");
        assert_eq!(one.mark(), two.mark());
        assert_eq!(one.identity, two.identity);
    }
}
