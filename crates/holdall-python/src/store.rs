//! `Store`: the engine's `BlobManager`, its calls run by the bridge.

mod answers;
pub(crate) mod limits;

use std::sync::Arc;

use holdall::backend::Backend;
use holdall::format::Codec;
use holdall::{
    BlobManager, BlobOptions, Durability, Format, Loaded, Migrate, OnCorrupt, Save, SaveOptions,
    Trust,
};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use self::answers::{
    Engine, blob, count, flag, key_source, list, located, metadata, object, raised,
};
use self::limits::GivenLimits;
use crate::about::About;
use crate::bridge;
use crate::clock::{self, ManualClock};
use crate::convert::{self, Owner};
use crate::errors;
use crate::health::Checkup;
use crate::memory;
use crate::migration::Migration;
use crate::pieces::{LargeValue, ValueReader, ValueWriter};
use crate::rotation::Rotation;

/// From so many bytes on, a value is read into memory that was made for it.
const LARGE: u64 = 1 << 20;

/// One handle on a base directory; nothing is opened before the first operation.
#[pyclass(frozen, module = "holdall._core", weakref)]
pub(crate) struct Store {
    blobs: BlobManager,
    blocking: bool,
}

impl Store {
    pub(crate) fn backend(&self) -> Arc<dyn Backend> {
        Arc::clone(self.blobs.backend())
    }

    /// Runs a call of the engine and turns its result into an object.
    fn run<T: Send + 'static>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&BlobManager) -> Engine<T> + Send + 'static,
        convert: impl FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
    ) -> PyResult<Py<PyAny>> {
        self.run_with(py, Vec::new(), work, convert)
    }

    /// As `run`, for work that reads the memory of Python objects.
    fn run_with<T: Send + 'static>(
        &self,
        py: Python<'_>,
        owners: Vec<Owner>,
        work: impl FnOnce(&BlobManager) -> Engine<T> + Send + 'static,
        convert: impl FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
    ) -> PyResult<Py<PyAny>> {
        let blobs = self.blobs.clone();
        bridge::run(
            py,
            self.blocking,
            owners,
            move || work(&blobs),
            move |py, result| convert(py, result.map_err(|error| errors::raised(py, &error))?),
        )
    }
}

#[pymethods]
#[allow(clippy::too_many_arguments, reason = "Python's signatures name each of them")]
impl Store {
    #[new]
    #[pyo3(signature = (base_path, *, blocking, durability="process", compression=None, trust="own", signing_key=None, max_value_bytes=None, inline_below=0, on_corrupt="raise", allow_network_fs=false, lock_timeout=30.0, limits=None, clock=None))]
    fn new(
        py: Python<'_>,
        base_path: std::path::PathBuf,
        blocking: bool,
        durability: &str,
        compression: Option<&str>,
        trust: &str,
        signing_key: Option<&Bound<'_, PyAny>>,
        max_value_bytes: Option<u64>,
        inline_below: u64,
        on_corrupt: &str,
        allow_network_fs: bool,
        lock_timeout: f64,
        limits: Option<GivenLimits>,
        clock: Option<&Bound<'_, ManualClock>>,
    ) -> PyResult<Self> {
        let lock_timeout = limits::seconds(py, "lock_timeout", lock_timeout)?;
        let defaults = BlobOptions::default();
        let options = BlobOptions {
            base_path,
            durability: raised(py, Durability::from_name(durability))?,
            compression: raised(py, Codec::from_name(compression.unwrap_or("none")))?,
            trust: raised(py, Trust::from_name(trust))?,
            signing_key: key_source(py, signing_key)?,
            max_value_bytes: max_value_bytes.unwrap_or(defaults.max_value_bytes),
            inline_below,
            on_corrupt: raised(py, OnCorrupt::from_name(on_corrupt))?,
            allow_network_fs,
            lock_timeout,
            limits: limits::limits(py, limits)?,
            clock: clock::clock(clock),
        };
        Ok(Self { blobs: BlobManager::with_options(options), blocking })
    }

    /// Places a value; its parts are written one after the other.
    #[pyo3(signature = (key, format, parts, *, ttl, tags=vec![], metadata=None, if_absent=false, if_match=None, durability=None, compression=None, stays_inline=false))]
    fn put(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        format: &str,
        parts: &Bound<'_, PyAny>,
        ttl: &Bound<'_, PyAny>,
        tags: Vec<String>,
        metadata: Option<Vec<u8>>,
        if_absent: bool,
        if_match: Option<String>,
        durability: Option<&str>,
        compression: Option<&str>,
        stays_inline: bool,
    ) -> PyResult<Py<PyAny>> {
        let key = convert::key(key)?;
        let format = raised(py, Format::from_name(format))?;
        let about = About { ttl, tags, metadata, if_absent, if_match, durability, compression };
        let options = SaveOptions { stays_inline, ..about.options(py)? };
        let (parts, owners) = convert::parts(parts)?;
        if self.blocking {
            let work = move |blobs: &BlobManager| blobs.save_parts(&key, format, parts, options);
            return self.run_with(py, owners, work, self::metadata);
        }
        let (future, promise) = bridge::promise(py)?;
        let token = promise.token();
        self.blobs.save_soon(Save { key, format, parts, options }, token, move |saved| {
            promise.resolve(Box::new(move |py| {
                drop(owners);
                self::metadata(py, saved.map_err(|error| errors::raised(py, &error))?)
            }));
        });
        Ok(future)
    }

    /// Places several values with one commit; errors come in their place.
    #[pyo3(signature = (items, *, ttl, tags=vec![], durability=None))]
    fn put_many(
        &self,
        py: Python<'_>,
        items: Vec<(Bound<'_, PyAny>, String, Bound<'_, PyAny>)>,
        ttl: &Bound<'_, PyAny>,
        tags: Vec<String>,
        durability: Option<&str>,
    ) -> PyResult<Py<PyAny>> {
        let durability = raised(py, durability.map(Durability::from_name).transpose())?;
        let ttl = convert::ttl(ttl)?;
        let mut saves = Vec::with_capacity(items.len());
        let mut owners = Vec::with_capacity(items.len());
        for (key, format, parts) in items {
            let (parts, mut lent) = convert::parts(&parts)?;
            owners.append(&mut lent);
            let options =
                SaveOptions { ttl, tags: tags.clone(), durability, ..SaveOptions::default() };
            let format = raised(py, Format::from_name(&format))?;
            saves.push(Save { key: convert::key(&key)?, format, parts, options });
        }
        let work = move |blobs: &BlobManager| Ok(blobs.save_many(saves));
        self.run_with(py, owners, work, |py, results| list(py, results, metadata))
    }

    /// Reads, checks and returns payload and record; `None` for a missing key if `missing_ok`. With
    /// `leave_large`, a large payload is a `LargeValue`, which is still to be read.
    #[pyo3(signature = (key, format, missing_ok, leave_large=false))]
    fn get(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        format: Option<&str>,
        missing_ok: bool,
        leave_large: bool,
    ) -> PyResult<Py<PyAny>> {
        let key = convert::key(key)?;
        let format = raised(py, format.map(Format::from_name).transpose())?;
        // A hot file takes less time than finding a thread for it.
        if !self.blocking
            && let Some(found) = self.blobs.load_cached(&key, format)
        {
            return bridge::done(py, blob(py, found)?);
        }
        let (blobs, blocking) = (self.blobs.clone(), self.blocking);
        let large = if leave_large { LARGE } else { u64::MAX };
        self.run(
            py,
            move |blobs| match blobs.load_or_open(&key, format, large)? {
                None if !missing_ok => Err(BlobManager::no_value(&key)),
                found => Ok(found),
            },
            move |py, found| match found {
                None => Ok(py.None()),
                Some(Loaded::Whole(found)) => blob(py, found),
                Some(Loaded::Large(reader)) => {
                    let record = self::metadata(py, reader.metadata().clone())?;
                    object(py, (LargeValue::new(blobs, reader, blocking)?, record))
                }
            },
        )
    }

    /// The payload of a value and the name of its format, if that can be had at once; `None` says
    /// nothing.
    fn cached<'py>(
        &self,
        py: Python<'py>,
        key: &str,
        format: Option<&str>,
    ) -> PyResult<Option<(Bound<'py, PyBytes>, &'static str)>> {
        if self.blocking {
            // Whoever may wait has no use for it.
            return Ok(None);
        }
        let format = raised(py, format.map(Format::from_name).transpose())?;
        let found = self.blobs.payload_cached(key, format);
        found.map(|(payload, format)| Ok((memory::bytes(py, &payload)?, format.name()))).transpose()
    }

    /// Reads several values in one call; `None` for a missing one, errors in their place.
    fn get_many(
        &self,
        py: Python<'_>,
        keys: Vec<Bound<'_, PyAny>>,
        format: Option<&str>,
    ) -> PyResult<Py<PyAny>> {
        let keys = keys.iter().map(convert::key).collect::<PyResult<Vec<_>>>()?;
        let format = raised(py, format.map(Format::from_name).transpose())?;
        self.run(
            py,
            move |blobs| Ok(blobs.load_bytes_many(&keys, format)),
            |py, results| {
                list(py, results, |py, found| {
                    found.map_or_else(|| Ok(py.None()), |found| blob(py, found))
                })
            },
        )
    }

    /// Opens a value to be read piece by piece.
    fn reader(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let (key, blocking) = (convert::key(key)?, self.blocking);
        self.run(
            py,
            move |blobs| blobs.reader(&key),
            move |py, reader| Ok(Py::new(py, ValueReader::new(py, reader, blocking)?)?.into_any()),
        )
    }

    /// Begins a value that is written piece by piece.
    #[pyo3(signature = (key, format, *, ttl, tags=vec![], metadata=None, if_absent=false, if_match=None, durability=None))]
    fn writer(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        format: &str,
        ttl: &Bound<'_, PyAny>,
        tags: Vec<String>,
        metadata: Option<Vec<u8>>,
        if_absent: bool,
        if_match: Option<String>,
        durability: Option<&str>,
    ) -> PyResult<Py<PyAny>> {
        let (key, blocking) = (convert::key(key)?, self.blocking);
        let format = raised(py, Format::from_name(format))?;
        let about =
            About { ttl, tags, metadata, if_absent, if_match, durability, compression: None };
        let options = about.options(py)?;
        self.run(
            py,
            move |blobs| blobs.writer(&key, format, options),
            move |py, writer| Ok(Py::new(py, ValueWriter::new(writer, blocking))?.into_any()),
        )
    }

    /// Bytes of a value from `start` on, unchecked; fewer than `length` at its end.
    fn read_range(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        start: u64,
        length: u64,
    ) -> PyResult<Py<PyAny>> {
        let key = convert::key(key)?;
        self.run(
            py,
            move |blobs| blobs.read_range(&key, start, length),
            |py, read| Ok(memory::bytes(py, &read)?.into_any().unbind()),
        )
    }

    /// The record of a value.
    fn head(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let key = convert::key(key)?;
        self.run(py, move |blobs| blobs.metadata(&key), metadata)
    }

    /// Whether there is a value.
    fn exists(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let key = convert::key(key)?;
        self.run(py, move |blobs| blobs.exists(&key), flag)
    }

    /// Begins to have another key sign; nothing is changed before the first step.
    fn rotation(&self, py: Python<'_>, old_key_is_lost: bool) -> PyResult<Py<PyAny>> {
        let blocking = self.blocking;
        self.run(
            py,
            move |blobs| blobs.rotation(old_key_is_lost),
            move |py, begun| Ok(Py::new(py, Rotation::new(begun, blocking))?.into_any()),
        )
    }

    /// Begins to bring values to another format or compression; nothing is changed before the
    /// first step.
    fn migration(
        &self,
        py: Python<'_>,
        prefix: String,
        tag: Option<String>,
        from_: Option<&str>,
        to: Option<&str>,
        compression: Option<&str>,
        dry_run: bool,
        is_part: bool,
    ) -> PyResult<Migration> {
        let from = raised(py, from_.map(Format::from_name).transpose())?;
        let format = raised(py, to.map(Format::from_name).transpose())?;
        let compression = raised(py, compression.map(Codec::from_name).transpose())?;
        let asked = Migrate { prefix, tag, from, format, compression, dry_run, is_part };
        Ok(Migration::new(self.blobs.migration(asked), self.blocking))
    }

    /// A page of what is known of values, in the order of their keys.
    fn records(
        &self,
        py: Python<'_>,
        prefix: String,
        after: Option<String>,
        limit: usize,
    ) -> PyResult<Py<PyAny>> {
        self.run(
            py,
            move |blobs| blobs.list(&prefix, after.as_deref(), limit),
            |py, page| list(py, page.into_iter().map(Ok).collect(), metadata),
        )
    }

    /// The path of the file behind a key, for mapping it; nothing is read or checked.
    fn locate(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        format: Option<&str>,
    ) -> PyResult<Py<PyAny>> {
        let key = convert::key(key)?;
        let format = raised(py, format.map(Format::from_name).transpose())?;
        if !self.blocking
            && let Some(found) = self.blobs.locate_cached(&key, format)
        {
            return bridge::done(py, located(py, found)?);
        }
        self.run(py, move |blobs| blobs.locate(&key, format), located)
    }

    /// Removes a value; whether there was one.
    #[pyo3(signature = (key, if_match=None))]
    fn delete(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        if_match: Option<String>,
    ) -> PyResult<Py<PyAny>> {
        let key = convert::key(key)?;
        self.run(py, move |blobs| blobs.delete(&key, if_match.as_deref()), flag)
    }

    /// Removes several values with one commit; errors come in their place.
    fn delete_many(&self, py: Python<'_>, keys: Vec<Bound<'_, PyAny>>) -> PyResult<Py<PyAny>> {
        let keys = keys.iter().map(convert::key).collect::<PyResult<Vec<_>>>()?;
        self.run(
            py,
            move |blobs| Ok(blobs.delete_many(&keys)),
            |py, results| list(py, results, flag),
        )
    }

    /// A page of the keys that start with `prefix` and come after `after`.
    fn keys(
        &self,
        py: Python<'_>,
        prefix: String,
        after: Option<String>,
        limit: usize,
    ) -> PyResult<Py<PyAny>> {
        self.run(
            py,
            move |blobs| blobs.list_keys(&prefix, after.as_deref(), limit),
            |py, page| object(py, PyList::new(py, page.iter())?),
        )
    }

    /// A page of the values with a tag.
    fn tagged(
        &self,
        py: Python<'_>,
        tag: String,
        after: Option<String>,
        limit: usize,
    ) -> PyResult<Py<PyAny>> {
        self.run(
            py,
            move |blobs| blobs.tagged(&tag, after.as_deref(), limit),
            |py, page| list(py, page.into_iter().map(Ok).collect(), metadata),
        )
    }

    /// Gives a value another length of life.
    fn touch(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        ttl: &Bound<'_, PyAny>,
    ) -> PyResult<Py<PyAny>> {
        let (key, ttl) = (convert::key(key)?, convert::ttl(ttl)?);
        self.run(py, move |blobs| blobs.touch(&key, ttl), metadata)
    }

    /// Gives a value another key.
    fn rename(
        &self,
        py: Python<'_>,
        source: &Bound<'_, PyAny>,
        target: &Bound<'_, PyAny>,
        overwrite: bool,
    ) -> PyResult<Py<PyAny>> {
        let (source, target) = (convert::key(source)?, convert::key(target)?);
        self.run(py, move |blobs| blobs.rename(&source, &target, overwrite), metadata)
    }

    /// Copies a value to another key.
    fn copy(
        &self,
        py: Python<'_>,
        source: &Bound<'_, PyAny>,
        target: &Bound<'_, PyAny>,
        overwrite: bool,
    ) -> PyResult<Py<PyAny>> {
        let (source, target) = (convert::key(source)?, convert::key(target)?);
        self.run(py, move |blobs| blobs.copy(&source, &target, overwrite), metadata)
    }

    /// Removes what has expired; how many values.
    fn expire(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.run(py, BlobManager::expire, count)
    }

    /// Removes what has expired and what is over the limits, now; what went.
    fn clean_up(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.run(py, BlobManager::clean_up, answers::cleaned)
    }

    /// Removes every value that holdall placed; how many.
    fn clear(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.run(py, BlobManager::clear, count)
    }

    /// Begins a verification.
    fn verification(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let (blobs, blocking) = (self.blobs.clone(), self.blocking);
        self.run(py, BlobManager::verification, move |py, work| {
            object(py, Checkup::new(blobs, work, blocking))
        })
    }

    /// How much there is.
    fn stats(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.run(py, BlobManager::get_stats, answers::stats)
    }

    /// Writes down what is needed for a fast start.
    fn close(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.run(py, BlobManager::close, |py, ()| Ok(py.None()))
    }
}
