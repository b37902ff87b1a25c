//! Calls into llama.cpp that can throw, each caught on the C++ side (`guard.cpp`).
//!
//! Invariant: no other file calls a function of llama.cpp that can throw for what a model file or
//! a text holds. An exception that reached Rust would abort the process.

use llama_cpp_sys_2 as sys;
use std::ffi::{CStr, c_char, c_void};

unsafe extern "C" {
    fn nmos_guard_free(words: *mut c_char);
    pub(super) fn nmos_guard_on_terminate(tell: unsafe extern "C" fn(*const c_char));
    #[cfg(test)]
    fn nmos_guard_throw(kind: i32) -> Words;
    pub(super) fn nmos_guard_load(
        paths: *mut *const c_char,
        n: usize,
        params: *const sys::llama_model_params,
        model: *mut *mut sys::llama_model,
    ) -> Words;
    pub(super) fn nmos_guard_make(
        metadata: *mut sys::gguf_context,
        tensor: sys::llama_model_set_tensor_data_t,
        to: *mut c_void,
        params: *const sys::llama_model_params,
        model: *mut *mut sys::llama_model,
    ) -> Words;
    pub(super) fn nmos_guard_free_model(model: *mut sys::llama_model) -> Words;
    pub(super) fn nmos_guard_context(
        model: *mut sys::llama_model,
        params: *const sys::llama_context_params,
        context: *mut *mut sys::llama_context,
    ) -> Words;
    pub(super) fn nmos_guard_free_context(context: *mut sys::llama_context) -> Words;
    pub(super) fn nmos_guard_decode(
        context: *mut sys::llama_context,
        batch: *const sys::llama_batch,
        status: *mut i32,
    ) -> Words;
    pub(super) fn nmos_guard_logits(
        context: *mut sys::llama_context,
        i: i32,
        logits: *mut *mut f32,
    ) -> Words;
    pub(super) fn nmos_guard_forget(
        context: *mut sys::llama_context,
        sequence: i32,
        from: i32,
        done: *mut bool,
    ) -> Words;
    pub(super) fn nmos_guard_share(
        context: *mut sys::llama_context,
        source: i32,
        target: i32,
        from: i32,
        to: i32,
    ) -> Words;
    pub(super) fn nmos_guard_tokenize(
        vocab: *const sys::llama_vocab,
        text: *const c_char,
        bytes: i32,
        tokens: *mut i32,
        most: i32,
        special: bool,
        n: *mut i32,
    ) -> Words;
    pub(super) fn nmos_guard_piece(
        vocab: *const sys::llama_vocab,
        token: i32,
        piece: *mut c_char,
        most: i32,
        special: bool,
        n: *mut i32,
    ) -> Words;
    pub(super) fn nmos_guard_token(
        vocab: *const sys::llama_vocab,
        token: i32,
        text: *mut *const c_char,
        attributes: *mut i32,
    ) -> Words;
    pub(super) fn nmos_guard_template(
        name: *const c_char,
        messages: *const sys::llama_chat_message,
        n: usize,
        answer: bool,
        text: *mut c_char,
        most: i32,
        bytes: *mut i32,
    ) -> Words;
    pub(super) fn nmos_guard_header(
        path: *const c_char,
        header: *mut *mut sys::gguf_context,
    ) -> Words;
    pub(super) fn nmos_guard_header_of(
        bytes: *const c_void,
        n: usize,
        header: *mut *mut sys::gguf_context,
    ) -> Words;
}

/// What a guarded call returns: null, or an exception's words, which are the caller's to free.
#[must_use]
#[repr(transparent)]
pub(super) struct Words(*mut c_char);

impl Words {
    /// The words, if there was an exception.
    pub(super) fn check(self) -> Result<(), String> {
        if self.0.is_null() {
            return Ok(());
        }
        // SAFETY: `guard.cpp` returns a text that ends with a zero byte and is ours alone until
        // it is given back, once, below.
        unsafe {
            let text = CStr::from_ptr(self.0).to_string_lossy().into_owned();
            nmos_guard_free(self.0);
            Err(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_thrown_arrives_as_words() {
        for (kind, says) in [
            (0, "memory is short"),
            (1, "an exception without words"),
            (2, "std::exception"),
        ] {
            // SAFETY: the function takes any number and keeps nothing.
            let words = unsafe { nmos_guard_throw(kind) };
            assert_eq!(words.check(), Err(says.to_owned()));
        }
    }
}
