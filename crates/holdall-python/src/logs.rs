//! The engine's events on their way to `logging`: formatted where they happen, without the
//! interpreter lock, and taken by the Python face when it next has a moment.

use std::fmt::Write as _;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicI32, Ordering};

use crossbeam_queue::ArrayQueue;
use pyo3::prelude::*;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Events beyond so many that nobody took push the oldest out.
const KEPT: usize = 4_096;

/// A number, a target and a message.
type Entry = (i32, String, String);

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
        let entry = (number(metadata.level()), metadata.target().to_owned(), text.finished());
        QUEUE.force_push(entry);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// The message first, then the fields.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Text {
    fn finished(mut self) -> String {
        if !self.fields.is_empty() {
            let _ = write!(self.message, " ({})", self.fields);
        }
        self.message
    }
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
        } else {
            let comma = if self.fields.is_empty() { "" } else { ", " };
            let _ = write!(self.fields, "{comma}{}={value:?}", field.name());
        }
    }
}

/// Which engine events are formatted at all: a level number of `logging`.
#[pyfunction]
pub(crate) fn set_log_level(level: i32) {
    LEVEL.store(level, Ordering::Relaxed);
}

/// Takes the engine events collected so far: level, target, message.
#[pyfunction]
pub(crate) fn drain_logs() -> Vec<Entry> {
    std::iter::from_fn(|| QUEUE.pop()).collect()
}
