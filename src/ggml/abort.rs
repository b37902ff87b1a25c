//! What is done before the process ends by a fault that nobody can catch.
//!
//! ```text
//!  ggml's assertions      -> its callback      -> who asked to be told (`on_abort`)
//!  an uncaught exception  -> std::terminate    -> the same
//!  SIGABRT, SIGSEGV, ...  -> a signal handler  -> the terminal as it was (`Terminal`)
//! ```
//!
//! Who is told runs as ordinary code. A signal handler may not: it writes bytes and modes that were
//! set down before.

use super::guard;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::io::Write;
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Told of an abort.
static ON_ABORT: OnceLock<fn(&str)> = OnceLock::new();

/// Calls `tell` with ggml's words (a file, a line, what does not hold), or an uncaught
/// exception's, before the process is aborted, on the thread that failed. Without it they go to
/// standard error. The first stays.
pub fn on_abort(tell: fn(&str)) {
    let _ = ON_ABORT.set(tell);
}

/// Sees to it that an abort is told of. To be called before llama.cpp is asked for anything.
pub(super) fn watch() {
    // SAFETY: both functions take what they are called with, and are there for good.
    unsafe {
        llama_cpp_sys_2::ggml_set_abort_callback(Some(aborting));
        guard::nmos_guard_on_terminate(aborting);
    }
}

/// ggml and the C++ runtime call this, and abort when it returns.
unsafe extern "C" fn aborting(message: *const c_char) {
    // SAFETY: both pass a text that ends with a zero byte and lives as long as this call.
    let text = unsafe { CStr::from_ptr(message) }.to_string_lossy();
    match ON_ABORT.get() {
        Some(tell) => tell(&text),
        // Not `eprintln!`, which panics when standard error is closed.
        None => drop(writeln!(std::io::stderr(), "{text}")),
    }
}

/// The terminal as it was, for a signal that ends the process.
struct Kept {
    modes: libc::termios,
    /// What undoes everything else, written to standard output.
    leave: Vec<u8>,
}

/// What the handler gives back; null where there is nothing.
static KEPT: AtomicPtr<Kept> = AtomicPtr::new(null_mut());

/// The signals of faults, and what became of them before.
const FAULTS: [c_int; 5] = [
    libc::SIGABRT,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
];
static BEFORE: OnceLock<[libc::sigaction; FAULTS.len()]> = OnceLock::new();

/// Holds the terminal's present modes, and what is to be written to leave a full screen: where a
/// signal ends the process, both are given back. To be called before the modes are changed.
pub fn keep_terminal(leave: Vec<u8>) {
    // SAFETY: plain data, filled by the call where it succeeds.
    let mut modes: libc::termios = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a value that outlives the call.
    if unsafe { libc::tcgetattr(libc::STDIN_FILENO, &raw mut modes) } != 0 {
        // No terminal: nothing is to be given back.
        return;
    }
    BEFORE.get_or_init(catch_faults);
    let kept = Box::into_raw(Box::new(Kept { modes, leave }));
    // What was there is not freed: a handler may be using it. It is a few hundred bytes, and
    // changes when the workbench is stopped and goes on.
    KEPT.store(kept, Ordering::Release);
}

/// The terminal has been given back: a signal has nothing to do any more.
pub fn release_terminal() {
    KEPT.store(null_mut(), Ordering::Release);
}

fn catch_faults() -> [libc::sigaction; FAULTS.len()] {
    FAULTS.map(|signal| {
        // SAFETY: plain data; a handler that takes a number, on the stack for signals where there
        // is one, since a full stack is such a fault. The pointers outlive the calls.
        unsafe {
            let mut before: libc::sigaction = std::mem::zeroed();
            let mut ours: libc::sigaction = std::mem::zeroed();
            let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = fault;
            ours.sa_sigaction = handler as libc::sighandler_t;
            ours.sa_flags = libc::SA_ONSTACK | libc::SA_SIGINFO;
            libc::sigemptyset(&raw mut ours.sa_mask);
            libc::sigaction(signal, &raw const ours, &raw mut before);
            before
        }
    })
}

/// Gives the terminal back by functions that a signal handler may call, and leaves the signal to
/// whoever had it before.
extern "C" fn fault(signal: c_int, about: *mut libc::siginfo_t, _: *mut c_void) {
    let kept = KEPT.swap(null_mut(), Ordering::AcqRel);
    if !kept.is_null() {
        // SAFETY: made by `keep_terminal` and never freed.
        let kept = unsafe { &*kept };
        let say = b"error: nmos ended by a fault (a signal); please report it with the log\n";
        // SAFETY: buffers of these lengths; `write` and `tcsetattr` may be called by a handler.
        unsafe {
            libc::write(
                libc::STDOUT_FILENO,
                kept.leave.as_ptr().cast(),
                kept.leave.len(),
            );
            libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, &raw const kept.modes);
            libc::write(libc::STDERR_FILENO, say.as_ptr().cast(), say.len());
        }
    }
    // SAFETY: the kernel passes a description, which is there during the call.
    let was_sent = unsafe { about.as_ref() }.is_none_or(|about| about.si_code <= 0);
    let at = FAULTS.iter().position(|&fault| fault == signal);
    let before = at.and_then(|at| BEFORE.get()?.get(at));
    match before {
        // The processor's fault comes again when this returns, for whoever had it before: Rust
        // tells of a full stack.
        Some(before) if !was_sent => {
            // SAFETY: an action that was in force before; may be called by a handler.
            unsafe { libc::sigaction(signal, before, null_mut()) };
        }
        // SAFETY: both may be called by a handler. The default ends the process as soon as the
        // signal, which is blocked meanwhile, is let through.
        _ => unsafe {
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        },
    }
}
