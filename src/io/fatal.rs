//! Gives the terminal back when a signal ends the process: an abort in a C++ library, a fault
//! of memory, or somebody's `kill`.
//!
//! ```text
//!   hold(leave) --> signal --> write(leave), tcsetattr(as it was) --> the signal's own course
//!   release()   --> signal --> the signal's own course
//! ```
//!
//! Invariants: the handler calls only what POSIX allows in one (`write`, `tcsetattr`,
//! `sigaction`, `raise`), allocates nothing and takes no lock; a signal that was ignored stays
//! so; and in the end each signal does what it would have done without us, the message of an
//! overflown stack and the core file included.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

/// What ends a process unless it is handled, but for those that `tui::signals` turns into
/// messages.
const SIGNALS: [libc::c_int; 15] = [
    libc::SIGABRT,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGTRAP,
    libc::SIGSYS,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGXCPU,
    libc::SIGXFSZ,
];

/// Signals whose cause comes again when their handler returns.
const FAULTS: [libc::c_int; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE];

/// How to give the terminal back.
struct Held {
    /// What undoes the modes of the screen.
    leave: Vec<u8>,
    /// The modes of the line.
    modes: libc::termios,
}

/// What is held, for the handler; null where nothing is.
static HELD: AtomicPtr<Held> = AtomicPtr::new(ptr::null_mut());

/// What each signal did before, as far as we handle it.
static BEFORE: OnceLock<Vec<(libc::c_int, libc::sigaction)>> = OnceLock::new();

/// Has the terminal given back, should a signal end the process from now on: standard input's
/// modes as they are now, and `leave` written to standard output.
///
/// # Errors
/// Where standard input is no terminal.
pub fn hold(leave: Vec<u8>) -> io::Result<()> {
    let mut modes = MaybeUninit::<libc::termios>::uninit();
    // SAFETY: the pointer is to memory of that type, which the call may fill.
    if unsafe { libc::tcgetattr(libc::STDIN_FILENO, modes.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, and so has filled it.
    let modes = unsafe { modes.assume_init() };
    BEFORE.get_or_init(handle_signals);
    // Never freed, since a handler on another thread may be reading it. It is small, and made
    // once for each time that the workbench takes the terminal.
    let held = Box::leak(Box::new(Held { leave, modes }));
    HELD.store(held, Ordering::Release);
    Ok(())
}

/// The terminal has been given back: signals have nothing to do any more.
pub fn release() {
    HELD.store(ptr::null_mut(), Ordering::Release);
}

/// Sets the handler where a signal is not ignored; returns what was set before.
fn handle_signals() -> Vec<(libc::c_int, libc::sigaction)> {
    let handled = |signal: libc::c_int| {
        // SAFETY: all zero is a valid `sigaction`: the default action, no flags, no mask.
        let mut before: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: the new action is null, so that this only fills `before`.
        if unsafe { libc::sigaction(signal, ptr::null(), &raw mut before) } != 0
            || before.sa_sigaction == libc::SIG_IGN
        {
            return None;
        }
        // SAFETY: as above.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = on_signal as *const () as usize;
        // An overflown stack has no place for a handler.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: `on_signal` has the type that SA_SIGINFO asks for and does only what a handler
        // may; both pointers are to values of their type.
        let set = unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
        (set == 0).then_some((signal, before))
    };
    SIGNALS.into_iter().filter_map(handled).collect()
}

extern "C" fn on_signal(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    _context: *mut libc::c_void,
) {
    give_back();
    // SAFETY: the kernel hands over a valid `siginfo_t` to a handler with SA_SIGINFO.
    let caused_here = unsafe { (*info).si_code } > 0;
    // SAFETY: all zero is a valid `sigaction`: the default action.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    let comes_again = caused_here && FAULTS.contains(&signal);
    if comes_again
        // Reading what is set takes no lock.
        && let Some(before) = BEFORE.get()
        && let Some((_, before)) = before.iter().find(|(other, _)| *other == signal)
    {
        // Rust's own handler, which tells of an overflown stack by the address.
        action = *before;
    }
    // SAFETY: the action is the default one or one that the kernel gave us.
    unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
    if !comes_again {
        // SAFETY: allowed in a handler. It is delivered when this handler has returned.
        unsafe { libc::raise(signal) };
    }
}

/// Once, however many signals there are.
fn give_back() {
    let held = HELD.swap(ptr::null_mut(), Ordering::AcqRel);
    // SAFETY: null, or a leaked box that nobody writes to.
    let Some(held) = (unsafe { held.as_ref() }) else {
        return;
    };
    let mut left = held.leave.as_slice();
    while !left.is_empty() {
        // SAFETY: the pointer and the length are those of a slice that lives for good.
        let written = unsafe { libc::write(libc::STDOUT_FILENO, left.as_ptr().cast(), left.len()) };
        match usize::try_from(written) {
            Ok(written @ 1..) => left = left.get(written..).unwrap_or_default(),
            // There is nobody to tell; the modes can be set back all the same.
            _ => break,
        }
    }
    // SAFETY: the modes are those that `tcgetattr` gave us.
    unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, &raw const held.modes) };
}
