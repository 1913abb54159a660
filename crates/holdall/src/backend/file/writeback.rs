//! Sending overwritten values on their way to the disk, beside the saves that placed them.
//!
//! When a file is renamed over another one, ext4 at once starts to write it, so that a power cut soon
//! after rarely costs both the old value and the new one. That start is most of what such a rename
//! takes. An exchange of names (`Temp::replace`) leaves it out, so it is made up for here: the same
//! start, within a second, on a thread that is there only while there is something to do. What was
//! overwritten again meanwhile is written once. No save waits for it, and no promise rests on it.

use std::collections::HashSet;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::dir::open_file;

/// So many files are not kept waiting, and twice as many never.
const ENOUGH: usize = 64;
/// For so long files wait for others.
const SOON: Duration = Duration::from_secs(1);
/// ext2, ext3 and ext4 have one number.
const EXT: u64 = 0xef53;

/// The files of one store that wait to be sent.
pub(crate) struct Writeback(Option<Arc<Queue>>);

struct Queue {
    base: OwnedFd,
    state: Mutex<State>,
    enough: Condvar,
}

#[derive(Default)]
struct State {
    /// Paths below the base; open files would add up.
    waiting: HashSet<String>,
    at_work: bool,
}

impl Writeback {
    /// For the files below this folder. Other file systems than ext4 start nothing at a rename
    /// either.
    pub(crate) fn below(base: &OwnedFd) -> Self {
        let is_ext = rustix::fs::fstatfs(base).is_ok_and(|found| found.f_type as u64 == EXT);
        Self(if is_ext { base.try_clone().ok().map(Queue::new) } else { None })
    }

    /// Has the files with these paths written, soon.
    pub(crate) fn start<'p>(&self, paths: impl Iterator<Item = &'p str>) {
        let Some(queue) = &self.0 else { return };
        let mut paths = paths.peekable();
        if paths.peek().is_none() {
            return;
        }
        let mut state = queue.state();
        if state.waiting.len() >= 2 * ENOUGH {
            drop(state);
            paths.for_each(|path| queue.start_writing(path));
            return;
        }
        state.waiting.extend(paths.map(str::to_owned));
        if state.at_work {
            if state.waiting.len() >= ENOUGH {
                queue.enough.notify_one();
            }
            return;
        }
        state.at_work = true;
        let worker = Arc::clone(queue);
        let name = "holdall-writeback".to_owned();
        if thread::Builder::new().name(name).spawn(move || worker.run()).is_err() {
            // Without a thread the kernel writes them when it wants to.
            *state = State::default();
        }
    }
}

impl Queue {
    fn new(base: OwnedFd) -> Arc<Self> {
        Arc::new(Self { base, state: Mutex::default(), enough: Condvar::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut state = self.state();
        while !state.waiting.is_empty() {
            let few = |state: &mut State| state.waiting.len() < ENOUGH;
            state = self
                .enough
                .wait_timeout_while(state, SOON, few)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            let paths = std::mem::take(&mut state.waiting);
            drop(state);
            paths.iter().for_each(|path| self.start_writing(path));
            state = self.state();
        }
        state.at_work = false;
    }

    #[allow(unsafe_code, reason = "no crate offers sync_file_range")]
    fn start_writing(&self, path: &str) {
        let Ok(Some(file)) = open_file(self.base.as_fd(), path) else { return };
        #[cfg(target_os = "linux")]
        // SAFETY: the descriptor is open until the end of this function; the call takes no memory.
        // That it fails changes nothing: the kernel writes the file when it wants to.
        unsafe {
            libc::sync_file_range(file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn what_waits_stays_bounded_and_is_whole_however_much_comes() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let base = OwnedFd::from(File::open(dir.path()).expect("just made"));
        let queue = Queue::new(base);
        let writeback = Writeback(Some(Arc::clone(&queue)));
        let names: Vec<String> = (0..6 * ENOUGH).map(|n| format!("{n}")).collect();
        for group in names.chunks(ENOUGH) {
            for name in group {
                std::fs::write(dir.path().join(name), [7; 100]).expect("written");
            }
            writeback.start(group.iter().map(String::as_str));
            assert!(queue.state().waiting.len() <= 3 * ENOUGH);
        }
        writeback.start(["has gone meanwhile"].into_iter());
        while queue.state().at_work {
            thread::yield_now();
        }
        assert!(queue.state().waiting.is_empty());
        for entry in std::fs::read_dir(dir.path()).expect("there") {
            assert_eq!(std::fs::read(entry.expect("read").path()).expect("read"), [7; 100]);
        }
    }

    #[test]
    fn a_file_that_is_overwritten_again_and_again_waits_once() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let queue = Queue::new(File::open(dir.path()).expect("just made").into());
        let writeback = Writeback(Some(Arc::clone(&queue)));
        for _ in 0..ENOUGH / 2 {
            writeback.start(["key.json"].into_iter());
        }
        assert!(queue.state().waiting.len() <= 1);
    }
}
