//! What the functions without any detour call (see [`crate::hot`]), and the methods for several keys.
//!
//! The caller holds the interpreter lock, but need not have told PyO3 so.

use holdall::Ttl;
use holdall::cache::NewEntry;
use pyo3::prelude::*;

use super::{Cache, Gone};
use crate::convert;
use crate::keyed::{self, SoughtKey, same};

/// How many keys are looked up before their values are handed on, so that the processor fetches
/// several entries at a time.
const TOGETHER: usize = 16;

impl Cache {
    /// The value under a key, if there is one that has not expired. The caller holds the
    /// interpreter lock, but need not have told PyO3 so.
    pub(crate) fn look(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<Py<PyAny>>> {
        let Ok(sought) = SoughtKey::new(key) else { return Err(keyed::refused(key)) };
        let py = key.py();
        let mut gone = Gone::new();
        let now = self.shared.clock.coarse_millis();
        let found = self
            .shared
            .engine(py)
            .get(sought.hash, |held| sought.is(held), now, &mut gone)
            .map(|value| value.clone_ref(py));
        if found.is_none() {
            self.shared.report_hot(gone);
            keyed::check(key)?;
        }
        Ok(found)
    }

    /// Hands on what is there, in the order asked.
    pub(super) fn look_many<'py>(
        &self,
        keys: &[Bound<'py, PyAny>],
        gone: &mut Gone,
        mut hand_on: impl FnMut(&Bound<'py, PyAny>, Py<PyAny>) -> PyResult<()>,
    ) -> PyResult<()> {
        let now = self.shared.clock.coarse_millis();
        let mut sought = Vec::with_capacity(TOGETHER);
        let mut values = Vec::with_capacity(TOGETHER);
        for keys in keys.chunks(TOGETHER) {
            for key in keys {
                sought.push(SoughtKey::new(key).map_err(|_| keyed::refused(key))?);
            }
            let py = keys[0].py();
            let mut engine = self.shared.engine(py);
            values.extend(sought.drain(..).map(|sought| {
                let value = engine.get(sought.hash, |held| sought.is(held), now, gone);
                value.map(|value| value.clone_ref(py))
            }));
            drop(engine);
            for (key, value) in keys.iter().zip(values.drain(..)) {
                match value {
                    Some(value) => hand_on(key, value)?,
                    None => keyed::check(key)?,
                }
            }
        }
        Ok(())
    }

    /// Keeps a value, in place of whatever is there; `ttl` left out is the default. The caller holds
    /// the interpreter lock, but need not have told PyO3 so.
    pub(crate) fn keep(
        &self,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        ttl: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let checked = |ttl: &Bound<'_, PyAny>| convert::unchecked_ttl(ttl, "set");
        let ttl = ttl.map_or(Ok(Ttl::Default), checked)?;
        keyed::check_for(key, "set")?;
        let weight = self.shared.weight(value)?;
        self.keep_all(value.py(), ttl, [(SoughtKey::new(key)?, value, weight)])
    }

    /// Keeps values whose keys and sizes were looked at, in one go.
    pub(super) fn keep_all<'a, 'py: 'a>(
        &self,
        py: Python<'py>,
        ttl: Ttl,
        entries: impl IntoIterator<Item = (SoughtKey<'a, 'py>, &'a Bound<'py, PyAny>, u64)>,
    ) -> PyResult<()> {
        let shared = &*self.shared;
        let mut gone = Gone::new();
        let now = shared.clock.coarse_millis();
        let expires_at = shared.expiry(ttl, now);
        let mut engine = shared.engine(py);
        for (sought, value, bytes) in entries {
            shared.loads.overtake(py, &sought);
            let (key, value) = (sought.hold(), value.clone().unbind());
            let entry = NewEntry { hash: sought.hash, key, value, bytes, expires_at };
            engine.insert(entry, |one, other| same(py, one, other), now, &mut gone);
        }
        drop(engine);
        if let (Some(at), Some(housekeeping)) = (expires_at, &shared.housekeeping) {
            housekeeping.expires(at, now);
        }
        shared.report_hot(gone);
        Ok(())
    }
}
