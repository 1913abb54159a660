//! Everything that can be said of a configuration, where others stop at the first mistake.

use std::ffi::OsString;

use super::dotenv::DotEnv;
use super::{Lookup, Settings, Source, VARIABLES};
use crate::error::{Error, Result};

/// What the environment and `.env` say, with all that is wrong with it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Examined {
    /// What is right; for the rest the built-in defaults.
    pub settings: Settings,
    /// What is wrong, in the order of the variables; each names where it stands.
    pub errors: Vec<Error>,
    /// The name of every variable that is set, also of those of other programs: first those of the
    /// environment. Their values may be secrets.
    pub names: Vec<(String, Source)>,
}

impl Examined {
    /// Looks at the environment and `.env` of the working directory now; reads one small file.
    #[must_use]
    pub fn now() -> Self {
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        Self::of(&|name| std::env::var_os(name), names, DotEnv::of_working_directory())
    }

    /// The same from variables and the text of a `.env`, for tests and embedders.
    #[must_use]
    pub fn resolve(variables: &[(&str, &str)], dotenv: Option<&str>) -> Self {
        let names = variables.iter().map(|(name, _)| (*name).to_owned());
        let value = |name: &str| variables.iter().find(|variable| variable.0 == name);
        let lookup = |name: &str| value(name).map(|(_, value)| OsString::from(value));
        Self::of(&lookup, names, Ok(dotenv.map(DotEnv::parse).unwrap_or_default()))
    }

    fn of(
        lookup: &Lookup<'_>,
        names: impl Iterator<Item = String>,
        dotenv: Result<DotEnv>,
    ) -> Self {
        let mut errors = Vec::new();
        let dotenv = dotenv.unwrap_or_else(|error| {
            errors.push(error);
            DotEnv::default()
        });
        let mut settings = Settings::default();
        for index in 0..VARIABLES.len() {
            errors.extend(settings.take(index, lookup, &dotenv).err());
        }
        let mut names: Vec<_> = names.map(|name| (name, Source::Environment)).collect();
        names.sort_by(|one, other| one.0.cmp(&other.0));
        names.extend(dotenv.names());
        Self { settings, errors, names }
    }
}
