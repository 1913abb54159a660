//! One writer at a time for each stripe of keys, in this process and in all others.
//!
//! A stripe is a byte of the lock file. Open-file-description locks exclude other processes and
//! are given back by the kernel when their holder dies; they do not exclude threads that share
//! the descriptor, so a table in memory comes first. Both waits end at one deadline, with an
//! error that names the holder: a stopped process delays its stripe, never the whole store.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::PoisonError;
use std::time::Duration;

use super::ofd;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::pool;
use crate::sync::{Condvar, Mutex, MutexGuard};

pub(crate) use crate::key::STRIPES;

/// Milliseconds that a wait for another thread takes at most as a rule.
const SHORT: u64 = 2;

const WORDS: usize = STRIPES / 64;

/// The stripe locks of one store.
pub(crate) struct StripeLocks {
    file: OwnedFd,
    table: Mutex<Table>,
    freed: Condvar,
    clock: Clock,
}

struct Table {
    held: [u64; WORDS],
    /// Somebody has, or waits for, all of them.
    all: bool,
    waiting: usize,
}

/// Stripes that are held; given back when dropped.
pub(crate) struct StripeGuard<'a> {
    locks: &'a StripeLocks,
    stripes: Vec<usize>,
    /// All of them, among the threads of this process.
    all_here: bool,
    /// All of them, among processes.
    all_there: bool,
}

impl StripeLocks {
    /// Locks over `file`, whose first [`STRIPES`] bytes stand for the stripes.
    pub(crate) fn new(file: OwnedFd) -> Self {
        let table = Mutex::new(Table { held: [0; WORDS], all: false, waiting: 0 });
        Self { file, table, freed: Condvar::new(), clock: Clock::system() }
    }

    /// The lock file, for the other locks of the store that lie behind the stripes.
    pub(crate) fn file(&self) -> &OwnedFd {
        &self.file
    }

    /// Takes stripes, in ascending order, so that two callers never wait for each other.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] when `timeout` has passed; then none is held.
    pub(crate) fn lock(
        &self,
        mut stripes: Vec<usize>,
        timeout: Duration,
    ) -> Result<StripeGuard<'_>> {
        stripes.sort_unstable();
        stripes.dedup();
        let deadline = self.deadline(timeout);
        let mut guard = StripeGuard::of(self, Vec::new());
        for stripe in stripes {
            // Whoever wants all waits for those who have some: they go on, or both would wait.
            let has_some = !guard.stripes.is_empty();
            self.take_here(deadline, |table| {
                (has_some || !table.all) && table.held[stripe / 64] & (1 << (stripe % 64)) == 0
            })?
            .held[stripe / 64] |= 1 << (stripe % 64);
            guard.stripes.push(stripe);
            self.take_there(stripe, 1, deadline)?;
        }
        Ok(guard)
    }

    /// Takes a stripe if nobody has it; never waits.
    pub(crate) fn try_lock(&self, stripe: usize) -> Result<Option<StripeGuard<'_>>> {
        {
            let mut table = self.table();
            if table.all || table.held[stripe / 64] & (1 << (stripe % 64)) != 0 {
                return Ok(None);
            }
            table.held[stripe / 64] |= 1 << (stripe % 64);
        }
        let guard = StripeGuard::of(self, vec![stripe]);
        let taken = ofd::try_lock(self.file.as_fd(), stripe as u64, 1, true)?;
        Ok(taken.then_some(guard))
    }

    /// Takes every stripe: no write is under way anywhere while the guard lives.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] after the deadline.
    pub(crate) fn lock_all(&self, timeout: Duration) -> Result<StripeGuard<'_>> {
        let deadline = self.deadline(timeout);
        self.take_here(deadline, |table| !table.all)?.all = true;
        let mut guard = StripeGuard::of(self, Vec::new());
        guard.all_here = true;
        drop(self.take_here(deadline, |table| table.held.iter().all(|word| *word == 0))?);
        self.take_there(0, STRIPES as u64, deadline)?;
        guard.all_there = true;
        Ok(guard)
    }

    fn deadline(&self, timeout: Duration) -> u64 {
        let timeout = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        self.clock.boot_millis().saturating_add(timeout)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the other threads of this process.
    fn take_here(
        &self,
        deadline: u64,
        free: impl Fn(&Table) -> bool,
    ) -> Result<MutexGuard<'_, Table>> {
        if let Some(table) = self.wait_here(deadline, SHORT, &free)? {
            return Ok(table);
        }
        // Whoever has it may wait for a process that was stopped.
        pool::while_waiting(|| {
            loop {
                if let Some(table) = self.wait_here(deadline, u64::MAX, &free)? {
                    return Ok(table);
                }
            }
        })
    }

    /// As [`take_here`](Self::take_here), for as many milliseconds at most; `None` after them.
    fn wait_here(
        &self,
        deadline: u64,
        most: u64,
        free: impl Fn(&Table) -> bool,
    ) -> Result<Option<MutexGuard<'_, Table>>> {
        let mut table = self.table();
        let begun = self.clock.boot_millis();
        while !free(&table) {
            let now = self.clock.boot_millis();
            if now >= deadline {
                return Err(busy("another thread of this process"));
            }
            let left = begun.saturating_add(most).saturating_sub(now);
            if left == 0 {
                return Ok(None);
            }
            table.waiting += 1;
            table = self
                .freed
                .wait_timeout(table, Duration::from_millis(left.min(deadline - now)))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            table.waiting -= 1;
        }
        Ok(Some(table))
    }

    /// Waits for the other processes.
    fn take_there(&self, start: usize, length: u64, deadline: u64) -> Result<()> {
        let file = self.file.as_fd();
        let what = "the lock of this key";
        match ofd::lock_until(file, start as u64, length, true, &self.clock, deadline, what) {
            Ok(held) => {
                // The guard gives it back.
                std::mem::forget(held);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Busy => Err(busy("another process")),
            Err(error) => Err(error),
        }
    }
}

fn busy(holder: &str) -> Error {
    Error::new(ErrorKind::Busy, format!("{holder} has held the lock of this key for too long"))
        .remedy("try again, look for a stopped process that uses this store, or raise lock_timeout")
}

impl<'a> StripeGuard<'a> {
    fn of(locks: &'a StripeLocks, stripes: Vec<usize>) -> Self {
        Self { locks, stripes, all_here: false, all_there: false }
    }
}

impl Drop for StripeGuard<'_> {
    fn drop(&mut self) {
        let file = self.locks.file.as_fd();
        // The other processes first: a thread of this one that comes next asks the kernel again.
        if self.all_there {
            let _ = ofd::unlock(file, 0, STRIPES as u64);
        }
        for &stripe in &self.stripes {
            let _ = ofd::unlock(file, stripe as u64, 1);
        }
        let mut table = self.locks.table();
        if self.all_here {
            table.all = false;
        }
        for &stripe in &self.stripes {
            table.held[stripe / 64] &= !(1 << (stripe % 64));
        }
        if table.waiting > 0 {
            self.locks.freed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    const SOON: Duration = Duration::from_millis(20);

    fn two_processes() -> (StripeLocks, StripeLocks) {
        // Two open file descriptions exclude each other as two processes do.
        let path = tempfile::NamedTempFile::new().expect("a temporary file");
        let open = || {
            let file = File::options().read(true).write(true).open(path.path());
            StripeLocks::new(file.expect("the file just made").into())
        };
        (open(), open())
    }

    #[test]
    fn a_stripe_has_one_writer_among_threads_and_processes() {
        let (here, there) = two_processes();
        let guard = here.lock(vec![7], SOON).expect("free");
        assert!(here.try_lock(7).expect("asked").is_none());
        assert!(there.try_lock(7).expect("asked").is_none());
        assert!(there.try_lock(8).expect("asked").is_some());
        assert_eq!(
            there.lock(vec![7], SOON).err().map(|error| error.kind()),
            Some(ErrorKind::Busy)
        );
        assert_eq!(here.lock(vec![7], SOON).err().map(|error| error.kind()), Some(ErrorKind::Busy));
        drop(guard);
        assert!(here.try_lock(7).expect("asked").is_some());
        assert!(there.lock(vec![7], SOON).is_ok());
    }

    #[test]
    fn whoever_has_all_stripes_is_alone() {
        let (here, there) = two_processes();
        let one = there.lock(vec![4_095], SOON).expect("free");
        assert_eq!(here.lock_all(SOON).err().map(|error| error.kind()), Some(ErrorKind::Busy));
        drop(one);
        let all = here.lock_all(SOON).expect("free");
        assert!(there.try_lock(0).expect("asked").is_none());
        assert!(here.try_lock(0).expect("asked").is_none());
        drop(all);
        assert!(here.lock(vec![0], SOON).is_ok());
        assert!(there.lock(vec![0], SOON).is_ok());
    }

    #[test]
    fn giving_up_all_stripes_gives_nobody_elses_away() {
        let (here, there) = two_processes();
        let one = here.lock(vec![7], SOON).expect("free");
        assert_eq!(here.lock_all(SOON).err().map(|error| error.kind()), Some(ErrorKind::Busy));
        assert!(there.try_lock(7).expect("asked").is_none(), "another process got stripe 7");
        assert!(here.try_lock(7).expect("asked").is_none(), "another thread got stripe 7");
        drop(one);
        assert!(there.try_lock(7).expect("asked").is_some());
    }

    #[test]
    fn whoever_wants_all_does_not_stop_whoever_has_some_already() {
        let (here, _there) = two_processes();
        let last = here.lock(vec![9], SOON).expect("free");
        std::thread::scope(|scope| {
            let several = scope.spawn(|| here.lock(vec![3, 9], Duration::from_secs(60)).is_ok());
            while here.table().held[0] & (1 << 3) == 0 {
                std::thread::yield_now();
            }
            let all = scope.spawn(|| here.lock_all(Duration::from_secs(60)).is_ok());
            while !here.table().all {
                std::thread::yield_now();
            }
            drop(last);
            assert!(several.join().expect("no panic"));
            assert!(all.join().expect("no panic"));
        });
    }

    #[test]
    fn those_who_wait_for_one_stripe_keep_no_thread_of_the_pool_from_other_work() {
        let (here, there) = two_processes();
        let here = std::sync::Arc::new(here);
        let stopped = there.lock(vec![7], SOON).expect("free");
        let (told, done) = std::sync::mpsc::channel();
        for _ in 0..30 {
            let (here, told) = (std::sync::Arc::clone(&here), told.clone());
            pool::execute(move || {
                let locked = here.lock(vec![7], Duration::from_secs(60)).is_ok();
                told.send(locked).expect("the test waits");
            });
        }
        let (other, others) = std::sync::mpsc::channel();
        pool::execute(move || other.send(()).expect("the test waits"));
        others.recv_timeout(Duration::from_secs(20)).expect("the pool is not taken");
        drop(stopped);
        for _ in 0..30 {
            assert!(done.recv_timeout(Duration::from_secs(20)).expect("told"));
        }
    }

    #[test]
    fn many_threads_that_want_many_stripes_all_get_them() {
        let (here, there) = two_processes();
        let count = std::sync::atomic::AtomicU64::new(0);
        std::thread::scope(|scope| {
            for thread in 0..8_usize {
                let (locks, count) = (if thread % 2 == 0 { &here } else { &there }, &count);
                scope.spawn(move || {
                    for round in 0..200 {
                        let stripes = vec![(thread + round) % 3, 5, (thread * round) % 3];
                        let _guard =
                            locks.lock(stripes, Duration::from_secs(60)).expect("nobody keeps it");
                        // Not atomic on purpose: stripe 5 is held, so nobody comes between.
                        let before = count.load(std::sync::atomic::Ordering::Relaxed);
                        count.store(before + 1, std::sync::atomic::Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(count.into_inner(), 1_600);
    }

    #[test]
    fn a_wait_that_ends_says_whether_a_thread_or_a_process_has_the_lock() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let open = || OwnedFd::from(File::options().write(true).open(file.path()).expect("there"));
        let (here, there) = (StripeLocks::new(open()), StripeLocks::new(open()));
        let _held = here.lock(vec![3], Duration::from_secs(5)).expect("nobody has it");
        let told = |locks: &StripeLocks| {
            let error = locks.lock(vec![3], Duration::from_millis(1)).err().expect("it is held");
            assert_eq!(error.kind(), ErrorKind::Busy);
            error.to_string()
        };
        assert!(told(&here).contains("another thread of this process"));
        assert!(told(&there).contains("another process"));
    }
}
