//! `BlobMetadata`: what the store knows of one value.

use holdall::ErrorKind;
use holdall::format::Codec;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDateTime, PyDict, PyTuple, PyType};

use crate::convert;
use crate::errors;

/// What the store knows of one value.
#[pyclass(frozen, module = "holdall")]
pub(crate) struct BlobMetadata {
    inner: holdall::BlobMetadata,
}

impl BlobMetadata {
    pub(crate) fn new(inner: holdall::BlobMetadata) -> Self {
        Self { inner }
    }

    pub(crate) fn inner(&self) -> &holdall::BlobMetadata {
        &self.inner
    }
}

#[pymethods]
impl BlobMetadata {
    /// For pickles: the key, and what `__reduce__` gave.
    #[new]
    fn unpickled(py: Python<'_>, key: &str, record: &[u8]) -> PyResult<Self> {
        let inner = holdall::BlobMetadata::from_bytes(key, record).ok_or_else(|| {
            errors::told(py, ErrorKind::InvalidArgument, "the bytes are no record of a value")
        })?;
        Ok(Self { inner })
    }

    fn __reduce__<'py>(
        &self,
        py: Python<'py>,
    ) -> (Bound<'py, PyType>, (&str, Bound<'py, PyBytes>)) {
        (py.get_type::<Self>(), (&self.inner.key, PyBytes::new(py, &self.inner.to_bytes())))
    }

    /// The key.
    #[getter]
    fn key(&self) -> &str {
        &self.inner.key
    }

    /// The name of the format.
    #[getter]
    fn format(&self) -> &'static str {
        self.inner.format
    }

    /// The length of the file, bytes.
    #[getter]
    fn size(&self) -> u64 {
        self.inner.size
    }

    /// When the key was first saved.
    #[getter]
    fn created_at<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDateTime>> {
        convert::datetime(py, self.inner.created_at)
    }

    /// When this value was saved.
    #[getter]
    fn updated_at<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDateTime>> {
        convert::datetime(py, self.inner.updated_at)
    }

    /// When the value ends; `None` is never.
    #[getter]
    fn expires_at<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDateTime>>> {
        self.inner.expires_at.map(|millis| convert::datetime(py, millis)).transpose()
    }

    /// Changes with every save; for `if_match`.
    #[getter]
    fn etag(&self) -> &str {
        &self.inner.etag
    }

    /// XXH3-64 of the file, 16 hex digits.
    #[getter]
    fn checksum(&self) -> String {
        format!("{:016x}", self.inner.record().checksum)
    }

    /// The names under which the value can be removed together with others.
    #[getter]
    fn tags<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.inner.record().tags)
    }

    /// What the caller noted with the value.
    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match &self.inner.record().metadata {
            Some(json) => py.import("json")?.call_method1("loads", (json.as_slice(),)),
            None => Ok(PyDict::new(py).into_any()),
        }
    }

    /// Whether another program put the file there or changed it.
    #[getter]
    fn foreign(&self) -> bool {
        self.inner.record().foreign
    }

    /// How the file is compressed; `None` is not at all.
    #[getter]
    fn compression(&self) -> Option<&'static str> {
        let codec = self.inner.record().codec;
        (codec != Codec::None).then(|| codec.name())
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        let Ok(other) = other.cast::<Self>() else { return false };
        let other = &other.get().inner;
        self.inner.key == other.key && self.inner.record() == other.record()
    }

    fn __hash__(&self) -> u64 {
        self.inner.record().generation
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let key = pyo3::types::PyString::new(py, &self.inner.key).repr()?.to_string();
        let updated = self.updated_at(py)?.call_method0("isoformat")?.to_string();
        let (format, size) = (self.inner.format, self.inner.size);
        Ok(format!(
            "BlobMetadata(key={key}, format='{format}', size={size}, updated_at='{updated}')"
        ))
    }
}
