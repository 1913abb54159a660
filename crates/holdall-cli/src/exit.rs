//! Exit codes, and how an error becomes one; `docs/command-line.md` has the table.

use std::io::{self, Write};
use std::process::ExitCode;

use holdall::{Error, ErrorKind};

use crate::output::{plain, style};
use crate::words;

/// What the process tells its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// All was done, or the reader of a pipe has seen enough.
    Success = 0,
    /// It ran to its end, and something was found or left undone: damage, keys that failed.
    Findings = 1,
    /// The command or an argument is wrong; nothing was touched.
    Usage = 2,
    /// There is no such key.
    NotFound = 3,
    /// There is no store, or one of a newer release.
    NoStore = 4,
    /// What is stored is damaged, or not to be trusted.
    Damaged = 5,
    /// Another process holds what is needed, or has changed it meanwhile.
    Busy = 6,
    /// The operating system refused: no space, no permission, a failing disk.
    System = 7,
    /// Interrupted; what was done is done and whole, the rest can be done by another run.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command came to no end.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
}

/// What every command answers.
pub(crate) type Outcome = Result<Exit, Failure>;

impl Failure {
    /// One sentence, with what to do.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    /// What the system refused, without its number.
    pub(crate) fn system(what: impl std::fmt::Display, error: io::Error) -> Self {
        let cause = Error::io(error, "").cause().to_owned();
        Self::new(Exit::System, format!("{what}: {}", words::of(&cause)))
    }

    /// The same, with what was done before.
    pub(crate) fn after(self, done: impl std::fmt::Display) -> Self {
        Self { message: format!("{}; {done}", self.message), ..self }
    }

    /// Writes the sentence to the standard error.
    pub(crate) fn report(self) -> ExitCode {
        if self.exit != Exit::Success {
            let label = style::ERROR;
            // Nobody is left to be told if even this cannot be written.
            let _ = writeln!(anstream::stderr(), "{label}error:{label:#} {}", plain(&self.message));
        }
        self.exit.into()
    }
}

/// The code for a kind of error of the library.
pub(crate) fn code_of(kind: ErrorKind) -> Exit {
    match kind {
        ErrorKind::NotFound => Exit::NotFound,
        ErrorKind::Version | ErrorKind::Disabled => Exit::NoStore,
        ErrorKind::Corrupt | ErrorKind::Untrusted | ErrorKind::Decode => Exit::Damaged,
        ErrorKind::Busy | ErrorKind::Conflict => Exit::Busy,
        ErrorKind::Io => Exit::System,
        ErrorKind::Cancelled => Exit::Interrupted,
        _ => Exit::Usage,
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let message = match error.kind() {
            ErrorKind::Cancelled => "interrupted; what was done is done and whole".into(),
            _ => words::told(&error),
        };
        Self::new(code_of(error.kind()), message)
    }
}

/// Values that could not be done, of many.
#[derive(Debug, Default)]
pub(crate) struct Failed {
    pub(crate) all: u64,
    /// Those that the system refused.
    by_system: u64,
    /// What the only one says, if there is but one.
    first: Option<Exit>,
}

impl Failed {
    /// One more; answers the number of all, which the caller raises.
    pub(crate) fn count(&mut self, error: &Error) -> &mut u64 {
        self.by_system += u64::from(error.kind() == ErrorKind::Io);
        self.first.get_or_insert(code_of(error.kind()));
        &mut self.all
    }

    /// The code of a command that did `done` others. Where nothing was done for one reason, that is
    /// told as for a single value: a store that nobody may write to is no matter of any one value.
    pub(crate) fn code(&self, done: u64) -> Exit {
        match (self.all, self.first) {
            (0, _) => Exit::Success,
            (1, Some(only)) if done == 0 => only,
            (all, _) if done == 0 && all == self.by_system => Exit::System,
            _ => Exit::Findings,
        }
    }
}

impl From<io::Error> for Failure {
    /// An error of writing to the standard output; a closed pipe is no failure.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(Exit::Success, ""),
            _ => Self::new(Exit::System, format!("could not write the output: {error}")),
        }
    }
}
