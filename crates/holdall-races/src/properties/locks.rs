//! The locks of stripes among the threads of a process, and among processes.

use std::fs::{File, OpenOptions};
use std::sync::Arc;
use std::time::Duration;

use super::{Number, Work, together};
use crate::lock::stripes::StripeLocks;
use crate::sync::step;

const LONG: Duration = Duration::from_secs(600);

/// The locks of two processes: two openings of one file that has no name.
fn two_processes() -> [Arc<StripeLocks>; 2] {
    let file = tempfile();
    let again = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    let again = OpenOptions::new().read(true).write(true).open(again).unwrap();
    [file, again].map(|file| Arc::new(StripeLocks::new(file.into())))
}

fn tempfile() -> File {
    let file = rustix::fs::memfd_create("locks", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    File::from(file)
}

/// One thread at a time has a stripe; whoever wants several, or all, gets them in the end.
fn everybody_has_stripe_5(wanted: &[(usize, &'static [usize])]) {
    let processes = two_processes();
    let inside = Number::default();
    let call = |&(process, stripes): &(usize, &'static [usize])| {
        let (locks, inside) = (Arc::clone(&processes[process]), inside.clone());
        Box::new(move || {
            let _guard = match stripes {
                [] => locks.lock_all(LONG).unwrap(),
                several => locks.lock(several.to_vec(), LONG).unwrap(),
            };
            assert_eq!(inside.add(), 1, "two have stripe 5");
            step();
            inside.set(0);
        }) as Work
    };
    together(wanted.iter().map(call).collect());
    for locks in processes {
        assert!(locks.try_lock(5).unwrap().is_some(), "it was not given back");
    }
}

pub fn a_stripe_has_one_holder_among_threads_and_all_get_it() {
    everybody_has_stripe_5(&[(0, &[1, 5]), (0, &[5, 9, 1]), (0, &[]), (0, &[5])]);
}

pub fn a_stripe_has_one_holder_among_processes_and_all_get_it() {
    everybody_has_stripe_5(&[(0, &[5]), (0, &[]), (1, &[5, 1]), (1, &[])]);
}
