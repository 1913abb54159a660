//! A place for what only the holder of the interpreter lock may touch.
//!
//! A mutex costs two locked instructions for each hit in memory, and says nothing that the
//! interpreter lock has not said already. What is left to be ruled out is a call inside a call;
//! that is a flag, and a panic instead of a deadlock.
#![allow(unsafe_code, reason = "the compiler does not know what the interpreter lock protects")]

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;

/// A value that is lent to one call at a time, to a thread that holds the interpreter lock.
pub(crate) struct GilCell<T> {
    value: UnsafeCell<T>,
    lent: AtomicBool,
}

// SAFETY: the value is only reached through `Lent`, of which there is one at a time (see `lend`), so
// threads hand it over to each other and never share it.
unsafe impl<T: Send> Sync for GilCell<T> {}

impl<T> GilCell<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: UnsafeCell::new(value), lent: AtomicBool::new(false) }
    }

    /// The value, until the guard is dropped; no Python code may run until then.
    ///
    /// # Panics
    /// If it is lent already, which would be a defect of ours.
    #[inline]
    pub(crate) fn lend<'a>(&'a self, _py: Python<'a>) -> Lent<'a, T> {
        // Nobody else can come between the look and the note: they would need the lock. Where the
        // interpreter has none (and was told to do without), it takes a locked instruction.
        let lent = if cfg!(Py_GIL_DISABLED) {
            self.lent.swap(true, Ordering::Acquire)
        } else {
            let lent = self.lent.load(Ordering::Acquire);
            self.lent.store(true, Ordering::Relaxed);
            lent
        };
        assert!(!lent, "a cache was entered from inside itself");
        Lent { cell: self, stays: PhantomData }
    }
}

/// What [`GilCell::lend`] gives. It stays on its thread, so nobody lets go of the lock with it.
pub(crate) struct Lent<'a, T> {
    cell: &'a GilCell<T>,
    stays: PhantomData<*mut ()>,
}

impl<T> Deref for Lent<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this is the only guard there is: another one is made only once the flag, which
        // `lend` has set under the interpreter lock, was taken back by the drop of this one.
        unsafe { &*self.cell.value.get() }
    }
}

impl<T> DerefMut for Lent<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as for `deref`.
        unsafe { &mut *self.cell.value.get() }
    }
}

impl<T> Drop for Lent<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.cell.lent.store(false, Ordering::Release);
    }
}
