//! Large values in blocks, which two threads share.
//!
//! Each thread takes the next block, and does all that there is to do with it while it lies in the
//! cache of its processor: what is read from memory twice takes twice as long. Only the checksum
//! has an order; a thread waits until it is its block's turn.

use std::hash::Hasher as _;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use twox_hash::XxHash3_64;

use crate::fork;

/// From so many bytes on, a value is worth a second thread.
pub(crate) const LONG: u64 = 4 << 20;

/// XXH3-64 of what comes in pieces.
pub(crate) struct Checksum(XxHash3_64);

impl Checksum {
    pub(crate) fn new() -> Self {
        Self(XxHash3_64::new())
    }

    pub(crate) fn update(&mut self, piece: &[u8]) {
        self.0.write(piece);
    }

    pub(crate) fn digest(&self) -> u64 {
        self.0.finish()
    }
}

/// The checksum of blocks that are ready in any order.
pub(crate) struct Turns {
    progress: Mutex<Progress>,
    turned: Condvar,
}

struct Progress {
    next: usize,
    checksum: Checksum,
    /// A block failed, and its turn will never come.
    is_over: bool,
}

impl Turns {
    pub(crate) fn new() -> Self {
        let progress = Progress { next: 0, checksum: Checksum::new(), is_over: false };
        Self { progress: Mutex::new(progress), turned: Condvar::new() }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a block after all that come before it; does nothing if one of them failed.
    pub(crate) fn add(&self, index: usize, block: &[u8]) {
        let mut progress = self.progress();
        while progress.next != index && !progress.is_over {
            progress = self.turned.wait(progress).unwrap_or_else(PoisonError::into_inner);
        }
        if !progress.is_over {
            progress.checksum.update(block);
            progress.next += 1;
            drop(progress);
            self.turned.notify_all();
        }
    }

    fn end(&self) {
        self.progress().is_over = true;
        self.turned.notify_all();
    }

    /// The checksum of all blocks that were added.
    pub(crate) fn into_checksum(self) -> Checksum {
        self.progress.into_inner().unwrap_or_else(PoisonError::into_inner).checksum
    }
}

/// Ends the work of the other thread unless all went well, whatever ended it here.
struct Ender<'a>(&'a Turns, bool);

impl Drop for Ender<'_> {
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

/// Does `work` for every block, with its number and a buffer to be used again, on this thread and,
/// where a processor is free of such work, one more. After a failure no block is begun.
pub(crate) fn share<T: Send, E: Send>(
    blocks: impl Iterator<Item = T> + Send,
    turns: &Turns,
    work: impl Fn(usize, T, &mut Vec<u8>) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let blocks = Mutex::new(blocks.enumerate());
    let run = || {
        let mut ender = Ender(turns, false);
        let mut buffer = Vec::new();
        while !turns.progress().is_over {
            let next = blocks.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((index, block)) = next else { break };
            work(index, block, &mut buffer)?;
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
        let done = share(data.chunks(1_000), &turns, |index, block, _| {
            if index % 3 == 0 {
                thread::yield_now();
            }
            turns.add(index, block);
            Ok::<(), ()>(())
        });
        assert_eq!(done, Ok(()));
        assert_eq!(turns.into_checksum().digest(), xxh3_64(&data));
    }

    #[test]
    fn a_failed_block_ends_the_work_and_nobody_waits_for_it() {
        for bad in [0, 1, 2, 99] {
            let turns = Turns::new();
            let done = share(0..100, &turns, |index, _, _| {
                if index == bad {
                    return Err(index);
                }
                turns.add(index, &[0]);
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
                share(0..100, &turns, |index, _, _| {
                    assert!(index != bad, "as the test wants it");
                    turns.add(index, &[0]);
                    Ok::<(), ()>(())
                })
            }));
            assert!(caught.is_err());
        }
    }
}
