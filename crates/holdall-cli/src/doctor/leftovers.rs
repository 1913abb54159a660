//! What was left behind: files of dead writers, and what was set aside.

use std::path::Path;
use std::time::Duration;

use holdall::clock::Clock;

use super::Findings;
use crate::output::{count, size};

/// Younger ones may belong to a save that is under way.
const OLD: Duration = Duration::from_secs(3_600);

pub(super) fn examine(folder: &Path, findings: &mut Findings) {
    let own = folder.join(".holdall");
    if !own.is_dir() {
        return;
    }
    let now = Clock::system().wall_micros() / 1_000_000;
    let (mut files, mut bytes) = (0, 0);
    for entry in own.join("tmp").read_dir().into_iter().flatten().flatten() {
        let Ok(found) = entry.metadata() else { continue };
        let changed =
            found.modified().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        let age = changed.map_or(0, |at| now.saturating_sub(at.as_secs()));
        if found.is_file() && age > OLD.as_secs() {
            files += 1;
            bytes += found.len();
        }
    }
    match files {
        0 => findings.good("no leftovers of dead writers"),
        _ => findings.notice(
            format!("{} of dead writers, {}", count(files, "file"), size(bytes)),
            "they are swept by age; `holdall repair` does so now",
        ),
    }
    let aside = own.join("quarantine").read_dir().into_iter().flatten().flatten().count();
    if aside > 0 {
        let what =
            format!("{} set aside in .holdall/quarantine", count(aside as u64, "damaged value"));
        findings.notice(what, "look at the notes there, and delete what nobody needs");
    }
}
