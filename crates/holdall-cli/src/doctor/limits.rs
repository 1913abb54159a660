//! What the system lets a process have.

use rustix::process::{Resource, getrlimit};

use super::{About, Findings};

/// Each manager of a store has a handful of files open, each transfer one or two.
const FEW_FILES: u64 = 256;

pub(super) fn examine(_: &About<'_>, findings: &mut Findings) {
    match getrlimit(Resource::Nofile).current {
        Some(files) if files < FEW_FILES => findings.warning(
            format!("a process may open {files} files"),
            "raise it (ulimit -n), or many saves at once will fail",
        ),
        Some(files) => findings.good(format!("a process may open {files} files")),
        None => findings.good("a process may open any number of files"),
    }
    if let Some(bytes) = getrlimit(Resource::Fsize).current {
        findings.warning(
            format!("a file may have {bytes} bytes at most"),
            "raise it (ulimit -f), or larger values cannot be saved",
        );
    }
}
