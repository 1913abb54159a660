//! The one place that waits for the disk to have what was written.

use std::os::fd::BorrowedFd;

use rustix::io::{Errno, retry_on_intr};

/// Flushes a file or a folder.
pub(crate) fn flush(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    #[cfg(test)]
    tests_support::on_flush(fd)?;
    // What a signal has interrupted has told nobody of an error.
    retry_on_intr(|| rustix::fs::fsync(fd))
}

/// Flushes the content of a file and what is needed to find it again, not its times.
pub(crate) fn flush_content(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    #[cfg(test)]
    tests_support::on_flush(fd)?;
    retry_on_intr(|| rustix::fs::fdatasync(fd))
}

#[cfg(test)]
pub(crate) mod tests_support {
    use std::cell::{Cell, RefCell};
    use std::path::{Path, PathBuf};

    use super::*;

    type Look = Box<dyn FnMut(&Path)>;

    thread_local! {
        static LOG: RefCell<Option<Vec<PathBuf>>> = const { RefCell::new(None) };
        static LOOK: RefCell<Option<Look>> = const { RefCell::new(None) };
        static FAIL: Cell<Option<usize>> = const { Cell::new(None) };
    }

    /// Notes what this thread flushes, by the names that it has at that moment.
    pub(crate) struct FlushLog(());

    impl FlushLog {
        pub(crate) fn begin() -> Self {
            LOG.set(Some(Vec::new()));
            Self(())
        }

        pub(crate) fn end(self) -> Vec<PathBuf> {
            LOOK.set(None);
            LOG.take().unwrap_or_default()
        }

        /// Looks around whenever this thread begins a flush.
        pub(crate) fn looking(look: impl FnMut(&Path) + 'static) -> Self {
            LOOK.set(Some(Box::new(look)));
            Self::begin()
        }
    }

    /// Lets a flush of this thread fail, after so many that succeed.
    pub(crate) fn fail_flush(after: usize) {
        FAIL.set(Some(after));
    }

    pub(super) fn on_flush(fd: BorrowedFd<'_>) -> Result<(), Errno> {
        use std::os::fd::AsRawFd as _;
        let path = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        if let Ok(path) = path {
            if let Some(mut look) = LOOK.take() {
                look(&path);
                LOOK.set(Some(look));
            }
            LOG.with_borrow_mut(|log| log.as_mut().map(|log| log.push(path)));
        }
        match FAIL.get() {
            Some(0) => {
                FAIL.set(None);
                Err(Errno::IO)
            }
            left => {
                FAIL.set(left.map(|left| left - 1));
                Ok(())
            }
        }
    }
}
