//! The one error type: what failed, on which key, why, and what to do next.
//!
//! Deep code says what it knows ([`Error::new`], [`Error::io`]); the public method at the top
//! says what was being done ([`Error::during`], [`Error::on_key`]). The message is one sentence:
//!
//! `could not save "recipe": the disk is full (/data/store); free some space and save again`

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The result of every fallible operation of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in the kinds that a caller would act upon differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no value under the key, or it has expired.
    NotFound,
    /// The key is empty or has a NUL; nothing was touched.
    InvalidKey,
    /// An argument is outside what is allowed; nothing was touched.
    InvalidArgument,
    /// The stored value has another format than the one asked for.
    WrongFormat,
    /// The value cannot be written in the format; the old value stands.
    Encode,
    /// The stored bytes are whole but do not decode to what was asked for.
    Decode,
    /// The stored bytes are not the bytes that were saved.
    Corrupt,
    /// The payload could run code when read, and its signature is missing or wrong.
    Untrusted,
    /// A condition of the call (`if_absent`, `if_match`) does not hold, or two files claim one key.
    Conflict,
    /// Another process holds what is needed, for longer than the deadline.
    Busy,
    /// The operating system refused: no space, no permission, a failing disk.
    Io,
    /// The store was written by a release that this one does not understand.
    Version,
    /// The store is switched off by configuration.
    Disabled,
    /// The manager was closed.
    Closed,
    /// The caller cancelled the call before it changed anything.
    Cancelled,
}

/// Where in a text a decoder stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Line, counted from 1.
    pub line: usize,
    /// Column, counted from 1.
    pub column: usize,
}

/// An error of the store: operation, key, cause and next step.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    operation: Option<&'static str>,
    key: Option<String>,
    path: Option<PathBuf>,
    cause: Cow<'static, str>,
    remedy: Option<Cow<'static, str>>,
    position: Option<Position>,
    source: Option<io::Error>,
}

impl Error {
    /// A new error of `kind`; `cause` is a clause without a full stop.
    #[must_use]
    pub fn new(kind: ErrorKind, cause: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            kind,
            operation: None,
            key: None,
            path: None,
            cause: cause.into(),
            remedy: None,
            position: None,
            source: None,
        }))
    }

    /// An error of the operating system at `path`, with the remedy that its number suggests.
    #[must_use]
    pub fn io(source: io::Error, path: impl Into<PathBuf>) -> Self {
        let (cause, remedy) = explain(&source);
        let mut error = Self::new(ErrorKind::Io, cause);
        error.0.remedy = remedy.map(Cow::Borrowed);
        error.0.path = Some(path.into());
        error.0.source = Some(source);
        error
    }

    /// The error for memory that the system does not give; asked for without this, the want of it
    /// would end the process.
    #[must_use]
    pub(crate) fn no_memory(bytes: usize) -> Self {
        let mut error = Self::io(io::Error::from_raw_os_error(libc::ENOMEM), PathBuf::new());
        error.0.path = None;
        error.0.remedy = Some("free some memory, or read the value piece by piece".into());
        error.0.cause = format!("there is not enough memory for {bytes} bytes").into();
        error
    }

    /// Adds the next step, a clause in the imperative, unless one is there already.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<Cow<'static, str>>) -> Self {
        self.0.remedy.get_or_insert_with(|| remedy.into());
        self
    }

    /// Puts another next step in the place of the one that is there.
    #[must_use]
    pub(crate) fn instead(mut self, remedy: &'static str) -> Self {
        self.0.remedy = Some(remedy.into());
        self
    }

    /// Says which operation failed, unless deeper code has said so.
    #[must_use]
    pub fn during(mut self, operation: &'static str) -> Self {
        self.0.operation.get_or_insert(operation);
        self
    }

    /// Says which key it was about, unless deeper code has said so.
    #[must_use]
    pub fn on_key(mut self, key: &str) -> Self {
        self.0.key.get_or_insert_with(|| key.to_owned());
        self
    }

    /// Says which file or folder it was about, unless deeper code has said so.
    #[must_use]
    pub fn at(mut self, path: impl Into<PathBuf>) -> Self {
        self.0.path.get_or_insert_with(|| path.into());
        self
    }

    /// Completes a path that deeper code named from the store's folder on.
    #[must_use]
    pub(crate) fn below(mut self, folder: &Path) -> Self {
        if let Some(path) = self.0.path.as_mut().filter(|path| path.is_relative()) {
            *path = folder.join(&*path);
        }
        self
    }

    /// Whether there is no room on the disk, or none for this user.
    pub(crate) fn is_disk_full(&self) -> bool {
        matches!(self.os_error(), Some(libc::ENOSPC | libc::EDQUOT))
    }

    /// Whether no other value can be written either: there is no room, the file system can only be
    /// read, or the store is another release's or switched off.
    #[must_use]
    pub fn stops_all(&self) -> bool {
        matches!(self.kind(), ErrorKind::Version | ErrorKind::Disabled)
            || self.is_disk_full()
            || self.os_error() == Some(libc::EROFS)
    }

    /// Says what to do if a folder of the store is gone that it has open.
    #[must_use]
    pub(crate) fn help_if_gone(self) -> Self {
        match self.os_error() {
            Some(libc::ENOENT) => self.remedy(
                "make a new manager, which makes anew what somebody has removed there, and run verify",
            ),
            _ => self,
        }
    }

    /// For a full disk, says how much is to be freed there.
    #[must_use]
    pub(crate) fn needs_room(mut self, bytes: u64) -> Self {
        let size = bytes.div_ceil(1 << 20);
        self.0.remedy = Some(format!("free about {size} MiB there, and try again").into());
        self
    }

    /// Says that what was to be done is done, for all who look, and only not known to be on the disk.
    #[must_use]
    pub(crate) fn after(mut self, done: &'static str) -> Self {
        let cause = &self.0.cause;
        self.0.cause = Cow::Owned(format!("{done}, but may not survive a power cut: {cause}"));
        self
    }

    /// Says where in the text a decoder stopped.
    #[must_use]
    pub fn position(mut self, line: usize, column: usize) -> Self {
        self.0.position = Some(Position { line, column });
        self
    }

    /// The same error once more, for another member of a batch that it has stopped.
    #[must_use]
    pub(crate) fn again(&self) -> Self {
        Self(Box::new(Inner {
            kind: self.0.kind,
            operation: self.0.operation,
            key: None,
            path: self.0.path.clone(),
            cause: self.0.cause.clone(),
            remedy: self.0.remedy.clone(),
            position: None,
            source: self.os_error().map(io::Error::from_raw_os_error),
        }))
    }

    /// The kind, for a caller to act upon.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The key, if the error is about one.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.0.key.as_deref()
    }

    /// What was being done, a verb.
    #[must_use]
    pub fn operation(&self) -> Option<&'static str> {
        self.0.operation
    }

    /// The file or folder, if the error is about one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// The cause alone, without operation, key and remedy.
    #[must_use]
    pub fn cause(&self) -> &str {
        &self.0.cause
    }

    /// The error number of the operating system, if it was the one that refused.
    #[must_use]
    pub fn os_error(&self) -> Option<i32> {
        self.0.source.as_ref().and_then(io::Error::raw_os_error)
    }

    /// Where in the text a decoder stopped, if one did.
    #[must_use]
    pub fn text_position(&self) -> Option<Position> {
        self.0.position
    }
}

/// What to do about a disk that fails.
pub(crate) const LOOK_AT_THE_DISK: &str =
    "look for errors of the disk in the system's log, and try again";

/// The cause and the remedy for the errors that an operator can do something about.
fn explain(source: &io::Error) -> (Cow<'static, str>, Option<&'static str>) {
    let (cause, remedy) = match source.raw_os_error() {
        Some(libc::ENOSPC) => {
            ("the disk is full", "free some space or choose another base_path, and try again")
        }
        Some(libc::EDQUOT) => ("the disk quota is used up", "free some space or raise the quota"),
        Some(libc::EFBIG) => (
            "the file would be larger than this process or the file system allows",
            "raise the limit of file sizes (ulimit -f) or split the value",
        ),
        Some(libc::EACCES | libc::EPERM) => (
            "permission denied",
            "give this user the right to read and write there or choose another base_path",
        ),
        Some(libc::EROFS) => {
            ("the file system is mounted read-only", "choose a base_path that can be written")
        }
        Some(libc::ENOTDIR) => (
            "a part of the path is not a directory",
            "remove the file that is in the way, use another key or choose another base_path",
        ),
        Some(libc::EMFILE | libc::ENFILE) => {
            ("too many open files", "raise the limit of open files (ulimit -n) and try again")
        }
        Some(libc::EIO | libc::ENODEV | libc::ENXIO) => {
            return (Cow::Owned(source.to_string()), Some(LOOK_AT_THE_DISK));
        }
        Some(libc::EINTR | libc::EAGAIN | libc::ENOMEM | libc::EBUSY) => {
            return (Cow::Owned(source.to_string()), Some("try again"));
        }
        _ => return (Cow::Owned(source.to_string()), None),
    };
    (Cow::Borrowed(cause), Some(remedy))
}

/// Keys come from outside: shown escaped, and cut at 120 characters.
pub(crate) fn shown_key(key: &str) -> String {
    const SHOWN: usize = 120;
    match key.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}...", &key[..end]),
        None => format!("{key:?}"),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { operation, key, path, cause, remedy, position, .. } = &*self.0;
        match (operation, key) {
            (Some(operation), Some(key)) => {
                write!(f, "could not {operation} {}: ", shown_key(key))?;
            }
            (Some(operation), None) => write!(f, "could not {operation}: ")?,
            (None, Some(key)) => write!(f, "{}: ", shown_key(key))?,
            (None, None) => {}
        }
        f.write_str(cause)?;
        if let Some(Position { line, column }) = position {
            write!(f, " at line {line}, column {column}")?;
        }
        if let Some(path) = path {
            write!(f, " ({})", path.display())?;
        }
        if let Some(remedy) = remedy {
            write!(f, "; {remedy}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({self})", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_operation_key_cause_path_and_next_step() {
        for number in [libc::ENOSPC, libc::EDQUOT] {
            assert!(Error::io(io::Error::from_raw_os_error(number), "/store").is_disk_full());
        }
        let full = io::Error::from_raw_os_error(libc::ENOSPC);
        let error = Error::io(full, "/data/store").on_key("recipe").during("save");
        assert_eq!(
            error.to_string(),
            "could not save \"recipe\": the disk is full (/data/store); \
             free some space or choose another base_path, and try again"
        );
        assert_eq!(error.os_error(), Some(libc::ENOSPC));
    }

    #[test]
    fn a_hostile_key_is_escaped_and_cut() {
        let error = Error::new(ErrorKind::NotFound, "no such key").on_key("a\n\u{1b}[31m");
        assert_eq!(error.to_string(), "\"a\\n\\u{1b}[31m\": no such key");
        let long = Error::new(ErrorKind::NotFound, "no such key").on_key(&"é".repeat(5_000));
        assert!(long.to_string().len() < 300);
    }

    #[test]
    fn the_deepest_word_on_operation_and_key_stands() {
        let error = Error::new(ErrorKind::Io, "x").during("read").during("save").on_key("a");
        assert_eq!(error.on_key("b").to_string(), "could not read \"a\": x");
    }
}
