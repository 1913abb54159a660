//! Sending overwritten values on their way to the disk, beside the saves that placed them.
//!
//! When a file is renamed over another one, ext4 at once starts to write it, so that a power cut soon
//! after rarely costs the old value and the new one. That start is most of what such a rename takes.
//! An exchange of names (`Temp::replace`) leaves it out, so it is made up for here: the same start,
//! milliseconds later, on another thread. Nothing waits for it, and no promise rests on it.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd as _};
use std::sync::{Arc, Mutex, PoisonError};

use crate::pool;

/// Files that wait at most; whoever has more starts the writing by itself.
const MOST: usize = 256;
/// ext2, ext3 and ext4 have one number.
const EXT: u64 = 0xef53;

/// The files of one store that wait to be sent.
#[derive(Clone)]
pub(crate) struct Writeback(Option<Arc<Mutex<State>>>);

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

    /// Has the files written, some time soon, and closes them.
    pub(crate) fn start(&self, files: Vec<File>) {
        let Some(state) = self.0.as_ref().filter(|_| !files.is_empty()) else { return };
        {
            let mut state = locked(state);
            if state.waiting.len() + files.len() > MOST {
                drop(state);
                files.iter().for_each(start_writing);
                return;
            }
            state.waiting.extend(files);
            if state.at_work {
                return;
            }
            state.at_work = true;
        }
        let state = Arc::clone(state);
        pool::execute(move || {
            loop {
                let files = {
                    let mut state = locked(&state);
                    state.at_work = !state.waiting.is_empty();
                    std::mem::take(&mut state.waiting)
                };
                if files.is_empty() {
                    return;
                }
                files.iter().for_each(start_writing);
            }
        });
    }
}

fn locked(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[allow(unsafe_code, reason = "no crate offers sync_file_range")]
fn start_writing(file: &File) {
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
    fn files_that_were_sent_are_closed_and_whole() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let here = File::open(dir.path()).expect("just made");
        let writeback = Writeback(Some(Arc::default()));
        assert_eq!(Writeback::on(&here).is_needed(), Writeback::on(&here).0.is_some());
        for round in 0..20 {
            let files = (0..MOST / 3).map(|n| {
                let path = dir.path().join(format!("{round}-{n}"));
                std::fs::write(&path, [7; 100]).expect("written");
                File::open(path).expect("just made")
            });
            writeback.start(files.collect());
        }
        let state = writeback.0.as_ref().expect("made so");
        while locked(state).at_work {
            std::thread::yield_now();
        }
        assert!(locked(state).waiting.is_empty());
        for entry in std::fs::read_dir(dir.path()).expect("there") {
            assert_eq!(std::fs::read(entry.expect("read").path()).expect("read"), [7; 100]);
        }
    }
}
