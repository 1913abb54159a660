//! `Tier`: the memory over a store, with Python objects in it. Protected as [`crate::cache`] is.

use std::sync::{Arc, Weak};

use holdall::backend::Backend;
use holdall::cache::housekeeping::{Housekeeping, Sweep};
use holdall::cache::{CacheLimits, NewEntry, PolicyKind};
use holdall::clock::Clock;
use holdall::key::Key;
use holdall::storage::{Gone, Seen, Tier as Engine};
use holdall::{ErrorKind, Ttl};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::bridge;
use crate::cache::{estimated, stats};
use crate::clock::{self, ManualClock};
use crate::convert;
use crate::errors;
use crate::gil::{GilCell, Lent};
use crate::keyed::{self, HeldKey, SoughtKey, same};
use crate::metadata::BlobMetadata;
use crate::store::Store;

type Memory = Engine<HeldKey, Py<PyAny>>;

/// How many entries the sweep frees before other threads get the interpreter lock.
const SLICE: usize = 256;

/// The memory over a store: each entry is answered only while the disk still holds it.
#[pyclass(frozen, module = "holdall._core", weakref)]
pub(crate) struct Tier {
    shared: Arc<Shared>,
}

struct Shared {
    engine: GilCell<Memory>,
    backend: Option<Arc<dyn Backend>>,
    /// Hits are uses, which decide what leaves the disk.
    notes_uses: bool,
    default_ttl: Ttl,
    max_size: usize,
    policy: PolicyKind,
    clock: Clock,
    housekeeping: Option<Housekeeping>,
}

impl Shared {
    fn engine<'a>(&'a self, py: Python<'a>) -> Lent<'a, Memory> {
        self.engine.lend(py)
    }

    /// Runs `work` alone; what left is dropped after it.
    fn locked<R>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut Memory, u64, &mut Gone<HeldKey, Py<PyAny>>) -> R,
    ) -> R {
        let mut gone = Gone::new();
        let now = self.clock.coarse_millis();
        let result = work(&mut self.engine(py), now, &mut gone);
        drop(gone);
        result
    }

    /// The store's version of a key now. Never blocks.
    fn version(&self, key: &str) -> Option<u64> {
        self.backend.as_ref()?.version_of(key)
    }

    fn write(
        &self,
        key: &SoughtKey<'_, '_>,
        value: &Bound<'_, PyAny>,
        bytes: u64,
        life: Option<u64>,
        seen: Option<Seen>,
    ) {
        let py = value.py();
        let (held, value) = (key.hold(), value.clone().unbind());
        let expiry = self.locked(py, |engine, now, gone| {
            let expires_at = life.map(|life| now.saturating_add(life));
            let entry = NewEntry { hash: key.hash, key: held, value, bytes, expires_at };
            let seen = seen.map(|seen| Seen { checked: now, ..seen });
            engine.put(entry, seen, |one, other| same(py, one, other), now, gone);
            expires_at.map(|at| (at, now))
        });
        if let (Some((at, now)), Some(housekeeping)) = (expiry, &self.housekeeping) {
            housekeeping.expires(at, now);
        }
    }

    /// Has the file behind an entry looked at, on a pool thread.
    fn look_again(&self, key: &str, generation: u64) {
        if let (Some(backend), Ok(key)) = (&self.backend, Key::new(key)) {
            let backend = Arc::clone(backend);
            // The outcome shows in the version: the next hit compares it.
            bridge::detached(move || drop(backend.revalidate(&key, generation)));
        }
    }

    fn life(&self, ttl: Ttl) -> Option<u64> {
        let ttl = if ttl == Ttl::Default { self.default_ttl } else { ttl };
        ttl.millis(None)
    }
}

impl Sweep for Shared {
    fn sweep(&self, max: usize) -> bool {
        Python::try_attach(|py| {
            self.locked(py, |engine, now, gone| engine.cache().sweep(now, max, gone))
        })
        .unwrap_or(false)
    }

    fn next_expiry(&self) -> Option<u64> {
        Python::try_attach(|py| self.engine(py).cache().next_expiry()).flatten()
    }
}

impl Tier {
    /// The value under a key, if it is still the newest. The caller holds the interpreter lock, but
    /// need not have told PyO3 so.
    pub(crate) fn look(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<Py<PyAny>>> {
        let Ok(sought) = SoughtKey::new(key) else { return Err(keyed::refused(key)) };
        let text = sought.text().ok_or_else(|| keyed::refused(key))?;
        let version = self.shared.version(text);
        let now = self.shared.clock.coarse_millis();
        let py = key.py();
        let mut gone = Gone::new();
        let found = self
            .shared
            .engine(py)
            .get(sought.hash, |held| sought.is(held), now, version, &mut gone)
            .map(|hit| (hit.value.clone_ref(py), hit.look_again));
        let Some((value, look_again)) = found else {
            // Dropping objects is PyO3's affair, which has to know of the lock for that.
            Python::attach(|_| drop(gone));
            keyed::check(key)?;
            return Ok(None);
        };
        if self.shared.notes_uses
            && let Some(backend) = &self.shared.backend
        {
            backend.note_use(text);
        }
        if let Some(generation) = look_again {
            self.shared.look_again(text, generation);
        }
        Ok(Some(value))
    }
}

#[pymethods]
#[allow(clippy::too_many_arguments, reason = "Python's signatures name each of them")]
impl Tier {
    #[new]
    #[pyo3(signature = (store, max_size, default_ttl, *, max_bytes=None, policy="w-tinylfu", external_check=1.0, clock=None))]
    fn new(
        py: Python<'_>,
        store: Option<&Bound<'_, Store>>,
        max_size: usize,
        default_ttl: &Bound<'_, PyAny>,
        max_bytes: Option<u64>,
        policy: &str,
        external_check: f64,
        clock: Option<&Bound<'_, ManualClock>>,
    ) -> PyResult<Self> {
        let policy = PolicyKind::named(policy).map_err(|error| errors::raised(py, &error))?;
        if external_check.is_nan() || external_check < 0.0 {
            let cause = "external_check is a number of seconds, zero or more";
            return Err(errors::told(py, ErrorKind::InvalidArgument, cause));
        }
        let limits = CacheLimits { max_entries: max_size, max_bytes };
        let default_ttl = convert::ttl(default_ttl)?;
        let has_thread = clock.is_none();
        let time = clock::clock(clock);
        let backend = store.map(|store| store.get().backend());
        let shared = Arc::new_cyclic(|this: &Weak<Shared>| Shared {
            engine: GilCell::new(Engine::new(limits, policy, (external_check * 1_000.0) as u64)),
            backend,
            notes_uses: store.is_some_and(|store| store.get().notes_uses()),
            default_ttl,
            max_size,
            policy,
            clock: time,
            housekeeping: has_thread.then(|| Housekeeping::new(Weak::clone(this) as _)),
        });
        Ok(Self { shared })
    }

    /// The value under a key, if it is still the newest, or `default`.
    #[pyo3(signature = (key, default=None))]
    fn get<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = key.py();
        let found = self.look(key)?.map(|value| value.into_bound(py));
        Ok(found.or(default).unwrap_or_else(|| py.None().into_bound(py)))
    }

    /// As `get`; counts nothing.
    #[pyo3(signature = (key, default=None))]
    fn peek<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = key.py();
        let sought = SoughtKey::new(key)?;
        let version = self.shared.version(convert::text(key)?);
        let found = self.shared.locked(py, |engine, now, _| {
            let value = engine.peek(sought.hash, |held| sought.is(held), now, version);
            value.map(|value| value.clone_ref(py).into_bound(py))
        });
        Ok(found.or(default).unwrap_or_else(|| py.None().into_bound(py)))
    }

    /// Whether there is a value that is still the newest; counts nothing.
    fn contains(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let sought = SoughtKey::new(key)?;
        let version = self.shared.version(convert::text(key)?);
        Ok(self.shared.locked(key.py(), |engine, now, _| {
            engine.contains(sought.hash, |held| sought.is(held), now, version)
        }))
    }

    /// Whether there is a value that belongs to this memory alone; counts nothing.
    fn is_own(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let sought = SoughtKey::new(key)?;
        Ok(self.shared.locked(key.py(), |engine, now, _| {
            let held = engine.cache().peek(sought.hash, |held| sought.is(held), now);
            held.is_some_and(holdall::storage::Held::is_own)
        }))
    }

    /// The store's clock for a key now, to be taken before its value is read; `None`: do not
    /// admit.
    fn observe(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<u64>> {
        Ok(self.shared.version(convert::text(key)?))
    }

    /// Puts a value read from the disk, or written to it, into memory, unless a write overtook it.
    ///
    /// The record of a save carries the version right after it; else `observed` counts.
    fn admit(
        &self,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        observed: Option<u64>,
        record: &Bound<'_, BlobMetadata>,
        ttl: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let sought = SoughtKey::checked(key)?;
        let metadata = record.get().inner();
        let version = metadata.version().or(observed);
        if version.is_none() || version != self.shared.version(convert::text(key)?) {
            self.delete(key)?;
            return Ok(false);
        }
        let version = version.unwrap_or_default();
        let record = metadata.record();
        let left = record.expiry.map(|expiry| expiry.remaining(&self.shared.clock));
        let life = left.into_iter().chain(self.shared.life(convert::ttl(ttl)?)).min();
        if life == Some(0) {
            return Ok(false);
        }
        let seen = Seen { version, generation: record.generation, checked: 0 };
        self.shared.write(&sought, value, record.length, life, Some(seen));
        Ok(true)
    }

    /// Keeps a value for this memory alone.
    fn pin(
        &self,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        ttl: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let life = self.shared.life(convert::ttl(ttl)?);
        let bytes = estimated(value)?;
        self.shared.write(&SoughtKey::checked(key)?, value, bytes, life, None);
        Ok(())
    }

    /// Forgets an entry; whether there was one that was still the newest.
    fn delete(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let sought = SoughtKey::new(key)?;
        let version = self.shared.version(convert::text(key)?);
        Ok(self.shared.locked(key.py(), |engine, now, gone| {
            let there = engine.contains(sought.hash, |held| sought.is(held), now, version);
            engine.cache().remove(sought.hash, |held| sought.is(held), now, gone);
            there
        }))
    }

    /// Forgets everything; how many entries there were.
    fn clear(&self, py: Python<'_>) -> usize {
        let (count, cleared) = self.shared.locked(py, |engine, now, _| {
            let cache = engine.cache();
            (cache.len(now), cache.clear())
        });
        drop(cleared);
        count
    }

    fn __len__(&self, py: Python<'_>) -> usize {
        self.shared.locked(py, |engine, now, _| engine.cache().len(now))
    }

    /// The counters; takes the same time whatever the number of entries.
    fn get_stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counts = self.shared.locked(py, |engine, _, _| engine.stats());
        stats(py, &counts, self.shared.max_size, self.shared.policy)
    }

    /// Frees what has expired, now; the housekeeping thread does it unasked.
    fn sweep(&self, py: Python<'_>) -> u64 {
        let expirations = || self.shared.locked(py, |engine, _, _| engine.stats().expirations);
        let before = expirations();
        while self.shared.locked(py, |engine, now, gone| engine.cache().sweep(now, SLICE, gone)) {}
        expirations() - before
    }
}
