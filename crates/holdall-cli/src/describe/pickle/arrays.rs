//! Whether a pickle does nothing but make arrays of numbers and texts: the calls that NumPy and joblib
//! write for them, with the arguments that they write, and no other.
//!
//! Who loads such a pickle runs NumPy's own code on numbers, whatever the pickle says. Types of objects
//! are not among them: those hold pickles again.

use super::stack::{Id, Item, Stack};

/// What such pickles name.
const NAMES: [&str; 9] = [
    "joblib.numpy_pickle.NumpyArrayWrapper",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy._core.numeric._frombuffer",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy.core.numeric._frombuffer",
    "numpy.dtype",
    "numpy.ndarray",
];
const NUMBERS: [&str; 14] =
    ["b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"];
/// Dates, and spans of time.
const TIMES: [&str; 2] = ["M8", "m8"];

/// Whether arrays are made of what has this name.
pub(super) fn is_known(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Looks at a stack.
pub(super) struct Arrays<'a> {
    pub(super) stack: &'a Stack,
    pub(super) bytes: &'a [u8],
}

impl Arrays<'_> {
    /// Whether the call that comes next, of what lies below its arguments, is one of an array.
    pub(super) fn is_call(&self, is_new_object: bool) -> bool {
        let [.., called, arguments] = self.stack.stack[..] else { return false };
        let (Item::Class(class), Item::Tuple(arguments)) =
            (self.item(called), self.item(arguments))
        else {
            return false;
        };
        let name = self.stack.names[*class].as_str();
        if is_new_object {
            return name == NAMES[0] && arguments.is_empty();
        }
        match (name.rsplit('.').next().unwrap_or_default(), &arguments[..]) {
            ("dtype", [code, is_aligned, copies]) => {
                self.text(*code).is_some_and(|code| {
                    NUMBERS.contains(&code) || TIMES.contains(&code) || letters(code).is_some()
                }) && self.is_word(*is_aligned, "False")
                    && self.is_word(*copies, "True")
            }
            ("_reconstruct", [kind, shape, code]) => {
                self.is_ndarray(*kind)
                    && matches!(self.item(*shape), Item::Tuple(shape) if shape.len() == 1)
                    && matches!(self.item(*code), Item::Bytes(1))
            }
            ("scalar", [dtype, value]) => {
                matches!(self.item(*value), Item::Bytes(length) if self.width(*dtype) == Some(*length))
            }
            ("_frombuffer", [buffer, dtype, shape, order]) => {
                let held = match self.item(*buffer) {
                    Item::Bytes(length) => Some(*length),
                    _ => None,
                };
                held.is_some() && held == self.size(*dtype, *shape) && self.text(*order).is_some()
            }
            _ => false,
        }
    }

    /// Whether the state on top is that of a type or an array, which lies below it.
    pub(super) fn is_state(&self) -> bool {
        let [.., of, state] = self.stack.stack[..] else { return false };
        let Item::Call(class, arguments) = self.item(of) else { return false };
        match (self.stack.names[*class].rsplit('.').next(), self.item(state)) {
            (Some("dtype"), Item::Tuple(state)) => self.is_type(arguments, state),
            (Some("_reconstruct"), Item::Tuple(state)) => match state[..] {
                [version, shape, dtype, is_fortran, bytes] => {
                    let Item::Bytes(held) = self.item(bytes) else { return false };
                    matches!(self.item(version), Item::Int(1))
                        && matches!(self.item(is_fortran), Item::Word("True" | "False"))
                        && self.size(dtype, shape) == Some(*held)
                }
                _ => false,
            },
            (Some("NumpyArrayWrapper"), Item::Many("dict", count, pairs)) => {
                *count * 2 == pairs.len() && self.is_wrapper(pairs)
            }
            _ => false,
        }
    }

    /// What follows the state of a type of dates or spans of time: no notes, and the unit with its
    /// factors, `(None, (b"ns", 1, 1, 1))`; NumPy 1 has an empty dict for the notes.
    fn is_unit(&self, id: Id) -> bool {
        let Item::Tuple(parts) = self.item(id) else { return false };
        let [notes, unit] = parts[..] else { return false };
        let (Item::Many("dict", 0, _) | Item::Word("None"), Item::Tuple(unit)) =
            (self.item(notes), self.item(unit))
        else {
            return false;
        };
        let [name, factors @ ..] = &unit[..] else { return false };
        let is_factor = |id: &Id| matches!(self.item(*id), Item::Int(1..=0x7fff_ffff));
        matches!(self.item(*name), Item::Bytes(1..=7))
            && factors.len() == 3
            && factors.iter().all(is_factor)
    }

    /// Version, order of bytes, no parts, no fields, width, alignment, flags; numbers have -1, -1, 0.
    fn is_type(&self, arguments: &[Id], state: &[Id]) -> bool {
        let [version, order, parts, names, fields, width, alignment, flags, ref unit @ ..] =
            state[..]
        else {
            return false;
        };
        let int = |id| match self.item(id) {
            Item::Int(value) => Some(*value),
            _ => None,
        };
        let code = arguments.first().and_then(|id| self.text(*id)).unwrap_or_default();
        let expected = match letters(code) {
            Some((bytes, alignment, flags)) => (Some(bytes), Some(alignment), Some(flags)),
            None => (Some(-1), Some(-1), Some(0)),
        };
        arguments.len() == 3
            && match (code, unit) {
                ("M8" | "m8", [unit]) => int(version) == Some(4) && self.is_unit(*unit),
                (_, unit) => int(version) == Some(3) && unit.is_empty() && !TIMES.contains(&code),
            }
            && self.text(order).is_some_and(|order| ["<", ">", "|", "="].contains(&order))
            && [parts, names, fields].iter().all(|id| self.is_word(*id, "None"))
            && (int(width), int(alignment), int(flags)) == expected
    }

    /// What joblib notes of an array, the bytes of which follow.
    fn is_wrapper(&self, pairs: &[Id]) -> bool {
        let mut found = Vec::new();
        let (mut dtype, mut shape) = (None, None);
        for pair in pairs.chunks_exact(2) {
            let Some(name) = self.text(pair[0]) else { return false };
            let value = pair[1];
            let is_good = match name {
                "subclass" => self.is_ndarray(value),
                "shape" => shape.replace(value).is_none(),
                "order" => self.text(value).is_some(),
                "dtype" => dtype.replace(value).is_none(),
                "allow_mmap" => matches!(self.item(value), Item::Word("True" | "False")),
                "numpy_array_alignment_bytes" => {
                    matches!(self.item(value), Item::Int(_) | Item::Word("None"))
                }
                _ => false,
            };
            if !is_good || found.contains(&name) {
                return false;
            }
            found.push(name);
        }
        let size = dtype.zip(shape).and_then(|(dtype, shape)| self.size(dtype, shape));
        found.contains(&"subclass") && size.is_some()
    }

    fn is_ndarray(&self, id: Id) -> bool {
        let Item::Class(class) = self.item(id) else { return false };
        self.stack.names[*class] == "numpy.ndarray"
    }

    fn is_word(&self, id: Id, word: &str) -> bool {
        matches!(self.item(id), Item::Word(found) if *found == word)
    }

    /// Bytes of one member of a type; every type that was made here is one of numbers or texts.
    fn width(&self, dtype: Id) -> Option<usize> {
        let Item::Call(class, arguments) = self.item(dtype) else { return None };
        if self.stack.names[*class] != "numpy.dtype" {
            return None;
        }
        let code = self.text(*arguments.first()?)?;
        match letters(code) {
            Some((bytes, ..)) => usize::try_from(bytes).ok(),
            None => code.get(1..)?.parse().ok(),
        }
    }

    /// Bytes of an array.
    fn size(&self, dtype: Id, shape: Id) -> Option<usize> {
        self.width(dtype)?.checked_mul(self.stack.shape(shape)?.1)
    }

    fn item(&self, id: Id) -> &Item {
        &self.stack.items[id]
    }

    fn text(&self, id: Id) -> Option<&str> {
        self.stack.text(id, self.bytes)
    }
}

/// Width, alignment and flags of a type of texts, `U5` or `S5`.
fn letters(code: &str) -> Option<(i64, i64, i64)> {
    let (kind, length) = code.split_at_checked(1)?;
    let is_plain = length.bytes().all(|byte| byte.is_ascii_digit()) && !length.starts_with('0');
    let length: i64 = length.parse().ok().filter(|_| is_plain)?;
    match kind {
        "U" => Some((length.checked_mul(4)?, 4, 8)),
        "S" => Some((length, 1, 0)),
        _ => None,
    }
}
