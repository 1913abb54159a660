//! The file of notes beside a log: what each of its frames was, and that it was.
//!
//! After a process was killed, a log that is not what the notes say has been damaged, and no value that
//! was saved is a miss for that. After a power cut it says nothing: the disk may have either without the other.
//! So notes are never flushed, and nothing depends on their being there.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use xxhash_rust::xxh3::xxh3_64;

use super::frame::{
    Chain, FRAME, FRAME_HEAD, FrameHead, HEAD, Head, Note, are_alike, frame_at, frames_in,
    is_commit,
};
use crate::clock::Clock;
use crate::index::sqlite::page::Page;

/// The head of the log, where it was written, and a checksum of both.
const BEGIN: usize = HEAD + 16;
/// The notes of the log of the inline values, which is the only one that has some: the index can be made
/// again.
pub(super) const NAME: &str = "values.sqlite-notes";
/// `STATX_MNT_ID_UNIQUE`, since Linux 6.8: no later mount has the same number.
const UNIQUE_MOUNT: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// What a part of a log that was read is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// What SQLite is to judge.
    AsItIs,
    /// Damage that was put right, and is to be written back.
    PutRight,
    /// Not what was written.
    Damaged,
}

/// The notes of one open log.
#[derive(Debug)]
pub(super) struct Notes {
    log: PathBuf,
    path: PathBuf,
    /// What is written: the frames of one transaction, one after the other.
    first: u32,
    written: Vec<Note>,
    are_noted: bool,
    /// What is read from the beginning: the next frame, and the checksums so far.
    reading: Option<(u32, Chain)>,
    file: Option<File>,
}

impl Notes {
    pub(super) fn of(log: PathBuf) -> Self {
        let path = beside(&log);
        let written = Vec::new();
        Self { log, path, first: 1, written, are_noted: true, reading: None, file: None }
    }

    /// Notes what SQLite has written into the log. Without the notes nothing is lost, so an error of the
    /// system is only told in the program's log.
    pub(super) fn wrote(&mut self, bytes: &[u8], offset: u64) {
        let noted = if let (0, Ok(head)) = (offset, bytes.try_into()) {
            self.begin(head)
        } else if let (Some((number, 0)), Ok(head)) = (frame_at(offset), bytes.try_into()) {
            self.wrote_head(number, head)
        } else if let (Some((number, FRAME_HEAD)), Ok(page)) = (frame_at(offset), bytes.try_into())
        {
            self.wrote_page(number, page)
        } else {
            Ok(())
        };
        if let Err(error) = noted {
            tracing::debug!("a log of the database has no notes: {error}");
            self.forget();
        }
    }

    fn begin(&mut self, head: &Head) -> io::Result<()> {
        self.written.clear();
        self.are_noted = true;
        let begin = begin(head, origin(&self.log));
        self.file()?.write_all_at(&begin, 0)
    }

    fn wrote_head(&mut self, number: u32, head: FrameHead) -> io::Result<()> {
        let at = number.wrapping_sub(self.first) as usize;
        if let Some(note) = self.written.get_mut(at).filter(|note| are_alike(&note.head, &head)) {
            // Its page was written again, or a commit that failed is tried again.
            note.head = head;
            self.are_noted = false;
            let has_all = is_commit(&head) && at + 1 == self.written.len();
            return if has_all { self.note_all() } else { Ok(()) };
        }
        let is_next = at == self.written.len();
        if self.are_noted || !is_next {
            // What lies there is of a log before, or of a transaction that was rolled back; behind the last
            // note of our own there is none.
            let (known, is_last) = (place(number), is_next && at > 0);
            self.written.clear();
            self.first = number;
            let file = self.file()?;
            if !is_last && file.metadata()?.len() > known {
                file.set_len(known)?;
            }
        }
        self.are_noted = false;
        self.written.push(Note::of(head));
        Ok(())
    }

    fn wrote_page(&mut self, number: u32, page: &Page) -> io::Result<()> {
        let at = number.wrapping_sub(self.first) as usize;
        let Some(note) = self.written.get_mut(at) else { return Ok(()) };
        note.set_page(page);
        if is_commit(&note.head) {
            self.written.truncate(at + 1);
            return self.note_all();
        }
        Ok(())
    }

    fn note_all(&mut self) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(self.written.len() * Note::BYTES);
        for note in &self.written {
            bytes.extend_from_slice(&note.encode());
        }
        self.are_noted = true;
        let at = place(self.first);
        self.file()?.write_all_at(&bytes, at)
    }

    /// Compares what SQLite has read of a log that is opened after a process was killed, and puts it
    /// right if it can; `bytes` are all that the log has.
    pub(super) fn read(&mut self, read: &mut [u8], offset: u64, bytes: u64) -> Found {
        if let (0, Ok(head)) = (offset, read.as_mut().try_into()) {
            return self.read_head(head, bytes);
        }
        let Ok(frame) = read.try_into() else { return Found::AsItIs };
        match (self.reading.take(), frame_at(offset)) {
            (Some((next, chain)), Some((number, 0))) if number == next => {
                self.read_frame(frame, number, chain)
            }
            _ => Found::AsItIs,
        }
    }

    fn read_head(&mut self, head: &mut Head, bytes: u64) -> Found {
        let noted = self.noted_head();
        let mut found = Found::AsItIs;
        let chain = Chain::begin(head).or_else(|| {
            let (noted, _) = noted?;
            *head = noted;
            found = Found::PutRight;
            Chain::begin(&noted)
        });
        self.reading = chain.map(|chain| (1, chain));
        let (Some(chain), Some((noted, true))) = (chain, noted) else { return found };
        let frames = frames_in(bytes);
        let is_cut = noted == *head
            && u32::try_from(frames + 1)
                .is_ok_and(|next| self.note(next).is_some_and(|note| chain.has(&note)));
        if is_cut { Found::Damaged } else { found }
    }

    fn read_frame(&mut self, frame: &mut [u8; FRAME], number: u32, chain: Chain) -> Found {
        if let Some(chain) = chain.with(frame) {
            self.reading = Some((number + 1, chain));
            return Found::AsItIs;
        }
        let Some(note) = self.note(number).filter(|note| chain.has(note)) else {
            return Found::AsItIs;
        };
        if let Some(right) = note.put_right(frame)
            && let Some(chain) = chain.with(&right)
        {
            *frame = right;
            self.reading = Some((number + 1, chain));
            return Found::PutRight;
        }
        match self.noted_head() {
            Some((head, true)) if chain.is_of(&head) => Found::Damaged,
            _ => {
                tracing::warn!(
                    path = %self.log.display(),
                    "a log of the database ends before what was written last, as after a power cut"
                );
                Found::AsItIs
            }
        }
    }

    /// Whether a log that has no frames had some before.
    pub(super) fn lacks_all(&self) -> bool {
        matches!(self.noted_head(), Some((head, true)) if self.note(1).is_some_and(|note| {
            Chain::begin(&head).is_some_and(|chain| chain.has(&note))
        }))
    }

    /// Forgets all; the log is about to be cut off or removed.
    pub(super) fn forget(&mut self) {
        self.file = None;
        remove_beside(&self.log);
    }

    /// The head that was written, and whether it was to this very file since the machine was started.
    fn noted_head(&self) -> Option<(Head, bool)> {
        let mut noted = [0; BEGIN];
        self.read_at(&mut noted, 0)?;
        let mut head = [0; HEAD];
        head.copy_from_slice(&noted[..HEAD]);
        let is_whole = noted[HEAD + 8..] == begin(&head, origin_of(&noted))[HEAD + 8..];
        is_whole.then(|| {
            let here = origin(&self.log);
            (head, here.is_some() && here == origin_of(&noted))
        })
    }

    fn note(&self, number: u32) -> Option<Note> {
        let mut note = [0; Note::BYTES];
        self.read_at(&mut note, place(number))?;
        Some(Note::decode(&note))
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> Option<()> {
        let opened;
        let file = match &self.file {
            Some(file) => file,
            None => {
                opened = open(&self.path, false).ok()?;
                &opened
            }
        };
        file.read_exact_at(bytes, offset).ok()
    }

    fn file(&mut self) -> io::Result<&File> {
        let file = match self.file.take() {
            Some(file) => file,
            None => open(&self.path, true)?,
        };
        Ok(self.file.insert(file))
    }
}

/// What the notes begin with.
fn begin(head: &Head, origin: Option<u64>) -> [u8; BEGIN] {
    let mut begin = [0; BEGIN];
    begin[..HEAD].copy_from_slice(head);
    begin[HEAD..HEAD + 8].copy_from_slice(&origin.unwrap_or(0).to_le_bytes());
    let sum = xxh3_64(&begin[..HEAD + 8]);
    begin[HEAD + 8..].copy_from_slice(&sum.to_le_bytes());
    begin
}

fn origin_of(begin: &[u8; BEGIN]) -> Option<u64> {
    let mut origin = [0; 8];
    origin.copy_from_slice(&begin[HEAD..HEAD + 8]);
    Some(u64::from_le_bytes(origin)).filter(|origin| *origin != 0)
}

/// Which file this is, of which mount, since which start of the machine: while none of them is another one,
/// what was written into the file is what is read of it. `None` where the kernel does not tell mounts apart.
fn origin(log: &Path) -> Option<u64> {
    let wanted = StatxFlags::INO | UNIQUE_MOUNT;
    let stat = statx(CWD, log, AtFlags::SYMLINK_NOFOLLOW, wanted).ok()?;
    if !StatxFlags::from_bits_retain(stat.stx_mask).contains(wanted) {
        return None;
    }
    let boot = u64::from(Clock::system().boot_id());
    let parts = [boot, stat.stx_mnt_id, stat.stx_ino].map(u64::to_le_bytes);
    Some(xxh3_64(parts.as_flattened()).max(1))
}

/// Where the note of a frame begins.
fn place(number: u32) -> u64 {
    BEGIN as u64 + u64::from(number.saturating_sub(1)) * Note::BYTES as u64
}

fn open(path: &Path, to_write: bool) -> io::Result<File> {
    let mut options = File::options();
    // Whatever else lies there is not waited for.
    options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK);
    if to_write {
        options.write(true).create(true).truncate(false).mode(0o600);
    }
    let file = options.open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

/// The notes of a log.
fn beside(log: &Path) -> PathBuf {
    log.with_file_name(NAME)
}

/// Removes the notes of a log that is about to be removed: they would accuse the next one.
pub(super) fn remove_beside(log: &Path) {
    let removed = fs::remove_file(beside(log));
    if let Err(error) = removed.or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    }) {
        tracing::debug!("notes of a log were not removed: {error}");
    }
}

/// Has a copy of a log and its notes be the one to which they were written.
#[cfg(test)]
pub(in super::super) fn claim(log: &Path) {
    let notes = open(&beside(log), true).unwrap();
    let mut noted = [0; BEGIN];
    notes.read_exact_at(&mut noted, 0).unwrap();
    let head = noted.first_chunk::<HEAD>().unwrap();
    notes.write_all_at(&begin(head, Some(origin(log).unwrap_or(1))), 0).unwrap();
}
