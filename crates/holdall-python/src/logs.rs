//! The engine's events on their way to `logging`: formatted where they happen, without the
//! interpreter lock, and taken by the Python face when it next has a moment.

use std::fmt::Write as _;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicI32, Ordering};

use crossbeam_queue::ArrayQueue;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Events beyond so many that nobody took push the oldest out.
const KEPT: usize = 4_096;

/// An event of the engine.
struct Entry {
    level: i32,
    target: String,
    message: String,
    fields: Vec<(&'static str, Given)>,
}

/// What a field of an event holds.
enum Given {
    Bool(bool),
    Int(i64),
    Count(u64),
    Float(f64),
    Text(String),
}

impl Given {
    fn object<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(match self {
            Self::Bool(given) => given.into_pyobject(py)?.to_owned().into_any(),
            Self::Int(given) => given.into_pyobject(py)?.into_any(),
            Self::Count(given) => given.into_pyobject(py)?.into_any(),
            Self::Float(given) => given.into_pyobject(py)?.into_any(),
            Self::Text(given) => given.into_pyobject(py)?.into_any(),
        })
    }
}

/// Without a lock: one that is held during a fork would stay locked in the child.
static QUEUE: LazyLock<ArrayQueue<Entry>> = LazyLock::new(|| ArrayQueue::new(KEPT));
/// `logging.WARNING`, until the face says what is wanted.
static LEVEL: AtomicI32 = AtomicI32::new(30);

/// Sends the engine's events here, unless the program has a subscriber of its own.
pub(crate) fn install() {
    let _ = tracing::subscriber::set_global_default(Collector);
}

struct Collector;

fn number(level: &Level) -> i32 {
    match *level {
        Level::ERROR => 40,
        Level::WARN => 30,
        Level::INFO => 20,
        Level::DEBUG => 10,
        Level::TRACE => 5,
    }
}

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
            && metadata.target().starts_with("holdall")
            && number(metadata.level()) >= LEVEL.load(Ordering::Relaxed)
    }

    fn register_callsite(&self, _: &'static Metadata<'static>) -> tracing::subscriber::Interest {
        // The level may change at any time.
        tracing::subscriber::Interest::sometimes()
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let metadata = event.metadata();
        let (level, target) = (number(metadata.level()), metadata.target().to_owned());
        let (message, fields) = text.finished();
        QUEUE.force_push(Entry { level, target, message, fields });
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// The message first, then the fields; and those once more for whoever wants them apart.
#[derive(Default)]
struct Text {
    message: String,
    listed: String,
    fields: Vec<(&'static str, Given)>,
}

impl Text {
    fn finished(mut self) -> (String, Vec<(&'static str, Given)>) {
        if !self.listed.is_empty() {
            let _ = write!(self.message, " ({})", self.listed);
        }
        (self.message, self.fields)
    }

    fn add(&mut self, field: &Field, shown: &dyn std::fmt::Debug, given: Given) {
        // The message of an operation is its name.
        if field.name() != "operation" {
            let comma = if self.listed.is_empty() { "" } else { ", " };
            let _ = write!(self.listed, "{comma}{}={shown:?}", field.name());
        }
        self.fields.push((field.name(), given));
    }
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
        } else {
            self.add(field, value, Given::Text(format!("{value:?}")));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message.push_str(value);
        } else {
            // As in a message: one line, whatever a key is made of.
            self.add(field, &value, Given::Text(value.escape_debug().to_string()));
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, &value, Given::Bool(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, &value, Given::Int(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, &value, Given::Count(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, &value, Given::Float(value));
    }
}

/// Which engine events are formatted at all: a level number of `logging`.
#[pyfunction]
pub(crate) fn set_log_level(level: i32) {
    LEVEL.store(level, Ordering::Relaxed);
}

/// Takes the engine events collected so far: level, target, message, and the fields by name.
#[pyfunction]
pub(crate) fn drain_logs(py: Python<'_>) -> PyResult<Bound<'_, PyList>> {
    let taken = PyList::empty(py);
    while let Some(Entry { level, target, message, fields }) = QUEUE.pop() {
        let named = PyDict::new(py);
        for (name, given) in &fields {
            named.set_item(*name, given.object(py)?)?;
        }
        taken.append((level, target, message, named))?;
    }
    Ok(taken)
}
