//! The way of a hit: functions without any detour.
//!
//! `get` of a memory takes some 20 ns in the engine, and several times that in the layers between
//! it and `await`. Here the managers get a built-in function for it, whose result is its own
//! completed awaitable (see [`crate::ready`]) where that is faster than an `async def` around the
//! plain function (docs/decisions/0007).
#![allow(unsafe_code, reason = "a call through PyO3 costs as much as a hit")]

use std::ffi::CStr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use pyo3::exceptions::PyTypeError;
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::cache::Cache;
use crate::errors;
use crate::ready::ready;
use crate::tier::Tier;

/// Adds the functions of this module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(hot_get, module)?)?;
    module.add_function(wrap_pyfunction!(hot_set, module)?)?;
    module.add_function(wrap_pyfunction!(hot_get_or_else, module)?)?;
    module.add_function(wrap_pyfunction!(hot_get_or_missing, module)?)?;
    Ok(())
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
///
/// # Safety
/// Called by the interpreter as the function of its definition: its lock is held, `slf` is what that
/// was bound to, and the arguments are borrowed for the time of the call.
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
        let plain = match count {
            1 if names.is_null() => Some([*given, ptr::null_mut()]),
            2 if names.is_null() => Some([*given, *given.add(1)]),
            _ => None,
        };
        let named = || arguments(given, count, names, [c"key", c"default"], 1);
        let Some([key, default]) = plain.or_else(named) else {
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
///
/// # Safety
/// Called by the interpreter as the function of its definition: its lock is held, `slf` is what that
/// was bound to, and the arguments are borrowed for the time of the call.
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

/// A plain hit in a memory over a store: a new reference, or null without an exception if there is
/// none. The tuple `slf` has the memory, and the class of values in memory that wrap another one.
///
/// # Safety
/// As for [`get`]; `slf` is a tuple that [`belongings`] made, and `key` is borrowed.
unsafe fn plain_hit(slf: *mut PyObject, key: *mut PyObject) -> PyResult<*mut PyObject> {
    // SAFETY: the interpreter lock is held; what is in the tuple is borrowed and lives as long as it;
    // `look` gives a reference that is ours.
    unsafe {
        let py = Python::assume_attached();
        let memory = ffi::PyTuple_GetItem(slf, 0);
        let memory = as_tier(Bound::<PyAny>::ref_from_ptr(py, &memory));
        let looked = || memory.look(Bound::<PyAny>::ref_from_ptr(py, &key));
        let found = catch_unwind(AssertUnwindSafe(looked));
        let Some(value) = found.unwrap_or_else(|_| Err(errors::panicked(py)))? else {
            return Ok(ptr::null_mut());
        };
        let value = value.into_ptr();
        if ffi::Py_TYPE(value).cast() != ffi::PyTuple_GetItem(slf, 2) {
            return Ok(value);
        }
        // What is wrapped is the second item of it.
        let inner = ffi::PyTuple_GetItem(value, 1);
        ffi::Py_XINCREF(inner);
        ffi::Py_DECREF(value);
        if inner.is_null() { Err(PyErr::fetch(py)) } else { Ok(inner) }
    }
}

/// `get(key)` of a memory over a store: the value of a plain hit, else what the tuple has for that.
///
/// # Safety
/// Called by the interpreter as the function of its definition: its lock is held, `slf` is what that
/// was bound to, and the arguments are borrowed for the time of the call.
unsafe extern "C" fn get_or_missing(slf: *mut PyObject, key: *mut PyObject) -> *mut PyObject {
    // SAFETY: as for `get`; `slf` is the tuple that `hot_get_or_missing` made.
    unsafe {
        match plain_hit(slf, key) {
            Ok(value) if value.is_null() => ffi::Py_NewRef(ffi::PyTuple_GetItem(slf, 1)),
            Ok(value) => value,
            Err(error) => {
                error.restore(Python::assume_attached());
                ptr::null_mut()
            }
        }
    }
}

/// `get` of a memory over a store, its result complete as an awaitable if it is a plain hit: for all
/// else the tuple has a function.
///
/// # Safety
/// Called by the interpreter as the function of its definition: its lock is held, `slf` is what that
/// was bound to, and the arguments are borrowed for the time of the call.
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
        let looked = names.is_null() && (count == 1 || count == 2);
        if looked {
            match plain_hit(slf, *given) {
                Ok(value) if value.is_null() => {}
                Ok(value) => return ready(value),
                Err(error) => {
                    error.restore(py);
                    return ptr::null_mut();
                }
            }
        }
        let slow = Python::attach(|py| {
            let item = |at: ffi::Py_ssize_t| Bound::from_borrowed_ptr(py, *given.offset(at));
            let looked = pyo3::types::PyBool::new(py, looked).to_owned().into_any();
            let all: Vec<_> = std::iter::once(looked).chain((0..count).map(item)).collect();
            let positional = pyo3::types::PyTuple::new(py, all)?;
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

static TIER_OR_MISSING: Definition = Definition(ffi::PyMethodDef {
    ml_name: c"get".as_ptr(),
    ml_meth: ffi::PyMethodDefPointer { PyCFunction: get_or_missing },
    ml_flags: ffi::METH_O,
    ml_doc: c"The value of a plain hit in memory.".as_ptr(),
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

/// The fastest `get` of a memory over a store, its result to be awaited: `or_else` is called for all
/// but a plain hit, with the same arguments behind one that says whether a miss was counted; `wrapper` is the class of wrapped values.
#[pyfunction]
fn hot_get_or_else<'py>(
    tier: &Bound<'py, Tier>,
    or_else: &Bound<'py, PyAny>,
    wrapper: &Bound<'py, PyType>,
) -> PyResult<Bound<'py, PyAny>> {
    let belongings = belongings(tier, or_else, wrapper)?;
    // SAFETY: the code of this definition expects a tuple of these three.
    unsafe { bound(&TIER_OR_ELSE, &belongings) }
}

/// The fastest look for a plain hit in a memory over a store: a function `get(key)`, whose result is
/// `missing` if there is none; `wrapper` is the class of wrapped values.
#[pyfunction]
fn hot_get_or_missing<'py>(
    tier: &Bound<'py, Tier>,
    missing: &Bound<'py, PyAny>,
    wrapper: &Bound<'py, PyType>,
) -> PyResult<Bound<'py, PyAny>> {
    let belongings = belongings(tier, missing, wrapper)?;
    // SAFETY: the code of this definition expects a tuple of these three.
    unsafe { bound(&TIER_OR_MISSING, &belongings) }
}

/// What a function of a memory over a store belongs to.
fn belongings<'py>(
    tier: &Bound<'py, Tier>,
    otherwise: &Bound<'py, PyAny>,
    wrapper: &Bound<'py, PyType>,
) -> PyResult<Bound<'py, PyAny>> {
    Ok((tier, otherwise, wrapper).into_pyobject(tier.py())?.into_any())
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
