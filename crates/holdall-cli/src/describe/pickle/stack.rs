//! The stack of descriptions that takes the place of a pickle's stack of objects.

use std::collections::HashMap;

use super::Read;

/// How many members of a container are kept, for what is told of it.
const KEPT: usize = 16;

const EMPTY: &str = "it takes something from an empty stack";

/// The number of an item.
pub(super) type Id = usize;

/// What would be an object.
#[derive(Debug, Clone)]
pub(super) enum Item {
    /// Something that is told by a word or two.
    Word(&'static str),
    Int(i64),
    Float(f64),
    /// From here to there in the pickle.
    Text(usize, usize),
    /// So many bytes.
    Bytes(usize),
    Tuple(Vec<Id>),
    /// `list`, `dict` or `set`: how many members, and the first ones; of a dict, keys and values.
    Many(&'static str, usize, Vec<Id>),
    /// The number of its name.
    Class(usize),
    /// What is called, and its arguments.
    Call(usize, Vec<Id>),
    /// Where a group begins.
    Mark,
}

impl Item {
    /// An empty container, by the opcode that makes one.
    pub(super) fn container(opcode: u8) -> Self {
        let kind = match opcode {
            b']' | b'l' => "list",
            0x8f => "set",
            0x91 => "frozenset",
            _ => "dict",
        };
        Self::Many(kind, 0, Vec::new())
    }
}

/// An array that a state describes.
pub(super) struct Described {
    pub(super) dtype: String,
    pub(super) shape: String,
    pub(super) is_of_joblib: bool,
    pub(super) is_aligned: bool,
    /// How many bytes it takes; `None` if it has objects.
    pub(super) bytes: Option<usize>,
}

#[derive(Debug, Default)]
pub(super) struct Stack {
    pub(super) items: Vec<Item>,
    pub(super) stack: Vec<Id>,
    memo: HashMap<u64, Id>,
    pub(super) names: Vec<String>,
}

impl Stack {
    pub(super) fn push(&mut self, item: Item) {
        self.stack.push(self.items.len());
        self.items.push(item);
    }

    pub(super) fn name(&mut self, name: String) -> usize {
        self.names.push(name);
        self.names.len() - 1
    }

    pub(super) fn mark(&mut self) {
        self.push(Item::Mark);
    }

    pub(super) fn pop(&mut self) -> Read<Id> {
        self.stack.pop().ok_or(EMPTY)
    }

    /// At the end the object is on top.
    pub(super) fn end(&self) -> Read<()> {
        match self.items[self.top()?] {
            Item::Mark => Err(EMPTY),
            _ => Ok(()),
        }
    }

    fn top(&self) -> Read<Id> {
        self.stack.last().copied().ok_or(EMPTY)
    }

    pub(super) fn duplicate(&mut self) -> Read<()> {
        let top = self.top()?;
        self.stack.push(top);
        Ok(())
    }

    /// Everything above the last mark, which goes too.
    pub(super) fn pop_mark(&mut self) -> Read<Vec<Id>> {
        let is_mark = |id: &Id| matches!(self.items[*id], Item::Mark);
        let mark = self.stack.iter().rposition(is_mark).ok_or("it lacks a mark")?;
        let group = self.stack.split_off(mark + 1);
        self.stack.pop();
        Ok(group)
    }

    fn pop_many(&mut self, count: usize) -> Read<Vec<Id>> {
        let left = self.stack.len().checked_sub(count).ok_or(EMPTY)?;
        Ok(self.stack.split_off(left))
    }

    pub(super) fn replace(&mut self, count: usize, item: Item) -> Read<()> {
        self.pop_many(count)?;
        self.push(item);
        Ok(())
    }

    pub(super) fn tuple(&mut self, count: usize) -> Read<()> {
        let members = self.pop_many(count)?;
        self.push(Item::Tuple(members));
        Ok(())
    }

    pub(super) fn tuple_of_mark(&mut self) -> Read<()> {
        let members = self.pop_mark()?;
        self.push(Item::Tuple(members));
        Ok(())
    }

    pub(super) fn container_of_mark(&mut self, opcode: u8) -> Read<()> {
        let members = self.pop_mark()?;
        self.push(Item::container(opcode));
        self.add(members)
    }

    pub(super) fn extend(&mut self, count: usize) -> Read<()> {
        let members = self.pop_many(count)?;
        self.add(members)
    }

    pub(super) fn extend_by_mark(&mut self) -> Read<()> {
        let members = self.pop_mark()?;
        self.add(members)
    }

    /// To the container on top; to an object that is none, nothing can be told to be added.
    fn add(&mut self, members: Vec<Id>) -> Read<()> {
        let top = self.top()?;
        if let Item::Many(kind, count, kept) = &mut self.items[top] {
            *count += if *kind == "dict" { members.len() / 2 } else { members.len() };
            let room = (2 * KEPT).saturating_sub(kept.len());
            kept.extend(members.into_iter().take(room));
        }
        Ok(())
    }

    pub(super) fn memoize(&mut self, number: Option<u64>) -> Read<()> {
        let top = self.top()?;
        self.memo.insert(number.unwrap_or(self.memo.len() as u64), top);
        Ok(())
    }

    pub(super) fn recall(&mut self, number: u64) -> Read<()> {
        let id = *self.memo.get(&number).ok_or("it recalls what it never noted")?;
        self.stack.push(id);
        Ok(())
    }

    pub(super) fn pop_text(&mut self, bytes: &[u8]) -> Read<String> {
        let id = self.pop()?;
        let text = self.text(id, bytes).ok_or("it names a class by something that is no text")?;
        Ok(text.to_owned())
    }

    pub(super) fn text<'a>(&self, id: Id, bytes: &'a [u8]) -> Option<&'a str> {
        let Item::Text(from, to) = self.items.get(id)? else { return None };
        std::str::from_utf8(bytes.get(*from..*to)?).ok()
    }

    pub(super) fn call(&mut self, count: usize) -> Read<()> {
        let mut parts = self.pop_many(count)?.into_iter();
        let called = parts.next().ok_or(EMPTY)?;
        let arguments = match parts.next().map(|id| &self.items[id]) {
            Some(Item::Tuple(members)) => members.clone(),
            _ => Vec::new(),
        };
        self.push_call(called, arguments);
        Ok(())
    }

    pub(super) fn object_of_mark(&mut self) -> Read<()> {
        let group = self.pop_mark()?;
        let (class, arguments) = group.split_first().ok_or(EMPTY)?;
        self.push_call(*class, arguments.to_vec());
        Ok(())
    }

    fn push_call(&mut self, called: Id, arguments: Vec<Id>) {
        let item = match self.items[called] {
            Item::Class(class) | Item::Call(class, _) => Item::Call(class, arguments),
            _ => Item::Word("the result of a call"),
        };
        self.push(item);
    }

    /// A list or dict that was given a state, or whatever else, stays what it is.
    pub(super) fn keep_state(&mut self, state: Id) -> Read<()> {
        let top = self.top()?;
        // A type of NumPy is told by its first argument, and its byte order is in the state.
        if self.called(top) == Some("numpy.dtype")
            && let Item::Call(_, arguments) = &self.items[top]
        {
            let mut arguments = arguments.clone();
            arguments.push(state);
            let Item::Call(class, _) = self.items[top] else { return Ok(()) };
            self.items[top] = Item::Call(class, arguments);
        }
        Ok(())
    }

    fn called(&self, id: Id) -> Option<&str> {
        match self.items.get(id)? {
            Item::Call(class, _) | Item::Class(class) => self.names.get(*class).map(String::as_str),
            _ => None,
        }
    }

    /// An array that is made by one call: bytes, type, shape, order.
    pub(super) fn array_of_call(&self, bytes: &[u8]) -> Option<(String, String)> {
        let top = self.top().ok()?;
        let name = self.called(top)?;
        let is_one = name.starts_with("numpy") && name.ends_with("numeric._frombuffer");
        let Item::Call(_, arguments) = &self.items[top] else { return None };
        let (dtype, shape) = (*arguments.get(1)?, *arguments.get(2)?);
        if !is_one {
            return None;
        }
        Some((self.dtype(dtype, bytes)?, self.shape(shape)?.0))
    }

    /// An array of which the state tells type and shape: NumPy's own, or joblib's.
    pub(super) fn array_of_state(&self, state: Id, bytes: &[u8]) -> Option<Described> {
        let name = self.called(self.top().ok()?)?;
        if name.starts_with("numpy") && name.ends_with("multiarray._reconstruct") {
            let Item::Tuple(members) = &self.items[state] else { return None };
            let (shape, _) = self.shape(*members.get(1)?)?;
            let dtype = self.dtype(*members.get(2)?, bytes)?;
            let (is_of_joblib, is_aligned) = (false, false);
            return Some(Described { dtype, shape, is_of_joblib, is_aligned, bytes: None });
        }
        if name != "joblib.numpy_pickle.NumpyArrayWrapper" {
            return None;
        }
        let Item::Many("dict", _, pairs) = &self.items[state] else { return None };
        let field = |name: &str| {
            let is_it = |pair: &&[Id]| self.text(pair[0], bytes) == Some(name);
            pairs.chunks_exact(2).find(is_it).map(|pair| pair[1])
        };
        let (shape, count) = self.shape(field("shape")?)?;
        let dtype = self.dtype(field("dtype")?, bytes)?;
        let aligned = field("numpy_array_alignment_bytes").map(|id| &self.items[id]);
        let width = width(&dtype);
        Some(Described {
            bytes: width.and_then(|width| width.checked_mul(count)),
            dtype,
            shape,
            is_of_joblib: true,
            is_aligned: matches!(aligned, Some(Item::Int(_))),
        })
    }

    /// `<f8`, of a call of `numpy.dtype`.
    fn dtype(&self, id: Id, bytes: &[u8]) -> Option<String> {
        if self.called(id)? != "numpy.dtype" {
            return None;
        }
        let Item::Call(_, arguments) = &self.items[id] else { return None };
        let code = self.text(*arguments.first()?, bytes)?;
        let state = arguments.last().map(|id| &self.items[*id]);
        let order = match state {
            Some(Item::Tuple(state)) => state.get(1).and_then(|id| self.text(*id, bytes)),
            _ => None,
        };
        Some(format!("{}{code}", if order == Some(">") { ">" } else { "" }))
    }

    /// `(3, 4)`, and how many members that makes.
    pub(super) fn shape(&self, id: Id) -> Option<(String, usize)> {
        let Item::Tuple(lengths) = &self.items[id] else { return None };
        let mut count = 1_usize;
        let mut texts = Vec::with_capacity(lengths.len());
        for length in lengths {
            let Item::Int(length) = self.items[*length] else { return None };
            count = count.checked_mul(usize::try_from(length).ok()?)?;
            texts.push(length.to_string());
        }
        let comma = if texts.len() == 1 { "," } else { "" };
        Some((format!("({}{comma})", texts.join(", ")), count))
    }

    /// The object on top, a phrase.
    pub(super) fn describe(&self, bytes: &[u8]) -> String {
        self.top().map_or_else(|_| "nothing".into(), |top| self.phrase(top, bytes))
    }

    fn phrase(&self, id: Id, bytes: &[u8]) -> String {
        match &self.items[id] {
            Item::Word(word) => (*word).to_owned(),
            Item::Int(value) => value.to_string(),
            Item::Float(value) => value.to_string(),
            Item::Text(from, to) => format!("a text of {} bytes", to - from),
            Item::Bytes(length) => format!("{length} bytes"),
            Item::Tuple(members) => format!("a tuple of {}", members.len()),
            Item::Many("dict", count, pairs) => {
                let keys = pairs.chunks_exact(2).take(KEPT);
                let keys: Vec<_> = keys.map(|pair| self.key(pair[0], bytes)).collect();
                let more = if *count > keys.len() { ", ..." } else { "" };
                match keys.is_empty() {
                    true => format!("a dict of {count}"),
                    false => format!("a dict of {count}: {}{more}", keys.join(", ")),
                }
            }
            Item::Many(kind, count, _) => format!("a {kind} of {count}"),
            Item::Class(class) => format!("the class {}", self.names[*class]),
            Item::Call(class, _) => match self.names[*class].as_str() {
                name if name.ends_with("NumpyArrayWrapper") => "an array".into(),
                name if name.ends_with("._frombuffer") => "an array".into(),
                name if name.ends_with("multiarray._reconstruct") => "an array".into(),
                name => format!("an object of {name}"),
            },
            Item::Mark => "a part of something".into(),
        }
    }

    fn key(&self, id: Id, bytes: &[u8]) -> String {
        const SHOWN: usize = 40;
        match self.text(id, bytes) {
            Some(text) => format!("{:?}", text.chars().take(SHOWN).collect::<String>()),
            None => self.phrase(id, bytes),
        }
    }
}

/// Bytes of one member of an array; `None` for objects, and for what is not known.
fn width(code: &str) -> Option<usize> {
    let code = code.trim_start_matches('>');
    let (kind, number) = code.split_at_checked(1)?;
    let number = number.parse::<usize>().ok()?;
    match kind {
        "O" => None,
        "U" => number.checked_mul(4),
        _ => Some(number),
    }
}
