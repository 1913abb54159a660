//! `ValueReader` and `ValueWriter`: values that are read and written piece by piece.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use holdall::{BlobManager, BlobReader, BlobWriter, Error, ErrorKind, Part};
use pyo3::prelude::*;

use crate::bridge;
use crate::convert;
use crate::errors;
use crate::memory::{self, Memory};
use crate::metadata::BlobMetadata;

/// How much of a buffer that others may change is copied at a time.
const PIECE: usize = 256 * 1_024;

/// Taken on pool threads and where no event loop runs: whoever holds it reads or writes.
type Shared<T> = Arc<Mutex<Option<T>>>;

fn locked<T>(shared: &Mutex<Option<T>>) -> MutexGuard<'_, Option<T>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn closed() -> Error {
    Error::new(ErrorKind::InvalidArgument, "it was closed").remedy("open the key anew")
}

/// A value that is open for reading.
#[pyclass(frozen, module = "holdall._core")]
pub(crate) struct ValueReader {
    shared: Shared<BlobReader>,
    blocking: bool,
    #[pyo3(get)]
    size: u64,
    #[pyo3(get)]
    metadata: Py<BlobMetadata>,
}

impl ValueReader {
    pub(crate) fn new(py: Python<'_>, reader: BlobReader, blocking: bool) -> PyResult<Self> {
        let size = reader.len();
        let metadata = Py::new(py, BlobMetadata::new(reader.metadata().clone()))?;
        Ok(Self { shared: Arc::new(Mutex::new(Some(reader))), blocking, size, metadata })
    }
}

#[pymethods]
impl ValueReader {
    /// Up to `size` bytes from `position` on.
    fn read(&self, py: Python<'_>, position: u64, size: u64) -> PyResult<Py<PyAny>> {
        let shared = Arc::clone(&self.shared);
        let work = move || {
            let mut reader = locked(&shared);
            let reader = reader.as_mut().ok_or_else(closed)?;
            reader.seek_to(position);
            reader.read_up_to(size)
        };
        bridge::run(py, self.blocking, Vec::new(), work, |py, read: holdall::Result<Vec<u8>>| {
            let read = read.map_err(|error| errors::raised(py, &error))?;
            Ok(memory::bytes(py, &read)?.into_any().unbind())
        })
    }

    /// Lets go of the file.
    fn close(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        dropped(py, self.blocking, &self.shared)
    }
}

/// A large value that was found and waits for memory.
#[pyclass(frozen, module = "holdall._core")]
pub(crate) struct LargeValue {
    blobs: BlobManager,
    shared: Shared<BlobReader>,
    blocking: bool,
    size: usize,
}

impl LargeValue {
    pub(crate) fn new(blobs: BlobManager, reader: BlobReader, blocking: bool) -> PyResult<Self> {
        let size = usize::try_from(reader.len())?;
        Ok(Self { blobs, shared: Arc::new(Mutex::new(Some(reader))), blocking, size })
    }
}

#[pymethods]
impl LargeValue {
    /// The value, checked, and for signed formats verified: as `bytes`, or as a `bytearray` if
    /// `writable`.
    fn read(&self, py: Python<'_>, writable: bool) -> PyResult<Py<PyAny>> {
        let (memory, object) = Memory::new(py, self.size, writable)?;
        let (blobs, shared) = (self.blobs.clone(), Arc::clone(&self.shared));
        let work = move || {
            let mut reader = locked(&shared).take().ok_or_else(closed)?;
            let mut memory = memory;
            blobs.fill(&mut reader, memory.bytes())
        };
        bridge::run(py, self.blocking, Vec::new(), work, move |py, filled: holdall::Result<()>| {
            filled.map_err(|error| errors::raised(py, &error))?;
            Ok(object)
        })
    }
}

/// A value that is being written, and that nobody sees yet.
#[pyclass(frozen, module = "holdall._core")]
pub(crate) struct ValueWriter {
    shared: Shared<BlobWriter>,
    blocking: bool,
}

impl ValueWriter {
    pub(crate) fn new(writer: BlobWriter, blocking: bool) -> Self {
        Self { shared: Arc::new(Mutex::new(Some(writer))), blocking }
    }
}

#[pymethods]
impl ValueWriter {
    /// Appends a buffer; how many bytes that were.
    fn write(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let shared = Arc::clone(&self.shared);
        let (parts, owners) = convert::parts(data)?;
        let work = move || {
            let mut writer = locked(&shared);
            let writer = writer.as_mut().ok_or_else(closed)?;
            let before = writer.len();
            let mut copy = Vec::new();
            for part in &parts {
                for piece in part.bytes().chunks(PIECE) {
                    // What others may change must not differ between file and checksum.
                    let piece = if matches!(part, Part::Volatile(_)) {
                        copy.clear();
                        copy.extend_from_slice(piece);
                        &copy[..]
                    } else {
                        piece
                    };
                    writer.append(piece)?;
                }
            }
            Ok(writer.len() - before)
        };
        bridge::run(py, self.blocking, owners, work, |py, written: holdall::Result<u64>| {
            let written = written.map_err(|error| errors::raised(py, &error))?;
            Ok(written.into_pyobject(py)?.into_any().unbind())
        })
    }

    /// Places the value; its record.
    fn finish(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let shared = Arc::clone(&self.shared);
        let work = move || locked(&shared).take().ok_or_else(closed)?.finish();
        bridge::run(
            py,
            self.blocking,
            Vec::new(),
            work,
            |py, placed: holdall::Result<holdall::BlobMetadata>| {
                let placed = placed.map_err(|error| errors::raised(py, &error))?;
                Ok(Py::new(py, BlobMetadata::new(placed))?.into_any())
            },
        )
    }

    /// Gives up what was written; nothing of it stays.
    fn abort(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        dropped(py, self.blocking, &self.shared)
    }
}

/// Drops what is shared where it may wait for a disk.
fn dropped<T: Send + 'static>(
    py: Python<'_>,
    blocking: bool,
    shared: &Shared<T>,
) -> PyResult<Py<PyAny>> {
    let shared = Arc::clone(shared);
    bridge::run(
        py,
        blocking,
        Vec::new(),
        move || drop(locked(&shared).take()),
        |py, ()| Ok(py.None()),
    )
}
