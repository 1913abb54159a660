//! The file of notes beside a log: what each of its frames was, and that it was.
//!
//! After a process was killed, a log that is not what the notes say has been damaged, and no value that
//! was saved is a miss for that. After a power cut it says nothing: the disk may have either without the other.
//! So notes are never flushed, and nothing depends on their being there.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use xxhash_rust::xxh3::xxh3_64;

use super::frame::{
    Chain, FRAME, FRAME_HEAD, FrameHead, HEAD, Head, Note, Sums, before, frame_at, frames_in,
    is_commit, sums_of,
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
    file: Option<File>,
    /// The database is open for reading alone, so nobody keeps others from writing meanwhile.
    pub(super) may_grow: bool,
    written: Written,
    reading: Option<Reading>,
}

/// The frames that one transaction has written, one after the other.
#[derive(Debug, Default)]
struct Written {
    /// Which time that this connection may write it is.
    turn: u64,
    first: u32,
    before: Sums,
    notes: Vec<Note>,
    /// The frame whose page comes next.
    at: Option<u32>,
    /// A page was written again without its head, which will be: until then the checksums are wrong.
    has_old_heads: bool,
    is_committed: bool,
}

/// How far a log that somebody has left was read.
#[derive(Debug)]
struct Reading {
    chain: Chain,
    /// The frames that were read, and those that there are.
    read: u32,
    frames: u64,
}

impl Notes {
    pub(super) fn of(log: PathBuf, may_grow: bool) -> Self {
        let path = beside(&log);
        Self { log, path, file: None, may_grow, written: Written::default(), reading: None }
    }

    /// Forgets what is about to be overwritten: before, for what is half written is no damage. `turn` is
    /// another number in each transaction, and `read` reads from the log.
    ///
    /// Without notes nothing is lost, so an error of the system is only told in the program's log.
    pub(super) fn before_write(
        &mut self,
        bytes: usize,
        offset: u64,
        turn: u64,
        read: impl FnOnce(&mut Sums, u64) -> bool,
    ) {
        self.reading = None;
        let Some((number, 0)) = frame_at(offset) else { return };
        if bytes != FRAME_HEAD || (self.written.turn == turn && !self.written.notes.is_empty()) {
            return;
        }
        self.written = Written { turn, first: number, ..Written::default() };
        let known = read(&mut self.written.before, before(number)) && self.cut(number).is_ok();
        if !known {
            tracing::debug!("a commit to the log of the database has no notes");
            self.forget();
        }
    }

    /// Removes the notes of a frame and of those behind it.
    fn cut(&mut self, number: u32) -> io::Result<()> {
        let mut found = self.file()?.metadata()?;
        if found.nlink() == 0 {
            // The log was the last one's to close, and is another one by now.
            self.file = None;
            found = self.file()?.metadata()?;
        }
        if found.len() > place(number) { self.file()?.set_len(place(number)) } else { Ok(()) }
    }

    /// Notes what SQLite has written into the log.
    pub(super) fn wrote(&mut self, bytes: &[u8], offset: u64) {
        let noted = match frame_at(offset) {
            None => match bytes.try_into() {
                Ok(head) => self.begin(head),
                Err(_) => Ok(()),
            },
            Some((number, within)) => match (within, bytes.try_into(), bytes.try_into()) {
                (0, Ok(head), _) => self.wrote_head(number, head),
                (FRAME_HEAD, _, Ok(page)) => self.wrote_page(number, page),
                _ => Ok(()),
            },
        };
        if let Err(error) = noted {
            tracing::debug!("a commit to the log of the database has no notes: {error}");
            self.forget();
        }
    }

    fn begin(&mut self, head: &Head) -> io::Result<()> {
        self.written = Written { turn: self.written.turn, ..Written::default() };
        let begin = begin(head, origin(&self.log));
        self.file()?.write_all_at(&begin, 0)
    }

    fn wrote_head(&mut self, number: u32, head: FrameHead) -> io::Result<()> {
        let Written { first, notes, at, has_old_heads, is_committed, .. } = &mut self.written;
        let place = number.wrapping_sub(*first) as usize;
        if *is_committed {
            // Only heads are written again after the last page.
            let Some(note) = notes.get_mut(place) else { return Ok(()) };
            note.head = head;
            *has_old_heads &= place + 1 < notes.len();
            return if *has_old_heads { Ok(()) } else { self.note_all() };
        }
        *at = Some(number);
        // What followed was given up.
        notes.truncate(place);
        if place == notes.len() {
            notes.push(Note::of(head));
        }
        Ok(())
    }

    fn wrote_page(&mut self, number: u32, page: &Page) -> io::Result<()> {
        let Written { first, notes, at, has_old_heads, is_committed, .. } = &mut self.written;
        let place = number.wrapping_sub(*first) as usize;
        let Some(note) = notes.get_mut(place) else { return Ok(()) };
        note.set_page(page);
        if at.take() != Some(number) {
            *has_old_heads = true;
        } else if is_commit(&note.head) {
            *is_committed = true;
            notes.truncate(place + 1);
            return if *has_old_heads { Ok(()) } else { self.note_all() };
        }
        Ok(())
    }

    fn note_all(&mut self) -> io::Result<()> {
        let Written { first, before, notes, .. } = &mut self.written;
        let mut bytes = Vec::with_capacity(notes.len() * Note::BYTES);
        let mut sums = *before;
        for note in notes {
            note.before = sums;
            sums = sums_of(&note.head);
            bytes.extend_from_slice(&note.encode());
        }
        let at = place(*first);
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
            (Some(reading), Some((number, 0))) if number == reading.read + 1 => {
                self.read_frame(frame, reading)
            }
            _ => Found::AsItIs,
        }
    }

    fn read_head(&mut self, head: &mut Head, bytes: u64) -> Found {
        let mut found = Found::AsItIs;
        let chain = Chain::begin(head).or_else(|| {
            let (noted, _) = self.noted_head()?;
            *head = noted;
            found = Found::PutRight;
            Chain::begin(&noted)
        });
        let Some(chain) = chain else { return found };
        let reading = Reading { chain, read: 0, frames: frames_in(bytes) };
        if self.is_cut(&reading) {
            return Found::Damaged;
        }
        self.reading = Some(reading);
        found
    }

    fn read_frame(&mut self, frame: &mut [u8; FRAME], reading: Reading) -> Found {
        let Reading { chain, read, frames } = reading;
        let mut found = Found::AsItIs;
        let with = chain.with(frame).or_else(|| {
            let note = self.note(read + 1).filter(|note| chain.is_followed_by(note))?;
            found = Found::Damaged;
            let right = note.put_right(frame)?;
            let with = chain.with(&right)?;
            *frame = right;
            found = Found::PutRight;
            Some(with)
        });
        if let Some(chain) = with {
            let reading = Reading { chain, read: read + 1, frames };
            if self.is_cut(&reading) {
                return Found::Damaged;
            }
            self.reading = Some(reading);
            return found;
        }
        if found == Found::Damaged && !self.is_of_this_file(&chain) {
            tracing::warn!(
                path = %self.log.display(),
                "a log of the database ends before what was written last, as after a power cut"
            );
            return Found::AsItIs;
        }
        found
    }

    /// Whether all frames that are there were read, and another one was written.
    fn is_cut(&self, reading: &Reading) -> bool {
        !self.may_grow
            && u64::from(reading.read) == reading.frames
            && self.note(reading.read + 1).is_some_and(|note| reading.chain.is_followed_by(&note))
            && self.is_of_this_file(&reading.chain)
    }

    /// Whether a log that has no frames had some before.
    pub(super) fn lacks_all(&self) -> bool {
        let Some((head, true)) = self.noted_head().filter(|_| !self.may_grow) else { return false };
        Chain::begin(&head)
            .is_some_and(|chain| self.note(1).is_some_and(|note| chain.is_followed_by(&note)))
    }

    /// Whether the notes of a log were begun in this very file, since the machine was started.
    fn is_of_this_file(&self, chain: &Chain) -> bool {
        matches!(self.noted_head(), Some((head, true)) if chain.is_of(&head))
    }

    /// Forgets all, for all who have the notes open; the log is about to be cut off.
    pub(super) fn forget(&mut self) {
        if let Ok(file) = open(&self.path, File::options().write(true))
            && let Err(error) = file.set_len(0)
        {
            tracing::debug!("notes of a log were not removed: {error}");
        }
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
                opened = open(&self.path, &mut File::options()).ok()?;
                &opened
            }
        };
        file.read_exact_at(bytes, offset).ok()
    }

    fn file(&mut self) -> io::Result<&File> {
        let file = match self.file.take() {
            Some(file) => file,
            None => open(&self.path, File::options().write(true).create(true).mode(0o600))?,
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
    let device = u64::from(stat.stx_dev_major) << 32 | u64::from(stat.stx_dev_minor);
    let parts = [boot, stat.stx_mnt_id, device, stat.stx_ino].map(u64::to_le_bytes);
    Some(xxh3_64(parts.as_flattened()).max(1))
}

/// Where the note of a frame begins.
fn place(number: u32) -> u64 {
    BEGIN as u64 + u64::from(number.saturating_sub(1)) * Note::BYTES as u64
}

fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    // Whatever else lies there is not waited for.
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK;
    let file = options.read(true).custom_flags(flags).open(path)?;
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
    let notes = open(&beside(log), File::options().write(true)).unwrap();
    let mut noted = [0; BEGIN];
    notes.read_exact_at(&mut noted, 0).unwrap();
    let head = noted.first_chunk::<HEAD>().unwrap();
    notes.write_all_at(&begin(head, Some(origin(log).unwrap_or(1))), 0).unwrap();
}

#[cfg(test)]
mod tests {
    use super::super::frame::a_head;
    use super::*;

    struct Log {
        notes: Notes,
        path: PathBuf,
        _folder: tempfile::TempDir,
    }

    impl Log {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("values.sqlite-wal");
            fs::write(&path, []).unwrap();
            Self { notes: Notes::of(path.clone(), false), path, _folder: folder }
        }

        /// So many frames are noted.
        fn assert_noted(&self, frames: u32) {
            assert_eq!(fs::metadata(beside(&self.path)).unwrap().len(), place(frames + 1));
        }

        fn at(number: u32) -> u64 {
            HEAD as u64 + u64::from(number - 1) * FRAME as u64
        }

        fn head(&mut self, turn: u64, number: u32, ends: bool) {
            let mut head = [1; FRAME_HEAD];
            head[4..8].fill(u8::from(ends));
            self.notes.before_write(FRAME_HEAD, Self::at(number), turn, |_, _| true);
            self.notes.wrote(&head, Self::at(number));
        }

        fn page(&mut self, number: u32) {
            self.notes.wrote(&[7; 4_096], Self::at(number) + FRAME_HEAD as u64);
        }

        fn commit(&mut self, turn: u64, numbers: std::ops::RangeInclusive<u32>) {
            for number in numbers.clone() {
                self.head(turn, number, number == *numbers.end());
                self.page(number);
            }
        }
    }

    #[test]
    fn what_is_read_after_a_write_is_not_judged() {
        let mut log = Log::new();
        let mut head = a_head();
        log.notes.wrote(&head, 0);
        assert_eq!(log.notes.read(&mut head, 0, HEAD as u64), Found::AsItIs);
        let sums = *head.last_chunk().unwrap();
        let begins = |before: &mut Sums, _| {
            *before = sums;
            true
        };
        log.notes.before_write(FRAME_HEAD, Log::at(1), 1, begins);
        log.notes.wrote(&[1; FRAME_HEAD], Log::at(1));
        log.page(1);
        log.assert_noted(1);
        // As SQLite does before it computes checksums anew.
        let mut frame = [1; FRAME];
        assert_eq!(log.notes.read(&mut frame, Log::at(1), 0), Found::AsItIs);
        // Whoever opens the log later judges it.
        let mut other = Notes::of(log.path.clone(), false);
        assert_eq!(other.read(&mut head, 0, Log::at(2)), Found::AsItIs);
        assert_ne!(other.read(&mut frame, Log::at(1), 0), Found::AsItIs);
    }

    #[test]
    fn what_is_about_to_be_overwritten_is_forgotten_before() {
        let mut log = Log::new();
        log.commit(1, 1..=3);
        log.assert_noted(3);
        log.commit(2, 4..=9);
        log.assert_noted(9);
        // As if that commit had not counted, and the process is killed while it writes the next one.
        log.notes.before_write(FRAME_HEAD, Log::at(4), 3, |_, _| true);
        log.assert_noted(3);
    }

    #[test]
    fn a_commit_whose_heads_are_written_again_is_noted_when_they_are() {
        let mut log = Log::new();
        log.commit(1, 1..=1);
        for number in 2..=4 {
            log.head(2, number, false);
            log.page(number);
        }
        log.page(3);
        log.head(2, 5, true);
        log.page(5);
        log.assert_noted(1);
        for number in 3..=5 {
            log.assert_noted(1);
            log.head(2, number, number == 5);
        }
        log.assert_noted(5);
        log.commit(3, 6..=7);
        log.assert_noted(7);
    }
}
