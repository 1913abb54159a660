//! `Rotation`: another key signs, step by step.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use holdall::{Error, KeyRotation};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::bridge;
use crate::errors;

/// A rotation that is under way.
#[pyclass(frozen, module = "holdall._core")]
pub(crate) struct Rotation {
    /// Taken by one step at a time, on a pool thread or where no event loop runs.
    shared: Arc<Mutex<holdall::Rotation>>,
    blocking: bool,
}

/// What was done so far, in numbers that may be kept while the next step runs.
type Counts = (bool, u64, u64);
/// Keys, each with its error.
type Failures = Vec<(String, Error)>;

impl Rotation {
    pub(crate) fn new(rotation: holdall::Rotation, blocking: bool) -> Self {
        Self { shared: Arc::new(Mutex::new(rotation)), blocking }
    }
}

fn locked(shared: &Mutex<holdall::Rotation>) -> MutexGuard<'_, holdall::Rotation> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[pymethods]
impl Rotation {
    /// Goes on for some values: whether there is more to do, values checked, values signed anew.
    fn step(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let shared = Arc::clone(&self.shared);
        let work = move || {
            let mut rotation = locked(&shared);
            let is_more = rotation.step()?;
            let done = rotation.so_far();
            Ok((is_more, done.checked, done.resigned))
        };
        bridge::run(py, self.blocking, Vec::new(), work, |py, done: holdall::Result<Counts>| {
            let done = done.map_err(|error| errors::raised(py, &error))?;
            Ok(done.into_pyobject(py)?.into_any().unbind())
        })
    }

    /// The fingerprint of the new key, whether it is in force, and by key the errors of values that
    /// are refused and of those that failed. After the last step.
    fn report<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(String, bool, Bound<'py, PyDict>, Bound<'py, PyDict>)> {
        let rotation = locked(&self.shared);
        let KeyRotation { fingerprint, is_complete, refused, failed, .. } = rotation.so_far();
        let refused = by_key(py, refused)?;
        let failed = by_key(py, failed)?;
        Ok((fingerprint.clone(), *is_complete, refused, failed))
    }
}

fn by_key<'py>(py: Python<'py>, failures: &Failures) -> PyResult<Bound<'py, PyDict>> {
    let errors = PyDict::new(py);
    for (key, error) in failures {
        errors.set_item(key, errors::instance(py, error)?)?;
    }
    Ok(errors)
}
