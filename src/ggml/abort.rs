//! What is done before the process ends by a fault that nobody can catch.
//!
//! ```text
//!  ggml's assertions      -> its callback      -> who asked to be told (`on_abort`)
//!  an uncaught exception  -> std::terminate    -> the same
//!  SIGABRT, SIGSEGV, ...  -> a signal handler  -> the terminal as it was (`io::fatal`)
//! ```

use super::guard;
use std::ffi::{CStr, c_char};
use std::io::Write;
use std::sync::OnceLock;

/// Told of an abort.
static ON_ABORT: OnceLock<fn(&str)> = OnceLock::new();

/// Calls `tell` with ggml's words (a file, a line, what does not hold), or an uncaught exception's,
/// before the process is aborted, on the thread that failed. Without it they go to standard error.
/// Only the first call counts.
pub fn on_abort(tell: fn(&str)) {
    let _ = ON_ABORT.set(tell);
}

/// Has aborts reported. To be called before llama.cpp is asked for anything.
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
