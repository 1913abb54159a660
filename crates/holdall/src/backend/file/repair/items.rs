//! Folders in quarantine: one for each thing that is kept aside, with a note.

use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{AtFlags, OFlags, mkdirat, openat, unlinkat};
use rustix::io::Errno;
use serde::Serialize;

use super::super::dir::{FILE_MODE, FOLDER_MODE, open_folder};
use super::super::layout::{OWN, own_folder};
use super::super::open::Live;
use super::{FOLDER, step};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::flush::flush;
use crate::key::shortened;

/// The file beside what is kept.
pub(in super::super) const NOTE: &str = "note.json";

/// What is said of something that is kept aside.
#[derive(Serialize)]
pub(super) struct Note<'a> {
    pub(super) kind: &'static str,
    pub(super) key: Option<&'a str>,
    /// Where it lay, below the folder of the store.
    pub(super) path: Option<&'a str>,
    pub(super) what: &'a str,
    /// Its name in this folder.
    pub(super) file: &'a str,
    /// The record that travelled with it, in hex.
    pub(super) stamp: Option<String>,
}

/// A folder in quarantine.
pub(super) struct Item {
    pub(super) folder: OwnedFd,
    quarantine: OwnedFd,
    /// Below the base.
    pub(super) path: String,
}

impl Item {
    /// Makes one, with its note, that survives a power cut. `name` is for people.
    pub(super) fn make(live: &Live, name: &str, note: &Note<'_>) -> Result<Self> {
        let quarantine = own_folder(&live.own, FOLDER)?;
        let now = Clock::system().wall_micros() / 1_000;
        let number = getrandom::u32().map_err(|error| {
            Error::new(ErrorKind::Io, format!("the system has no random bytes: {error}"))
        })?;
        let name = format!("{}-{}-{number:08x}", stamped(now), shortened(name));
        let path = format!("{OWN}/{FOLDER}/{name}");
        let io = |error: Errno| Error::io(error.into(), &path);
        // Fails if there is one of that name.
        mkdirat(&quarantine, &name, FOLDER_MODE).map_err(io)?;
        step();
        let folder = open_folder(quarantine.as_fd(), &name).map_err(io)?;
        let item = Self { folder, quarantine, path };
        let noted = item.write_note(note, now).and_then(|()| {
            step();
            item.flush()
        });
        if noted.is_err() {
            // On a full disk each attempt would leave one more.
            let _ = unlinkat(&item.folder, NOTE, AtFlags::empty());
            let _ = unlinkat(&item.quarantine, &name, AtFlags::REMOVEDIR);
        }
        step();
        noted.map(|()| item)
    }

    fn write_note(&self, note: &Note<'_>, now: u64) -> Result<()> {
        #[derive(Serialize)]
        struct Dated<'a> {
            #[serde(flatten)]
            note: &'a Note<'a>,
            when: String,
            release: &'static str,
        }
        let release = env!("CARGO_PKG_VERSION");
        let note = Dated { note, when: said(now), release };
        let mut text = serde_json::to_vec_pretty(&note)
            .map_err(|error| Error::new(ErrorKind::Io, error.to_string()))?;
        text.push(b'\n');
        self.write(NOTE, &text)
    }

    /// Writes a file that survives a power cut once the folder is flushed.
    pub(super) fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let io = |error: std::io::Error| Error::io(error, format!("{}/{name}", self.path));
        let file = openat(&self.folder, name, flags, FILE_MODE).map_err(|e| io(e.into()))?;
        let mut file = std::fs::File::from(file);
        file.write_all(content).and_then(|()| Ok(flush(file.as_fd())?)).map_err(io)
    }

    /// Makes the names in it, and its own, survive a power cut.
    pub(super) fn flush(&self) -> Result<()> {
        let io = |error: Errno| Error::io(error.into(), &self.path);
        flush(self.folder.as_fd()).and_then(|()| flush(self.quarantine.as_fd())).map_err(io)
    }
}

/// Bytes as people copy them.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Year, month and day of a number of days since 1970 (Howard Hinnant's `civil_from_days`).
fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let rest = day - (365 * year + year / 4 - year / 100);
    let month = (5 * rest + 2) / 153;
    let (day, month) =
        (rest - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    (era * 400 + year + u64::from(month <= 2), month, day)
}

fn parts(millis: u64) -> (u64, u64, u64, u64, u64, u64) {
    let seconds = millis / 1_000;
    let (year, month, day) = date(seconds / 86_400);
    (year, month, day, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60)
}

/// A moment as part of a name, UTC: `20261125T213200Z`.
fn stamped(millis: u64) -> String {
    let (year, month, day, hour, minute, second) = parts(millis);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// A moment in words, UTC: `2026-11-25T21:32:00Z`.
fn said(millis: u64) -> String {
    let (year, month, day, hour, minute, second) = parts(millis);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_calendar() {
        assert_eq!(said(0), "1970-01-01T00:00:00Z");
        assert_eq!(said(951_782_400_000), "2000-02-29T00:00:00Z");
        assert_eq!(stamped(1_795_642_320_123), "20261125T213200Z");
        assert_eq!(said(4_107_542_399_000), "2100-02-28T23:59:59Z");
        assert_eq!(said(4_107_542_400_000), "2100-03-01T00:00:00Z");
    }
}
