//! Lets the n-th system call of this thread fail, or do less than it was asked.
//!
//! A filter of the kernel (seccomp) stops every system call that touches files, wherever it is made:
//! by the engine, which makes its own, or by SQLite, which goes through the C library. The kernel
//! then raises SIGSYS in the thread, and the handler answers with an error, or makes the call after
//! all. The filter belongs to one thread and those that it starts; only that one is ever disturbed.
//! No privilege is needed.
#![allow(unsafe_code, reason = "signal handlers, filters of the kernel and registers")]

use std::cell::Cell;
use std::ffi::{c_int, c_long, c_void};
use std::fmt;
use std::sync::OnceLock;

use super::calls::{self, Call};

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing is done, and this is the error.
    Error(i32),
    /// A write or read of several bytes does the first half of them.
    Short,
}

/// All of them.
pub(crate) const FAULTS: [Fault; 6] = [
    Fault::Error(libc::EIO),
    Fault::Error(libc::ENOSPC),
    Fault::Error(libc::EROFS),
    Fault::Error(libc::EMFILE),
    Fault::Error(libc::EINTR),
    Fault::Short,
];

/// Which calls are disturbed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) fault: Fault,
    /// The first, counted from 0 among those that the fault suits.
    pub(crate) at: usize,
    /// All from there on, not that one alone.
    pub(crate) lasts: bool,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fault = match self.fault {
            Fault::Error(number) => calls::error_name(number),
            Fault::Short => "SHORT",
        };
        write!(f, "{fault} at {}{}", self.at, if self.lasts { " and from then on" } else { "" })
    }
}

/// What happened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    /// How many calls were made that each fault suits.
    pub(crate) suited: [[usize; 2]; FAULTS.len()],
    /// The first that was disturbed.
    pub(crate) hit: Option<Call>,
    /// The file that it was about, if it was given by its descriptor.
    pub(crate) file: File,
}

/// A path, in as many bytes as there are.
#[derive(Clone, Copy)]
pub(crate) struct File([u8; 120]);

impl File {
    /// Asks the kernel for the name of a descriptor. Runs in a signal handler.
    fn of(descriptor: u64) -> Self {
        let mut link = *b"/proc/self/fd/\0\0\0\0\0\0\0\0";
        let mut left = descriptor % 100_000;
        let digits = [10_000, 1_000, 100, 10, 1].map(|unit| {
            let digit = left / unit;
            left %= unit;
            b'0' + digit as u8
        });
        let begin = digits.iter().position(|digit| *digit != b'0').unwrap_or(4);
        for (at, digit) in digits[begin..].iter().enumerate() {
            link[14 + at] = *digit;
        }
        let mut name = [0; 120];
        let at = libc::AT_FDCWD as u64;
        let (link, to) = (link.as_ptr() as u64, name.as_mut_ptr() as u64);
        pass(libc::SYS_readlinkat, [at, link, to, 119, 0, 0]);
        Self(name)
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(self.0.len());
        f.write_str(&String::from_utf8_lossy(&self.0[..end]))
    }
}

#[derive(Clone, Copy)]
struct State {
    plan: Plan,
    outcome: Outcome,
}

thread_local! {
    // No destructor and nothing to initialise: a signal handler may use it.
    static STATE: Cell<Option<State>> = const { Cell::new(None) };
    static INSTALLED: Cell<bool> = const { Cell::new(false) };
}

/// Runs some work of this thread with faults in it.
pub(crate) fn disturbed<T>(plan: Plan, work: impl FnOnce() -> T) -> (T, Outcome) {
    assert!(INSTALLED.get(), "the filter is not there");
    let outcome = Outcome { suited: [[0; 2]; FAULTS.len()], hit: None, file: File([0; 120]) };
    STATE.set(Some(State { plan, outcome }));
    let done = work();
    let state = STATE.take().expect("set above");
    (done, state.outcome)
}

std::arch::global_asm!(
    ".globl holdall_test_call, holdall_test_called",
    "holdall_test_call:",
    "mov rax, rdi",
    "mov rdi, rsi",
    "mov rsi, rdx",
    "mov rdx, rcx",
    "mov r10, r8",
    "mov r8, r9",
    "mov r9, [rsp + 8]",
    "syscall",
    "holdall_test_called:",
    "ret",
);

unsafe extern "C" {
    /// Makes a system call that the filter lets pass; -errno if it fails.
    fn holdall_test_call(number: c_long, a: u64, b: u64, c: u64, d: u64, e: u64, f: u64) -> c_long;
    /// Where that call has been made, as the filter sees it; not a function to be called.
    fn holdall_test_called();
}

/// Puts the filter over this thread, for as long as it lives.
///
/// # Errors
/// Why that cannot be done here: the tests say it and do not run.
pub(crate) fn install() -> Result<(), String> {
    if INSTALLED.get() {
        return Ok(());
    }
    static HANDLER: OnceLock<Result<(), String>> = OnceLock::new();
    HANDLER.get_or_init(handle_signals).clone()?;
    let filter = filter();
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).expect("short"),
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: the arguments are those that prctl(2) asks for; the program outlives the call, which
    // copies it.
    let refused = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
            || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) != 0
    };
    if refused {
        return Err(format!("no filter of system calls: {}", std::io::Error::last_os_error()));
    }
    INSTALLED.set(true);
    Ok(())
}

fn handle_signals() -> Result<(), String> {
    let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = on_call;
    // SAFETY: a zeroed sigaction is a valid one; the handler is an `extern "C"` function of the
    // signature that SA_SIGINFO asks for, and does only what a handler may.
    let refused = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER | libc::SA_RESTART;
        libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut()) != 0
    };
    if refused {
        return Err(format!("no handler: {}", std::io::Error::last_os_error()));
    }
    Ok(())
}

/// The program of the filter: calls on files are trapped, but those of `holdall_test_call`.
fn filter() -> Vec<libc::sock_filter> {
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    // struct seccomp_data: nr, arch, instruction_pointer, args[6].
    const NUMBER: u32 = 0;
    const ARCHITECTURE: u32 = 4;
    const POINTER: u32 = 8;
    const FIFTH: u32 = 16 + 4 * 8;
    const X86_64: u32 = 0xc000_003e;
    let step =
        |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter { code: code as u16, jt, jf, k };
    let ours = holdall_test_called as *const () as u64;
    let mut program = vec![
        step(LOAD, ARCHITECTURE, 0, 0),
        step(IF_EQUAL, X86_64, 1, 0),
        step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
        step(LOAD, POINTER, 0, 0),
        step(IF_EQUAL, ours as u32, 0, 3),
        step(LOAD, POINTER + 4, 0, 0),
        step(IF_EQUAL, (ours >> 32) as u32, 0, 1),
        step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
        step(LOAD, NUMBER, 0, 0),
        // Mappings of files only: the allocator makes others.
        step(IF_EQUAL, libc::SYS_mmap as u32, 0, 4),
        step(LOAD, FIFTH, 0, 0),
        step(IF_EQUAL, u32::MAX, 0, 1),
        step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
        step(RETURN, libc::SECCOMP_RET_TRAP, 0, 0),
    ];
    for number in calls::numbers().filter(|number| *number != libc::SYS_mmap) {
        program.push(step(IF_EQUAL, number as u32, 0, 1));
        program.push(step(RETURN, libc::SECCOMP_RET_TRAP, 0, 0));
    }
    program.push(step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0));
    program
}

/// Answers one call that the filter has stopped.
extern "C" fn on_call(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes the context of the thread that was stopped, and nobody else has it.
    let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let number = registers[libc::REG_RAX as usize];
    let arguments =
        [libc::REG_RDI, libc::REG_RSI, libc::REG_RDX, libc::REG_R10, libc::REG_R8, libc::REG_R9]
            .map(|register| registers[register as usize] as u64);
    registers[libc::REG_RAX as usize] = answer(number, arguments);
}

fn answer(number: c_long, arguments: [u64; 6]) -> c_long {
    let Some(mut state) = STATE.get() else { return pass(number, arguments) };
    let Plan { fault, at, lasts } = state.plan;
    let call = Call { number, arguments };
    let mut is_hit = false;
    for (other, suited) in FAULTS.into_iter().zip(&mut state.outcome.suited) {
        for (kind, count) in [false, true].into_iter().zip(suited) {
            if call.suits(other, kind) {
                let this = *count;
                *count += 1;
                let is_due = if lasts { this >= at } else { this == at };
                is_hit |= other == fault && kind == lasts && is_due;
            }
        }
    }
    if is_hit && state.outcome.hit.is_none() {
        state.outcome.hit = Some(call);
        state.outcome.file = File::of(arguments[0]);
    }
    STATE.set(Some(state));
    match fault {
        Fault::Error(error) if is_hit => -c_long::from(error),
        Fault::Short if is_hit => half(number, arguments),
        _ => pass(number, arguments),
    }
}

/// Makes a write or read of half as many bytes.
fn half(number: c_long, arguments: [u64; 6]) -> c_long {
    let mut arguments = arguments;
    if !calls::has_vectors(number) {
        arguments[2] /= 2;
        return pass(number, arguments);
    }
    // SAFETY: the caller passes an array of that many of them; the first is copied.
    let mut first = unsafe { *(arguments[1] as *const libc::iovec) };
    first.iov_len = first.iov_len.div_ceil(2);
    arguments[1] = &raw const first as u64;
    arguments[2] = 1;
    pass(number, arguments)
}

fn pass(number: c_long, [a, b, c, d, e, f]: [u64; 6]) -> c_long {
    // SAFETY: the call that the thread was about to make, with what it has passed.
    unsafe { holdall_test_call(number, a, b, c, d, e, f) }
}
