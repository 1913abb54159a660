//! Large values in blocks, which two threads share.
//!
//! Each thread takes the next block, and does all that there is to do with it while it lies in the
//! cache of its processor: what is read from memory twice takes twice as long. Only the checksum
//! has an order.

use std::hash::Hasher as _;
use std::io;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use twox_hash::XxHash3_64;

use crate::fork;

/// From so many bytes on, a value is worth a second thread.
pub(crate) const LONG: u64 = 4 << 20;

/// XXH3-64 of what comes in pieces, and how many bytes that were.
pub(crate) struct Checksum(XxHash3_64, u64);

impl Checksum {
    pub(crate) fn new() -> Self {
        Self(XxHash3_64::new(), 0)
    }

    pub(crate) fn update(&mut self, piece: &[u8]) {
        self.0.write(piece);
        self.1 += piece.len() as u64;
    }

    pub(crate) fn digest(&self) -> u64 {
        self.0.finish()
    }
}

/// How many blocks may wait for one that comes before them.
const AHEAD: usize = 4;

/// The content of a block.
pub(crate) enum Block<'a> {
    /// That nobody changes.
    Lent(&'a [u8]),
    /// In a buffer of [`Turns::buffer`].
    Owned(Vec<u8>),
}

impl Block<'_> {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Lent(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }
}

/// The checksum of blocks that are ready in any order. Whoever adds the one that is next goes on
/// with those that waited for it, so that no thread waits for another that has lost its processor.
pub(crate) struct Turns<'a> {
    progress: Mutex<Progress<'a>>,
    turned: Condvar,
}

struct Progress<'a> {
    next: usize,
    /// Taken by the thread that is at it.
    checksum: Option<Checksum>,
    waiting: Vec<(usize, Block<'a>)>,
    buffers: Vec<Vec<u8>>,
    /// A block failed, and its turn will never come.
    is_over: bool,
}

impl<'a> Turns<'a> {
    pub(crate) fn new() -> Self {
        let progress = Progress {
            next: 0,
            checksum: Some(Checksum::new()),
            waiting: Vec::new(),
            buffers: Vec::new(),
            is_over: false,
        };
        Self { progress: Mutex::new(progress), turned: Condvar::new() }
    }

    fn progress(&self) -> MutexGuard<'_, Progress<'a>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A buffer that is not in use any more, or a new one.
    pub(crate) fn buffer(&self) -> Vec<u8> {
        self.progress().buffers.pop().unwrap_or_default()
    }

    /// Takes a buffer back.
    pub(crate) fn done_with(&self, block: Block<'a>) {
        if let Block::Owned(buffer) = block {
            self.progress().buffers.push(buffer);
        }
    }

    /// Adds a block if all that come before it were added; whether it was.
    pub(crate) fn add_now(&self, index: usize, bytes: &[u8]) -> bool {
        let progress = self.progress();
        let is_next = progress.next == index;
        if is_next {
            self.go_on(progress, bytes);
        }
        is_next
    }

    /// Adds a block after all that come before it; does nothing if one of them failed.
    pub(crate) fn add(&self, index: usize, block: Block<'a>) {
        let mut progress = self.progress();
        while progress.next != index {
            if progress.is_over {
                return;
            }
            if progress.waiting.len() < AHEAD {
                progress.waiting.push((index, block));
                return;
            }
            progress = self.turned.wait(progress).unwrap_or_else(PoisonError::into_inner);
        }
        self.go_on(progress, block.bytes());
        self.done_with(block);
    }

    /// Adds the block that is next, and those that waited for it.
    fn go_on(&self, mut progress: MutexGuard<'_, Progress<'a>>, bytes: &[u8]) {
        // Nobody else has it: only the block that is next may take it, and there is one of it.
        let Some(mut checksum) = progress.checksum.take() else { return };
        drop(progress);
        checksum.update(bytes);
        loop {
            let mut progress = self.progress();
            progress.next += 1;
            let next = progress.next;
            let Some(at) = progress.waiting.iter().position(|(index, _)| *index == next) else {
                progress.checksum = Some(checksum);
                break;
            };
            let (_, block) = progress.waiting.swap_remove(at);
            drop(progress);
            self.turned.notify_all();
            checksum.update(block.bytes());
            self.done_with(block);
        }
        self.turned.notify_all();
    }

    fn end(&self) {
        self.progress().is_over = true;
        self.turned.notify_all();
    }

    /// The checksum of all blocks, which are so many bytes.
    ///
    /// # Errors
    /// If a block is missing, which is a defect here: a wrong checksum must not reach the disk.
    pub(crate) fn into_checksum(self, length: u64) -> io::Result<Checksum> {
        let progress = self.progress.into_inner().unwrap_or_else(PoisonError::into_inner);
        let whole = progress.checksum.filter(|checksum| checksum.1 == length);
        whole.ok_or_else(|| io::Error::other("a block is missing in the checksum of a value"))
    }
}

/// Ends the work of the other thread unless all went well, whatever ended it here.
struct Ender<'a, 'b>(&'a Turns<'b>, bool);

impl Drop for Ender<'_, '_> {
    fn drop(&mut self) {
        if !self.1 {
            self.0.end();
        }
    }
}

/// A thread that is at work on blocks.
struct Worker;

impl Worker {
    /// Begins if fewer than `most` are at work in this process: where several values are under way,
    /// more threads than processors only wait for each other.
    fn begin(most: u64) -> Option<Self> {
        // A forked child has none of its parent's threads.
        let here = fork::generation() << 32;
        let begun = AT_WORK.fetch_update(Ordering::AcqRel, Ordering::Acquire, |was| {
            let count = if was >> 32 == here >> 32 { was & 0xffff_ffff } else { 0 };
            (count < most).then_some(here | (count + 1))
        });
        begun.is_ok().then_some(Self)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        AT_WORK.fetch_sub(1, Ordering::AcqRel);
    }
}

/// How many workers there are; in the high half, for which process that holds.
static AT_WORK: AtomicU64 = AtomicU64::new(0);

/// Does `work` for every block, with its number, on this thread and, where a processor is free of
/// such work, one more. After a failure no block is begun.
pub(crate) fn share<T: Send, E: Send>(
    blocks: impl Iterator<Item = T> + Send,
    turns: &Turns<'_>,
    work: impl Fn(usize, T) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let blocks = Mutex::new(blocks.enumerate());
    let run = || {
        let mut ender = Ender(turns, false);
        while !turns.progress().is_over {
            let next = blocks.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((index, block)) = next else { break };
            work(index, block)?;
        }
        ender.1 = true;
        Ok(())
    };
    let _worker = Worker::begin(u64::MAX);
    thread::scope(|scope| {
        let other = Worker::begin(processors()).map(|worker| {
            let run = || {
                let _worker = worker;
                run()
            };
            thread::Builder::new().name("holdall-large".into()).spawn_scoped(scope, run)
        });
        let own = run();
        // Without a second thread it takes longer, that is all.
        match other {
            Some(Ok(other)) => own.and(other.join().unwrap_or_else(|panic| resume_unwind(panic))),
            Some(Err(_)) | None => own,
        }
    })
}

fn processors() -> u64 {
    static COUNT: OnceLock<u64> = OnceLock::new();
    *COUNT.get_or_init(|| thread::available_parallelism().map_or(1, |count| count.get() as u64))
}

#[cfg(test)]
mod tests {
    use xxhash_rust::xxh3::xxh3_64;

    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_whole_whoever_is_first() {
        let data: Vec<u8> = (0..1_000_000_u32).map(|n| (n * 7) as u8).collect();
        let turns = Turns::new();
        let done = share(data.chunks(1_000), &turns, |index, block: &[u8]| {
            if index % 3 == 0 {
                thread::yield_now();
            }
            if index % 2 == 0 || !turns.add_now(index, block) {
                turns.add(index, Block::Lent(block));
            }
            Ok::<(), ()>(())
        });
        assert_eq!(done, Ok(()));
        assert_eq!(turns.into_checksum(data.len() as u64).unwrap().digest(), xxh3_64(&data));
    }

    #[test]
    fn a_checksum_without_one_of_its_blocks_is_an_error() {
        let turns = Turns::new();
        turns.add(0, Block::Lent(b"one"));
        turns.add(2, Block::Lent(b"three"));
        assert!(turns.into_checksum(8).is_err());
    }

    #[test]
    fn a_failed_block_ends_the_work_and_nobody_waits_for_it() {
        for bad in [0, 1, 2, 99] {
            let turns = Turns::new();
            let done = share(0..100, &turns, |index, _| {
                if index == bad {
                    return Err(index);
                }
                turns.add(index, Block::Lent(&[0]));
                Ok(())
            });
            assert_eq!(done, Err(bad));
        }
    }

    #[test]
    fn a_panic_in_a_block_reaches_the_caller_and_nobody_waits_for_it() {
        for bad in [0, 1, 50] {
            let turns = Turns::new();
            let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                share(0..100, &turns, |index, _| {
                    assert!(index != bad, "as the test wants it");
                    turns.add(index, Block::Lent(&[0]));
                    Ok::<(), ()>(())
                })
            }));
            assert!(caught.is_err());
        }
    }
}
