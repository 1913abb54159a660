//! `Cache`: the engine's cache with Python objects in it.
//!
//! The interpreter lock protects it, and nothing runs Python code while it is lent: what leaves is
//! reported and dropped afterwards. So a `fork` finds it free, and a callback may use the cache.
#![allow(unsafe_code, reason = "objects are let go of where PyO3 does not know of the lock")]

mod direct;
mod loads;
mod told;

use std::sync::{Arc, Weak};

use holdall::cache::housekeeping::{Housekeeping, Sweep};
use holdall::cache::{Cache as Engine, CacheLimits, NewEntry, PolicyKind, Removed};
use holdall::clock::Clock;
use holdall::{ErrorKind, Ttl};
use pyo3::exceptions::PyOverflowError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt, PyList, PyMapping, PyString};

use crate::clock::{self, ManualClock};
use crate::convert;
use crate::errors;
use crate::gil::{GilCell, Lent};
use crate::hot;
use crate::keyed::{self, HeldKey, SoughtKey, same};

use self::loads::Loads;
pub(crate) use self::told::{estimated, named, stats};

type Gone = Vec<Removed<HeldKey, Py<PyAny>>>;

/// How many entries the sweep frees before other threads get the interpreter lock.
const SLICE: usize = 256;

/// A bounded cache of Python objects with a TTL for each entry; every method is immediate.
#[pyclass(frozen, module = "holdall._core", weakref)]
pub(crate) struct Cache {
    shared: Arc<Shared>,
}

struct Shared {
    engine: GilCell<Engine<HeldKey, Py<PyAny>>>,
    loads: Loads,
    default_ttl: Ttl,
    max_size: usize,
    policy: PolicyKind,
    weighs: bool,
    on_evict: Option<Py<PyAny>>,
    size_of: Option<Py<PyAny>>,
    clock: Clock,
    housekeeping: Option<Housekeeping>,
}

impl Shared {
    fn engine<'a>(&'a self, py: Python<'a>) -> Lent<'a, Engine<HeldKey, Py<PyAny>>> {
        self.engine.lend(py)
    }

    /// Runs `work` alone; reports and drops what left after it.
    fn locked<R>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut Engine<HeldKey, Py<PyAny>>, u64, &mut Gone) -> R,
    ) -> R {
        let mut gone = Gone::new();
        let now = self.clock.coarse_millis();
        let result = work(&mut self.engine(py), now, &mut gone);
        self.report(py, gone);
        result
    }

    /// Reports and drops what left, for callers that hold the interpreter lock without PyO3 knowing.
    fn report_hot(&self, gone: Gone) {
        if gone.is_empty() {
            return;
        }
        if self.on_evict.is_some() {
            Python::attach(|py| self.report(py, gone));
            return;
        }
        for Removed { key, value, .. } in gone {
            // SAFETY: the lock is held, as the caller says, and the cache's own is not.
            unsafe {
                hot::let_go(key.into_object());
                hot::let_go(value);
            }
        }
    }

    fn report(&self, py: Python<'_>, gone: impl IntoIterator<Item = Removed<HeldKey, Py<PyAny>>>) {
        let Some(on_evict) = &self.on_evict else {
            gone.into_iter().for_each(drop);
            return;
        };
        for Removed { key, value, cause } in gone {
            if let Err(error) = on_evict.call1(py, (key.object(), value, named(cause))) {
                error.write_unraisable(py, Some(on_evict.bind(py)));
            }
        }
    }

    /// The end of a life that begins now.
    fn expiry(&self, ttl: Ttl, now: u64) -> Option<u64> {
        let ttl = if ttl == Ttl::Default { self.default_ttl } else { ttl };
        ttl.millis(None).map(|millis| now.saturating_add(millis))
    }

    fn bytes(&self, value: &Bound<'_, PyAny>) -> PyResult<u64> {
        match &self.size_of {
            Some(size_of) => {
                let py = value.py();
                size_of.call1(py, (value,))?.extract(py).map_err(|_| {
                    let cause = "size_of has to return a whole number of bytes, zero or more";
                    errors::told(py, ErrorKind::InvalidArgument, cause)
                })
            }
            None if self.weighs => estimated(value),
            None => Ok(0),
        }
    }

    /// What a value counts for, where anything counts. The caller holds the interpreter lock, but
    /// need not have told PyO3 so.
    fn weight(&self, value: &Bound<'_, PyAny>) -> PyResult<u64> {
        if !self.weighs && self.size_of.is_none() {
            return Ok(0);
        }
        Python::attach(|_| self.bytes(value))
    }

    fn write(
        &self,
        key: &SoughtKey<'_, '_>,
        value: &Bound<'_, PyAny>,
        ttl: Ttl,
        only_if_absent: bool,
    ) -> PyResult<bool> {
        let py = value.py();
        let bytes = self.bytes(value)?;
        let (held, value) = (key.hold(), value.clone().unbind());
        let mut written = None;
        let stored = self.locked(py, |engine, now, gone| {
            if only_if_absent && engine.contains(key.hash, |held| key.is(held), now) {
                return Some((held, value));
            }
            let expires_at = self.expiry(ttl, now);
            let entry = NewEntry { hash: key.hash, key: held, value, bytes, expires_at };
            engine.insert(entry, |one, other| same(py, one, other), now, gone);
            written = Some((expires_at, now));
            None
        });
        if written.is_some() {
            self.loads.overtake(py, key);
        }
        if let (Some((Some(at), now)), Some(housekeeping)) = (written, &self.housekeeping) {
            housekeeping.expires(at, now);
        }
        Ok(stored.is_none())
    }
}

impl Sweep for Shared {
    fn sweep(&self, max: usize) -> bool {
        // At the end of the interpreter there is nothing left to free.
        Python::try_attach(|py| self.locked(py, |engine, now, gone| engine.sweep(now, max, gone)))
            .unwrap_or(false)
    }

    fn next_expiry(&self) -> Option<u64> {
        Python::try_attach(|py| self.engine(py).next_expiry()).flatten()
    }
}

#[pymethods]
#[allow(clippy::too_many_arguments, reason = "Python's signatures name each of them")]
impl Cache {
    #[new]
    #[pyo3(signature = (max_size, default_ttl, *, max_bytes=None, policy="w-tinylfu", on_evict=None, size_of=None, clock=None))]
    fn new(
        py: Python<'_>,
        max_size: usize,
        default_ttl: &Bound<'_, PyAny>,
        max_bytes: Option<u64>,
        policy: &str,
        on_evict: Option<Py<PyAny>>,
        size_of: Option<Py<PyAny>>,
        clock: Option<&Bound<'_, ManualClock>>,
    ) -> PyResult<Self> {
        let policy = PolicyKind::named(policy).map_err(|error| errors::raised(py, &error))?;
        let limits = CacheLimits { max_entries: max_size, max_bytes };
        let default_ttl = convert::ttl(default_ttl)?;
        let has_thread = clock.is_none();
        let time = clock::clock(clock);
        let shared = Arc::new_cyclic(|this: &Weak<Shared>| Shared {
            engine: GilCell::new(Engine::new(limits, policy)),
            loads: Loads::new(),
            default_ttl,
            max_size,
            policy,
            weighs: max_bytes.is_some(),
            on_evict,
            size_of,
            clock: time,
            housekeeping: has_thread.then(|| Housekeeping::new(Weak::clone(this) as _)),
        });
        Ok(Self { shared })
    }

    /// The value under a key, or `default`.
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

    /// Keeps a value, in place of whatever is there.
    fn set(
        &self,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        ttl: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        self.keep(key, value, Some(ttl))
    }

    /// What was found, in the order asked.
    fn get_many<'py>(
        &self,
        py: Python<'py>,
        keys: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyDict>> {
        // What follows may run code of a key, which may change a list.
        let keys: Vec<Bound<'_, PyAny>> = match keys.cast_exact::<PyList>() {
            Ok(keys) => keys.iter().collect(),
            Err(_) => keys.try_iter()?.collect::<PyResult<_>>()?,
        };
        let found = PyDict::new(py);
        let mut gone = Gone::new();
        let looked = self.look_many(&keys, &mut gone, |key, value| found.set_item(key, value));
        self.shared.report(py, gone);
        looked.map(|()| found)
    }

    /// Keeps several values; all keys are checked before anything is kept.
    fn set_many(
        &self,
        py: Python<'_>,
        items: &Bound<'_, PyMapping>,
        ttl: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let ttl = convert::unchecked_ttl(ttl, "set")?;
        // What follows may run code of a key, which may change the mapping.
        let items: Vec<(Bound<'_, PyAny>, Bound<'_, PyAny>)> = match items.cast_exact::<PyDict>() {
            Ok(items) => items.iter().collect(),
            Err(_) => items.items()?.iter().map(|pair| pair.extract()).collect::<PyResult<_>>()?,
        };
        let mut entries = Vec::with_capacity(items.len());
        for (key, value) in &items {
            keyed::check_for(key, "set")?;
            entries.push((SoughtKey::new(key)?, value, self.shared.weight(value)?));
        }
        self.keep_all(py, ttl, entries)
    }

    /// Keeps a value unless there is one; whether it was kept.
    fn add(
        &self,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        ttl: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let ttl = convert::ttl(ttl)?;
        self.shared.write(&SoughtKey::checked(key)?, value, ttl, true)
    }

    /// The number of the load of a key that is under way, or of one that begins with this.
    fn begin_load(&self, key: &Bound<'_, PyAny>) -> PyResult<u64> {
        Ok(self.shared.loads.begin(key.py(), convert::text(key)?))
    }

    /// Keeps what a load has brought, unless the key was written or deleted since it began; whether
    /// it was kept.
    fn land(
        &self,
        key: &Bound<'_, PyAny>,
        number: u64,
        value: &Bound<'_, PyAny>,
        ttl: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        // It may call a function of the user's, which may write the key.
        let weight = self.shared.weight(value)?;
        let ttl = convert::unchecked_ttl(ttl, "set")?;
        let sought = SoughtKey::checked(key)?;
        let is_current = self.shared.loads.end(key.py(), convert::text(key)?, number);
        if is_current {
            self.keep_all(key.py(), ttl, [(sought, value, weight)])?;
        }
        Ok(is_current)
    }

    /// Forgets a load that has ended in another way.
    fn end_load(&self, key: &Bound<'_, PyAny>, number: u64) -> PyResult<()> {
        self.shared.loads.end(key.py(), convert::text(key)?, number);
        Ok(())
    }

    /// How many loads are under way.
    fn loads_under_way(&self) -> usize {
        self.shared.loads.len()
    }

    /// Adds to the integer under a key, 0 if there is none; the sum. A number that is there keeps
    /// its time to live.
    fn incr(
        &self,
        key: &Bound<'_, PyAny>,
        by: &Bound<'_, PyInt>,
        ttl: &Bound<'_, PyAny>,
    ) -> PyResult<Py<PyAny>> {
        let py = key.py();
        let ttl = convert::ttl(ttl)?;
        let sought = SoughtKey::checked(key)?;
        let current = self.shared.locked(py, |engine, now, _| {
            engine.peek(sought.hash, |held| sought.is(held), now).map(|value| value.clone_ref(py))
        });
        let Some(current) = current else {
            self.shared.write(&sought, by.as_any(), ttl, false)?;
            return Ok(by.clone().into_any().unbind());
        };
        let current = current.into_bound(py);
        if !current.is_exact_instance_of::<PyInt>() {
            return Err(errors::told(
                py,
                ErrorKind::InvalidArgument,
                "the value under this key is no integer; set one first",
            ));
        }
        let sum = current.add(by)?;
        self.shared.loads.overtake(py, &sought);
        let new = sum.clone().unbind();
        // No Python code has run since the look: exact integers add without any.
        let old = self.shared.locked(py, |engine, now, _| {
            engine
                .get_mut(sought.hash, |held| sought.is(held), now)
                .map(|value| std::mem::replace(value, new))
        });
        drop(old);
        Ok(sum.unbind())
    }

    /// Removes an entry; whether there was one.
    fn delete(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let sought = SoughtKey::checked(key)?;
        self.shared.loads.overtake(key.py(), &sought);
        Ok(self.shared.locked(key.py(), |engine, now, gone| {
            engine.remove(sought.hash, |held| sought.is(held), now, gone)
        }))
    }

    /// Removes several entries; how many there were.
    fn delete_many(&self, keys: &Bound<'_, PyAny>) -> PyResult<usize> {
        let keys = keys.try_iter()?.collect::<PyResult<Vec<_>>>()?;
        for key in &keys {
            convert::text(key)?;
        }
        let mut count = 0;
        for key in &keys {
            count += usize::from(self.delete(key)?);
        }
        Ok(count)
    }

    /// Whether there is an entry; counts nothing.
    fn contains(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let sought = SoughtKey::checked(key)?;
        Ok(self.shared.locked(key.py(), |engine, now, _| {
            engine.contains(sought.hash, |held| sought.is(held), now)
        }))
    }

    /// Gives an entry another time to live, from now; whether there was one.
    fn touch(&self, key: &Bound<'_, PyAny>, ttl: &Bound<'_, PyAny>) -> PyResult<bool> {
        let ttl = convert::ttl(ttl)?;
        let sought = SoughtKey::checked(key)?;
        let mut expiry = None;
        let touched = self.shared.locked(key.py(), |engine, now, _| {
            expiry = self.shared.expiry(ttl, now).map(|at| (at, now));
            engine.touch(sought.hash, |held| sought.is(held), expiry.map(|(at, _)| at), now)
        });
        if let (Some((at, now)), Some(housekeeping)) = (expiry, &self.shared.housekeeping) {
            housekeeping.expires(at, now);
        }
        Ok(touched)
    }

    /// Seconds left, `None` for an entry that never expires; an error if there is none.
    fn ttl_of(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<f64>> {
        let py = key.py();
        let sought = SoughtKey::checked(key)?;
        let found = self.shared.locked(py, |engine, now, _| {
            let info = engine.entry_info(sought.hash, |held| sought.is(held), now)?;
            Some(info.expires_at.map(|at| at.saturating_sub(now) as f64 / 1_000.0))
        });
        found.ok_or_else(|| {
            let error =
                holdall::Error::new(ErrorKind::NotFound, "there is no entry under this key")
                    .on_key(convert::text(key).unwrap_or_default())
                    .during("read the TTL of")
                    .remedy("set one first");
            errors::raised(py, &error)
        })
    }

    /// Removes everything; how many entries there were.
    fn clear(&self, py: Python<'_>) -> usize {
        self.shared.loads.overtake_all(py);
        let (count, cleared) =
            self.shared.locked(py, |engine, now, _| (engine.len(now), engine.clear()));
        self.shared.report(py, cleared);
        count
    }

    /// The keys of all entries.
    fn keys<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let keys: Vec<Py<PyString>> = self.shared.locked(py, |engine, now, _| {
            engine.iter(now).map(|(key, _)| key.object().clone_ref(py)).collect()
        });
        PyList::new(py, keys)
    }

    fn __len__(&self, py: Python<'_>) -> usize {
        self.shared.locked(py, |engine, now, _| engine.len(now))
    }

    /// The counters; takes the same time whatever the number of entries.
    fn get_stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counts = self.shared.locked(py, |engine, _, _| engine.stats());
        stats(py, &counts, self.shared.max_size, self.shared.policy)
    }

    /// Frees what has expired, now; the housekeeping thread does it unasked.
    fn sweep(&self, py: Python<'_>) -> PyResult<usize> {
        let before = self.shared.locked(py, |engine, _, _| engine.stats().expirations);
        while self.shared.locked(py, |engine, now, gone| engine.sweep(now, SLICE, gone)) {
            py.check_signals()?;
        }
        let after = self.shared.locked(py, |engine, _, _| engine.stats().expirations);
        usize::try_from(after - before).map_err(|_| PyOverflowError::new_err("too many"))
    }
}
