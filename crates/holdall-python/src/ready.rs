//! The awaitable of a hit: a type that is its own completed awaitable.
//!
//! `await` takes it through `am_send`, without a frame, a future or a `StopIteration`. From CPython
//! 3.12 on `await` does not look for `am_send`, so it is not used there (docs/decisions/0007).
#![allow(unsafe_code, reason = "PyO3 has no `am_send`")]

use std::ffi::CStr;
use std::os::raw::{c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::PyType;

/// An awaitable that is complete; it may be awaited once.
#[repr(C)]
struct Ready {
    head: PyObject,
    /// Owned; null once it was given out.
    value: *mut PyObject,
}

static READY: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(ptr::null_mut());

/// The memory of an awaitable that is gone, for the next one; null if there is none. Most live for
/// the time of one `await`, so one block serves them all. It is taken and left under the
/// interpreter lock, or else by a locked instruction.
static BLOCK: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

/// Puts a block in the place of the spare one, which it returns.
fn exchange(block: *mut c_void) -> *mut c_void {
    if cfg!(Py_GIL_DISABLED) {
        return BLOCK.swap(block, Ordering::AcqRel);
    }
    let spare = BLOCK.load(Ordering::Relaxed);
    BLOCK.store(block, Ordering::Relaxed);
    spare
}

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

/// # Safety
/// A slot or method of the type, called by the interpreter: its lock is held, `slf` is a [`Ready`].
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

/// # Safety
/// A slot or method of the type, called by the interpreter: its lock is held, `slf` is a [`Ready`].
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

/// # Safety
/// A slot or method of the type, called by the interpreter: its lock is held, `slf` is a [`Ready`].
unsafe extern "C" fn ready_itself(slf: *mut PyObject) -> *mut PyObject {
    // SAFETY: a new reference to an object that the caller has.
    unsafe { ffi::Py_NewRef(slf) }
}

/// # Safety
/// A slot or method of the type, called by the interpreter: its lock is held, `slf` is a [`Ready`].
unsafe extern "C" fn ready_send_method(slf: *mut PyObject, _sent: *mut PyObject) -> *mut PyObject {
    // SAFETY: a method of the type, called with the lock held.
    unsafe { ready_next(slf) }
}

/// # Safety
/// A slot or method of the type, called by the interpreter: its lock is held, `slf` is a [`Ready`].
unsafe extern "C" fn ready_close(slf: *mut PyObject, _: *mut PyObject) -> *mut PyObject {
    // SAFETY: as above; the value is ours to give back, and None lives for ever.
    unsafe {
        let value = ptr::replace(&raw mut (*slf.cast::<Ready>()).value, ptr::null_mut());
        ffi::Py_XDECREF(value);
        ffi::Py_NewRef(ffi::Py_None())
    }
}

/// # Safety
/// A slot or method of the type, called by the interpreter: its lock is held, `slf` is a [`Ready`].
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

/// # Safety
/// A slot or method of the type, called by the interpreter: its lock is held, `slf` is a [`Ready`].
unsafe extern "C" fn ready_dealloc(slf: *mut PyObject) {
    // SAFETY: the last reference is gone, so the memory is ours. Objects of heap types hold their
    // type. The end of the value may run anything, so it comes before the block is given away.
    unsafe {
        let kind = ffi::Py_TYPE(slf);
        ffi::Py_XDECREF((*slf.cast::<Ready>()).value);
        ffi::PyObject_Free(exchange(slf.cast()));
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

/// A complete awaitable with this value, of which it takes over the reference; null with an
/// exception if there is no memory.
///
/// # Safety
/// The interpreter lock is held, and the reference is the caller's.
#[inline]
pub(crate) unsafe fn ready(value: *mut PyObject) -> *mut PyObject {
    let kind = READY.load(Ordering::Acquire);
    // SAFETY: the type was made with the module, whose functions alone come here; the memory came
    // from `PyObject_Malloc`, is as long as a `Ready`, and nobody else's. `PyObject_Init` makes an
    // object with one reference of it, and counts it for the type.
    unsafe {
        let mut block = exchange(ptr::null_mut());
        if block.is_null() {
            block = ffi::PyObject_Malloc(size_of::<Ready>());
            if block.is_null() {
                ffi::Py_DECREF(value);
                return ffi::PyErr_NoMemory();
            }
        }
        let made = ffi::PyObject_Init(block.cast(), kind);
        (*made.cast::<Ready>()).value = value;
        made
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
    Ok(())
}
