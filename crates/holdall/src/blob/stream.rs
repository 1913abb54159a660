//! Values read and written piece by piece, with `std::io`'s traits.

use std::io::{self, Read, Seek, SeekFrom, Write};

use super::{Blob, BlobManager, BlobMetadata, Save, SaveOptions, missing, named};
use crate::backend::{Part, Put, Reading, Writing};
use crate::blocks::{Block, Checksum, LONG, Turns, share};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Codec, Format};
use crate::key::Key;
use crate::record::Record;
use crate::signing::{Seal, Tag, trailer};

/// A value that is open for reading; what is saved under its key later does not change it.
///
/// Of signed formats it gives what lies before the signature, *unverified*: never unpickle it.
/// The checksum is compared when the value was read from its beginning to its end without leaving
/// anything out, by the read that reaches the end; a file of another program has none.
#[derive(Debug)]
pub struct BlobReader {
    reading: Box<dyn Reading>,
    metadata: BlobMetadata,
    /// Without the signature.
    length: u64,
    position: u64,
    /// The most that is read into memory at once.
    most: u64,
    check: Option<Check>,
}

/// How much is read between two steps of the checksum.
const PIECE: usize = 512 * 1_024;

/// How much of a large value one thread reads and checks at a time: a huge page.
const BLOCK: usize = 2 << 20;

/// What was read so far, from the beginning.
struct Check {
    state: Checksum,
    upto: u64,
}

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Check").field("upto", &self.upto).finish_non_exhaustive()
    }
}

impl BlobReader {
    pub(super) fn new(key: Key, record: Record, reading: Box<dyn Reading>, most: u64) -> Self {
        let signature = record.signature.map_or(0, |_| trailer::LENGTH as u64);
        let length = record.length.saturating_sub(signature);
        let check = !record.foreign && record.codec == Codec::None;
        let check = check.then(|| Check { state: Checksum::new(), upto: 0 });
        let metadata = BlobMetadata::new(key, record);
        Self { reading, metadata, length, position: 0, most, check }
    }

    /// Fills memory that is as long as the value, from its beginning on, and compares the checksum
    /// at the end.
    pub(super) fn fill(&mut self, memory: &mut [u8]) -> Result<()> {
        debug_assert_eq!((self.position, memory.len() as u64), (0, self.length));
        if memory.len() < LONG as usize {
            let mut filled = 0;
            while filled < memory.len() {
                // So that what was read is in the processor's cache when it is hashed.
                let end = memory.len().min(filled + PIECE);
                filled += self.read_some(&mut memory[filled..end])?;
            }
            return Ok(());
        }
        let turns = Turns::new();
        // So that no two threads ask for the same huge page.
        let first = match memory.as_ptr().align_offset(BLOCK) {
            0 => BLOCK,
            offset => offset,
        };
        let read = read_blocks(&*self.reading, memory, first, &turns, |index, block| {
            turns.add(index, Block::Lent(block));
        });
        named(read, "read", &self.metadata.key)?;
        self.position = self.length;
        if let Some(check) = self.check.as_mut().filter(|check| check.upto == 0) {
            let whole = turns.into_checksum(self.length).map_err(|error| {
                Error::new(ErrorKind::Io, error.to_string()).remedy("report this as a defect")
            });
            check.state = named(whole, "read", &self.metadata.key)?;
            check.upto = self.position;
        }
        named(self.compare(), "read", &self.metadata.key.clone())
    }

    /// As [`fill`](Self::fill), but answers whether it is what was signed, which leaves nothing to a
    /// checksum.
    pub(super) fn fill_signed(&self, memory: &mut [u8], seal: &Seal, tag: &Tag) -> Result<bool> {
        let turns = Turns::new();
        let mac = seal.blocks(memory.len() as u64, BLOCK);
        read_blocks(&*self.reading, memory, mac.first(), &turns, |index, block| {
            mac.take(index, block);
        })?;
        let (rest, count) = self.rest()?;
        Ok(mac.is(tag) && rest[..count] == trailer::append(tag))
    }

    /// What the store knows of the value.
    #[must_use]
    pub fn metadata(&self) -> &BlobMetadata {
        &self.metadata
    }

    /// The length of the value in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether the value has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Where the next read begins, in bytes from the beginning.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Moves to a position in bytes from the beginning, which may lie behind the end.
    pub fn seek_to(&mut self, position: u64) {
        self.position = position;
    }

    /// Reads up to `most` bytes; fewer only at the end. Takes memory for what is there, not for
    /// what was asked.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if that is more than `max_value_bytes`;
    /// [`ErrorKind::Corrupt`] if the value is not the one that was saved; [`ErrorKind::Io`].
    pub fn read_up_to(&mut self, most: u64) -> Result<Vec<u8>> {
        let left = self.length.saturating_sub(self.position).min(most);
        let mut bytes = Vec::new();
        named(self.room(&mut bytes, left), "read", &self.metadata.key)?;
        while (bytes.len() as u64) < left {
            // Piece by piece, so that the zeros are still in the processor's cache.
            let filled = bytes.len();
            let piece = usize::try_from(left - filled as u64).unwrap_or(PIECE).min(PIECE);
            bytes.resize(filled + piece, 0);
            let count = self.read_some(&mut bytes[filled..])?;
            bytes.truncate(filled + count);
            if count == 0 {
                break;
            }
        }
        Ok(bytes)
    }

    /// Takes the memory for a read.
    fn room(&self, bytes: &mut Vec<u8>, left: u64) -> Result<()> {
        if left > self.most {
            let cause =
                format!("{left} bytes at once are more than max_value_bytes, {}", self.most);
            return Err(Error::new(ErrorKind::InvalidArgument, cause)
                .remedy("read it piece by piece, or raise max_value_bytes"));
        }
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        bytes.try_reserve_exact(left).map_err(|_| Error::no_memory(left))
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let key = &self.metadata.key;
        let left = self.length.saturating_sub(self.position);
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        let count = named(self.reading.read_at(&mut buffer[..most], self.position), "read", key)?;
        if count == 0 {
            return Err(damaged().on_key(key).during("read"));
        }
        if let Some(check) = &mut self.check
            && check.upto == self.position
        {
            check.state.update(&buffer[..count]);
            check.upto += count as u64;
        }
        self.position += count as u64;
        if self.position == self.length {
            self.compare().map_err(|error| error.on_key(&self.metadata.key).during("read"))?;
        }
        Ok(count)
    }

    /// What follows the value: its signature, if all is well; one byte more would be too many.
    fn rest(&self) -> Result<([u8; trailer::LENGTH + 1], usize)> {
        let mut rest = [0; trailer::LENGTH + 1];
        let mut count = 0;
        while count < rest.len() {
            match self.reading.read_at(&mut rest[count..], self.length + count as u64)? {
                0 => break,
                more => count += more,
            }
        }
        Ok((rest, count))
    }

    /// At the end: whether all that was read is what was saved.
    fn compare(&mut self) -> Result<()> {
        let Some(mut check) = self.check.take_if(|check| check.upto == self.length) else {
            return Ok(());
        };
        // The signature is covered too.
        let (rest, count) = self.rest()?;
        check.state.update(&rest[..count]);
        let record = self.metadata.record();
        let is_whole =
            self.length + count as u64 == record.length && check.state.digest() == record.checksum;
        if is_whole { Ok(()) } else { Err(damaged()) }
    }
}

/// Reads a value from its beginning on into all of `memory`, in blocks that `each` is given; the
/// first one is `first` bytes long.
fn read_blocks<'a>(
    reading: &dyn Reading,
    memory: &'a mut [u8],
    first: usize,
    turns: &Turns<'_>,
    each: impl Fn(usize, &'a [u8]) + Sync,
) -> Result<()> {
    let (head, rest) = memory.split_at_mut(first.min(memory.len()));
    let blocks = std::iter::once(head).chain(rest.chunks_mut(BLOCK));
    share(blocks, turns, |index, block: &'a mut [u8]| {
        let begin = index.checked_sub(1).map_or(0, |before| first + before * BLOCK);
        let mut filled = 0;
        while filled < block.len() {
            match reading.read_at(&mut block[filled..], (begin + filled) as u64)? {
                0 => return Err(damaged()),
                count => filled += count,
            }
        }
        each(index, block);
        Ok(())
    })
}

fn damaged() -> Error {
    Error::new(ErrorKind::Corrupt, "the content is not the one that was saved").remedy(
        "restore the file from a backup, save or delete the key, or run repair to keep it aside",
    )
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_some(buffer).map_err(io::Error::other)
    }
}

impl Seek for BlobReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let from = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.length.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        let before = || io::Error::new(io::ErrorKind::InvalidInput, "before the beginning");
        self.position = from.ok_or_else(before)?;
        Ok(self.position)
    }
}

/// A value that is being written; nobody sees it before [`finish`](Self::finish), and dropped
/// before that it leaves nothing behind and the old value as it is.
#[derive(Debug)]
pub struct BlobWriter {
    manager: BlobManager,
    put: Put,
    /// `None`: the backend takes values as a whole, so they are collected.
    writing: Option<Box<dyn Writing>>,
    collected: Vec<u8>,
    length: u64,
    /// A piece was refused; a part of it may be in the file.
    failed: Option<Error>,
}

impl BlobWriter {
    /// How many bytes were written so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether nothing was written yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if the value grows beyond `max_value_bytes`;
    /// [`ErrorKind::Io`]. After an error the value cannot be finished.
    pub fn append(&mut self, piece: &[u8]) -> Result<()> {
        if let Some(error) = &self.failed {
            return named(Err(error.again()), "write", self.put.key.as_str());
        }
        let length = self.length + piece.len() as u64;
        let written = self.manager.check_size(length).and_then(|()| match &mut self.writing {
            Some(writing) => writing.write(piece),
            None => {
                self.collected.extend_from_slice(piece);
                Ok(())
            }
        });
        self.length = length;
        self.failed = written.as_ref().err().map(Error::again);
        named(written, "write", self.put.key.as_str())
    }

    /// Places the value, whole or not at all.
    ///
    /// # Errors
    /// As for [`BlobManager::save_parts`], and once more that of a piece that could not be appended.
    pub fn finish(self) -> Result<BlobMetadata> {
        let Self { manager, mut put, writing, collected, failed, .. } = self;
        let key = put.key.clone();
        if let Some(error) = failed {
            return named(Err(error), "save", key.as_str());
        }
        let placed = match writing {
            Some(writing) => writing.finish(put),
            None => {
                put.parts = vec![Part::from(collected)];
                manager.backend().put(put)
            }
        };
        let placed = placed.map(|placed| {
            manager.cleaning.saved(&placed.record);
            BlobMetadata::placed(key.clone(), placed)
        });
        named(placed, "save", key.as_str())
    }
}

impl Write for BlobWriter {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.append(piece).map_err(io::Error::other)?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl BlobManager {
    /// Opens a value to be read piece by piece, in whatever format it is, as it is now.
    ///
    /// ```
    /// use std::io::{Read, Write};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// let store = holdall::BlobManager::new(folder.path());
    /// let mut writer = store.writer("log", holdall::Format::String, Default::default())?;
    /// writeln!(writer, "started")?;
    /// writer.finish()?;
    /// let mut text = String::new();
    /// store.reader("log")?.read_to_string(&mut text)?;
    /// assert_eq!(text, "started\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; [`ErrorKind::Corrupt`] if the damage shows without reading the
    /// value; [`ErrorKind::Io`].
    pub fn reader(&self, key: &str) -> Result<BlobReader> {
        let found = Key::new(key).and_then(|key| {
            let (record, reading) = self.backend().reader(&key)?.ok_or_else(missing)?;
            if record.codec != Codec::None {
                return self.unpacked(&key);
            }
            self.cleaning.loaded(&key, &record);
            let most = self.options.max_value_bytes;
            let mut reader = BlobReader::new(key, record, reading, most);
            if reader.is_empty() {
                reader.compare()?;
            }
            Ok(reader)
        });
        named(found, "open", key)
    }

    /// Opens a compressed value: it is read as a whole, and so it is checked, and verified if it is
    /// signed.
    fn unpacked(&self, key: &Key) -> Result<BlobReader> {
        let found = self.load_trusting(self.options.trust, key.as_str(), None)?;
        let Blob { payload, metadata } = found.ok_or_else(missing)?;
        let length = payload.len() as u64;
        let reading = Box::new(payload);
        let most = self.options.max_value_bytes;
        Ok(BlobReader { reading, metadata, length, position: 0, most, check: None })
    }

    /// Reads a part of a value: up to `length` bytes from `start` on, fewer at the end. It is not
    /// checked; of signed formats it is a part of what lies before the signature.
    ///
    /// # Errors
    /// As for [`BlobManager::reader`].
    pub fn read_range(&self, key: &str, start: u64, length: u64) -> Result<Vec<u8>> {
        let mut reader = self.reader(key)?;
        reader.check = None;
        reader.seek_to(start);
        reader.read_up_to(length)
    }

    /// Begins a value that is written piece by piece, in any format but the signed ones. The
    /// bytes are not looked at: that they are in `format` is up to the caller.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidKey`]; [`ErrorKind::InvalidArgument`] for a signed format or wrong
    /// options; [`ErrorKind::Io`].
    pub fn writer(&self, key: &str, format: Format, options: SaveOptions) -> Result<BlobWriter> {
        if format.is_signed() {
            let cause = format!("{} is signed while it is encoded", format.name());
            let error = Error::new(ErrorKind::InvalidArgument, cause);
            let error = error.remedy("save the object itself, or write it as bytes");
            return Err(error.on_key(key).during("open"));
        }
        let save = Save { key: key.to_owned(), format, parts: Vec::new(), options };
        let begun = self.prepare(save).and_then(|put| {
            let writing = self.backend().writer()?;
            let manager = self.clone();
            Ok(BlobWriter { manager, put, writing, collected: Vec::new(), length: 0, failed: None })
        });
        named(begun, "open", key)
    }
}
