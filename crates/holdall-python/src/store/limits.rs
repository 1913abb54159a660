//! How much a store may hold, as Python says it, and the end of all stores.

use std::num::NonZeroU64;
use std::time::Duration;

use holdall::{ErrorKind, Eviction, Limits};
use pyo3::prelude::*;

use super::Store;
use super::answers::raised;
use crate::errors;

/// The most entries, the most bytes, the name of the order, and seconds between clean-ups.
pub(super) type GivenLimits = (Option<NonZeroU64>, Option<NonZeroU64>, String, Option<f64>);

/// The limits of a store; left out, those of the engine.
pub(super) fn limits(py: Python<'_>, given: Option<GivenLimits>) -> PyResult<Limits> {
    let Some((max_entries, max_bytes, eviction, every)) = given else {
        return Ok(Limits::default());
    };
    let eviction = raised(py, Eviction::from_name(&eviction))?;
    let clean_every = every.map(|every| seconds(py, "clean_every", every)).transpose()?;
    Ok(Limits { max_entries, max_bytes, eviction, clean_every })
}

/// A length of time.
pub(super) fn seconds(py: Python<'_>, name: &str, seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds).map_err(|_| {
        let cause = format!("{name} is a number of seconds, zero or more");
        errors::told(py, ErrorKind::InvalidArgument, cause)
    })
}

impl Store {
    /// Whether hits in a memory over it are to be noted.
    pub(crate) fn notes_uses(&self) -> bool {
        self.blobs.notes_uses()
    }
}

/// Ends what goes on in the background, and closes all stores of the process; at its end.
#[pyfunction]
pub(crate) fn close_all(py: Python<'_>) {
    py.detach(|| {
        holdall::stop_cleaning();
        holdall::backend::file::close_all();
    });
}
