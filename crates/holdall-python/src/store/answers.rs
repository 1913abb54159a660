//! What the engine answers, and is told, in Python's types.

use holdall::signing::KeySource;
use holdall::stats::bound;
use holdall::{Blob, BlobStats, CleaningReport, ErrorKind, OperationStats};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};

use crate::errors;
use crate::memory;
use crate::metadata::BlobMetadata;

pub(super) type Engine<T> = holdall::Result<T>;

pub(super) fn raised<T>(py: Python<'_>, result: Engine<T>) -> PyResult<T> {
    result.map_err(|error| errors::raised(py, &error))
}

pub(super) fn metadata(py: Python<'_>, metadata: holdall::BlobMetadata) -> PyResult<Py<PyAny>> {
    Ok(Py::new(py, BlobMetadata::new(metadata))?.into_any())
}

pub(super) fn blob(py: Python<'_>, blob: Blob) -> PyResult<Py<PyAny>> {
    let payload = memory::bytes(py, &blob.payload)?;
    let pair = (payload, metadata(py, blob.metadata)?).into_pyobject(py)?;
    Ok(pair.into_any().unbind())
}

pub(super) fn object<'py>(
    py: Python<'py>,
    value: impl IntoPyObject<'py, Error: Into<PyErr>>,
) -> PyResult<Py<PyAny>> {
    use pyo3::BoundObject as _;
    Ok(value.into_pyobject(py).map_err(Into::into)?.into_any().unbind())
}

/// Path and record of a file.
pub(super) fn located(
    py: Python<'_>,
    (path, found): (std::path::PathBuf, holdall::BlobMetadata),
) -> PyResult<Py<PyAny>> {
    object(py, (path.to_string_lossy().into_owned(), metadata(py, found)?))
}

pub(super) fn flag(py: Python<'_>, value: bool) -> PyResult<Py<PyAny>> {
    object(py, value)
}

pub(super) fn count(py: Python<'_>, value: u64) -> PyResult<Py<PyAny>> {
    object(py, value)
}

/// What was cleaned up: expired values, evicted ones, and the bytes of those.
pub(super) fn cleaned(py: Python<'_>, report: CleaningReport) -> PyResult<Py<PyAny>> {
    object(py, (report.expired, report.evicted, report.evicted_bytes))
}

/// What `get_stats` answers, times in seconds.
pub(super) fn stats(py: Python<'_>, stats: BlobStats) -> PyResult<Py<PyAny>> {
    let dict = PyDict::new(py);
    dict.set_item("entries", stats.entries)?;
    dict.set_item("total_size", stats.total_size)?;
    dict.set_item("evictions", stats.evictions)?;
    dict.set_item("expirations", stats.expirations)?;
    let folder = stats.folder.map(|folder| folder.to_string_lossy().into_owned());
    dict.set_item("folder", folder)?;
    let operations = PyDict::new(py);
    for operation in &stats.operations {
        operations.set_item(operation.name, one_operation(py, operation)?)?;
    }
    dict.set_item("operations", operations)?;
    Ok(dict.into_any().unbind())
}

fn one_operation<'py>(py: Python<'py>, operation: &OperationStats) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("count", operation.count())?;
    dict.set_item("errors", operation.errors)?;
    dict.set_item("bytes", operation.bytes)?;
    dict.set_item("seconds", operation.total.as_secs_f64())?;
    for (name, share) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)] {
        dict.set_item(name, operation.quantile(share).as_secs_f64())?;
    }
    let buckets = operation.buckets.iter().enumerate();
    let buckets = buckets.map(|(at, calls)| (bound(at).as_secs_f64(), *calls));
    dict.set_item("histogram", PyList::new(py, buckets)?)?;
    Ok(dict)
}

/// A list of results, with errors in their place.
pub(super) fn list<T>(
    py: Python<'_>,
    results: Vec<Engine<T>>,
    convert: impl Fn(Python<'_>, T) -> PyResult<Py<PyAny>>,
) -> PyResult<Py<PyAny>> {
    let objects = results.into_iter().map(|result| match result {
        Ok(value) => convert(py, value),
        Err(error) => Ok(errors::instance(py, &error)?.unbind()),
    });
    let objects = objects.collect::<PyResult<Vec<_>>>()?;
    Ok(PyList::new(py, objects)?.into_any().unbind())
}

pub(super) fn key_source(py: Python<'_>, key: Option<&Bound<'_, PyAny>>) -> PyResult<KeySource> {
    let Some(key) = key else { return Ok(KeySource::discovered()) };
    if let Ok(text) = key.cast::<PyString>() {
        return raised(py, KeySource::text(text.to_str()?));
    }
    match key.cast::<PyBytes>() {
        Ok(bytes) => raised(py, KeySource::bytes(bytes.as_bytes())),
        Err(_) => {
            Err(errors::told(py, ErrorKind::InvalidArgument, "signing_key is a str or bytes"))
        }
    }
}
