//! File objects for picklers: other threads run at every frame that goes through them.

use std::cell::Cell;
use std::sync::{Mutex, MutexGuard, PoisonError};

use std::time::Duration;

use holdall::clock::Clock;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::memory;

/// A file object that collects what a pickler writes and lets other threads run at every frame.
#[pyclass(frozen, module = "holdall._core")]
pub(crate) struct FrameSink {
    /// Only taken for a moment, with the interpreter lock held.
    parts: Mutex<Vec<Py<PyBytes>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives the interpreter lock to whoever waits for it, if it was held for a while.
///
/// A lock that is given up for an instant is taken again before a waiting thread has woken up, and
/// only the interpreter's own switch interval helps it, 5 ms later: so this stays away longer.
pub(crate) fn let_others_run(py: Python<'_>) {
    const HELD: Duration = Duration::from_millis(1);
    const AWAY: Duration = Duration::from_micros(100);
    thread_local! {
        static SINCE: Cell<u64> = const { Cell::new(0) };
    }
    let now = Clock::system().boot_micros();
    if u128::from(now.saturating_sub(SINCE.get())) >= HELD.as_micros() {
        py.detach(|| std::thread::sleep(AWAY));
        SINCE.set(Clock::system().boot_micros());
    }
}

#[pymethods]
impl FrameSink {
    #[new]
    fn new() -> Self {
        Self { parts: Mutex::new(Vec::new()) }
    }

    /// Takes a frame; answers with its length.
    fn write(&self, data: &Bound<'_, PyAny>) -> PyResult<usize> {
        let py = data.py();
        let part = match data.cast::<PyBytes>() {
            Ok(bytes) => bytes.clone(),
            // A buffer of any item type: the pickler may go on to reuse it.
            Err(_) => py.get_type::<PyBytes>().call1((data,))?.cast_into()?,
        };
        let length = part.as_bytes().len();
        locked(&self.parts).push(part.unbind());
        let_others_run(py);
        Ok(length)
    }

    /// What was written, in order.
    fn parts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let parts: Vec<_> = locked(&self.parts).iter().map(|part| part.clone_ref(py)).collect();
        PyList::new(py, parts)
    }
}

/// A file object over bytes that lets other threads run at every read of an unpickler.
#[pyclass(frozen, module = "holdall._core")]
pub(crate) struct FrameSource {
    data: Py<PyBytes>,
    position: Mutex<usize>,
}

impl FrameSource {
    /// The range of the next bytes: as many as `length` finds in what is left.
    fn next(&self, data: &[u8], length: impl FnOnce(&[u8]) -> usize) -> std::ops::Range<usize> {
        let mut position = locked(&self.position);
        let start = *position;
        let rest = &data[start..];
        *position = start + length(rest).min(rest.len());
        start..*position
    }
}

#[pymethods]
impl FrameSource {
    #[new]
    fn new(data: Py<PyBytes>) -> Self {
        Self { data, position: Mutex::new(0) }
    }

    /// The next `size` bytes, or all that is left.
    #[pyo3(signature = (size=-1))]
    fn read<'py>(&self, py: Python<'py>, size: isize) -> PyResult<Bound<'py, PyBytes>> {
        let data = self.data.bind(py).as_bytes();
        let range = self.next(data, |rest| usize::try_from(size).unwrap_or(rest.len()));
        let_others_run(py);
        memory::bytes(py, &data[range])
    }

    /// The bytes up to the end of the line.
    fn readline<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let data = self.data.bind(py).as_bytes();
        let range = self.next(data, |rest| {
            rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1)
        });
        memory::bytes(py, &data[range])
    }
}
