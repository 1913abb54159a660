//! How a value is shown: data readably, and what could run code as a description of it.

pub(crate) mod json;
pub(crate) mod npy;
pub(crate) mod pickle;

use std::fmt::Write;

use holdall::{Blob, Format};
use serde_json::{Value, json};

use crate::exit::Failure;
use crate::output::{Output, count, shown, size, style};
use pickle::Pickle;

/// The most names that are listed, for people.
const LISTED: usize = 30;

/// Shows a value.
pub(crate) fn show(blob: &Blob, out: &mut Output) -> Result<(), Failure> {
    let payload = &blob.payload;
    match blob.metadata.record().format {
        Format::Json | Format::CustomJson => json_text(payload, out),
        Format::Pickle | Format::Joblib => pickled(blob, out),
        Format::Npy if out.terminal || out.json => array(payload, out),
        Format::Npy => out.bytes(payload),
        Format::Bytes if out.terminal || out.json => bytes(payload, out),
        _ if out.json => out.document(&json!(String::from_utf8_lossy(payload))),
        _ => {
            out.text(payload)?;
            if out.terminal && !payload.ends_with(b"\n") { out.line("") } else { Ok(()) }
        }
    }
}

/// JSON, over several lines; numbers and the order of keys as they are.
fn json_text(payload: &[u8], out: &mut Output) -> Result<(), Failure> {
    if !out.terminal && !out.json {
        out.bytes(payload)?;
        return out.line("");
    }
    match serde_json::from_slice::<Value>(payload) {
        Ok(value) => out.document(&value),
        // Whole, and still more than a parser takes: a number out of range, NaN, a great depth.
        Err(_) => {
            out.text(payload)?;
            out.line("")
        }
    }
}

fn bytes(payload: &[u8], out: &mut Output) -> Result<(), Failure> {
    const SHOWN: usize = 256;
    if out.json {
        return out.document(&json!({"kind": "bytes", "size": payload.len()}));
    }
    let dim = style::DIM;
    for (number, row) in payload[..payload.len().min(SHOWN)].chunks(16).enumerate() {
        let mut hex = String::new();
        for byte in row {
            let _ = write!(hex, "{byte:02x} ");
        }
        let text = row.iter().map(|byte| match byte {
            b' '..=b'~' => char::from(*byte),
            _ => '.',
        });
        let text: String = text.collect();
        out.line(format!("{dim}{:08x}{dim:#}  {hex:<48} {text}", number * 16))?;
    }
    let length = count(payload.len() as u64, "byte");
    out.summary(format!("{length}; `--raw` or `--output FILE` gives all of them"))
}

fn array(payload: &[u8], out: &mut Output) -> Result<(), Failure> {
    let described = npy::describe(payload).map_err(|what| {
        let message = format!("this is no NumPy array that can be described: {what}");
        Failure::new(crate::exit::Exit::Damaged, message)
    })?;
    if out.json {
        return out.document(&json!({
            "kind": "npy",
            "dtype": described.dtype,
            "shape": described.shape,
            "order": if described.fortran { "F" } else { "C" },
        }));
    }
    let name = style::NAME;
    let bytes = size(payload.len() as u64);
    out.line(format!("array {name}{}{name:#} {}, {bytes}", described.dtype, described.shape))
}

fn pickled(blob: &Blob, out: &mut Output) -> Result<(), Failure> {
    let found = Pickle::read(&blob.payload);
    if out.json {
        return out.document(&json!({
            "kind": blob.metadata.format,
            "protocol": found.protocol,
            "holds": found.holds,
            "classes": found.classes,
            "arrays": found.arrays.iter().map(|array| json!({
                "dtype": array.dtype, "shape": array.shape,
            })).collect::<Vec<_>>(),
            "stopped": found.stopped,
        }));
    }
    let (name, dim, warning) = (style::NAME, style::DIM, style::WARNING);
    let bytes = size(blob.payload.len() as u64);
    let kind = blob.metadata.format;
    let protocol = found.protocol;
    out.line(format!("{kind}, {bytes}, protocol {protocol} {dim}(described, not run){dim:#}"))?;
    if let Some(what) = &found.stopped {
        out.line(format!("{warning}cannot be read further{warning:#}: {what}"))?;
    }
    out.line(format!("{:<8} {}", "holds", found.holds))?;
    let arrays = found.arrays.iter().map(|a| format!("{name}{}{name:#} {}", a.dtype, a.shape));
    listed("arrays", arrays, out)?;
    let classes = found.classes.iter().map(|class| shown(class).into_owned());
    listed("imports", classes, out)
}

/// Lines under one head; of many the first.
fn listed(
    head: &str,
    texts: impl ExactSizeIterator<Item = String>,
    out: &mut Output,
) -> Result<(), Failure> {
    let more = texts.len().saturating_sub(LISTED);
    for (index, text) in texts.take(LISTED).enumerate() {
        out.line(format!("{:<8} {text}", if index == 0 { head } else { "" }))?;
    }
    if more > 0 { out.line(format!("{:<8} and {more} more; see --json", "")) } else { Ok(()) }
}
