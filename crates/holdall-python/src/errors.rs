//! The one place where errors of the engine become exceptions.

use std::ffi::CStr;

use holdall::ErrorKind;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// The classes are written in Python: several of them have two bases.
const SOURCE: &CStr =
    match CStr::from_bytes_with_nul(concat!(include_str!("errors.py"), "\0").as_bytes()) {
        Ok(source) => source,
        Err(_) => panic!("errors.py has a NUL"),
    };

const NAMES: [&str; 13] = [
    "HoldallError",
    "BlobNotFoundError",
    "InvalidKeyError",
    "InvalidArgumentError",
    "FormatMismatchError",
    "BlobCorruptError",
    "UntrustedPayloadError",
    "ConflictError",
    "StoreBusyError",
    "StorageIOError",
    "StoreVersionError",
    "StorageDisabledError",
    "StoreClosedError",
];

static CLASSES: PyOnceLock<Py<PyModule>> = PyOnceLock::new();

/// Makes the classes and adds them to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let classes = CLASSES.get_or_try_init(py, || {
        PyModule::from_code(py, SOURCE, c"holdall/_core/errors.py", c"holdall._core.errors")
            .map(Bound::unbind)
    })?;
    for name in NAMES {
        module.add(name, classes.bind(py).getattr(name)?)?;
    }
    Ok(())
}

fn class_of(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::NotFound => "BlobNotFoundError",
        ErrorKind::InvalidKey => "InvalidKeyError",
        ErrorKind::WrongFormat => "FormatMismatchError",
        ErrorKind::Corrupt => "BlobCorruptError",
        ErrorKind::Untrusted => "UntrustedPayloadError",
        ErrorKind::Conflict => "ConflictError",
        ErrorKind::Busy => "StoreBusyError",
        ErrorKind::Io => "StorageIOError",
        ErrorKind::Version => "StoreVersionError",
        ErrorKind::Disabled => "StorageDisabledError",
        ErrorKind::Closed => "StoreClosedError",
        ErrorKind::InvalidArgument => "InvalidArgumentError",
        _ => "HoldallError",
    }
}

/// The exception for an error of the engine.
pub(crate) fn raised(py: Python<'_>, error: &holdall::Error) -> PyErr {
    instance(py, error).map_or_else(|other| other, PyErr::from_value)
}

/// The exception as an object, for lists of results.
pub(crate) fn instance<'py>(
    py: Python<'py>,
    error: &holdall::Error,
) -> PyResult<Bound<'py, PyAny>> {
    let exception = made(py, class_of(error.kind()), &error.to_string())?;
    exception.setattr("key", error.key())?;
    exception.setattr("operation", error.operation())?;
    exception.setattr("path", error.path().map(|path| path.to_string_lossy().into_owned()))?;
    if let Some(number) = error.os_error() {
        exception.setattr("errno", number)?;
    }
    Ok(exception)
}

/// An exception that the extension itself has reason for.
pub(crate) fn told(py: Python<'_>, kind: ErrorKind, cause: impl Into<String>) -> PyErr {
    raised(py, &holdall::Error::new(kind, cause.into()))
}

/// What is raised when the engine has panicked: a bug, but not one that ends the program.
pub(crate) fn panicked(py: Python<'_>) -> PyErr {
    let message = "the engine has failed in an unexpected way; please report it with the log";
    made(py, "HoldallError", message).map_or_else(|other| other, PyErr::from_value)
}

fn made<'py>(py: Python<'py>, class: &str, message: &str) -> PyResult<Bound<'py, PyAny>> {
    let classes = CLASSES.get(py).ok_or_else(|| {
        pyo3::exceptions::PyRuntimeError::new_err("holdall._core is not imported")
    })?;
    classes.bind(py).getattr(class)?.call1((message,))
}
