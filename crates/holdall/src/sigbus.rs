//! Mapped files of the store that somebody cuts short while they are in use.
//!
//! Two files are mapped: the clock, and the `-shm` file of the index, by SQLite. Where a mapped file is
//! cut, by `cp` over a store that is in use for example, the next access to what is gone is a SIGBUS,
//! which ends the process. So that signal is caught. If the address is of one of these files, memory
//! of this process takes the place of the page, the cut is counted, and the access goes on; whoever
//! uses the mapping looks at the count and lets go of it. Any other SIGBUS goes to whoever handled it
//! before, as if nobody stood between.
//!
//! The handler only makes calls that are safe in a handler: it finds out whose the address is from
//! `/proc/self/maps`. The inline values are not covered, for they are the only copy: a process that is
//! in the middle of writing them does better to end there, as after `kill -9`.
#![allow(unsafe_code, reason = "a signal handler, and a page in the place of another")]

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// How many cut pages are remembered; of more, all mappings are taken to be cut.
const REMEMBERED: usize = 64;
const LINE: usize = 8_192;

static CUTS: AtomicU64 = AtomicU64::new(0);
static PAGES: [AtomicUsize; REMEMBERED] = [const { AtomicUsize::new(0) }; REMEMBERED];
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
            libc::sigemptyset(&raw mut ours.sa_mask);
            if libc::sigaction(libc::SIGBUS, &raw const ours, std::ptr::null_mut()) != 0 {
                tracing::debug!("a clock file that is cut short will end the process");
            }
        }
    });
}

/// How many pages were lost so far, in any mapping of this process.
pub(crate) fn cuts() -> u64 {
    CUTS.load(Ordering::Acquire)
}

/// Whether a page of this mapping was lost. Cheap while none was.
pub(crate) fn is_cut(start: *const u8, length: usize) -> bool {
    let cuts = cuts();
    if cuts == 0 {
        return false;
    }
    let range = start as usize..start as usize + length;
    cuts as usize > REMEMBERED
        || PAGES.iter().any(|page| range.contains(&page.load(Ordering::Acquire)))
}

/// Forgets the pages of a mapping that is no more: another may get its place.
pub(crate) fn forget(start: *const u8, length: usize) {
    let range = start as usize..start as usize + length;
    for page in &PAGES {
        let known = page.load(Ordering::Acquire);
        if range.contains(&known) {
            let _ = page.compare_exchange(known, 0, Ordering::AcqRel, Ordering::Acquire);
        }
    }
}

extern "C" fn on_bus(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a valid siginfo_t to a handler with SA_SIGINFO; errno is this
    // thread's own; `mmap` replaces a page that has lost its file, in a mapping that is known to be
    // of one of our files, so nothing else can be there.
    unsafe {
        let errno = *libc::__errno_location();
        let size = PAGE.load(Ordering::Acquire);
        let page = (*info).si_addr() as usize & !(size - 1);
        // Only a fault has an address, not a signal that somebody sent.
        let found = if (*info).si_code > 0 { mapping(page) } else { None };
        if let Some(mapping) = found {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
            let fresh = libc::mmap(page as *mut c_void, size, access, kind, -1, 0);
            if fresh != libc::MAP_FAILED {
                let fill = FILL.load(Ordering::Acquire);
                if mapping.is_clock && mapping.offset == 0 && !fill.is_null() {
                    std::mem::transmute::<*mut c_void, Fill>(fill)(fresh.cast());
                }
                let count = CUTS.load(Ordering::Acquire) as usize;
                PAGES[count % REMEMBERED].store(page, Ordering::Release);
                CUTS.fetch_add(1, Ordering::AcqRel);
                *libc::__errno_location() = errno;
                return;
            }
        }
        before(signal, info, context);
        *libc::__errno_location() = errno;
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

/// A mapping of one of our files.
struct Mapping {
    is_clock: bool,
    /// Of the page in the file.
    offset: usize,
}

/// Whose an address is, without any memory but the stack.
fn mapping(address: usize) -> Option<Mapping> {
    // SAFETY: a C string, and a buffer of the length that is passed.
    unsafe {
        let file = libc::open(c"/proc/self/maps".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        if file < 0 {
            return None;
        }
        let mut buffer = [0_u8; LINE];
        let mut held = 0;
        let found = 'reading: loop {
            let rest = buffer.len() - held;
            let count = libc::read(file, buffer[held..].as_mut_ptr().cast(), rest);
            if count < 0 && *libc::__errno_location() == libc::EINTR {
                continue;
            }
            let Ok(count @ 1..) = usize::try_from(count) else { break None };
            held += count;
            while let Some(end) = buffer[..held].iter().position(|byte| *byte == b'\n') {
                if let Some(found) = parsed(&buffer[..end], address) {
                    break 'reading found;
                }
                buffer.copy_within(end + 1..held, 0);
                held -= end + 1;
            }
            if held == buffer.len() {
                break None;
            }
        };
        libc::close(file);
        found
    }
}

/// `start-end rwxp offset dev inode path`: `None` if the address is not in it, else whether it is one
/// of ours.
fn parsed(line: &[u8], address: usize) -> Option<Option<Mapping>> {
    let mut words = line.splitn(6, |byte| *byte == b' ');
    let mut ends = words.next()?.split(|byte| *byte == b'-');
    let (start, end) = (hex(ends.next()?)?, hex(ends.next()?)?);
    if !(start..end).contains(&address) {
        return None;
    }
    let offset = words.nth(1).and_then(hex);
    let path = words.nth(2).unwrap_or_default().trim_ascii_start();
    let is_clock = path.ends_with(b"/.holdall/clock");
    let is_index = path.ends_with(b"/index.sqlite-shm");
    let ours = offset.filter(|_| is_clock || is_index);
    Some(ours.map(|offset| Mapping { is_clock, offset: offset + (address - start) }))
}

fn hex(digits: &[u8]) -> Option<usize> {
    let mut number = 0_usize;
    for digit in digits {
        let digit = char::from(*digit).to_digit(16)?;
        number = number.checked_mul(16)?.checked_add(digit as usize)?;
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_our_files_are_ours() {
        let clock = b"7f00-9f00 rw-s 00001000 fe:00 12   /a b/.holdall/clock";
        let found = parsed(clock, 0x8000).expect("it is in there").expect("and ours");
        assert!(found.is_clock);
        assert_eq!(found.offset, 0x1100);
        assert!(parsed(clock, 0x9f00).is_none());
        let index = b"7f00-9f00 rw-s 00000000 fe:00 12 /s/.holdall/index/1/index.sqlite-shm";
        assert!(parsed(index, 0x7f00).expect("there").is_some_and(|found| !found.is_clock));
        for other in [
            &b"7f00-9f00 rw-s 00000000 fe:00 12 /s/.holdall/inline/values.sqlite-shm"[..],
            b"7f00-9f00 r--p 00000000 fe:00 12 /lib/libc.so.6",
            b"7f00-9f00 rw-p 00000000 00:00 0",
        ] {
            assert!(parsed(other, 0x7f00).expect("in there").is_none());
        }
        assert!(parsed(b"nonsense", 1).is_none());
    }

    #[test]
    fn this_process_can_be_asked_whose_an_address_is() {
        let local = 0_u8;
        assert!(mapping(&raw const local as usize).is_none());
    }
}
