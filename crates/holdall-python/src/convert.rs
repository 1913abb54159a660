//! Arguments from Python, as the engine takes them.
#![allow(unsafe_code, reason = "memory that Python owns is lent to the engine as bytes")]

use std::time::Duration;

use bytes::Bytes;
use holdall::{ErrorKind, Part, Ttl};
use pyo3::buffer::PyUntypedBuffer;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyBytes, PyDateTime, PyDelta, PyFloat, PyInt, PyString, PyTzInfo};

use crate::errors;

/// The longest TTL, seconds: a thousand years.
const LONGEST: f64 = 1_000.0 * 365.25 * 86_400.0;

/// Keeps the memory of a buffer alive and in its place.
pub(crate) enum Owner {
    Bytes(#[allow(dead_code, reason = "held, not read")] Py<PyBytes>),
    Buffer(#[allow(dead_code, reason = "held, not read")] PyUntypedBuffer),
}

/// A key as text.
pub(crate) fn key(key: &Bound<'_, PyAny>) -> PyResult<String> {
    text(key).map(str::to_owned)
}

/// A key as text, borrowed, with the errors that a key can have.
pub(crate) fn text<'a>(key: &'a Bound<'_, PyAny>) -> PyResult<&'a str> {
    let py = key.py();
    let Ok(string) = key.cast::<PyString>() else {
        let kind = key.get_type().name()?.to_string();
        return Err(invalid_key(py, format!("a key is a str, not a {kind}")));
    };
    let text = string
        .to_str()
        .map_err(|_| invalid_key(py, "the key has a lone surrogate, which is no text".into()))?;
    if text.is_empty() {
        return Err(invalid_key(py, "the key is empty".into()));
    }
    if text.contains('\0') {
        return Err(invalid_key(py, "the key has a NUL character".into()));
    }
    Ok(text)
}

fn invalid_key(py: Python<'_>, cause: String) -> PyErr {
    let error = holdall::Error::new(ErrorKind::InvalidKey, cause)
        .remedy("use any text of at least one character without NUL characters");
    errors::raised(py, &error)
}

/// A TTL: seconds or a `timedelta`, `None` for ever, `DEFAULT` the manager's own.
pub(crate) fn ttl(value: &Bound<'_, PyAny>) -> PyResult<Ttl> {
    let py = value.py();
    if value.is_none() {
        return Ok(Ttl::Never);
    }
    if is_default(value)? {
        return Ok(Ttl::Default);
    }
    let seconds = if value.is_instance_of::<PyDelta>() {
        value.call_method0("total_seconds")?.extract::<f64>().ok()
    } else if value.is_instance_of::<PyBool>() {
        None
    } else {
        value.extract::<f64>().ok()
    };
    match seconds {
        // Too long to count is as long as can be counted.
        Some(seconds) if seconds > 0.0 => {
            Ok(Ttl::After(Duration::from_secs_f64(seconds.min(LONGEST))))
        }
        _ => Err(errors::told(
            py,
            ErrorKind::InvalidArgument,
            "a TTL is a positive number of seconds, a positive timedelta, or None for ever",
        )),
    }
}

fn is_default(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    static DEFAULT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    Ok(value.is(DEFAULT.import(value.py(), "holdall._sentinels", "DEFAULT")?))
}

/// A TTL that nobody has checked yet: a plain number within bounds is taken as it is, all else is
/// judged by the Python face, in its words.
pub(crate) fn unchecked_ttl(value: &Bound<'_, PyAny>, operation: &str) -> PyResult<Ttl> {
    if value.is_exact_instance_of::<PyFloat>() || value.is_exact_instance_of::<PyInt>() {
        // An integer too large for a float is left to the face, too.
        if let Ok(seconds) = value.extract::<f64>()
            && seconds > 0.0
            && seconds <= LONGEST
        {
            // A tenth of the time of `from_secs_f64`, and memory counts in milliseconds.
            return Ok(Ttl::After(Duration::from_micros((seconds * 1e6) as u64)));
        }
    } else if value.is_none() {
        return Ok(Ttl::Never);
    } else if is_default(value)? {
        return Ok(Ttl::Default);
    }
    let arguments = value.py().import("holdall._arguments")?;
    ttl(&arguments.call_method1("check_ttl", (value, operation))?)
}

/// Seconds or a `timedelta`, as a duration.
pub(crate) fn duration(value: &Bound<'_, PyAny>) -> PyResult<Duration> {
    match ttl(value)? {
        Ttl::After(duration) => Ok(duration),
        _ => Err(errors::told(
            value.py(),
            ErrorKind::InvalidArgument,
            "a time span is a positive number of seconds or a positive timedelta",
        )),
    }
}

/// One buffer or a list of them, lent to the engine together with what keeps them alive.
pub(crate) fn parts(value: &Bound<'_, PyAny>) -> PyResult<(Vec<Part>, Vec<Owner>)> {
    let mut parts = Vec::new();
    let mut owners = Vec::new();
    if is_buffer(value) {
        lend(value, &mut parts, &mut owners)?;
    } else {
        for part in value.try_iter()? {
            lend(&part?, &mut parts, &mut owners)?;
        }
    }
    Ok((parts, owners))
}

fn is_buffer(value: &Bound<'_, PyAny>) -> bool {
    value.is_instance_of::<PyBytes>() || PyUntypedBuffer::get(value).is_ok()
}

fn lend(value: &Bound<'_, PyAny>, parts: &mut Vec<Part>, owners: &mut Vec<Owner>) -> PyResult<()> {
    if let Ok(bytes) = value.cast::<PyBytes>() {
        parts.push(Part::Stable(Lent::bytes(bytes.as_bytes())));
        owners.push(Owner::Bytes(bytes.clone().unbind()));
        return Ok(());
    }
    let buffer = PyUntypedBuffer::get(value)?;
    if !buffer.is_c_contiguous() {
        return Err(errors::told(
            value.py(),
            ErrorKind::InvalidArgument,
            "a buffer has gaps; pass one that is contiguous",
        ));
    }
    let length = buffer.len_bytes();
    let bytes = if length == 0 {
        Bytes::new()
    } else {
        // SAFETY: a C-contiguous buffer has `len_bytes` readable bytes at `buf_ptr`, which stay
        // there as long as the buffer is held; its owner may write to them, so what is read is
        // copied before it is used (`Part::Volatile`).
        Lent::bytes(unsafe { std::slice::from_raw_parts(buffer.buf_ptr().cast(), length) })
    };
    parts.push(Part::Volatile(bytes));
    owners.push(Owner::Buffer(buffer));
    Ok(())
}

/// Memory that somebody else keeps alive.
struct Lent {
    start: *const u8,
    length: usize,
}

// SAFETY: the memory is only read, and the owner that keeps it alive may be anywhere.
unsafe impl Send for Lent {}

impl Lent {
    /// Bytes without a lifetime. The caller keeps an [`Owner`] until every use of them is over:
    /// the bridge does so, for it drops the owners after the work that has the parts.
    fn bytes(memory: &[u8]) -> Bytes {
        Bytes::from_owner(Self { start: memory.as_ptr(), length: memory.len() })
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: made from a slice of this length whose memory is kept in place by its owner,
        // see `bytes`.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }
    }
}

/// Milliseconds since 1970 as an aware `datetime`.
pub(crate) fn datetime(py: Python<'_>, millis: u64) -> PyResult<Bound<'_, PyDateTime>> {
    // The year 9999 is the last that a datetime has.
    const LAST: u64 = 253_402_300_799_000;
    let utc = PyTzInfo::utc(py)?.to_owned();
    PyDateTime::from_timestamp(py, millis.min(LAST) as f64 / 1_000.0, Some(&utc))
}
