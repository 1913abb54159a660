//! Keys of memory: Python's own text objects, hashed by Python and compared as text.

use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::convert;

/// A key in memory.
pub(crate) struct HeldKey(Py<PyString>);

/// A key to be looked up, with its hash.
pub(crate) struct SoughtKey<'a, 'py> {
    object: &'a Bound<'py, PyString>,
    /// Python's hash of the text: random for each process, so nobody can choose collisions.
    pub(crate) hash: u64,
}

impl HeldKey {
    pub(crate) fn into_object(self) -> Py<PyString> {
        self.0
    }

    pub(crate) fn object(&self) -> &Py<PyString> {
        &self.0
    }
}

impl<'a, 'py> SoughtKey<'a, 'py> {
    /// A key for a look-up. Whether it is a valid one matters only if nothing is found.
    pub(crate) fn new(key: &'a Bound<'py, PyAny>) -> PyResult<Self> {
        let Ok(object) = key.cast::<PyString>() else {
            // The error says why.
            convert::text(key)?;
            return Err(pyo3::exceptions::PyTypeError::new_err("a key is a str"));
        };
        Ok(Self { object, hash: object.hash()? as u64 })
    }

    /// A key for a write.
    pub(crate) fn checked(key: &'a Bound<'py, PyAny>) -> PyResult<Self> {
        convert::text(key)?;
        Self::new(key)
    }

    /// Whether a held key is this one. Runs no Python code.
    pub(crate) fn is(&self, held: &HeldKey) -> bool {
        if held.0.as_ptr() == self.object.as_ptr() {
            return true;
        }
        let held = held.0.bind(self.object.py());
        matches!((held.to_str(), self.object.to_str()), (Ok(held), Ok(sought)) if held == sought)
    }

    /// The text; `None` if it has a lone surrogate, or if it is no key.
    pub(crate) fn text(&self) -> Option<&str> {
        self.object.to_str().ok().filter(|text| !text.is_empty())
    }

    /// The key, to be held.
    pub(crate) fn hold(&self) -> HeldKey {
        HeldKey(self.object.clone().unbind())
    }
}

/// An error if a key that was not found is none.
pub(crate) fn check(key: &Bound<'_, PyAny>) -> PyResult<()> {
    check_for(key, "get")
}

/// An error if this is no key.
pub(crate) fn check_for(key: &Bound<'_, PyAny>, operation: &str) -> PyResult<()> {
    let text = key.cast::<PyString>().ok().and_then(|text| text.to_str().ok());
    match text {
        Some(text) if !text.is_empty() && !text.as_bytes().contains(&0) => Ok(()),
        _ => Err(explained(key, operation)),
    }
}

/// Why this is no key.
pub(crate) fn refused(key: &Bound<'_, PyAny>) -> PyErr {
    explained(key, "get")
}

/// Why this is no key, in the words of the Python face. The caller holds the interpreter lock.
fn explained(key: &Bound<'_, PyAny>, operation: &str) -> PyErr {
    Python::attach(|py| {
        let checked = py
            .import("holdall._arguments")
            .and_then(|arguments| arguments.call_method1("check_key", (key, operation)));
        let wrong = || pyo3::exceptions::PyTypeError::new_err("the argument is not allowed");
        checked.err().unwrap_or_else(wrong)
    })
}

/// Whether two held keys are the same text.
pub(crate) fn same(py: Python<'_>, one: &HeldKey, other: &HeldKey) -> bool {
    one.0.is(&other.0)
        || matches!(
            (one.0.bind(py).to_str(), other.0.bind(py).to_str()),
            (Ok(one), Ok(other)) if one == other
        )
}
