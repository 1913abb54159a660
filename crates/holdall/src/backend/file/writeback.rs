//! Sending overwritten values on their way to the disk, beside the saves that placed them.
//!
//! When a file is renamed over another one, ext4 at once starts to write it, so that a power cut soon
//! after rarely costs both the old value and the new one. That start is most of what such a rename
//! takes. An exchange of names (`Temp::replace`) leaves it out, so it is made up for here: the same
//! start, within a second, on a thread that is there only while there is something to do. What was
//! overwritten again meanwhile is not written at all. No save waits for it, and no promise rests on it.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd as _};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// So many files are not kept waiting. Twice as many are open at most.
const ENOUGH: usize = 64;
/// For so long files wait for others.
const SOON: Duration = Duration::from_secs(1);
/// ext2, ext3 and ext4 have one number.
const EXT: u64 = 0xef53;

/// The files of one store that wait to be sent.
pub(crate) struct Writeback(Option<Arc<Queue>>);

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    enough: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<File>,
    at_work: bool,
}

impl Writeback {
    /// For the file system of this folder: other ones than ext4 start nothing at a rename either.
    pub(crate) fn on(folder: impl AsFd) -> Self {
        let kind = rustix::fs::fstatfs(folder).map(|found| found.f_type as u64);
        Self((kind == Ok(EXT)).then(Arc::default))
    }

    /// Whether there is anything to be done here.
    pub(crate) fn is_needed(&self) -> bool {
        self.0.is_some()
    }

    /// Has the files written, soon, and closes them.
    pub(crate) fn start(&self, files: Vec<File>) {
        let Some(queue) = self.0.as_ref().filter(|_| !files.is_empty()) else { return };
        let mut state = queue.state();
        if state.waiting.len() + files.len() > 2 * ENOUGH {
            drop(state);
            files.iter().for_each(start_writing);
            return;
        }
        state.waiting.extend(files);
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
            let files = std::mem::take(&mut state.waiting);
            drop(state);
            files.iter().for_each(start_writing);
            drop(files);
            state = self.state();
        }
        state.at_work = false;
    }
}

#[allow(unsafe_code, reason = "no crate offers sync_file_range")]
fn start_writing(file: &File) {
    if rustix::fs::fstat(file).is_ok_and(|stat| stat.st_nlink == 0) {
        return;
    }
    #[cfg(target_os = "linux")]
    // SAFETY: the descriptor is open for as long as it is borrowed; the call takes no memory. That it
    // fails changes nothing: the kernel writes the file when it wants to.
    unsafe {
        libc::sync_file_range(file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_were_sent_are_closed_and_whole_however_many_come() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let here = File::open(dir.path()).expect("just made");
        let writeback = Writeback(Some(Arc::default()));
        assert_eq!(Writeback::on(&here).is_needed(), Writeback::on(&here).0.is_some());
        for round in 0..6 {
            let files = (0..ENOUGH).map(|n| {
                let path = dir.path().join(format!("{round}-{n}"));
                std::fs::write(&path, [7; 100]).expect("written");
                File::open(path).expect("just made")
            });
            writeback.start(files.collect());
        }
        let gone = tempfile::tempfile().expect("a temporary file");
        writeback.start(vec![gone]);
        let queue = writeback.0.as_ref().expect("made so");
        assert!(queue.state().waiting.len() <= 2 * ENOUGH);
        while queue.state().at_work {
            thread::yield_now();
        }
        assert!(queue.state().waiting.is_empty());
        for entry in std::fs::read_dir(dir.path()).expect("there") {
            assert_eq!(std::fs::read(entry.expect("read").path()).expect("read"), [7; 100]);
        }
    }
}
