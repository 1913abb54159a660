//! Pickles of plain data: dicts, lists, tuples, texts, bytes, numbers and `None`, nothing else.
//!
//! Python's own pickler keeps a table of every object that it has seen. Its growth, and its end,
//! hold the interpreter lock for as long as it takes to move or release millions of entries. But an
//! object that only its container refers to cannot come a second time, so most of them need no
//! entry here, and no opcode in the file; the rest are spread over many small tables. What is
//! written is an ordinary pickle of protocol 5.
#![allow(unsafe_code, reason = "reference counts, and dicts that may change, are read through C")]

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use crate::memory;
use crate::streams::let_others_run;

/// Bytes of a frame, after which others may have the interpreter lock.
const FRAME: usize = 64 * 1_024;
/// Bytes before a frame that say how long it is.
const HEAD: usize = 9;
/// How many items one opcode adds, as in Python's pickler.
const BATCH: usize = 1_000;
/// Deeper ones are left to Python's pickler, which knows how deep it may go.
const DEPTH: usize = 200;
/// Tables of the objects that may come again.
const TABLES: usize = 256;
/// How many objects are let go of in one step.
const RELEASED: usize = 10_000;

mod opcode {
    pub(super) const PROTO_5: &[u8] = b"\x80\x05";
    pub(super) const STOP: u8 = b'.';
    pub(super) const FRAME: u8 = 0x95;
    pub(super) const MEMOIZE: u8 = 0x94;
    pub(super) const BINGET: u8 = b'h';
    pub(super) const LONG_BINGET: u8 = b'j';
    pub(super) const MARK: u8 = b'(';
    pub(super) const POP: u8 = b'0';
    pub(super) const POP_MARK: u8 = b'1';
    pub(super) const NONE: u8 = b'N';
    pub(super) const TRUE: u8 = 0x88;
    pub(super) const FALSE: u8 = 0x89;
    pub(super) const BININT: u8 = b'J';
    pub(super) const BININT1: u8 = b'K';
    pub(super) const BININT2: u8 = b'M';
    pub(super) const LONG1: u8 = 0x8a;
    pub(super) const LONG4: u8 = 0x8b;
    pub(super) const BINFLOAT: u8 = b'G';
    /// With lengths of one, four and eight bytes.
    pub(super) const TEXT: [u8; 3] = [0x8c, b'X', 0x8d];
    pub(super) const BYTES: [u8; 3] = [b'C', b'B', 0x8e];
    pub(super) const EMPTY_LIST: u8 = b']';
    pub(super) const APPEND: u8 = b'a';
    pub(super) const APPENDS: u8 = b'e';
    pub(super) const EMPTY_DICT: u8 = b'}';
    pub(super) const SETITEM: u8 = b's';
    pub(super) const SETITEMS: u8 = b'u';
    pub(super) const EMPTY_TUPLE: u8 = b')';
    /// Of one, two and three items.
    pub(super) const SHORT_TUPLE: [u8; 3] = [0x85, 0x86, 0x87];
    pub(super) const TUPLE: u8 = b't';
}

/// Why there is no pickle.
enum Stop {
    /// There is something else in it.
    NotPlain,
    Raised(PyErr),
}

impl From<PyErr> for Stop {
    fn from(error: PyErr) -> Self {
        Self::Raised(error)
    }
}

type Step<T = ()> = Result<T, Stop>;

/// A pickle of plain data, in parts; `None` if there is anything else in it. Other threads run at
/// every frame.
#[pyfunction]
pub(crate) fn pickle_plain<'py>(
    py: Python<'py>,
    value: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyList>>> {
    let mut pickler = Pickler::new(py);
    pickler.frame.extend_from_slice(opcode::PROTO_5);
    pickler.commit(false);
    let done = pickler.save(value, true, 0).map(|()| {
        pickler.frame.push(opcode::STOP);
        pickler.commit(true);
    });
    let parts = std::mem::take(&mut pickler.parts);
    pickler.release();
    match done {
        Ok(()) => PyList::new(py, parts).map(Some),
        Err(Stop::NotPlain) => Ok(None),
        Err(Stop::Raised(error)) => Err(error),
    }
}

/// Addresses need little to be spread.
#[derive(Default)]
struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_usize(&mut self, address: usize) {
        self.0 = (address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
}

type Table = HashMap<usize, u32, BuildHasherDefault<AddressHasher>>;

struct Pickler<'py> {
    py: Python<'py>,
    parts: Vec<Bound<'py, PyBytes>>,
    /// What was written since, after room for a head.
    frame: Vec<u8>,
    /// The numbers of objects that may come again, by their addresses. Many small tables: each
    /// grows in a moment.
    memo: Vec<Table>,
    /// Those objects, so that nobody else gets their addresses.
    kept: Vec<Bound<'py, PyAny>>,
}

impl<'py> Pickler<'py> {
    fn new(py: Python<'py>) -> Self {
        let memo = (0..TABLES).map(|_| Table::default()).collect();
        Self { py, parts: Vec::new(), frame: vec![0; HEAD], memo, kept: Vec::new() }
    }

    /// Ends the frame, and lets others have the interpreter lock.
    fn commit(&mut self, framed: bool) {
        if self.frame.len() > HEAD {
            if framed {
                let length = (self.frame.len() - HEAD) as u64;
                self.frame[0] = opcode::FRAME;
                self.frame[1..HEAD].copy_from_slice(&length.to_le_bytes());
            }
            let from = if framed { 0 } else { HEAD };
            self.parts.push(PyBytes::new(self.py, &self.frame[from..]));
            self.frame.truncate(HEAD);
        }
        let_others_run(self.py);
    }

    /// Lets go of the objects step by step.
    fn release(mut self) {
        while !self.kept.is_empty() {
            self.kept.truncate(self.kept.len().saturating_sub(RELEASED));
            let_others_run(self.py);
        }
        for mut table in self.memo.drain(..) {
            table.clear();
        }
    }

    /// Writes an object. `may_repeat`: something beside its container may refer to it.
    fn save(&mut self, value: &Bound<'py, PyAny>, may_repeat: bool, depth: usize) -> Step {
        if self.frame.len() >= FRAME {
            self.commit(true);
        }
        if value.is_exact_instance_of::<PyString>() {
            return self.again_or(value, may_repeat, |this| this.text(value));
        }
        if value.is_exact_instance_of::<PyInt>() {
            return self.int(value);
        }
        if value.is_exact_instance_of::<PyDict>() || value.is_exact_instance_of::<PyList>() {
            if may_repeat && self.again(value) {
                return Ok(());
            }
            return self.container(value, may_repeat, depth);
        }
        if value.is_exact_instance_of::<PyTuple>() {
            if may_repeat && self.again(value) {
                return Ok(());
            }
            return self.tuple(value, may_repeat, depth);
        }
        if value.is_none() {
            self.frame.push(opcode::NONE);
        } else if value.is_exact_instance_of::<PyBool>() {
            self.frame.push(if value.is_truthy()? { opcode::TRUE } else { opcode::FALSE });
        } else if let Ok(float) = value.cast_exact::<PyFloat>() {
            self.frame.push(opcode::BINFLOAT);
            self.frame.extend_from_slice(&float.value().to_be_bytes());
        } else if let Ok(bytes) = value.cast_exact::<PyBytes>() {
            return self
                .again_or(value, may_repeat, |this| this.counted(opcode::BYTES, bytes.as_bytes()));
        } else {
            return Err(Stop::NotPlain);
        }
        Ok(())
    }

    /// Writes where an object is, if it was written before.
    fn again(&mut self, value: &Bound<'py, PyAny>) -> bool {
        let address = value.as_ptr() as usize;
        let Some(&number) = self.table(address).get(&address) else { return false };
        match u8::try_from(number) {
            Ok(number) => self.frame.extend_from_slice(&[opcode::BINGET, number]),
            Err(_) => {
                self.frame.push(opcode::LONG_BINGET);
                self.frame.extend_from_slice(&number.to_le_bytes());
            }
        }
        true
    }

    fn table(&mut self, address: usize) -> &mut Table {
        // Other bits than those by which a table spreads them.
        let spread = (address as u64 >> 4).wrapping_mul(0xd6e8_feb8_6659_fd93) >> 56;
        &mut self.memo[spread as usize % TABLES]
    }

    /// Gives an object that was just written a number.
    fn remember(&mut self, value: &Bound<'py, PyAny>) -> Step {
        let number = u32::try_from(self.kept.len()).map_err(|_| Stop::NotPlain)?;
        let address = value.as_ptr() as usize;
        if let Entry::Vacant(entry) = self.table(address).entry(address) {
            entry.insert(number);
            self.kept.push(value.clone());
            self.frame.push(opcode::MEMOIZE);
        }
        Ok(())
    }

    fn again_or(
        &mut self,
        value: &Bound<'py, PyAny>,
        may_repeat: bool,
        write: impl FnOnce(&mut Self) -> Step,
    ) -> Step {
        if !may_repeat {
            return write(self);
        }
        if self.again(value) {
            return Ok(());
        }
        write(self)?;
        self.remember(value)
    }

    fn text(&mut self, value: &Bound<'py, PyAny>) -> Step {
        // SAFETY: an exact str. A new object, so that the text does not keep a copy of itself.
        let bytes = unsafe {
            let bytes = ffi::PyUnicode_AsUTF8String(value.as_ptr());
            Bound::from_owned_ptr_or_opt(self.py, bytes)
        };
        let Some(bytes) = bytes else {
            // Lone surrogates, for which Python's pickler has a way.
            drop(PyErr::take(self.py));
            return Err(Stop::NotPlain);
        };
        let bytes = bytes.cast_into::<PyBytes>().map_err(|_| Stop::NotPlain)?;
        self.counted(opcode::TEXT, bytes.as_bytes())
    }

    /// Bytes with their length before them; long ones outside of frames.
    fn counted(&mut self, opcodes: [u8; 3], bytes: &[u8]) -> Step {
        let length = bytes.len();
        let is_long = length >= FRAME;
        if is_long {
            self.commit(true);
        }
        if let Ok(length) = u8::try_from(length) {
            self.frame.extend_from_slice(&[opcodes[0], length]);
        } else if let Ok(length) = u32::try_from(length) {
            self.frame.push(opcodes[1]);
            self.frame.extend_from_slice(&length.to_le_bytes());
        } else {
            self.frame.push(opcodes[2]);
            self.frame.extend_from_slice(&(length as u64).to_le_bytes());
        }
        if is_long {
            self.commit(false);
            self.parts.push(memory::bytes(self.py, bytes)?);
        } else {
            self.frame.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn int(&mut self, value: &Bound<'py, PyAny>) -> Step {
        let mut is_long = 0;
        // SAFETY: an exact int; nothing is raised for one that is too long.
        let number = unsafe { ffi::PyLong_AsLongLongAndOverflow(value.as_ptr(), &mut is_long) };
        if is_long != 0 {
            let bits: usize = value.call_method0("bit_length")?.extract()?;
            let length = bits / 8 + 1;
            let options = PyDict::new(self.py);
            options.set_item("signed", true)?;
            let bytes = value.call_method("to_bytes", (length, "little"), Some(&options))?;
            let bytes = bytes.cast::<PyBytes>().map_err(|_| Stop::NotPlain)?.as_bytes();
            if let Ok(length) = u8::try_from(length) {
                self.frame.extend_from_slice(&[opcode::LONG1, length]);
            } else {
                let length = i32::try_from(length).map_err(|_| Stop::NotPlain)?;
                self.frame.push(opcode::LONG4);
                self.frame.extend_from_slice(&length.to_le_bytes());
            }
            self.frame.extend_from_slice(bytes);
        } else if let Ok(number) = u8::try_from(number) {
            self.frame.extend_from_slice(&[opcode::BININT1, number]);
        } else if let Ok(number) = u16::try_from(number) {
            self.frame.push(opcode::BININT2);
            self.frame.extend_from_slice(&number.to_le_bytes());
        } else if let Ok(number) = i32::try_from(number) {
            self.frame.push(opcode::BININT);
            self.frame.extend_from_slice(&number.to_le_bytes());
        } else {
            let bytes = number.to_le_bytes();
            // With room for the sign.
            let bits = 65 - (number ^ (number >> 63)).leading_zeros() as usize;
            let length = bits.div_ceil(8);
            self.frame.extend_from_slice(&[opcode::LONG1, length as u8]);
            self.frame.extend_from_slice(&bytes[..length]);
        }
        Ok(())
    }

    /// A list or a dict.
    fn container(&mut self, value: &Bound<'py, PyAny>, may_repeat: bool, depth: usize) -> Step {
        if depth >= DEPTH {
            return Err(Stop::NotPlain);
        }
        let list = value.cast_exact::<PyList>();
        self.frame.push(if list.is_ok() { opcode::EMPTY_LIST } else { opcode::EMPTY_DICT });
        if may_repeat {
            // Before its content, which may lead back to it.
            self.remember(value)?;
        }
        match (list, value.cast_exact::<PyDict>()) {
            (Ok(list), _) => self.items(list, depth + 1),
            (_, Ok(dict)) => self.pairs(dict, depth + 1),
            _ => Err(Stop::NotPlain),
        }
    }

    fn items(&mut self, list: &Bound<'py, PyList>, depth: usize) -> Step {
        let length = list.len();
        let mut at = 0;
        while at < length {
            let end = length.min(at + BATCH);
            let is_one = end - at == 1;
            if !is_one {
                self.frame.push(opcode::MARK);
            }
            for index in at..end {
                // SAFETY: an exact list. The item is borrowed from it; nothing runs until there is
                // a reference of our own.
                let item = unsafe {
                    let item = ffi::PyList_GetItem(list.as_ptr(), index as ffi::Py_ssize_t);
                    Bound::from_borrowed_ptr_or_opt(self.py, item)
                };
                let Some(item) = item else {
                    drop(PyErr::take(self.py));
                    return Err(changed("list").into());
                };
                let may_repeat = counted_before(item.as_ptr());
                self.save(&item, may_repeat, depth)?;
            }
            self.frame.push(if is_one { opcode::APPEND } else { opcode::APPENDS });
            at = end;
        }
        Ok(())
    }

    fn pairs(&mut self, dict: &Bound<'py, PyDict>, depth: usize) -> Step {
        let length = dict.len();
        let mut position = 0;
        let mut at = 0;
        while at < length {
            let end = length.min(at + BATCH);
            let is_one = end - at == 1;
            if !is_one {
                self.frame.push(opcode::MARK);
            }
            for _ in at..end {
                let (mut key, mut item) = (std::ptr::null_mut(), std::ptr::null_mut());
                // SAFETY: an exact dict; a position that is out of date is compared with its length.
                // Both objects are borrowed from it, and nothing runs until there are references of
                // our own.
                let pair = unsafe {
                    if ffi::PyDict_Next(dict.as_ptr(), &mut position, &mut key, &mut item) == 0 {
                        None
                    } else {
                        let own = |object| Bound::from_borrowed_ptr(self.py, object);
                        Some((own(key), own(item)))
                    }
                };
                let Some((key, item)) = pair else {
                    return Err(changed("dictionary").into());
                };
                let key_may_repeat = counted_before(key.as_ptr());
                let item_may_repeat = counted_before(item.as_ptr());
                self.save(&key, key_may_repeat, depth)?;
                self.save(&item, item_may_repeat, depth)?;
                if dict.len() != length {
                    return Err(changed("dictionary").into());
                }
            }
            self.frame.push(if is_one { opcode::SETITEM } else { opcode::SETITEMS });
            at = end;
        }
        Ok(())
    }

    fn tuple(&mut self, value: &Bound<'py, PyAny>, may_repeat: bool, depth: usize) -> Step {
        if depth >= DEPTH {
            return Err(Stop::NotPlain);
        }
        let tuple = value.cast_exact::<PyTuple>().map_err(|_| Stop::NotPlain)?;
        let length = tuple.len();
        if length == 0 {
            self.frame.push(opcode::EMPTY_TUPLE);
            return Ok(());
        }
        if length > 3 {
            self.frame.push(opcode::MARK);
        }
        for index in 0..length {
            let item = tuple.get_item(index)?;
            let may_repeat = counted_before(item.as_ptr());
            self.save(&item, may_repeat, depth + 1)?;
        }
        if may_repeat
            && self.table(value.as_ptr() as usize).contains_key(&(value.as_ptr() as usize))
        {
            // Its content has led back to it, and it is written already.
            if length > 3 {
                self.frame.push(opcode::POP_MARK);
            } else {
                self.frame.extend(std::iter::repeat_n(opcode::POP, length));
            }
            self.again(value);
            return Ok(());
        }
        self.frame.push(opcode::SHORT_TUPLE.get(length - 1).copied().unwrap_or(opcode::TUPLE));
        if may_repeat {
            self.remember(value)?;
        }
        Ok(())
    }
}

/// Whether anything refers to an object but its container and the one reference of ours.
fn counted_before(object: *mut ffi::PyObject) -> bool {
    // SAFETY: the caller has a reference, and the interpreter lock.
    unsafe { ffi::Py_REFCNT(object) > 2 }
}

fn changed(what: &str) -> PyErr {
    PyRuntimeError::new_err(format!("{what} changed size during iteration"))
}
