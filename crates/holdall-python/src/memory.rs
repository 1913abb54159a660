//! Memory of new Python objects, filled by the engine before anybody sees them.
#![allow(unsafe_code, reason = "PyO3 fills new objects under the interpreter lock only")]

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rustix::mm::{Advice, madvise};

/// Pages of this size are asked for, which are taken in one step instead of 512.
const HUGE_PAGE: usize = 2 << 20;

/// A `bytes` with this content; `MemoryError` if there is no memory, where PyO3's own way panics.
pub(crate) fn bytes<'py>(py: Python<'py>, content: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    let size = ffi::Py_ssize_t::try_from(content.len())?;
    // SAFETY: the function copies `size` bytes, all of which `content` has, into a new object.
    let object = unsafe {
        let object = ffi::PyBytes_FromStringAndSize(content.as_ptr().cast(), size);
        Bound::from_owned_ptr_or_err(py, object)?
    };
    Ok(object.cast_into::<PyBytes>()?)
}

/// The memory of an object that was just made and that nobody else has.
pub(crate) struct Memory {
    start: *mut u8,
    length: usize,
}

// SAFETY: nobody else knows the memory until the object is given out, see `new`.
unsafe impl Send for Memory {}

impl Memory {
    /// A new `bytes`, or `bytearray` if it is to be written to, and its memory, which means nothing
    /// yet. The object must be kept until the memory was dropped, and given out only after it was
    /// filled.
    pub(crate) fn new(
        py: Python<'_>,
        length: usize,
        writable: bool,
    ) -> PyResult<(Self, Py<PyAny>)> {
        let size = ffi::Py_ssize_t::try_from(length)?;
        // SAFETY: without content both functions make an object of this length whose bytes mean
        // nothing; the pointers are to that many bytes inside of it, which stay where they are as
        // long as nobody resizes it, and nobody else has it.
        let (object, start) = unsafe {
            let object = if writable {
                ffi::PyByteArray_FromStringAndSize(std::ptr::null(), size)
            } else {
                ffi::PyBytes_FromStringAndSize(std::ptr::null(), size)
            };
            let object = Bound::from_owned_ptr_or_err(py, object)?;
            let start = if writable {
                ffi::PyByteArray_AsString(object.as_ptr())
            } else {
                ffi::PyBytes_AsString(object.as_ptr())
            };
            (object, start.cast::<u8>())
        };
        Ok((Self { start, length }, object.unbind()))
    }

    /// The memory, with whatever was left in it.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        let first = self.start.align_offset(HUGE_PAGE);
        let whole = self.length.saturating_sub(first) / HUGE_PAGE * HUGE_PAGE;
        if whole > 0 {
            // SAFETY: the range lies inside the memory; the advice changes no content. Refused, the
            // pages are small ones.
            let _ = unsafe { madvise(self.start.add(first).cast(), whole, Advice::LinuxHugepage) };
        }
        // SAFETY: `length` bytes that are ours alone, see `new`, and live as long as `self`. They come
        // from a function of C that the compiler cannot look into: it has to take them as bytes that
        // have been written, and any content is a valid `u8`. Callers only write to them.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.length) }
    }
}
