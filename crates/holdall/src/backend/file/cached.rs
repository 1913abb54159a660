//! Reading a small value, or finding the file of a large one, without ever waiting for a disk: from
//! the kernel's caches, or not at all.
//!
//! `openat2(RESOLVE_CACHED)` and `preadv2(RWF_NOWAIT)` refuse where they would wait. Everything that
//! is not plain sailing is left to the other way of reading, which can wait and explain.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::FileType;
use rustix::io::{ReadWriteFlags, preadv2};
use xxhash_rust::xxh3::xxh3_64;

use super::dir::open_cached;
use super::find::modified;
use super::open::Opened;
use super::stamps::Stamps;
use crate::backend::Object;
use crate::format::{Codec, Ending, Format};
use crate::key::Key;
use crate::record::{Record, Stamp};

/// The largest value that is read this way, bytes: reading and checking it takes some 10 us.
const MOST: usize = 64 * 1_024;

/// A file, open, of the length that its record says.
struct Calm {
    file: OwnedFd,
    path: String,
    record: Record,
    modified: (u64, bool),
}

impl Opened {
    /// Reads a value if nothing has to be waited for; `None` says nothing about it.
    pub(crate) fn read_cached(
        &self,
        key: &Key,
        wanted: Option<Format>,
        limit: u64,
    ) -> Option<Object> {
        let Calm { file, record, .. } = self.calm(key, wanted)?;
        let size = usize::try_from(record.length).ok()?;
        if size > MOST || size as u64 > limit {
            return None;
        }
        // One byte more than expected, so that a file that has grown shows itself.
        let mut content = vec![0; size + 1];
        let mut buffer = [std::io::IoSliceMut::new(&mut content)];
        let read = preadv2(&file, &mut buffer, 0, ReadWriteFlags::NOWAIT).ok()?;
        content.truncate(read);
        (read == size && xxh3_64(&content) == record.checksum).then_some(Object { record, content })
    }

    /// Finds a file that nobody has touched and whose beginning can be read at once; `None` says
    /// nothing about it.
    pub(crate) fn locate_cached(
        &self,
        key: &Key,
        wanted: Option<Format>,
    ) -> Option<(String, Record)> {
        let Calm { file, path, record, modified } = self.calm(key, wanted)?;
        // An edit that kept the length is told from damage by reading all of it.
        if modified != (record.updated, true) {
            return None;
        }
        let mut beginning = [0; 64];
        let mut buffer = [std::io::IoSliceMut::new(&mut beginning)];
        let read = preadv2(&file, &mut buffer, 0, ReadWriteFlags::NOWAIT).ok()?;
        (read > 0).then_some((path, record))
    }

    /// A file of ours that is its key's value: no write is under way.
    fn calm(&self, key: &Key, wanted: Option<Format>) -> Option<Calm> {
        let live = self.maybe_live()?;
        // Where stamps are files of their own, or locks mean nothing, there is nothing to gain.
        if !live.coherent || !matches!(self.stamps, Stamps::Attributes) {
            return None;
        }
        if self.hints_inline(key) {
            // SQLite may wait for a disk.
            return None;
        }
        let plain = |format| Ending { format, codec: Codec::None };
        let hint = self.hint(key).filter(|hint| wanted.is_none_or(|wanted| wanted == hint.format));
        let (stripe, ending) = (key.stripe(), hint.or_else(|| wanted.map(plain))?);
        // As in `settled`: in calm, the first file of ours is the value.
        let before = live.clock.count(stripe);
        if before % 2 == 1 || live.clock.diverged() {
            return None;
        }
        let path = ending.after(&key.name(self.case_rule()));
        let file = open_cached(self.base.as_fd(), &path)?;
        let stat = rustix::fs::fstat(&file).ok()?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return None;
        }
        let stamp = self.stamp_of(file.as_fd(), &stat, key.hash(), &path).ok()?.whole()?;
        let Stamp { record, .. } = stamp;
        if !record.ending().looks_like(ending) || record.length != stat.st_size as u64 {
            return None;
        }
        Some(Calm { file, path, record, modified: modified(&stat) })
    }
}
