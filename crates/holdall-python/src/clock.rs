//! `ManualClock`: time that a test moves by hand.

use pyo3::prelude::*;
use pyo3::types::PyDateTime;

use crate::convert;

/// A clock that stands still until a test moves it.
#[pyclass(frozen, module = "holdall.testing")]
pub(crate) struct ManualClock {
    hands: holdall::clock::ManualClock,
}

impl ManualClock {
    pub(crate) fn clock(&self) -> holdall::clock::Clock {
        self.hands.clock()
    }
}

#[pymethods]
impl ManualClock {
    /// A clock that shows 2024-01-01 00:00 UTC.
    #[new]
    fn new() -> Self {
        Self { hands: holdall::clock::ManualClock::new() }
    }

    /// Moves time forward, by seconds or a `timedelta`.
    fn advance(&self, seconds: &Bound<'_, PyAny>) -> PyResult<()> {
        self.hands.advance(convert::duration(seconds)?);
        Ok(())
    }

    /// Sets the wall clock alone, as an operator or a time server would.
    fn set_wall(&self, when: &Bound<'_, PyDateTime>) -> PyResult<()> {
        let seconds: f64 = when.call_method0("timestamp")?.extract()?;
        self.hands.set_wall_micros((seconds.max(0.0) * 1e6) as u64);
        Ok(())
    }

    /// What the wall clock shows.
    fn now<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDateTime>> {
        convert::datetime(py, self.hands.clock().wall_micros() / 1_000)
    }
}

/// The engine's clock for an optional manual one.
pub(crate) fn clock(clock: Option<&Bound<'_, ManualClock>>) -> holdall::clock::Clock {
    clock.map_or_else(holdall::clock::Clock::system, |clock| clock.get().clock())
}
