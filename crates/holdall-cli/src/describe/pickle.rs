//! What a pickle holds, read as data: nothing is imported and nothing is called.
//!
//! The opcodes are those of CPython's `Lib/pickletools.py`. A stack of descriptions takes the place of
//! objects: constants, containers by their lengths, calls by the name of what would be called.

use std::collections::BTreeSet;

use holdall::Format;

use super::npy;
use arrays::Arrays;
pub(crate) use literal::float;
use stack::{Item, Stack};

mod arrays;
mod literal;
mod stack;

/// An array inside of a pickle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Array {
    pub(crate) dtype: String,
    pub(crate) shape: String,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Pickle {
    pub(crate) protocol: u8,
    /// The object as a whole, a phrase.
    pub(crate) holds: String,
    /// What loading it would import, sorted.
    pub(crate) classes: BTreeSet<String>,
    pub(crate) arrays: Vec<Array>,
    /// Why the end was not reached, a clause.
    pub(crate) stopped: Option<&'static str>,
    /// It has an opcode that looks up or calls something, whatever that is.
    calls: bool,
    /// The object as Python writes it, if it is a tuple or the like of plain values.
    literal: Option<String>,
    /// It has one that is not written for arrays of numbers or texts.
    calls_others: bool,
    /// It has arrays whose bytes lie between the opcodes, as joblib alone reads them.
    is_of_joblib: bool,
    /// There are bytes behind its end.
    has_rest: bool,
}

type Read<T> = Result<T, &'static str>;

const CUT: &str = "it is cut off";

impl Pickle {
    /// Whether it was read to its end and is data alone: no class is looked up, nothing is called
    /// and nothing comes from outside, so that loading it cannot run code.
    pub(crate) fn is_plain(&self) -> bool {
        self.stopped.is_none() && !self.has_rest && !self.calls && self.classes.is_empty()
    }

    /// What keeps it from being data: the classes that no array is made of, if there are any.
    pub(crate) fn strange(&self) -> Vec<&str> {
        let all = self.classes.iter().map(String::as_str);
        let strange: Vec<_> = all.clone().filter(|class| !arrays::is_known(class)).collect();
        match strange.is_empty() && self.stopped.is_none() {
            true => vec!["objects in NumPy arrays"],
            false => strange,
        }
    }

    /// Whether only joblib can read it.
    pub(crate) fn is_of_joblib(&self) -> bool {
        self.is_of_joblib
    }

    /// A tuple of plain values, or one of them, as Python's `str` writes it.
    pub(crate) fn literal(&self) -> Option<&str> {
        self.literal.as_deref()
    }

    /// Whether it is data alone, or data and arrays of numbers and texts as NumPy and joblib write
    /// them: loading it runs nothing but NumPy's own code for arrays.
    pub(crate) fn is_data(&self, format: Format) -> bool {
        let is_whole = self.stopped.is_none() && !self.has_rest;
        // Who reads no arrays of joblib takes their bytes for opcodes.
        let is_readable = !self.is_of_joblib || format == Format::Joblib;
        self.is_plain() || (is_whole && is_readable && !self.calls_others)
    }

    /// Why nobody can load it, a clause. What joblib puts between the opcodes may be more than is
    /// known here, so of that nothing is said.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        let is_joblibs = |class: &String| class.starts_with("joblib.");
        self.stopped.filter(|_| !self.classes.iter().any(is_joblibs))
    }

    /// Reads as far as it can be read.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let mut reader =
            Reader { bytes, at: 0, frame: 0, stack: Stack::default(), found: Self::default() };
        let stopped = reader.run().err();
        let has_rest = reader.at < bytes.len();
        let Reader { stack, mut found, .. } = reader;
        found.has_rest = has_rest;
        found.holds = stack.describe(bytes);
        found.stopped = stopped;
        // An older protocol writes texts with escapes, which are not read here.
        found.literal = match found.protocol >= 2 && found.is_plain() {
            true => literal::of(&stack, bytes),
            false => None,
        };
        found
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the last frame ends.
    frame: usize,
    stack: Stack,
    found: Pickle,
}

impl<'a> Reader<'a> {
    fn run(&mut self) -> Read<()> {
        if matches!(self.bytes.first(), None | Some(0x78 | 0x1f | 0x42 | 0xfd | 0x04)) {
            return Err("it is compressed by joblib, or no pickle");
        }
        loop {
            let opcode = self.number(1)?;
            if opcode == u64::from(b'.') {
                return self.stack.end();
            }
            let (opcode, frame) = (u8::try_from(opcode).unwrap_or_default(), self.frame);
            let is_inside = self.at <= frame;
            self.found.calls_others |= self.calls_others(opcode);
            self.step(opcode)?;
            // Readers do not agree on what comes next where something goes beyond its frame.
            self.found.calls_others |= is_inside && frame == self.frame && self.at > frame;
        }
    }

    /// Whether it calls or looks up something that no array is made of.
    fn calls_others(&self, opcode: u8) -> bool {
        let arrays = Arrays { stack: &self.stack, bytes: self.bytes };
        match opcode {
            b'R' => !arrays.is_call(false),
            0x81 => !arrays.is_call(true),
            b'b' => !arrays.is_state(),
            b'i' | b'o' | b'P' | b'Q' | 0x82..=0x84 | 0x92 | 0x97 => true,
            // A frame within a frame.
            0x95 => self.at <= self.frame,
            _ => false,
        }
    }

    fn step(&mut self, opcode: u8) -> Read<()> {
        let stack = &mut self.stack;
        let calls = matches!(
            opcode,
            b'c' | b'i' | b'o' | b'R' | b'b' | b'P' | b'Q' | 0x81..=0x84 | 0x92 | 0x93 | 0x97
        );
        self.found.calls |= calls;
        match opcode {
            0x80 => self.found.protocol = self.number(1)? as u8,
            0x95 => {
                let length = usize::try_from(self.number(8)?).map_err(|_| CUT)?;
                self.frame = self.at.checked_add(length).ok_or(CUT)?;
            }
            0x98 => {}
            b'(' => stack.mark(),
            b'0' => drop(stack.pop()?),
            b'1' => drop(stack.pop_mark()?),
            b'2' => stack.duplicate()?,
            // Constants.
            b'N' => stack.push(Item::Word("None")),
            0x88 => stack.push(Item::Word("True")),
            0x89 => stack.push(Item::Word("False")),
            b'K' => self.integer(1)?,
            b'M' => self.integer(2)?,
            b'J' => {
                let value = self.number(4)? as u32 as i32;
                self.stack.push(Item::Int(value.into()));
            }
            0x8a => self.long(1)?,
            0x8b => self.long(4)?,
            b'G' => {
                let value = f64::from_bits(self.number(8)?.swap_bytes());
                self.stack.push(Item::Float(value));
            }
            b'I' | b'L' | b'F' => {
                let line = self.line()?;
                self.stack.push(number_of(line));
            }
            b'S' | b'V' => {
                let (from, to) = self.span_of_line()?;
                self.stack.push(Item::Text(from, to));
            }
            0x8c => self.text(1)?,
            b'X' => self.text(4)?,
            0x8d => self.text(8)?,
            b'U' | b'C' => self.binary(1)?,
            b'T' | b'B' => self.binary(4)?,
            0x8e | 0x96 => self.binary(8)?,
            0x97 => stack.push(Item::Word("a buffer outside of the pickle")),
            b'P' => {
                self.line()?;
                self.stack.push(Item::Word("a persistent object"));
            }
            b'Q' => stack.replace(1, Item::Word("a persistent object"))?,
            // Containers.
            b']' | 0x8f | b'}' => stack.push(Item::container(opcode)),
            b')' => stack.push(Item::Tuple(Vec::new())),
            b'l' | b'd' | 0x91 => stack.container_of_mark(opcode)?,
            b't' => stack.tuple_of_mark()?,
            0x85 => stack.tuple(1)?,
            0x86 => stack.tuple(2)?,
            0x87 => stack.tuple(3)?,
            b'a' => stack.extend(1)?,
            b's' => stack.extend(2)?,
            b'e' | b'u' | 0x90 => stack.extend_by_mark()?,
            // The memo.
            b'p' => {
                let number =
                    self.line()?.parse().map_err(|_| "a number of the memo is no number")?;
                self.stack.memoize(Some(number))?;
            }
            b'q' | b'r' => {
                let number = self.number(if opcode == b'q' { 1 } else { 4 })?;
                self.stack.memoize(Some(number))?;
            }
            0x94 => stack.memoize(None)?,
            b'g' => {
                let number =
                    self.line()?.parse().map_err(|_| "a number of the memo is no number")?;
                self.stack.recall(number)?;
            }
            b'h' | b'j' => {
                let number = self.number(if opcode == b'h' { 1 } else { 4 })?;
                self.stack.recall(number)?;
            }
            // Classes and calls.
            b'c' | b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                let class = format!("{module}.{name}");
                if opcode == b'i' {
                    self.stack.pop_mark()?;
                }
                self.class(class, opcode == b'i');
            }
            0x93 => {
                let name = self.stack.pop_text(self.bytes)?;
                let module = self.stack.pop_text(self.bytes)?;
                self.class(format!("{module}.{name}"), false);
            }
            0x82..=0x84 => {
                self.take(1 << (opcode - 0x82))?;
                self.class("(an extension code)".into(), false);
            }
            b'o' => self.stack.object_of_mark()?,
            b'R' | 0x81 => self.call(2)?,
            0x92 => self.call(3)?,
            b'b' => self.build()?,
            _ => return Err("it has an opcode that no pickle has"),
        }
        Ok(())
    }

    fn class(&mut self, name: String, called: bool) {
        self.found.calls_others |= !arrays::is_known(&name);
        self.found.classes.insert(name.clone());
        let class = self.stack.name(name);
        self.stack.push(if called { Item::Call(class, Vec::new()) } else { Item::Class(class) });
    }

    /// A call, or a new object: what is called stands below its arguments.
    fn call(&mut self, items: usize) -> Read<()> {
        self.stack.call(items)?;
        if let Some((dtype, shape)) = self.stack.array_of_call(self.bytes) {
            self.found.arrays.push(Array { dtype: npy::dtype(&dtype), shape });
        }
        Ok(())
    }

    /// An object is given its state. One of joblib's arrays has its bytes right behind that.
    fn build(&mut self) -> Read<()> {
        let state = self.stack.pop()?;
        let Some(array) = self.stack.array_of_state(state, self.bytes) else {
            return self.stack.keep_state(state);
        };
        let (dtype, shape) = (npy::dtype(&array.dtype), array.shape);
        self.found.arrays.push(Array { dtype, shape });
        if array.is_of_joblib {
            self.found.is_of_joblib = true;
            // joblib reads them from where the frame ends.
            self.found.calls_others |= self.at < self.frame;
            if array.is_aligned {
                let padding = self.number(1)? as usize;
                self.take(padding)?;
            }
            match array.bytes {
                Some(bytes) => drop(self.take(bytes)?),
                None => return Err("it goes on with an array of objects"),
            }
            self.frame = self.at;
        }
        self.stack.keep_state(state)
    }

    fn integer(&mut self, bytes: usize) -> Read<()> {
        let value = self.number(bytes)?;
        self.stack.push(Item::Int(value as i64));
        Ok(())
    }

    fn long(&mut self, width: usize) -> Read<()> {
        let length = self.number(width)? as usize;
        let bytes = self.take(length)?;
        let item = match bytes.len() {
            0..=8 => {
                let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
                let mut wide = [if negative { 0xff } else { 0 }; 8];
                wide[..bytes.len()].copy_from_slice(bytes);
                Item::Int(i64::from_le_bytes(wide))
            }
            _ => Item::Word("a long integer"),
        };
        self.stack.push(item);
        Ok(())
    }

    fn text(&mut self, width: usize) -> Read<()> {
        let length = self.number(width)? as usize;
        let from = self.at;
        self.take(length)?;
        self.stack.push(Item::Text(from, self.at));
        Ok(())
    }

    fn binary(&mut self, width: usize) -> Read<()> {
        let length = self.number(width)? as usize;
        self.take(length)?;
        self.stack.push(Item::Bytes(length));
        Ok(())
    }

    fn take(&mut self, length: usize) -> Read<&'a [u8]> {
        let end = self.at.checked_add(length).ok_or(CUT)?;
        let taken = self.bytes.get(self.at..end).ok_or(CUT)?;
        self.at = end;
        Ok(taken)
    }

    /// A number of up to eight bytes, little-endian.
    fn number(&mut self, bytes: usize) -> Read<u64> {
        let mut wide = [0; 8];
        wide[..bytes].copy_from_slice(self.take(bytes)?);
        Ok(u64::from_le_bytes(wide))
    }

    fn span_of_line(&mut self) -> Read<(usize, usize)> {
        let rest = self.bytes.get(self.at..).ok_or(CUT)?;
        let length = rest.iter().position(|byte| *byte == b'\n').ok_or(CUT)?;
        let span = (self.at, self.at + length);
        self.at = span.1 + 1;
        Ok(span)
    }

    fn line(&mut self) -> Read<&'a str> {
        let (from, to) = self.span_of_line()?;
        std::str::from_utf8(&self.bytes[from..to]).map_err(|_| "a line of it is no text")
    }
}

fn number_of(line: &str) -> Item {
    let line = line.trim_end_matches('L');
    match (line, line.parse::<i64>(), line.parse::<f64>()) {
        ("00", ..) => Item::Word("False"),
        ("01", ..) => Item::Word("True"),
        (_, Ok(value), _) => Item::Int(value),
        (_, _, Ok(value)) => Item::Float(value),
        _ => Item::Word("a number"),
    }
}

#[cfg(test)]
mod arrays_tests;
#[cfg(test)]
mod tests;
