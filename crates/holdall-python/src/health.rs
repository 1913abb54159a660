//! `Checkup`: a verification in steps, and the repair of what it has found.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use holdall::{BlobManager, Error, ErrorKind, Problem, RepairReport, Verification, VerifyReport};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::bridge;
use crate::errors;

/// Under way, over with a report, or lost in a panic.
enum State {
    Working(Box<Verification>),
    Done(VerifyReport),
    Away,
}

/// A verification of a store, step by step.
#[pyclass(frozen, module = "holdall._core")]
pub(crate) struct Checkup {
    blobs: BlobManager,
    state: Arc<Mutex<State>>,
    blocking: bool,
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unfinished() -> Error {
    Error::new(ErrorKind::InvalidArgument, "the verification is not over")
        .remedy("await its steps one after the other, to the end")
}

impl Checkup {
    pub(crate) fn new(blobs: BlobManager, work: Verification, blocking: bool) -> Self {
        let state = Arc::new(Mutex::new(State::Working(Box::new(work))));
        Self { blobs, state, blocking }
    }
}

#[pymethods]
impl Checkup {
    /// Goes on for some milliseconds, or one large value; `None` when all is done.
    fn step(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let state = Arc::clone(&self.state);
        let work = move || {
            let mut state = locked(&state);
            match std::mem::replace(&mut *state, State::Away) {
                State::Working(mut work) => match work.step() {
                    Ok(None) => {
                        *state = State::Done(work.report());
                        Ok(None)
                    }
                    step => {
                        *state = State::Working(work);
                        step
                    }
                },
                State::Done(report) => {
                    *state = State::Done(report);
                    Ok(None)
                }
                State::Away => Err(unfinished()),
            }
        };
        bridge::run(py, self.blocking, Vec::new(), work, |py, step: holdall::Result<_>| {
            let step = step.map_err(|error| errors::raised(py, &error))?;
            let step = step.map(|step| (step.checked, step.bytes, step.total));
            Ok(step.into_pyobject(py)?.into_any().unbind())
        })
    }

    /// What was found.
    fn report<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let state = locked(&self.state);
        let State::Done(report) = &*state else { return Err(errors::raised(py, &unfinished())) };
        let dict = PyDict::new(py);
        dict.set_item("checked", report.checked)?;
        dict.set_item("bytes", report.bytes)?;
        dict.set_item("foreign", report.foreign)?;
        dict.set_item("seconds", report.seconds)?;
        dict.set_item("problems", problems(py, &report.problems)?)?;
        dict.set_item("notices", problems(py, &report.notices)?)?;
        Ok(dict)
    }

    /// Sets right what was found, or says what that would be.
    fn mend(&self, py: Python<'_>, dry_run: bool) -> PyResult<Py<PyAny>> {
        let (blobs, state) = (self.blobs.clone(), Arc::clone(&self.state));
        let work = move || {
            let report = match &*locked(&state) {
                State::Done(report) => report.clone(),
                _ => return Err(unfinished()),
            };
            blobs.mend(&report, dry_run)
        };
        bridge::run(py, self.blocking, Vec::new(), work, |py, done: holdall::Result<_>| {
            let done = done.map_err(|error| errors::raised(py, &error))?;
            Ok(repaired(py, &done)?.into_any().unbind())
        })
    }
}

/// Kind, key, path, what and remedy.
fn problem<'py>(py: Python<'py>, problem: &Problem) -> PyResult<Bound<'py, PyAny>> {
    let path = problem.path.as_ref().map(|path| path.as_os_str());
    let Problem { kind, key, what, remedy, .. } = problem;
    Ok((kind.name(), key.as_deref(), path, what, remedy).into_pyobject(py)?.into_any())
}

fn problems<'py>(py: Python<'py>, list: &[Problem]) -> PyResult<Bound<'py, PyList>> {
    let list = list.iter().map(|one| problem(py, one)).collect::<PyResult<Vec<_>>>()?;
    PyList::new(py, list)
}

fn repaired<'py>(py: Python<'py>, done: &RepairReport) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("dry_run", done.dry_run)?;
    dict.set_item("rebuilt", done.rebuilt)?;
    dict.set_item("mended", problems(py, &done.mended)?)?;
    dict.set_item("swept", problems(py, &done.swept)?)?;
    dict.set_item("kept", problems(py, &done.kept)?)?;
    dict.set_item("salvaged", done.salvaged)?;
    let aside = done.quarantined.iter().map(|one| {
        Ok((problem(py, &one.problem)?, one.folder.as_os_str()).into_pyobject(py)?.into_any())
    });
    dict.set_item("quarantined", PyList::new(py, aside.collect::<PyResult<Vec<_>>>()?)?)?;
    Ok(dict)
}
