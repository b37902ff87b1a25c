//! What llama.cpp says while it works: to the log and, for errors, to whoever made the call.
//!
//! llama.cpp returns nothing but a null pointer where it refuses something. Its reason is in its
//! log's lines, on the thread that called it.

use llama_cpp_sys_2 as sys;
use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_void};
use std::ptr::null_mut;
use std::sync::OnceLock;

/// Where the lines went before this listened.
struct Log {
    write: sys::ggml_log_callback,
    data: *mut c_void,
}

// SAFETY: the log of `llama-cpp-2` is called by llama.cpp from any thread, and is never replaced.
unsafe impl Send for Log {}
// SAFETY: as above.
unsafe impl Sync for Log {}

/// llama.cpp's and ggml's, which must not be mixed: lines come in pieces.
static LOGS: [OnceLock<Log>; 2] = [const { OnceLock::new() }; 2];

thread_local! {
    /// The errors that this thread was told of, if it listens.
    static HEARD: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Listens to the logs of llama.cpp and ggml, which go on to where they went. To be called once,
/// after these have been set.
pub(super) fn listen() {
    type Get = unsafe extern "C" fn(*mut sys::ggml_log_callback, *mut *mut c_void);
    let keep = |log: &OnceLock<Log>, get: Get| {
        let mut found = Log {
            write: None,
            data: null_mut(),
        };
        // SAFETY: both pointers are to values that outlive the call.
        unsafe { get(&raw mut found.write, &raw mut found.data) };
        log.set(found).is_ok()
    };
    let [llama, ggml] = &LOGS;
    let listens = keep(llama, sys::llama_log_get) && keep(ggml, sys::ggml_log_get);
    if listens {
        let data = |log: &'static OnceLock<Log>| (&raw const *log).cast_mut().cast();
        // SAFETY: the function takes what it is called with, and it and the logs are there for
        // good. ggml's is set last, since setting llama.cpp's sets it too.
        unsafe {
            sys::llama_log_set(Some(hear), data(llama));
            sys::ggml_log_set(Some(hear), data(ggml));
        }
    }
}

/// Does `work`; what llama.cpp called an error meanwhile, on this thread, as one line.
pub(super) fn of<T>(work: impl FnOnce() -> T) -> (T, Option<String>) {
    HEARD.with(|heard| heard.replace(Some(String::new())));
    let result = work();
    let said = HEARD.with(RefCell::take).unwrap_or_default();
    let said = essence(&said);
    (result, (!said.is_empty()).then_some(said))
}

/// The first error without the names of functions: what follows it only says that it was one.
fn essence(said: &str) -> String {
    let first = said.lines().find(|line| !line.trim().is_empty());
    let mut rest = first.unwrap_or_default().trim();
    for prefix in [
        "llama_model_load:",
        "llama_init_from_model:",
        "gguf_init_from_reader:",
        "error loading model:",
    ] {
        rest = rest.strip_prefix(prefix).unwrap_or(rest).trim();
    }
    for prefix in [
        "failed to initialize the context:",
        "error loading model hyperparameters:",
        "error loading model vocabulary:",
        "error loading model architecture:",
    ] {
        rest = rest.strip_prefix(prefix).unwrap_or(rest).trim();
    }
    rest.to_owned()
}

unsafe extern "C" fn hear(level: sys::ggml_log_level, text: *const c_char, log: *mut c_void) {
    if level == sys::GGML_LOG_LEVEL_ERROR && !text.is_null() {
        // SAFETY: llama.cpp passes a text that ends with a zero byte and lives during the call.
        let line = unsafe { CStr::from_ptr(text) }.to_string_lossy();
        HEARD.with(|heard| {
            if let Ok(mut heard) = heard.try_borrow_mut()
                && let Some(heard) = heard.as_mut()
            {
                heard.push_str(&line);
            }
        });
    }
    // SAFETY: `listen` gave one of `LOGS`, which is only ever shared.
    let log = unsafe { &*log.cast::<OnceLock<Log>>() };
    if let Some(log) = log.get()
        && let Some(write) = log.write
    {
        // SAFETY: what was installed before, with its own data.
        unsafe { write(level, text, log.data) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_the_first_error() {
        let said = "llama_model_load: error loading model: missing tensor 'output_norm.weight'\n\
                    llama_model_load_from_file_impl: failed to load model\n";
        assert_eq!(essence(said), "missing tensor 'output_norm.weight'");
        assert_eq!(essence(""), "");
    }
}
