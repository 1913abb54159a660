//! Mapped files of the store that somebody cuts short while they are in use.
//!
//! Two files are mapped: the clock, and the `-shm` file of the index, by SQLite. Where a mapped file is
//! cut, by `cp` over a store that is in use for example, the next access to what is gone is a SIGBUS,
//! which ends the process. So that signal is caught. If the address is of one of these files, memory
//! of this process takes the place of the page, the cut is counted, and the access goes on; whoever
//! uses the mapping looks at that and lets go of it. Any other SIGBUS goes to whoever handled it
//! before, as if nobody stood between.
//!
//! Clocks are known by their [`Watch`]; of what SQLite maps only `/proc/self/maps` tells. The handler
//! only makes calls that are safe in a handler, one thread at a time, and its largest buffer has 512
//! bytes: threads of Rust programs give it a stack of 8 KiB, of which the kernel may use half. The
//! inline values are not covered, for they are the only copy: a process that is in the middle of
//! writing them does better to end there, as after `kill -9`.
#![allow(unsafe_code, reason = "a signal handler, and a page in the place of another")]

mod maps;
mod watch;

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::sync::Once;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use maps::{Lines, Whose};
pub(crate) use watch::Watch;

/// How many lost pages of indexes are remembered, for threads that faulted at the same moment.
const RECENT: usize = 256;
const PIECE: usize = 512;
/// A page of a file that ends before it; `si_code` of the other causes is not this.
const BEYOND_THE_END: c_int = 2;

static CUTS: AtomicU64 = AtomicU64::new(0);
static PAGES: [AtomicUsize; RECENT] = [const { AtomicUsize::new(0) }; RECENT];
static NEXT: AtomicUsize = AtomicUsize::new(0);
/// The process whose handler is at work, or 0.
static TURN: AtomicI32 = AtomicI32::new(0);
static BEFORE: AtomicPtr<libc::sigaction> = AtomicPtr::new(std::ptr::null_mut());
static FILL: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());
static PAGE: AtomicUsize = AtomicUsize::new(4_096);

/// What writes the first page of a clock that was cut; called in a signal handler, so it must not
/// allocate, lock or panic. The memory is a page of zeros.
pub(crate) type Fill = extern "C" fn(*mut u8);

/// Catches the signal from now on; `fill` is for the first page of a clock.
pub(crate) fn guard(fill: Fill) {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        FILL.store(fill as *mut c_void, Ordering::Release);
        PAGE.store(rustix::param::page_size(), Ordering::Release);
        let mut before = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: plain C structs, of which zero is a value; the handler has the type that
        // SA_SIGINFO asks for and lives for ever.
        unsafe {
            if libc::sigaction(libc::SIGBUS, std::ptr::null(), before.as_mut_ptr()) != 0 {
                return;
            }
            // Never freed: the handler may run at any time.
            BEFORE.store(Box::into_raw(Box::new(before.assume_init())), Ordering::Release);
            let mut ours = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
            ours.sa_sigaction = on_bus as *const () as usize;
            ours.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
            // No other handler comes between while others wait for this one.
            libc::sigfillset(&raw mut ours.sa_mask);
            if libc::sigaction(libc::SIGBUS, &raw const ours, std::ptr::null_mut()) != 0 {
                tracing::debug!("a clock file that is cut short will end the process");
            }
        }
    });
}

/// How many pages were lost so far, in any mapping of this process. Counted before anything is to be
/// read in their place.
pub(crate) fn cuts() -> u64 {
    CUTS.load(Ordering::Acquire)
}

extern "C" fn on_bus(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a valid siginfo_t to a handler with SA_SIGINFO, which has an address
    // if this is its cause; errno is this thread's own.
    unsafe {
        let errno = *libc::__errno_location();
        let is_mended = (*info).si_code == BEYOND_THE_END && {
            take_turn();
            let is_mended = mend((*info).si_addr() as usize);
            TURN.store(0, Ordering::Release);
            is_mended
        };
        if !is_mended {
            before(signal, info, context);
        }
        *libc::__errno_location() = errno;
    }
}

/// Waits until no other thread is in the handler. One that a fork has left behind in the parent does
/// not count.
fn take_turn() {
    // SAFETY: calls without conditions.
    let process = unsafe { libc::getpid() };
    loop {
        let holder = TURN.load(Ordering::Relaxed);
        let taken = || {
            TURN.compare_exchange_weak(holder, process, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
        };
        if holder != process && taken() {
            return;
        }
        // SAFETY: as above.
        unsafe { libc::sched_yield() };
    }
}

/// Whether the access to an address can go on now: it was in one of our files. It is this thread's
/// turn.
fn mend(address: usize) -> bool {
    let size = PAGE.load(Ordering::Acquire);
    let page = address & !(size - 1);
    if let Some((clock, at)) = watch::find(page) {
        // Another thread may have been first.
        let is_mine = clock.lose(at / size);
        if is_mine {
            CUTS.fetch_add(1, Ordering::AcqRel);
        }
        let is_there = !is_mine || replace(page, size, at == 0);
        if !is_there {
            clock.keep(at / size);
        }
        return is_there;
    }
    match whose(page) {
        Whose::Index => {
            CUTS.fetch_add(1, Ordering::AcqRel);
            let next = NEXT.fetch_add(1, Ordering::Relaxed) % RECENT;
            PAGES[next].store(page, Ordering::Relaxed);
            replace(page, size, false)
        }
        // Here too.
        Whose::NoFile => PAGES.iter().any(|known| known.load(Ordering::Relaxed) == page),
        Whose::Another => false,
    }
}

/// Puts memory of this process in the place of a page, all at once: nobody sees it half filled.
fn replace(page: usize, size: usize, is_first: bool) -> bool {
    // SAFETY: new memory at an address that the kernel chooses, which is filled while nobody else knows
    // it, then moved over a page that has lost its file, in a mapping that is known to be of one of our
    // files, so nothing else can be there. The function was stored by `guard`.
    unsafe {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let fresh = libc::mmap(std::ptr::null_mut(), size, access, kind, -1, 0);
        if fresh == libc::MAP_FAILED {
            return false;
        }
        let fill = FILL.load(Ordering::Acquire);
        if is_first && !fill.is_null() {
            std::mem::transmute::<*mut c_void, Fill>(fill)(fresh.cast());
        }
        let how = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        if libc::mremap(fresh, size, size, how, page as *mut c_void) == libc::MAP_FAILED {
            libc::munmap(fresh, size);
            return false;
        }
        true
    }
}

/// What the one who handled the signal before us does with it.
///
/// # Safety
/// To be called in the handler, with its arguments.
unsafe fn before(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let before = BEFORE.load(Ordering::Acquire);
    // SAFETY: never freed once it is set; its handler has the type that its flags say.
    unsafe {
        match before.as_ref() {
            Some(action) if action.sa_sigaction > libc::SIG_IGN => {
                if action.sa_flags & libc::SA_SIGINFO != 0 {
                    type Three = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
                    std::mem::transmute::<usize, Three>(action.sa_sigaction)(signal, info, context);
                } else {
                    type One = extern "C" fn(c_int);
                    std::mem::transmute::<usize, One>(action.sa_sigaction)(signal);
                }
            }
            // One that somebody sent is ignored if it was; a fault never is.
            Some(action) if action.sa_sigaction == libc::SIG_IGN && (*info).si_code <= 0 => {}
            // The same access faults again, and ends the process as if nobody had been here.
            _ => {
                libc::signal(signal, libc::SIG_DFL);
                if (*info).si_code <= 0 {
                    libc::raise(signal);
                }
            }
        }
    }
}

/// Whose an address is, without any memory but the stack.
fn whose(address: usize) -> Whose {
    let mut lines = Lines::of(address);
    let mut piece = [0_u8; PIECE];
    // SAFETY: a C string, and a buffer of the length that is passed.
    unsafe {
        let file = libc::open(c"/proc/self/maps".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        if file < 0 {
            return Whose::Another;
        }
        let found = loop {
            let count = libc::read(file, piece.as_mut_ptr().cast(), PIECE);
            if count < 0 && *libc::__errno_location() == libc::EINTR {
                continue;
            }
            let Ok(count @ 1..=PIECE) = usize::try_from(count) else { break Whose::Another };
            if let Some(found) = lines.find(&piece[..count]) {
                break found;
            }
        };
        libc::close(file);
        found
    }
}

#[cfg(test)]
mod tests;
