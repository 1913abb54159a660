//! Configuration from outside: the environment, then `.env` of the working directory, then the
//! built-in defaults. What a program passes as an argument comes before all of them and is not
//! seen here. Nothing is ever written to the environment.
//!
//! | variable | default | allowed |
//! |---|---|---|
//! | `BLOB_STORAGE_ENABLED` | `true` | a switch |
//! | `BLOB_STORAGE_BASE_PATH` | `tmp/storage` | a path, as it is |
//! | `CACHE_ENABLED` | `true` | a switch |
//! | `CACHE_MAX_SIZE` | `1000` | entries, at least 1 |
//! | `CACHE_DEFAULT_TTL` | `3600` | seconds above 0, fractions too, or `none` for never |
//! | `LOG_LEVEL` | unset | `debug`, `info`, `warning`, `error`, `critical` |
//! | `LOG_DEBUG_ENABLED` | `false` | a switch |
//!
//! A switch is `true`, `false`, `1`, `0`, `yes`, `no`, `on` or `off`. Case does not matter, space
//! around a value neither (but in a path it does), and an empty value counts as unset.

pub(crate) mod dotenv;
mod examined;
mod parse;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result, shown_key};
use dotenv::DotEnv;
pub use examined::Examined;

/// Where a setting comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Source {
    /// A variable of the process's environment.
    Environment,
    /// The file `.env` of the working directory.
    DotEnv {
        /// The line, counted from 1.
        line: usize,
    },
    /// Built in.
    #[default]
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => f.write_str("from the environment"),
            Self::DotEnv { line } => write!(f, "from line {line} of .env"),
            Self::Default => f.write_str("built in"),
        }
    }
}

/// A level of logging, in Python's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Everything; `trace` is taken for it too.
    Debug,
    /// What happens in normal operation.
    Info,
    /// What may need a look; `warn` is taken for it too.
    Warning,
    /// What failed.
    Error,
    /// What ends the program; `fatal` is taken for it too.
    Critical,
}

impl Level {
    /// As `LOG_LEVEL` has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }
}

/// The variables, in the order in which they are read and reported.
const VARIABLES: [&str; 7] = [
    "BLOB_STORAGE_ENABLED",
    "BLOB_STORAGE_BASE_PATH",
    "CACHE_ENABLED",
    "CACHE_MAX_SIZE",
    "CACHE_DEFAULT_TTL",
    "LOG_LEVEL",
    "LOG_DEBUG_ENABLED",
];

/// What the variables say, each checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Whether values are kept on disk.
    pub blob_storage_enabled: bool,
    /// The folder of the store; relative to the working directory unless absolute.
    pub base_path: PathBuf,
    /// Whether values are kept in memory.
    pub cache_enabled: bool,
    /// The most entries in memory, at least 1.
    pub cache_max_size: usize,
    /// How long an entry stays in memory; `None` is for ever.
    pub cache_default_ttl: Option<Duration>,
    /// The level of the logger `holdall`; `None` leaves it as it is.
    pub log_level: Option<Level>,
    /// Whether debug logging is asked for.
    pub log_debug_enabled: bool,
    sources: [Source; VARIABLES.len()],
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            blob_storage_enabled: true,
            base_path: PathBuf::from("tmp/storage"),
            cache_enabled: true,
            cache_max_size: 1_000,
            cache_default_ttl: Some(Duration::from_secs(3_600)),
            log_level: None,
            log_debug_enabled: false,
            sources: [Source::Default; VARIABLES.len()],
        }
    }
}

impl Settings {
    /// Reads the environment and `.env` now; [`ErrorKind::InvalidArgument`] for a bad value,
    /// [`ErrorKind::Io`] if there is a `.env` that cannot be read. Reads one small file.
    pub fn from_env() -> Result<Self> {
        Self::read(&|name| std::env::var_os(name), &DotEnv::of_working_directory()?)
    }

    /// The same from a look-up of variables and the text of a `.env`, for tests and embedders.
    pub fn resolve(lookup: impl Fn(&str) -> Option<String>, dotenv: Option<&str>) -> Result<Self> {
        let dotenv = dotenv.map(DotEnv::parse).unwrap_or_default();
        Self::read(&|name| lookup(name).map(OsString::from), &dotenv)
    }

    fn read(lookup: &Lookup<'_>, dotenv: &DotEnv) -> Result<Self> {
        let mut settings = Self::default();
        for index in 0..VARIABLES.len() {
            settings.take(index, lookup, dotenv)?;
        }
        Ok(settings)
    }

    /// Takes one variable, if it is set.
    fn take(&mut self, index: usize, lookup: &Lookup<'_>, dotenv: &DotEnv) -> Result<()> {
        let name = VARIABLES[index];
        let Some((value, source)) = find(name, lookup, dotenv)? else { return Ok(()) };
        if value.trim().is_empty() {
            return Ok(());
        }
        self.set(name, &value).map_err(|allowed| {
            let cause = format!("{name} is {} ({source})", shown_key(&value));
            Error::new(ErrorKind::InvalidArgument, cause).remedy(format!("set it to {allowed}"))
        })?;
        self.sources[index] = source;
        Ok(())
    }

    /// Takes one value, or says what is allowed.
    fn set(&mut self, name: &str, value: &str) -> Result<(), &'static str> {
        match name {
            "BLOB_STORAGE_ENABLED" => self.blob_storage_enabled = parse::switch(value)?,
            "BLOB_STORAGE_BASE_PATH" => self.base_path = parse::path(value)?,
            "CACHE_ENABLED" => self.cache_enabled = parse::switch(value)?,
            "CACHE_MAX_SIZE" => self.cache_max_size = parse::entries(value)?,
            "CACHE_DEFAULT_TTL" => self.cache_default_ttl = parse::ttl(value)?,
            "LOG_LEVEL" => self.log_level = Some(parse::level(value)?),
            _ => self.log_debug_enabled = parse::switch(value)?,
        }
        Ok(())
    }

    /// What holds for a variable, as it would be written; nothing if it is not one of those.
    #[must_use]
    pub fn shown(&self, name: &str) -> String {
        match name {
            "BLOB_STORAGE_ENABLED" => self.blob_storage_enabled.to_string(),
            "BLOB_STORAGE_BASE_PATH" => self.base_path.display().to_string(),
            "CACHE_ENABLED" => self.cache_enabled.to_string(),
            "CACHE_MAX_SIZE" => self.cache_max_size.to_string(),
            "CACHE_DEFAULT_TTL" => match self.cache_default_ttl {
                Some(ttl) => ttl.as_secs_f64().to_string(),
                None => "none".into(),
            },
            "LOG_LEVEL" => self.log_level.map_or("unset", Level::name).into(),
            "LOG_DEBUG_ENABLED" => self.log_debug_enabled.to_string(),
            _ => String::new(),
        }
    }

    /// Each variable and where its setting comes from, in the order of the fields.
    pub fn sources(&self) -> impl Iterator<Item = (&'static str, Source)> {
        VARIABLES.into_iter().zip(self.sources)
    }
}

/// Looks a variable of the environment up.
pub(crate) type Lookup<'a> = dyn Fn(&str) -> Option<OsString> + 'a;

/// A variable as it is written: the environment's, else that of `.env`. An empty one in the
/// environment hides none in `.env`. The value may be a secret and is in no error.
pub(crate) fn find(
    name: &'static str,
    lookup: &Lookup<'_>,
    dotenv: &DotEnv,
) -> Result<Option<(String, Source)>> {
    let empty = match lookup(name).map(OsString::into_string) {
        Some(Err(_)) => {
            let cause = format!("{name} is not UTF-8 (from the environment)");
            return Err(
                Error::new(ErrorKind::InvalidArgument, cause).remedy("set it to UTF-8 text")
            );
        }
        Some(Ok(value)) if !value.trim().is_empty() => {
            return Ok(Some((value, Source::Environment)));
        }
        Some(Ok(value)) => Some((value, Source::Environment)),
        None => None,
    };
    Ok(dotenv.get(name)?.or(empty))
}
