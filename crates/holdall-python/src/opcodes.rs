//! What a pickle would do, told from its opcodes before any is carried out.
//!
//! The wall is `find_class` of the unpickler (`formats/_allowed.py`); this closes the ways around it.
//! An extension code that the process has met before is looked up in a cache and not by
//! `find_class`; a state that is given to a class instead of an object changes that class for the
//! whole process; lengths and numbers that lie have memory taken for them.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// Something else than a class or function that was looked up by its name.
const OBJECT: u8 = 1;
const NAMED: u8 = 2;
const MARK: u8 = 3;

type Checked<T> = Result<T, &'static str>;

const CUT: &str = "it is cut off";
const EMPTY: &str = "it takes something from an empty stack";

/// The place behind the STOP of the pickle that begins at `start`; `ValueError` if it has opcodes that
/// no plain pickle needs.
#[pyfunction]
#[pyo3(signature = (data, start=0))]
pub(crate) fn pickle_end(data: &Bound<'_, PyBytes>, start: usize) -> PyResult<usize> {
    let py = data.py();
    let bytes = data.as_bytes();
    let end = py.detach(|| Scan::new(bytes, start).run());
    end.map_err(PyValueError::new_err)
}

struct Scan<'a> {
    data: &'a [u8],
    at: usize,
    stack: Vec<u8>,
    /// By number; 0 is none.
    memo: Vec<u8>,
    memoized: usize,
}

impl<'a> Scan<'a> {
    fn new(data: &'a [u8], at: usize) -> Self {
        Self { data, at, stack: Vec::new(), memo: Vec::new(), memoized: 0 }
    }

    fn run(mut self) -> Checked<usize> {
        loop {
            let opcode = self.take(1)?[0];
            match opcode {
                b'.' => return self.top().map(|_| self.at),
                0x82..=0x84 => return Err("it names a class by an extension code"),
                b'P' | b'Q' => return Err("it has persistent ids"),
                0x97 => return Err("it has a buffer outside of itself"),
                // PROTO, FRAME, READONLY_BUFFER
                0x80 => self.skip(1)?,
                0x95 => self.skip(8)?,
                0x98 => {}
                // What has a value in it.
                b'K' => self.constant(1)?,
                b'M' => self.constant(2)?,
                b'J' => self.constant(4)?,
                b'G' => self.constant(8)?,
                b'U' | b'C' | 0x8a | 0x8c => self.counted(1)?,
                b'T' | b'B' | b'X' | 0x8b => self.counted(4)?,
                0x8d | 0x8e | 0x96 => self.counted(8)?,
                b'I' | b'L' | b'S' | b'V' | b'F' => {
                    self.line()?;
                    self.push(OBJECT);
                }
                b'N' | 0x88 | 0x89 | b']' | b')' | b'}' | 0x8f => self.push(OBJECT),
                b'(' => self.push(MARK),
                b'0' => drop(self.stack.pop().ok_or(EMPTY)?),
                b'1' | b'e' | b'u' | 0x90 => self.pop_mark()?,
                b'2' => {
                    let top = self.top()?;
                    self.push(top);
                }
                b'l' | b't' | b'd' | 0x91 | b'o' => {
                    self.pop_mark()?;
                    self.push(OBJECT);
                }
                b'a' => self.pop(1)?,
                b's' => self.pop(2)?,
                0x85..=0x87 => self.replace(usize::from(opcode - 0x84), OBJECT)?,
                b'R' | 0x81 => self.replace(2, OBJECT)?,
                0x92 => self.replace(3, OBJECT)?,
                0x93 => self.replace(2, NAMED)?,
                b'c' => {
                    self.line()?;
                    self.line()?;
                    self.push(NAMED);
                }
                b'i' => {
                    self.line()?;
                    self.line()?;
                    self.pop_mark()?;
                    self.push(OBJECT);
                }
                b'b' => {
                    self.pop(1)?;
                    if self.top()? == NAMED {
                        return Err("it changes a class or function instead of an object");
                    }
                }
                b'p' => {
                    let number = self.number()?;
                    self.keep(number)?;
                }
                b'q' | b'r' => {
                    let number = self.length(if opcode == b'q' { 1 } else { 4 })?;
                    self.keep(number)?;
                }
                0x94 => self.keep(self.memoized)?,
                b'g' => {
                    let number = self.number()?;
                    self.recall(number)?;
                }
                b'h' | b'j' => {
                    let number = self.length(if opcode == b'h' { 1 } else { 4 })?;
                    self.recall(number)?;
                }
                _ => return Err("it has an unknown opcode"),
            }
        }
    }

    fn take(&mut self, count: usize) -> Checked<&'a [u8]> {
        let end = self.at.checked_add(count).ok_or(CUT)?;
        let taken = self.data.get(self.at..end).ok_or(CUT)?;
        self.at = end;
        Ok(taken)
    }

    fn skip(&mut self, count: usize) -> Checked<()> {
        self.take(count).map(drop)
    }

    fn line(&mut self) -> Checked<&'a [u8]> {
        let rest = self.data.get(self.at..).ok_or(CUT)?;
        let length = rest.iter().position(|byte| *byte == b'\n').ok_or(CUT)?;
        let line = self.take(length)?;
        self.skip(1)?;
        Ok(line)
    }

    /// A number in so many bytes; signed ones are never negative where they are right.
    fn length(&mut self, bytes: usize) -> Checked<usize> {
        let mut whole = [0; 8];
        whole[..bytes].copy_from_slice(self.take(bytes)?);
        usize::try_from(u64::from_le_bytes(whole)).map_err(|_| CUT)
    }

    fn number(&mut self) -> Checked<usize> {
        let line = std::str::from_utf8(self.line()?).ok();
        line.and_then(|line| line.parse().ok()).ok_or("it has a number that is none")
    }

    fn constant(&mut self, bytes: usize) -> Checked<()> {
        self.skip(bytes)?;
        self.push(OBJECT);
        Ok(())
    }

    fn counted(&mut self, bytes: usize) -> Checked<()> {
        let length = self.length(bytes)?;
        self.constant(length)
    }

    fn push(&mut self, kind: u8) {
        self.stack.push(kind);
    }

    fn top(&self) -> Checked<u8> {
        self.stack.last().copied().filter(|kind| *kind != MARK).ok_or(EMPTY)
    }

    fn pop(&mut self, count: usize) -> Checked<()> {
        for _ in 0..count {
            self.top()?;
            self.stack.pop();
        }
        Ok(())
    }

    fn pop_mark(&mut self) -> Checked<()> {
        while self.stack.pop().ok_or(EMPTY)? != MARK {}
        Ok(())
    }

    fn replace(&mut self, count: usize, kind: u8) -> Checked<()> {
        self.pop(count)?;
        self.push(kind);
        Ok(())
    }

    fn keep(&mut self, number: usize) -> Checked<()> {
        // Who counts its objects from 0 does not come so far.
        if number > self.data.len() {
            return Err("it counts more objects than it can have");
        }
        if number >= self.memo.len() {
            self.memo.resize(number + 1, 0);
        }
        self.memoized += usize::from(self.memo[number] == 0);
        self.memo[number] = self.top()?;
        Ok(())
    }

    fn recall(&mut self, number: usize) -> Checked<()> {
        let kind = self.memo.get(number).copied().filter(|kind| *kind != 0);
        self.push(kind.ok_or("it asks for an object that it does not have")?);
        Ok(())
    }
}
