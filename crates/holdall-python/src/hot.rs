//! The way of a hit: functions and an awaitable without any detour.
//!
//! `get` of a memory takes some 30 ns in the engine, and several times that in the layers between
//! it and `await`. Here the managers get a built-in function for it, whose result is its own
//! completed awaitable: `await` takes it through `am_send`, without a frame, a future or a
//! `StopIteration`. From CPython 3.12 on `await` does not look for `am_send`, so there the managers
//! keep an `async def` around the plain function (docs/decisions/0007).
#![allow(
    unsafe_code,
    reason = "PyO3 has no `am_send`, and a call through it costs as much as a hit"
)]

use std::ffi::CStr;
use std::os::raw::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::exceptions::PyTypeError;
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::cache::Cache;
use crate::errors;
use crate::tier::Tier;

/// An awaitable that is complete; it may be awaited once.
#[repr(C)]
struct Ready {
    head: PyObject,
    /// Owned; null once it was given out.
    value: *mut PyObject,
}

static READY: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(ptr::null_mut());

/// Takes the value out of an awaitable, or says that it was awaited before.
///
/// # Safety
/// `slf` is a [`Ready`], and the interpreter lock is held.
unsafe fn take(slf: *mut PyObject) -> Option<NonNull<PyObject>> {
    // SAFETY: it is a `Ready`, as the caller says, and nobody else touches it: the lock is held.
    let value = unsafe { ptr::replace(&raw mut (*slf.cast::<Ready>()).value, ptr::null_mut()) };
    let value = NonNull::new(value);
    if value.is_none() {
        let words = c"cannot await the same result twice; call the method again";
        // SAFETY: the exception type lives for ever, and the words end with a NUL.
        unsafe { ffi::PyErr_SetString(ffi::PyExc_RuntimeError, words.as_ptr()) };
    }
    value
}

unsafe extern "C" fn ready_send(
    slf: *mut PyObject,
    _sent: *mut PyObject,
    result: *mut *mut PyObject,
) -> ffi::PySendResult {
    // SAFETY: this is a slot of the type, called with the lock held; `result` is for us to set, and
    // takes over the reference.
    unsafe {
        match take(slf) {
            Some(value) => {
                *result = value.as_ptr();
                ffi::PySendResult::PYGEN_RETURN
            }
            None => {
                *result = ptr::null_mut();
                ffi::PySendResult::PYGEN_ERROR
            }
        }
    }
}

unsafe extern "C" fn ready_next(slf: *mut PyObject) -> *mut PyObject {
    // SAFETY: as above. The exception is made by a call, because a tuple given to
    // `PyErr_SetObject` would be taken for arguments; both references are ours to give back.
    unsafe {
        if let Some(value) = take(slf) {
            let arguments = ffi::PyTuple_New(1);
            if arguments.is_null() {
                ffi::Py_DECREF(value.as_ptr());
                return ptr::null_mut();
            }
            // It takes over the reference to the value.
            ffi::PyTuple_SetItem(arguments, 0, value.as_ptr());
            let stop = ffi::PyObject_CallObject(ffi::PyExc_StopIteration, arguments);
            ffi::Py_DECREF(arguments);
            if !stop.is_null() {
                ffi::PyErr_SetObject(ffi::PyExc_StopIteration, stop);
                ffi::Py_DECREF(stop);
            }
        }
        ptr::null_mut()
    }
}

unsafe extern "C" fn ready_itself(slf: *mut PyObject) -> *mut PyObject {
    // SAFETY: a new reference to an object that the caller has.
    unsafe { ffi::Py_NewRef(slf) }
}

unsafe extern "C" fn ready_send_method(slf: *mut PyObject, _sent: *mut PyObject) -> *mut PyObject {
    // SAFETY: a method of the type, called with the lock held.
    unsafe { ready_next(slf) }
}

unsafe extern "C" fn ready_close(slf: *mut PyObject, _: *mut PyObject) -> *mut PyObject {
    // SAFETY: as above; the value is ours to give back, and None lives for ever.
    unsafe {
        let value = ptr::replace(&raw mut (*slf.cast::<Ready>()).value, ptr::null_mut());
        ffi::Py_XDECREF(value);
        ffi::Py_NewRef(ffi::Py_None())
    }
}

unsafe extern "C" fn ready_throw(slf: *mut PyObject, arguments: *mut PyObject) -> *mut PyObject {
    // SAFETY: as above; `arguments` is the tuple of them, whose items are borrowed.
    unsafe {
        ffi::Py_DECREF(ready_close(slf, ptr::null_mut()));
        let given = ffi::PyTuple_Size(arguments);
        let thrown = if given > 0 { ffi::PyTuple_GetItem(arguments, 0) } else { ptr::null_mut() };
        if thrown.is_null() {
            ffi::PyErr_Clear();
            ffi::PyErr_SetString(ffi::PyExc_TypeError, c"throw() takes an exception".as_ptr());
        } else if ffi::PyType_Check(thrown) != 0 {
            let value = if given > 1 { ffi::PyTuple_GetItem(arguments, 1) } else { ffi::Py_None() };
            ffi::PyErr_SetObject(thrown, value);
        } else {
            ffi::PyErr_SetObject(ffi::Py_TYPE(thrown).cast(), thrown);
        }
        ptr::null_mut()
    }
}

unsafe extern "C" fn ready_dealloc(slf: *mut PyObject) {
    // SAFETY: the last reference is gone. Objects of heap types hold their type.
    unsafe {
        let kind = ffi::Py_TYPE(slf);
        ffi::Py_XDECREF((*slf.cast::<Ready>()).value);
        ffi::PyObject_Free(slf.cast());
        ffi::Py_DECREF(kind.cast());
    }
}

/// A slot whose function is given as an untyped pointer.
const fn slot(slot: c_int, function: *mut c_void) -> ffi::PyType_Slot {
    ffi::PyType_Slot { slot, pfunc: function }
}

const fn method(
    name: &'static CStr,
    function: ffi::PyCFunction,
    flags: c_int,
    doc: &'static CStr,
) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunction: function },
        ml_flags: flags,
        ml_doc: doc.as_ptr(),
    }
}

/// Makes the type of the awaitable, and says that it is a coroutine: it has all that one has.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let methods = Box::leak(Box::new([
        method(c"send", ready_send_method, ffi::METH_O, c"Gives the value, as `StopIteration`."),
        method(c"throw", ready_throw, ffi::METH_VARARGS, c"Raises the exception."),
        method(c"close", ready_close, ffi::METH_NOARGS, c"Lets go of the value."),
        ffi::PyMethodDef::zeroed(),
    ]));
    let mut slots = [
        slot(ffi::Py_am_await, ready_itself as *mut c_void),
        slot(ffi::Py_am_send, ready_send as *mut c_void),
        slot(ffi::Py_tp_iter, ready_itself as *mut c_void),
        slot(ffi::Py_tp_iternext, ready_next as *mut c_void),
        slot(ffi::Py_tp_dealloc, ready_dealloc as *mut c_void),
        slot(ffi::Py_tp_methods, methods.as_mut_ptr().cast()),
        slot(0, ptr::null_mut()),
    ];
    let mut spec = ffi::PyType_Spec {
        name: c"holdall._core.Ready".as_ptr(),
        basicsize: size_of::<Ready>() as c_int,
        itemsize: 0,
        flags: ffi::Py_TPFLAGS_DEFAULT as _,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: the specification is complete, its slots end with a zero, names and methods live for
    // ever, and the functions have the types of their slots; the result is a new reference.
    let kind = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyType_FromSpec(&raw mut spec))? };
    py.import("collections.abc")?.getattr("Coroutine")?.call_method1("register", (&kind,))?;
    module.add("Ready", &kind)?;
    // Held for ever.
    READY.store(kind.cast_into::<PyType>()?.into_ptr().cast(), Ordering::Release);
    module.add_function(wrap_pyfunction!(hot_get, module)?)?;
    module.add_function(wrap_pyfunction!(hot_set, module)?)?;
    module.add_function(wrap_pyfunction!(hot_get_or_else, module)?)?;
    Ok(())
}

/// A complete awaitable with this value, of which it takes over the reference; null with an
/// exception if there is no memory.
unsafe fn ready(value: *mut PyObject) -> *mut PyObject {
    let kind = READY.load(Ordering::Acquire);
    // SAFETY: the type was made with the module, whose functions alone come here; the memory is new,
    // as long as a `Ready`, and nobody else's yet.
    unsafe {
        let made = ffi::PyType_GenericAlloc(kind, 0);
        if made.is_null() {
            ffi::Py_DECREF(value);
        } else {
            (*made.cast::<Ready>()).value = value;
        }
        made
    }
}

/// The arguments of a call in the order of their names, null where one was left out; `None` if
/// something else was given, or one of the first `needed` was not.
///
/// # Safety
/// The first three are those of a call by the interpreter.
unsafe fn arguments<const N: usize>(
    given: *const *mut PyObject,
    count: ffi::Py_ssize_t,
    names: *mut PyObject,
    wanted: [&CStr; N],
    needed: usize,
) -> Option<[*mut PyObject; N]> {
    let count = usize::try_from(count).ok().filter(|count| *count <= N)?;
    let mut found = [ptr::null_mut(); N];
    // SAFETY: the calling convention: `count` positional arguments, then one for each name, all
    // borrowed for the time of the call.
    unsafe {
        for (at, place) in found.iter_mut().enumerate().take(count) {
            *place = *given.add(at);
        }
        if !names.is_null() {
            for at in 0..ffi::PyTuple_Size(names) {
                let name = ffi::PyTuple_GetItem(names, at);
                let is =
                    |word: &&CStr| ffi::PyUnicode_CompareWithASCIIString(name, word.as_ptr()) == 0;
                let place = wanted.iter().position(is)?;
                if !found[place].is_null() {
                    return None;
                }
                found[place] = *given.add(count + at as usize);
            }
        }
    }
    found[..needed].iter().all(|one| !one.is_null()).then_some(found)
}

/// The object of a class of this extension that a plain object is.
///
/// # Safety
/// The object is of this class.
unsafe fn as_cache<'a>(object: &'a Bound<'_, PyAny>) -> &'a Cache {
    // SAFETY: as the caller says.
    unsafe { object.cast_unchecked::<Cache>() }.get()
}

/// As [`as_cache`].
///
/// # Safety
/// As there.
unsafe fn as_tier<'a>(object: &'a Bound<'_, PyAny>) -> &'a Tier {
    // SAFETY: as the caller says.
    unsafe { object.cast_unchecked::<Tier>() }.get()
}

/// `get(key, default=None)` of a cache; its result complete as an awaitable if `AWAITED`.
unsafe extern "C" fn get<const AWAITED: bool>(
    slf: *mut PyObject,
    given: *const *mut PyObject,
    count: ffi::Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: called by the interpreter, so its lock is held; `slf` is what `hot_get` gave, a `Cache`;
    // arguments are borrowed for the time of the call; what is returned is a new reference.
    unsafe {
        let py = Python::assume_attached();
        let Some([key, default]) = arguments(given, count, names, [c"key", c"default"], 1) else {
            PyTypeError::new_err("get() takes a key and a default").restore(py);
            return ptr::null_mut();
        };
        let default = if default.is_null() { ffi::Py_None() } else { default };
        let memory = as_cache(Bound::<PyAny>::ref_from_ptr(py, &slf));
        let key = Bound::<PyAny>::ref_from_ptr(py, &key);
        let value = match catch_unwind(AssertUnwindSafe(|| memory.look(key))) {
            Ok(Ok(Some(value))) => value.into_ptr(),
            Ok(Ok(None)) => ffi::Py_NewRef(default),
            Ok(Err(error)) => {
                error.restore(py);
                return ptr::null_mut();
            }
            Err(_) => {
                errors::panicked(py).restore(py);
                return ptr::null_mut();
            }
        };
        if AWAITED { ready(value) } else { value }
    }
}

/// `set(key, value, ttl=DEFAULT)` of a cache.
unsafe extern "C" fn set(
    slf: *mut PyObject,
    given: *const *mut PyObject,
    count: ffi::Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: as for `get`.
    unsafe {
        let py = Python::assume_attached();
        let wanted = [c"key", c"value", c"ttl"];
        let Some([key, value, ttl]) = arguments(given, count, names, wanted, 2) else {
            PyTypeError::new_err("set() takes a key, a value and a ttl").restore(py);
            return ptr::null_mut();
        };
        let cache = as_cache(Bound::<PyAny>::ref_from_ptr(py, &slf));
        let key = Bound::<PyAny>::ref_from_ptr(py, &key);
        let value = Bound::<PyAny>::ref_from_ptr(py, &value);
        let ttl = (!ttl.is_null()).then(|| Bound::<PyAny>::ref_from_ptr(py, &ttl));
        match catch_unwind(AssertUnwindSafe(|| cache.keep(key, value, ttl))) {
            Ok(Ok(())) => ffi::Py_NewRef(ffi::Py_None()),
            Ok(Err(error)) => {
                error.restore(py);
                ptr::null_mut()
            }
            Err(_) => {
                errors::panicked(py).restore(py);
                ptr::null_mut()
            }
        }
    }
}

/// Lets go of an object at once. PyO3 would put that off where it does not know of the lock.
///
/// # Safety
/// The interpreter lock is held, and nothing else that the object's end could need.
pub(crate) unsafe fn let_go<T>(object: Py<T>) {
    // SAFETY: the reference is ours, and the lock is held, as the caller says.
    unsafe { ffi::Py_DECREF(object.into_ptr()) }
}

const fn get_of<const AWAITED: bool>() -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: c"get".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: get::<AWAITED> },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: c"The value under a key, or `default` if there is none or it has expired.".as_ptr(),
    }
}

/// `get` of a memory over a store: the tuple that it belongs to has the memory, a function for all
/// that is no plain hit, and the class of values in memory that wrap another one.
unsafe extern "C" fn get_or_else(
    slf: *mut PyObject,
    given: *const *mut PyObject,
    count: ffi::Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: as for `get`; `slf` is the tuple that `hot_get_or_else` made, whose items are borrowed
    // from it and live as long.
    unsafe {
        let py = Python::assume_attached();
        if names.is_null() && (count == 1 || count == 2) {
            let memory = ffi::PyTuple_GetItem(slf, 0);
            let memory = as_tier(Bound::<PyAny>::ref_from_ptr(py, &memory));
            let looked = || memory.look(Bound::<PyAny>::ref_from_ptr(py, &*given));
            match catch_unwind(AssertUnwindSafe(looked)) {
                Ok(Ok(Some(value))) => {
                    let value = value.into_ptr();
                    if ffi::Py_TYPE(value).cast() != ffi::PyTuple_GetItem(slf, 2) {
                        return ready(value);
                    }
                    // What is wrapped is the second item of it.
                    let inner = ffi::PyTuple_GetItem(value, 1);
                    ffi::Py_XINCREF(inner);
                    ffi::Py_DECREF(value);
                    return if inner.is_null() { inner } else { ready(inner) };
                }
                Ok(Ok(None)) => {}
                Ok(Err(error)) => {
                    error.restore(py);
                    return ptr::null_mut();
                }
                Err(_) => {
                    errors::panicked(py).restore(py);
                    return ptr::null_mut();
                }
            }
        }
        let slow = Python::attach(|py| {
            let item = |at: ffi::Py_ssize_t| Bound::from_borrowed_ptr(py, *given.offset(at));
            let positional = pyo3::types::PyTuple::new(py, (0..count).map(item))?;
            let named = pyo3::types::PyDict::new(py);
            if !names.is_null() {
                let names = Bound::from_borrowed_ptr(py, names);
                for (at, name) in names.try_iter()?.enumerate() {
                    named.set_item(name?, item(count + at as ffi::Py_ssize_t))?;
                }
            }
            let or_else = Bound::from_borrowed_ptr(py, ffi::PyTuple_GetItem(slf, 1));
            Ok::<_, PyErr>(or_else.call(positional, Some(&named))?.into_ptr())
        });
        slow.unwrap_or_else(|error: PyErr| {
            error.restore(py);
            ptr::null_mut()
        })
    }
}

/// What the interpreter reads of a function for as long as that lives.
struct Definition(ffi::PyMethodDef);

// SAFETY: the pointers in it are to constants and functions, and nobody writes to it.
unsafe impl Sync for Definition {}

static CACHE: Definition = Definition(get_of::<false>());
static CACHE_AWAITED: Definition = Definition(get_of::<true>());
static SET: Definition = Definition(ffi::PyMethodDef {
    ml_name: c"set".as_ptr(),
    ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: set },
    ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
    ml_doc: c"Keeps a value for `ttl` seconds (or a `timedelta`); `None` for ever.".as_ptr(),
});
static TIER_OR_ELSE: Definition = Definition(ffi::PyMethodDef {
    ml_name: c"get".as_ptr(),
    ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: get_or_else },
    ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
    ml_doc: c"The value under a key, or `default`; a missing one is read from the disk.".as_ptr(),
});

/// The fastest `get` of a cache: a function `get(key, default=None)`.
///
/// With `awaited` its result is to be awaited, which is faster than a coroutine up to CPython 3.11.
#[pyfunction]
fn hot_get<'py>(cache: &Bound<'py, Cache>, awaited: bool) -> PyResult<Bound<'py, PyAny>> {
    let definition = if awaited { &CACHE_AWAITED } else { &CACHE };
    // SAFETY: the code of this definition expects a `Cache`.
    unsafe { bound(definition, cache.as_any()) }
}

/// The fastest `set(key, value, ttl=DEFAULT)` of a cache.
#[pyfunction]
fn hot_set<'py>(cache: &Bound<'py, Cache>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: the code of this definition expects a `Cache`.
    unsafe { bound(&SET, cache.as_any()) }
}

/// The fastest `get` of a memory over a store, its result to be awaited: `or_else` is called, with
/// the same arguments, for all but a plain hit; `wrapper` is the class of wrapped values.
#[pyfunction]
fn hot_get_or_else<'py>(
    tier: &Bound<'py, Tier>,
    or_else: &Bound<'py, PyAny>,
    wrapper: &Bound<'py, PyType>,
) -> PyResult<Bound<'py, PyAny>> {
    let belongings = (tier, or_else, wrapper).into_pyobject(tier.py())?;
    // SAFETY: the code of this definition expects a tuple of these three.
    unsafe { bound(&TIER_OR_ELSE, belongings.as_any()) }
}

/// A function that belongs to an object.
///
/// # Safety
/// The object is what the code of the definition expects.
unsafe fn bound<'py>(
    definition: &'static Definition,
    object: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let definition: *const ffi::PyMethodDef = &raw const definition.0;
    // SAFETY: the definition lives for ever and is not written to; the function holds a reference
    // to the object; the result is a new reference.
    unsafe {
        let made = ffi::PyCFunction_NewEx(definition.cast_mut(), object.as_ptr(), ptr::null_mut());
        Bound::from_owned_ptr_or_err(object.py(), made)
    }
}
