//! A pickle of plain values as Python's `str()` writes them: what other libraries have as keys.

use super::stack::{Id, Item, Stack};

/// Deeper ones are no keys of anybody.
const DEEPEST: usize = 16;

/// `('a', 1)`; `None` for what is not made of tuples, texts, numbers, `True`, `False` and `None`.
pub(super) fn of(stack: &Stack, bytes: &[u8]) -> Option<String> {
    let mut text = String::new();
    write(stack, *stack.stack.last()?, bytes, 0, &mut text)?;
    Some(text)
}

fn write(stack: &Stack, id: Id, bytes: &[u8], depth: usize, to: &mut String) -> Option<()> {
    match stack.items.get(id)? {
        Item::Word(word @ ("None" | "True" | "False")) => to.push_str(word),
        Item::Int(number) => to.push_str(&number.to_string()),
        Item::Float(number) => to.push_str(&float(*number)?),
        Item::Text(..) => quoted(stack.text(id, bytes)?, to)?,
        Item::Tuple(members) if depth < DEEPEST => {
            to.push('(');
            for (index, member) in members.iter().enumerate() {
                to.push_str(if index > 0 { ", " } else { "" });
                write(stack, *member, bytes, depth + 1, to)?;
            }
            to.push_str(if members.len() == 1 { ",)" } else { ")" });
        }
        _ => return None,
    }
    Some(())
}

/// Digits as both languages choose them; an exponent has its sign and two digits in Python.
pub(crate) fn float(number: f64) -> Option<String> {
    if !number.is_finite() {
        return None;
    }
    let text = format!("{number:?}");
    let Some((digits, exponent)) = text.split_once('e') else { return Some(text) };
    let digits = digits.strip_suffix(".0").unwrap_or(digits);
    let exponent: i32 = exponent.parse().ok()?;
    let sign = if exponent < 0 { '-' } else { '+' };
    Some(format!("{digits}e{sign}{:02}", exponent.unsigned_abs()))
}

fn quoted(text: &str, to: &mut String) -> Option<()> {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    to.push(quote);
    for char in text.chars() {
        match char {
            '\n' => to.push_str("\\n"),
            '\r' => to.push_str("\\r"),
            '\t' => to.push_str("\\t"),
            '\\' => to.push_str("\\\\"),
            _ if char == quote => to.extend(['\\', char]),
            '\0'..'\u{20}' | '\u{7f}' => to.push_str(&format!("\\x{:02x}", char as u32)),
            ' '..='~' => to.push(char),
            // Which of the others Python escapes is in a table of its own; letters are shown.
            _ if char.is_alphanumeric() => to.push(char),
            _ => return None,
        }
    }
    to.push(quote);
    Some(())
}
