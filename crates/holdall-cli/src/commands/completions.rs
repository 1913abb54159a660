//! `holdall completions`: what a shell needs to complete commands and options.

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use super::Context;
use crate::arguments::Arguments;
use crate::exit::{Exit, Outcome};

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self, context: &mut Context) -> Outcome {
        let mut script = Vec::new();
        generate(self.shell, &mut Arguments::command(), "holdall", &mut script);
        context.out.bytes(&script)?;
        Ok(Exit::Success)
    }
}
