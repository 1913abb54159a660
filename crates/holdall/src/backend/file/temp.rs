//! Files that are being written: complete, checked and stamped before they get a name.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{
    AtFlags, FlockOperation, OFlags, RenameFlags, Timespec, Timestamps, flock, openat,
    renameat_with, unlinkat,
};
use rustix::io::Errno;
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

use super::dir::FILE_MODE;
use super::pipeline;
use super::stamps::Stamps;
use crate::backend::Part;
use crate::blocks::LONG;
use crate::flush::flush;
use crate::fork;
use crate::signing::{Seal, Tag, trailer};

/// How much of a value passes through the processor's cache at a time.
const PIECE: usize = 256 * 1_024;

/// How often a sweep may come between the making of a file and its locking.
const TRIES: usize = 100;

/// A file without a name of its own yet; removed when dropped before it was placed.
pub(crate) struct Temp<'a> {
    folder: &'a OwnedFd,
    name: String,
    file: File,
    inode: u64,
    /// Where it has a stamp that must not outlive it.
    stamps: Option<&'a Stamps>,
    placed: bool,
}

/// A temporary file on its own, for a writer that lasts longer than a call. It is not removed
/// when dropped: attach it again.
pub(crate) struct Detached {
    name: String,
    file: File,
    inode: u64,
}

impl Detached {
    /// Appends bytes.
    pub(crate) fn write(&mut self, piece: &[u8]) -> std::io::Result<()> {
        self.file.write_all(piece)
    }
}

impl<'a> Temp<'a> {
    /// Lets go of the folder, and of the duty to remove the file.
    pub(crate) fn detach(mut self) -> std::io::Result<Detached> {
        // The lock belongs to both descriptors.
        let file = self.file.try_clone()?;
        self.placed = true;
        Ok(Detached { name: std::mem::take(&mut self.name), file, inode: self.inode })
    }

    /// Takes a file back that was made in `folder`.
    pub(crate) fn attach(folder: &'a OwnedFd, file: Detached) -> Self {
        let Detached { name, file, inode } = file;
        Self { folder, name, file, inode, stamps: None, placed: false }
    }

    /// Makes one with a name that nobody else has, readable by its owner alone.
    ///
    /// It is locked as long as it is open: the sweep takes only what nobody has open.
    /// [`Errno::WOULDBLOCK`] if the sweep came between making and locking.
    pub(crate) fn create(folder: &'a OwnedFd, name: String) -> Result<Self, Errno> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        let _making = Making::begin();
        let file = openat(folder, &name, flags | OFlags::NOFOLLOW, FILE_MODE)?;
        let file = File::from(file);
        let mut temp = Self { folder, name, file, inode: 0, stamps: None, placed: false };
        flock(&temp.file, FlockOperation::NonBlockingLockExclusive)?;
        let stat = rustix::fs::fstat(&temp.file)?;
        if stat.st_nlink == 0 {
            return Err(Errno::WOULDBLOCK);
        }
        temp.inode = stat.st_ino;
        Ok(temp)
    }

    /// As [`Temp::create`], with another name whenever a sweep came between.
    pub(crate) fn create_one(
        folder: &'a OwnedFd,
        mut name: impl FnMut() -> String,
    ) -> Result<Self, Errno> {
        for _ in 0..TRIES {
            match Self::create(folder, name()) {
                Err(Errno::WOULDBLOCK) => {}
                made => return made,
            }
        }
        Self::create(folder, name())
    }

    /// Writes the parts one after the other; answers with length and checksum of the whole.
    pub(crate) fn write(&mut self, parts: &[Part]) -> std::io::Result<(u64, u64)> {
        if let [Part::Stable(only)] = parts
            && only.len() <= PIECE
        {
            self.file.write_all(only)?;
            return Ok((only.len() as u64, xxh3_64(only)));
        }
        let length: u64 = parts.iter().map(|part| part.bytes().len() as u64).sum();
        if length >= LONG {
            return Ok((length, pipeline::write(&self.file, parts, length)?));
        }
        let mut checksum = Xxh3Default::new();
        let mut copy = Vec::new();
        for part in parts {
            for piece in part.bytes().chunks(PIECE) {
                let piece = pipeline::steady(part, piece, &mut copy);
                checksum.update(piece);
                self.file.write_all(piece)?;
            }
        }
        Ok((length, checksum.digest()))
    }

    /// Writes the parts and signs them on the way; answers with length and checksum of the whole,
    /// of which the signature is the end.
    pub(crate) fn write_sealed(
        &mut self,
        parts: &[Part],
        seal: &Seal,
    ) -> std::io::Result<(u64, u64, Tag)> {
        let length = parts.iter().map(|part| part.bytes().len() as u64).sum();
        let (checksum, tag) = pipeline::write_sealed(&self.file, parts, length, seal)?;
        Ok((length + trailer::LENGTH as u64, checksum, tag))
    }

    /// Reads what was written, from the beginning.
    pub(crate) fn read_exact_at(&self, buffer: &mut [u8]) -> std::io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, buffer, 0)
    }

    /// Sets the time of the last change to a whole millisecond, by which our own files are told
    /// from edited ones.
    pub(crate) fn set_modified(&self, millis: u64) -> Result<(), Errno> {
        let seconds = i64::try_from(millis / 1_000).unwrap_or(i64::MAX);
        let when = Timespec { tv_sec: seconds, tv_nsec: (millis % 1_000 * 1_000_000) as _ };
        let times = Timestamps { last_access: when, last_modification: when };
        rustix::fs::futimens(&self.file, &times)
    }

    /// Sets or replaces its stamp.
    pub(crate) fn stamp(
        &mut self,
        stamps: &'a Stamps,
        bytes: &[u8],
        durable: bool,
    ) -> std::io::Result<()> {
        self.stamps = Some(stamps);
        stamps.set(self.file.as_fd(), self.inode, bytes, durable)
    }

    /// Flushes content and stamp.
    pub(crate) fn sync(&self) -> Result<(), Errno> {
        flush(self.file.as_fd())
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Gives the file its name, in place of whatever had it.
    pub(crate) fn place(&mut self, folder: BorrowedFd<'_>, name: &str) -> Result<(), Errno> {
        rustix::fs::renameat(self.folder, &self.name, folder, name)?;
        self.placed = true;
        Ok(())
    }
}

impl Temp<'_> {
    /// Gives the file the name of another one, which goes: by an exchange, which costs a fifth of a
    /// rename over it on ext4. The file that loses its name is never used again.
    pub(crate) fn replace(&mut self, folder: BorrowedFd<'_>, name: &str) -> Result<(), Errno> {
        let exchange =
            || renameat_with(self.folder, &self.name, folder, name, RenameFlags::EXCHANGE);
        match exchange() {
            Ok(()) => {}
            // It has gone meanwhile, or the file system cannot do this.
            Err(Errno::NOENT | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                return self.place(folder, name);
            }
            Err(error) => return Err(error),
        }
        match unlinkat(self.folder, &self.name, AtFlags::empty()) {
            // Somebody has put a folder there just now: it gets its name back.
            Err(error @ (Errno::ISDIR | Errno::PERM)) => {
                exchange()?;
                return Err(error);
            }
            // The sweep takes it: nobody has it locked.
            Err(error) => tracing::warn!("an outdated file was not removed: {error}"),
            Ok(()) => {}
        }
        self.placed = true;
        Ok(())
    }
}

impl Drop for Temp<'_> {
    fn drop(&mut self) {
        if !self.placed {
            let _ = unlinkat(self.folder, &self.name, AtFlags::empty());
            if let Some(stamps) = self.stamps {
                // The file is still open, so its inode is nobody else's yet.
                stamps.forget(self.inode);
            }
        }
    }
}

/// How many threads have made a file, or are about to, and have not locked it yet; in the upper half,
/// in which [`fork::generation`]: a forked child does not have the threads of its parent.
static MAKING: AtomicU64 = AtomicU64::new(0);

/// The number in its lower half.
const NUMBER: u64 = u32::MAX as u64;

/// How many there are in this process.
fn making(word: u64) -> u64 {
    let is_ours = word & !NUMBER == fork::generation() << 32;
    if is_ours { word & NUMBER } else { 0 }
}

struct Making;

impl Making {
    fn begin() -> Self {
        Self::change(|number| number + 1);
        Self
    }

    fn change(step: impl Fn(u64) -> u64) {
        let next = |word| Some((fork::generation() << 32) | step(making(word)));
        // It is never refused.
        let _ = MAKING.fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        Self::change(|number| number.saturating_sub(1));
    }
}

/// Whether a thread of this process has a file that looks as if nobody needed it.
pub(crate) fn is_making() -> bool {
    making(MAKING.load(Ordering::Acquire)) > 0
}

/// Removes what writers that died have left: what nobody has locked. Whoever has just made a file
/// and not locked it yet makes another one. Answers how many files that were.
pub(crate) fn sweep(folder: &OwnedFd, stamps: &Stamps) -> Result<u64, Errno> {
    let mut swept = 0;
    for entry in rustix::fs::Dir::read_from(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        if matches!(name, "." | "..") {
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(file) = openat(folder, name, flags, rustix::fs::Mode::empty()) else { continue };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
            && unlinkat(folder, name, AtFlags::empty()).is_ok()
        {
            stamps.forget(rustix::fs::fstat(&file)?.st_ino);
            swept += 1;
        }
    }
    Ok(swept)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rustix::fs::Mode;

    use super::*;

    fn folder() -> (tempfile::TempDir, OwnedFd) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let flags = OFlags::DIRECTORY | OFlags::RDONLY;
        let fd = openat(rustix::fs::CWD, dir.path(), flags, Mode::empty()).expect("just made");
        (dir, fd)
    }

    #[test]
    fn parts_are_written_in_order_with_the_checksum_of_the_whole() {
        let (dir, fd) = folder();
        let big: Bytes = (0..600_000_u32).map(|n| n as u8).collect::<Vec<u8>>().into();
        let parts = [
            Part::Stable(Bytes::from_static(b"head")),
            Part::Volatile(big.clone()),
            Part::Stable(big.clone()),
        ];
        let mut temp = Temp::create(&fd, "t".into()).expect("made");
        let (length, checksum) = temp.write(&parts).expect("written");
        temp.place(fd.as_fd(), "value").expect("placed");
        let content = std::fs::read(dir.path().join("value")).expect("placed");
        assert_eq!(content, [b"head", &big[..], &big[..]].concat());
        assert_eq!((length, checksum), (content.len() as u64, xxh3_64(&content)));
    }

    #[test]
    fn the_file_that_is_replaced_goes_and_keeps_its_content_for_who_has_it_open() {
        use std::io::Read as _;
        let (dir, fd) = folder();
        let path = dir.path().join("value");
        std::fs::write(&path, "old").expect("written");
        let mut reader = File::open(&path).expect("just made");
        let mut temp = Temp::create(&fd, "t".into()).expect("made");
        temp.write(&[Part::Stable(Bytes::from_static(b"new"))]).expect("written");
        temp.replace(fd.as_fd(), "value").expect("replaced");
        drop(temp);
        assert_eq!(std::fs::read(&path).expect("there"), b"new");
        let mut content = String::new();
        reader.read_to_string(&mut content).expect("still open");
        assert_eq!(content, "old");
        assert_eq!(std::fs::read_dir(dir.path()).expect("there").count(), 1);
    }

    #[test]
    fn replacing_what_has_gone_meanwhile_places_the_file() {
        let (dir, fd) = folder();
        let mut temp = Temp::create(&fd, "t".into()).expect("made");
        temp.replace(fd.as_fd(), "value").expect("placed");
        drop(temp);
        assert!(dir.path().join("value").exists());
        assert!(!dir.path().join("t").exists());
    }

    #[test]
    fn a_folder_that_is_in_the_way_stays_where_it_is() {
        let (dir, fd) = folder();
        std::fs::create_dir(dir.path().join("value")).expect("made");
        std::fs::write(dir.path().join("value/theirs"), "x").expect("written");
        let mut temp = Temp::create(&fd, "t".into()).expect("made");
        assert!(temp.replace(fd.as_fd(), "value").is_err());
        drop(temp);
        assert!(dir.path().join("value/theirs").exists());
        assert!(!dir.path().join("t").exists());
    }

    #[test]
    fn what_was_not_placed_leaves_nothing_behind() {
        let (dir, fd) = folder();
        drop(Temp::create(&fd, "t".into()).expect("made"));
        assert_eq!(std::fs::read_dir(dir.path()).expect("there").count(), 0);
    }

    #[test]
    fn a_temporary_file_is_never_one_that_is_there_already() {
        let (_dir, fd) = folder();
        let _first = Temp::create(&fd, "same".into()).expect("made");
        assert_eq!(Temp::create(&fd, "same".into()).err(), Some(Errno::EXIST));
    }

    #[test]
    fn the_sweep_takes_what_is_locked_by_nobody() {
        let (dir, fd) = folder();
        let writing = Temp::create(&fd, "writing".into()).expect("made");
        std::fs::write(dir.path().join("dead"), "half").expect("written");
        assert_eq!(sweep(&fd, &Stamps::Attributes).expect("swept"), 1);
        assert!(dir.path().join("writing").exists());
        drop(writing);
    }

    #[test]
    fn a_sweep_that_comes_between_is_no_failure() {
        let (_dir, fd) = folder();
        let is_done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_done.load(std::sync::atomic::Ordering::Relaxed) {
                    let _ = sweep(&fd, &Stamps::Attributes);
                }
            });
            let mut tries = 0;
            // Until it has happened.
            for made in 0..200_000 {
                let name = || {
                    tries += 1;
                    format!("t{tries}")
                };
                let temp = Temp::create_one(&fd, name);
                let is_made = temp.is_ok();
                if !is_made || tries > made + 1 {
                    is_done.store(true, std::sync::atomic::Ordering::Relaxed);
                    assert!(is_made, "{:?}", temp.err());
                    return;
                }
            }
            is_done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }

    #[test]
    fn a_sweep_never_takes_a_file_that_is_being_made() {
        let (_dir, fd) = folder();
        std::thread::scope(|scope| {
            let sweeper = scope.spawn(|| {
                (0..300).map(|_| sweep(&fd, &Stamps::Attributes).unwrap_or(0)).sum::<u64>()
            });
            let mut made = 0;
            while !sweeper.is_finished() {
                match Temp::create(&fd, format!("t{made}")) {
                    Ok(mut temp) => temp.place(fd.as_fd(), "value").expect("it is still there"),
                    Err(error) => assert_eq!(error, Errno::WOULDBLOCK),
                }
                made += 1;
            }
            assert!(sweeper.join().is_ok());
        });
    }

    #[test]
    fn a_forked_child_waits_for_no_file_that_a_thread_of_its_parent_was_making() {
        let _ = crate::fork::generation();
        let making = Making::begin();
        let is_free = crate::fork::tests_support::in_child(|| {
            let was_free = !is_making();
            let own = Making::begin();
            let is_busy = is_making();
            drop(own);
            was_free && is_busy && !is_making()
        });
        assert!(is_making());
        drop(making);
        assert!(is_free);
    }
}
