//! The file `.env`, which belongs to the whole program: lines of others that cannot be read are
//! passed over, lines of ours that cannot be read are an error.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;

use super::Source;
use crate::error::{Error, ErrorKind, Result};

/// The variables of a `.env`. A variable that is set twice has its last value, as in a shell.
/// `$NAME` and `${NAME}` are replaced, but not inside single quotes.
#[derive(Default)]
pub(crate) struct DotEnv {
    variables: HashMap<String, String>,
    /// The line of each assignment that stands at the start of a line, whether it parsed or not.
    lines: HashMap<String, Vec<usize>>,
    /// How often each variable parsed.
    parsed: HashMap<String, usize>,
}

impl DotEnv {
    /// Reads `.env`; none, or one that is no regular file (some name a folder so), is empty.
    pub(crate) fn of_working_directory() -> Result<Self> {
        Self::read(Path::new(".env"))
    }

    fn read(path: &Path) -> Result<Self> {
        let file = fs::metadata(path)
            .and_then(|found| if found.is_file() { fs::read(path).map(Some) } else { Ok(None) });
        match file {
            // Bytes that are no text may be somebody else's comment; ours are refused when used.
            Ok(Some(bytes)) => Ok(Self::parse(&String::from_utf8_lossy(&bytes))),
            Ok(None) => Ok(Self::default()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            // The remedy that `Error::io` knows speaks of the store's folder.
            Err(error) => Err(Error::new(ErrorKind::Io, format!("cannot be read: {error}"))
                .at(path)
                .remedy("make .env readable or start from another working directory")),
        }
    }

    pub(crate) fn parse(text: &str) -> Self {
        let mut dotenv = Self::default();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (index, line) in text.lines().enumerate() {
            if let Some(name) = assigned(line) {
                dotenv.lines.entry(name.to_owned()).or_default().push(index + 1);
            }
        }
        // The parser takes trailing space for an unfinished line if no line end follows.
        let text = format!("{text}\n");
        for (name, value) in dotenvy::from_read_iter(text.as_bytes()).flatten() {
            *dotenv.parsed.entry(name.clone()).or_default() += 1;
            dotenv.variables.insert(name, value);
        }
        dotenv
    }

    /// Each name that is assigned, in the order of the lines.
    pub(super) fn names(&self) -> Vec<(String, Source)> {
        let last = |lines: &Vec<usize>| lines.last().copied().unwrap_or(0);
        let named = self.lines.iter().map(|(name, lines)| (last(lines), name.clone()));
        let mut named: Vec<_> = named.collect();
        named.sort();
        named.into_iter().map(|(line, name)| (name, Source::DotEnv { line })).collect()
    }

    /// The value as it is written, never in an error.
    pub(crate) fn get(&self, name: &str) -> Result<Option<(String, Source)>> {
        let lines = self.lines.get(name).map(Vec::as_slice).unwrap_or_default();
        let line = lines.last().copied().unwrap_or(0);
        if self.parsed.get(name).copied().unwrap_or(0) < lines.len() {
            let cause = format!("{name} in line {line} of .env cannot be read");
            return Err(Error::new(ErrorKind::InvalidArgument, cause)
                .remedy("close every quote before it and put a value with spaces in quotes"));
        }
        let value = self.variables.get(name);
        Ok(value.map(|value| (value.clone(), Source::DotEnv { line })))
    }
}

/// The variable that a line assigns, if it looks like an assignment.
fn assigned(line: &str) -> Option<&str> {
    let (name, _) = line.split_once('=')?;
    let name = name.trim();
    let name = name.strip_prefix("export ").unwrap_or(name).trim_start();
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    (!name.is_empty() && name.chars().all(plain)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_and_a_folder_are_empty_and_a_file_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(".env");
        assert!(DotEnv::read(&path).expect("no file").variables.is_empty());
        assert!(DotEnv::read(folder.path()).expect("a folder").variables.is_empty());
        fs::write(&path, b"# caf\xe9\nA=1  ").expect("written");
        let value = DotEnv::read(&path).expect("a file").get("A").expect("readable");
        assert_eq!(value, Some(("1".to_owned(), Source::DotEnv { line: 2 })));
    }
}
