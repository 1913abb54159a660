//! Reading and writing the files of values piece by piece.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3Default;

use super::FileOptions;
use super::find::{Candidate, Winner};
use super::open::Opened;
use super::read::{Sight, within};
use super::temp::{Detached, Temp};
use crate::backend::{Placed, Put, Reading, Writing};
use crate::error::{Error, ErrorKind, Result};
use crate::fork;
use crate::key::Key;
use crate::record::Record;

/// An open file: what was placed under the key later lies in another one.
struct FileReading {
    file: OwnedFd,
    path: std::path::PathBuf,
}

impl fmt::Debug for FileReading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileReading").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Reading for FileReading {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> Result<usize> {
        loop {
            match rustix::io::pread(&self.file, &mut *buffer, position) {
                Err(rustix::io::Errno::INTR) => {}
                other => return other.map_err(|error| Error::io(error.into(), &self.path)),
            }
        }
    }
}

impl Opened {
    /// Opens the file of a value. It is read as a whole only if somebody has touched it.
    pub(crate) fn reader(
        &self,
        key: &Key,
        limit: u64,
    ) -> Result<Option<(Record, Box<dyn Reading>)>> {
        self.settled(key, |search| {
            let found = match self.winner(key, None, search)? {
                Some(Winner::File(found)) => found,
                Some(Winner::Inline(object)) => {
                    within(object.record.length, limit)?;
                    let reading: Box<dyn Reading> = Box::new(object.content);
                    return Ok(Some(Sight { ours: true, it: (object.record, reading) }));
                }
                None => return Ok(None),
            };
            let record = self.record_of(&found, limit)?;
            let ours = found.stamp.is_some();
            Ok(Some(Sight { ours, it: (record, self.reading(found)) }))
        })
    }

    /// A found file, to be read later.
    pub(crate) fn reading(&self, found: Candidate) -> Box<dyn Reading> {
        let Candidate { file, path, .. } = found;
        Box::new(FileReading { file, path: self.path.join(path) })
    }
}

/// A temporary file that grows until it is placed.
pub(super) struct FileWriting {
    opened: Arc<Opened>,
    options: FileOptions,
    /// Taken when it is placed.
    file: Option<Detached>,
    checksum: Xxh3Default,
    length: u64,
    /// In a forked child the file is the parent's.
    made_in: u64,
}

impl FileWriting {
    pub(super) fn new(opened: Arc<Opened>, options: FileOptions) -> Result<Self> {
        let temp = opened.live()?.temp().map_err(|error| error.below(&opened.path))?;
        let file = temp.detach().map_err(|error| Error::io(error, &opened.path))?;
        let made_in = fork::generation();
        let (checksum, length) = (Xxh3Default::new(), 0);
        Ok(Self { opened, options, file: Some(file), checksum, length, made_in })
    }

    fn own(&mut self) -> Result<&mut Detached> {
        match &mut self.file {
            Some(file) if self.made_in == fork::generation() => Ok(file),
            _ => Err(Error::new(
                ErrorKind::InvalidArgument,
                "the value was begun before this process was forked",
            )
            .remedy("write it in one process")),
        }
    }
}

impl fmt::Debug for FileWriting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileWriting").field("length", &self.length).finish_non_exhaustive()
    }
}

impl Writing for FileWriting {
    fn write(&mut self, piece: &[u8]) -> Result<()> {
        let path = self.opened.path.clone();
        self.own()?.write(piece).map_err(|error| Error::io(error, path))?;
        self.checksum.update(piece);
        self.length += piece.len() as u64;
        Ok(())
    }

    fn finish(mut self: Box<Self>, put: Put) -> Result<Placed> {
        self.own()?;
        let Some(file) = self.file.take() else {
            return Err(Error::new(ErrorKind::Io, "the value was placed already"));
        };
        let opened = Arc::clone(&self.opened);
        let temp = Temp::attach(&opened.live()?.temporary, file);
        let terms = self.options.terms();
        if self.length < terms.inline_below {
            let mut content = vec![0; usize::try_from(self.length).unwrap_or(usize::MAX)];
            let io = |error| Error::io(error, &opened.path);
            temp.read_exact_at(&mut content).map_err(io)?;
            let put = Put { parts: vec![content.into()], ..put };
            let lost = || Err(Error::new(ErrorKind::Io, "the write was not carried out"));
            return opened.write(vec![put], terms).pop().unwrap_or_else(lost);
        }
        opened.write_staged(put, temp, self.length, self.checksum.digest(), terms)
    }
}

impl Drop for FileWriting {
    fn drop(&mut self) {
        if let Some(file) = self.file.take()
            && self.made_in == fork::generation()
            && let Ok(live) = self.opened.live()
        {
            drop(Temp::attach(&live.temporary, file));
        }
    }
}
