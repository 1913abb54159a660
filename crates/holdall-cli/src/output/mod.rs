//! Everything that is written: lines, JSON, sizes and times, progress.

mod narrow;
pub(crate) mod progress;
pub(crate) mod style;
pub(crate) mod value;

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anstream::AutoStream;
use serde_json::Value;

use crate::exit::Failure;

/// The standard output, buffered, and how it was asked to look.
pub(crate) struct Output {
    stream: BufWriter<AutoStream<io::StdoutLock<'static>>>,
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    pub(crate) terminal: bool,
}

impl Output {
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        let stream = AutoStream::auto(io::stdout()).lock();
        Self { stream: BufWriter::with_capacity(64 * 1_024, stream), json, quiet, terminal }
    }

    /// A line of text.
    pub(crate) fn line(&mut self, text: impl std::fmt::Display) -> Result<(), Failure> {
        Ok(writeln!(self.stream, "{text}")?)
    }

    /// One object of a listing, on a line of its own.
    pub(crate) fn object(&mut self, value: &Value) -> Result<(), Failure> {
        if self.terminal {
            return self.line(harmless(&value.to_string(), in_json));
        }
        serde_json::to_writer(&mut self.stream, value).map_err(io::Error::from)?;
        Ok(self.stream.write_all(b"\n")?)
    }

    /// A document, over several lines where somebody reads it.
    pub(crate) fn document(&mut self, value: &Value) -> Result<(), Failure> {
        if !self.terminal {
            return self.object(value);
        }
        let text = serde_json::to_string_pretty(value).map_err(io::Error::from)?;
        self.line(harmless(&text, in_json))
    }

    /// What a value has as text: on a terminal without what a terminal obeys, elsewhere as it is.
    pub(crate) fn text(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if !self.terminal {
            return self.bytes(bytes);
        }
        let text = String::from_utf8_lossy(bytes);
        // Not through the stream that takes colours out: there are none left.
        Ok(self.stream.write_all(plain(&text).as_bytes())?)
    }

    /// A note as JSON in one line, for people.
    pub(crate) fn noted(&self, note: &Value) -> String {
        harmless(&note.to_string(), in_json).into_owned()
    }

    /// Hands what there is so far to the system.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.stream.flush()?)
    }

    /// A line about what was done, for people: not with `--json` or `--quiet`.
    pub(crate) fn summary(&mut self, text: impl std::fmt::Display) -> Result<(), Failure> {
        if self.json || self.quiet { Ok(()) } else { self.line(text) }
    }

    /// What went wrong with one of many, on the standard error; with `--json` it is in the document.
    pub(crate) fn trouble(&mut self, text: impl AsRef<str>) -> Result<(), Failure> {
        if self.json {
            return Ok(());
        }
        // In the order in which things happened, where both go to one place.
        self.stream.flush()?;
        let label = style::ERROR;
        let _ = writeln!(anstream::stderr(), "{label}error:{label:#} {}", plain(text.as_ref()));
        Ok(())
    }

    /// Bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        // Not through the stream that takes colours out: a value may have bytes like theirs.
        self.stream.flush()?;
        Ok(io::stdout().write_all(bytes)?)
    }

    /// Hands everything to the system.
    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        self.stream.flush()?;
        Ok(io::stdout().flush()?)
    }
}

/// A key as one line shows it: control characters and backslashes escaped, the rest as it is.
pub(crate) fn shown(key: &str) -> Cow<'_, str> {
    let must_escape = |char: char| char.is_control() || char == '\\' || is_invisible(char);
    if !key.contains(must_escape) {
        return Cow::Borrowed(key);
    }
    let mut shown = String::with_capacity(key.len() + 8);
    for char in key.chars() {
        if must_escape(char) { shown.extend(char.escape_default()) } else { shown.push(char) }
    }
    Cow::Owned(shown)
}

/// A text of several lines with what a terminal would obey escaped: all control characters but
/// tabs and the ends of lines, and those that hide or turn the direction.
fn harmless(text: &str, escape: impl Fn(char) -> String) -> Cow<'_, str> {
    let is_harmful =
        |char: char| (char.is_control() && !matches!(char, '\n' | '\t')) || is_invisible(char);
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        let ends_line = char == '\r' && chars.peek() == Some(&'\n');
        if is_harmful(char) && !ends_line {
            shown.push_str(&escape(char));
        } else {
            shown.push(char);
        }
    }
    Cow::Owned(shown)
}

/// A text that names files or values of anybody, without what a terminal would obey.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    harmless(text, |char| char.escape_default().to_string())
}

/// As JSON has it within a text, where alone such characters can be.
fn in_json(char: char) -> String {
    format!("\\u{:04x}", u32::from(char))
}

/// Characters that turn the direction of a line or hide in it.
fn is_invisible(char: char) -> bool {
    matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// A new file for the bytes of values: as in the store, nobody else may read it.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    File::options().write(true).create_new(true).mode(0o600).open(path)
}

/// `12.3 KiB`.
pub(crate) fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

/// `1,234 values`, `1 value`.
pub(crate) fn count(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {what}{plural}", grouped(number))
}

/// `1,234`.
pub(crate) fn grouped(number: u64) -> String {
    indicatif::HumanCount(number).to_string()
}

/// `2026-11-26 04:01:02Z` for people, in UTC, of milliseconds since 1970.
pub(crate) fn moment(millis: u64) -> String {
    let time = time(millis).replacen('T', " ", 1);
    match time.get(..19) {
        Some(seconds) => format!("{seconds}Z"),
        None => time,
    }
}

/// `2026-11-26T04:01:02.123Z`, of milliseconds since 1970.
pub(crate) fn time(millis: u64) -> String {
    // The last moment that has a year of four digits.
    const LAST: u64 = 253_402_300_799_999;
    let since = std::time::Duration::from_millis(millis.min(LAST));
    humantime::format_rfc3339_millis(std::time::UNIX_EPOCH + since).to_string()
}
