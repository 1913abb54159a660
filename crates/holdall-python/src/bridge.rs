//! How a result travels from a thread of the engine to whoever awaits it.
//!
//! A job goes to the engine's pool; its result goes into the queue of the event loop that awaits
//! it, and only the first one in an empty queue wakes the loop, through an eventfd that the loop
//! watches. The loop then resolves all futures whose results have arrived: one wake-up for a
//! batch. Futures are touched on the loop's thread only, and pool threads never take the
//! interpreter lock. Whoever stops waiting says so with [`abandon`], and the job, if it has not
//! changed anything yet, never will. This is the one file that knows of event loops.

use std::collections::HashMap;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use holdall::{CancelToken, pool};
use pyo3::exceptions::{PyRuntimeError, PyStopIteration};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyWeakrefMethods, PyWeakrefReference};
use rustix::event::{EventfdFlags, eventfd};

use crate::convert::Owner;
use crate::errors;

/// The most futures that one wake-up resolves, so that other callbacks get their turn.
const SLICE: usize = 256;

/// Turns a result into an object, on the thread that awaits it.
pub(crate) type Answer = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

/// Runs `work` without the interpreter lock: here if `blocking`, else on a pool thread.
///
/// `owners` are the Python objects whose memory `work` reads; they are let go of only after it.
pub(crate) fn run<T: Send + 'static>(
    py: Python<'_>,
    blocking: bool,
    owners: Vec<Owner>,
    work: impl FnOnce() -> T + Send + 'static,
    convert: impl FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
) -> PyResult<Py<PyAny>> {
    if blocking {
        let result = py.detach(|| catch_unwind(AssertUnwindSafe(work)));
        drop(owners);
        let value = convert(py, result.map_err(|_| errors::panicked(py))?)?;
        return done(py, value);
    }
    let (future, promise) = promise(py)?;
    pool::execute(move || {
        let result = catch_unwind(AssertUnwindSafe(|| promise.token.run(work)));
        promise.resolve(Box::new(move |py| {
            drop(owners);
            convert(py, result.map_err(|_| errors::panicked(py))?)
        }));
    });
    Ok(future)
}

/// A future of the running loop, and what resolves it from any thread.
pub(crate) fn promise(py: Python<'_>) -> PyResult<(Py<PyAny>, Promise)> {
    let (bridge, running) = Bridge::current(py)?;
    let future = running.call_method0(intern!(py, "create_future"))?;
    let (ticket, token) = bridge.get().expect_answer(&future);
    let shared = Arc::clone(&bridge.get().shared);
    Ok((future.unbind(), Promise { shared, ticket, token }))
}

/// Resolves a future, without the interpreter lock.
pub(crate) struct Promise {
    shared: Arc<Shared>,
    ticket: usize,
    token: CancelToken,
}

impl Promise {
    /// What cancels the work when nobody awaits the future any more.
    pub(crate) fn token(&self) -> CancelToken {
        self.token.clone()
    }

    /// Has the loop make the answer and resolve the future with it.
    pub(crate) fn resolve(self, answer: Answer) {
        self.shared.push(self.ticket, answer);
    }
}

/// Cancels the work behind a future that this loop's bridge has given, unless it has ended.
#[pyfunction]
pub(crate) fn abandon(py: Python<'_>, work: &Bound<'_, PyAny>) {
    // Without a loop, as when it is being closed, nothing comes after it either.
    if let Ok((bridge, _)) = Bridge::current(py)
        && let Some(waiter) = bridge.get().waiting().get(&ticket_of(work))
    {
        waiter.token.cancel();
    }
}

/// Runs `work` on a pool thread and forgets it.
pub(crate) fn detached(work: impl FnOnce() + Send + 'static) {
    pool::execute(work);
}

/// An awaitable that is complete: what a blocking store returns, and what needed no waiting.
#[pyclass(frozen, module = "holdall._core")]
pub(crate) struct Done {
    value: Py<PyAny>,
}

#[pymethods]
impl Done {
    fn __await__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<()> {
        Err(PyStopIteration::new_err((self.value.clone_ref(py),)))
    }
}

/// An awaitable that is complete with this value.
pub(crate) fn done(py: Python<'_>, value: Py<PyAny>) -> PyResult<Py<PyAny>> {
    Ok(Py::new(py, Done { value })?.into_any())
}

/// What pool threads see of a bridge.
struct Shared {
    queue: Mutex<Vec<(usize, Answer)>>,
    wake: OwnedFd,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Vec<(usize, Answer)>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, ticket: usize, answer: Answer) {
        let was_empty = {
            let mut queue = self.queue();
            queue.push((ticket, answer));
            queue.len() == 1
        };
        if was_empty {
            self.wake();
        }
    }

    fn wake(&self) {
        // It can only fail when the counter is full, and then the loop is awake.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}

/// A future, and what cancels the work for it.
struct Waiter {
    future: Py<PyAny>,
    token: CancelToken,
}

/// The address of a future: as long as it waits, no other object has it.
fn ticket_of(future: &Bound<'_, PyAny>) -> usize {
    future.as_ptr() as usize
}

/// The way into one event loop.
#[pyclass(frozen, module = "holdall._core")]
pub(crate) struct Bridge {
    shared: Arc<Shared>,
    /// Only taken with the interpreter lock held, on the loop's thread.
    waiting: Mutex<HashMap<usize, Waiter>>,
    watched: Py<PyWeakrefReference>,
    process: u32,
}

impl Bridge {
    /// The bridge of the running loop, made when it is first needed, and the loop.
    fn current(py: Python<'_>) -> PyResult<(Py<Self>, Bound<'_, PyAny>)> {
        thread_local! {
            /// Most threads have one loop at a time.
            static LAST: std::cell::RefCell<Option<Py<Bridge>>> = const { std::cell::RefCell::new(None) };
        }
        let running = running_loop(py)?;
        let last = LAST.with(|last| last.borrow().as_ref().map(|bridge| bridge.clone_ref(py)));
        if let Some(bridge) = last
            && bridge.get().belongs_to(&running)
        {
            return Ok((bridge, running));
        }
        let bridge = Self::of(&running)?;
        LAST.with(|last| *last.borrow_mut() = Some(bridge.clone_ref(py)));
        Ok((bridge, running))
    }

    fn belongs_to(&self, running: &Bound<'_, PyAny>) -> bool {
        self.process == std::process::id()
            && self.watched.bind(running.py()).upgrade().is_some_and(|own| own.is(running))
    }

    /// The bridge of a loop that other threads, or earlier moments, may have made one for.
    fn of(running: &Bound<'_, PyAny>) -> PyResult<Py<Self>> {
        static ALL: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let py = running.py();
        let all = ALL.get_or_try_init(py, || {
            Ok::<_, PyErr>(py.import("weakref")?.getattr("WeakKeyDictionary")?.call0()?.unbind())
        })?;
        let all = all.bind(py);
        let known = all.call_method1(intern!(py, "get"), (running,))?;
        if let Ok(bridge) = known.cast_into::<Self>()
            && bridge.get().belongs_to(running)
        {
            return Ok(bridge.unbind());
        }
        let wake = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)
            .map_err(std::io::Error::from)?;
        let bridge = Self {
            shared: Arc::new(Shared { queue: Mutex::new(Vec::new()), wake }),
            waiting: Mutex::new(HashMap::new()),
            watched: PyWeakrefReference::new(running)?.unbind(),
            process: std::process::id(),
        };
        let file = bridge.shared.wake.as_raw_fd();
        let bridge = Bound::new(py, bridge)?;
        running.call_method1(intern!(py, "add_reader"), (file, &bridge))?;
        all.set_item(running, &bridge)?;
        Ok(bridge.unbind())
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<usize, Waiter>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expect_answer(&self, future: &Bound<'_, PyAny>) -> (usize, CancelToken) {
        let (ticket, token) = (ticket_of(future), CancelToken::new());
        let waiter = Waiter { future: future.clone().unbind(), token: token.clone() };
        self.waiting().insert(ticket, waiter);
        (ticket, token)
    }
}

#[pymethods]
impl Bridge {
    /// Resolves the futures whose results have arrived; the loop calls it.
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.shared.wake, &mut count);
        let arrived = {
            let mut queue = self.shared.queue();
            let rest = queue.len().min(SLICE);
            let rest = queue.split_off(rest);
            std::mem::replace(&mut *queue, rest)
        };
        for (ticket, answer) in arrived {
            let waiter = self.waiting().remove(&ticket);
            // Made even when nobody waits any more: it lets go of the owners.
            let answer = answer(py);
            let Some(waiter) = waiter else { continue };
            let future = waiter.future.bind(py);
            if future.call_method0(intern!(py, "done"))?.is_truthy()? {
                continue;
            }
            match answer {
                Ok(value) => future.call_method1(intern!(py, "set_result"), (value,))?,
                Err(error) => {
                    future.call_method1(intern!(py, "set_exception"), (error.into_value(py),))?
                }
            };
        }
        if !self.shared.queue().is_empty() {
            self.shared.wake();
        }
        Ok(())
    }
}

fn running_loop(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    static GET: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let get = GET.import(py, "asyncio", "get_running_loop")?;
    get.call0().map_err(|_| {
        PyRuntimeError::new_err(
            "there is no running event loop: await this in asyncio, or use holdall.sync",
        )
    })
}
