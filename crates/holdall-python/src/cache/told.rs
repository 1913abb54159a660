//! What a cache tells of itself: reasons, sizes and counts as Python has them.

use holdall::cache::{CacheStats, Cause, PolicyKind};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyString};

/// The reason for which an entry left.
pub(crate) fn named(cause: Cause) -> &'static str {
    match cause {
        Cause::Evicted => "evicted",
        Cause::Expired => "expired",
        Cause::Replaced => "replaced",
        Cause::Deleted => "deleted",
        Cause::Cleared => "cleared",
        Cause::Refused => "refused",
        _ => "removed",
    }
}

/// What a value takes: its own bytes where it has some, else what Python says of the object.
pub(crate) fn estimated(value: &Bound<'_, PyAny>) -> PyResult<u64> {
    if value.is_instance_of::<PyBytes>()
        || value.is_instance_of::<PyString>()
        || value.is_instance_of::<PyByteArray>()
    {
        return Ok(value.len()? as u64);
    }
    if let Ok(bytes) = value.getattr("nbytes")
        && let Ok(bytes) = bytes.extract::<u64>()
    {
        return Ok(bytes);
    }
    value.py().import("sys")?.call_method1("getsizeof", (value,))?.extract()
}

/// The counters of a cache.
pub(crate) fn stats<'py>(
    py: Python<'py>,
    stats: &CacheStats,
    max_size: usize,
    policy: PolicyKind,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("entries", stats.entries)?;
    dict.set_item("hits", stats.hits)?;
    dict.set_item("misses", stats.misses)?;
    dict.set_item("hit_rate", stats.hit_rate())?;
    dict.set_item("evictions", stats.evictions)?;
    dict.set_item("expirations", stats.expirations)?;
    dict.set_item("bytes", stats.bytes)?;
    dict.set_item("max_size", max_size)?;
    dict.set_item("policy", policy.name)?;
    Ok(dict)
}
