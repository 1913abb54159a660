//! `Migration`: values are brought to another format or compression, step by step.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use holdall::MigrationReport;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::bridge;
use crate::errors;

/// A migration that is under way.
#[pyclass(frozen, module = "holdall._core")]
pub(crate) struct Migration {
    /// Taken by one step at a time, on a pool thread or where no event loop runs.
    shared: Arc<Mutex<holdall::Migration>>,
    blocking: bool,
}

impl Migration {
    pub(crate) fn new(work: holdall::Migration, blocking: bool) -> Self {
        Self { shared: Arc::new(Mutex::new(work)), blocking }
    }
}

fn locked(shared: &Mutex<holdall::Migration>) -> MutexGuard<'_, holdall::Migration> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[pymethods]
impl Migration {
    /// Keeps other migrations out of the store from here on, as the first step does.
    fn begin(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let shared = Arc::clone(&self.shared);
        let work = move || locked(&shared).begin();
        bridge::run(py, self.blocking, Vec::new(), work, |py, begun: holdall::Result<()>| {
            begun.map_err(|error| errors::raised(py, &error))?;
            Ok(py.None())
        })
    }

    /// Lets other migrations into the store; waits for a step that is under way.
    fn end(&self, py: Python<'_>) {
        py.detach(|| locked(&self.shared).end());
    }

    /// Goes on for some values: whether there is more to do, values looked at and converted so far,
    /// and the keys met in this step whose values take Python.
    fn step(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let shared = Arc::clone(&self.shared);
        let work = move || {
            let mut work = locked(&shared);
            let is_more = work.step()?;
            let MigrationReport { checked, converted, .. } = work.so_far();
            Ok((is_more, *checked, *converted, work.foreign().to_vec()))
        };
        bridge::run(py, self.blocking, Vec::new(), work, |py, done: holdall::Result<_>| {
            let done: (bool, u64, u64, Vec<String>) =
                done.map_err(|error| errors::raised(py, &error))?;
            Ok(done.into_pyobject(py)?.into_any().unbind())
        })
    }

    /// How many values are still to be looked at.
    fn left(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let shared = Arc::clone(&self.shared);
        let work = move || locked(&shared).left();
        bridge::run(py, self.blocking, Vec::new(), work, |py, left: holdall::Result<u64>| {
            let left = left.map_err(|error| errors::raised(py, &error))?;
            Ok(left.into_pyobject(py)?.into_any().unbind())
        })
    }

    /// Values looked at, converted and left as they are; bytes of the converted ones before and
    /// after; and by key the errors of those that failed.
    fn report<'py>(&self, py: Python<'py>) -> PyResult<Report<'py>> {
        let work = locked(&self.shared);
        let MigrationReport { checked, converted, unchanged, bytes, failed, .. } = work.so_far();
        let errors = PyDict::new(py);
        for (key, error) in failed {
            errors.set_item(key, errors::instance(py, error)?)?;
        }
        Ok((*checked, *converted, *unchanged, bytes.0, bytes.1, errors))
    }
}

type Report<'py> = (u64, u64, u64, u64, u64, Bound<'py, PyDict>);
