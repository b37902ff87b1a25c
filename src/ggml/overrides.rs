//! Metadata that llama.cpp is to take instead of what a model's file says.
//!
//! `llama-cpp-2` has such a list too, but its way of adding to it prints to standard error,
//! which a full-screen program cannot have.

use super::error::LlamaError;
use llama_cpp_sys_2::llama_model_kv_override as Entry;
use std::ffi::c_char;
use std::path::Path;

/// Bytes that llama.cpp has for a key, and for a text, with the zero that ends it.
const FIELD_BYTES: usize = 128;

/// A value of a key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Text(&'a str),
    Number(i64),
}

/// See the module's text. The last entry, which ends the list, has no key.
pub(super) struct Overrides(Vec<Entry>);

impl Overrides {
    /// `None`: a key or a text is longer than llama.cpp has bytes for.
    pub(super) fn new(pairs: &[(&str, Value<'_>)]) -> Option<Self> {
        let mut entries = Vec::with_capacity(pairs.len() + 1);
        for &(key, value) in pairs {
            let mut entry = blank();
            entry.key = text(key)?;
            match value {
                Value::Text(value) => {
                    entry.tag = llama_cpp_sys_2::LLAMA_KV_OVERRIDE_TYPE_STR;
                    entry.__bindgen_anon_1.val_str = text(value)?;
                }
                Value::Number(value) => {
                    entry.tag = llama_cpp_sys_2::LLAMA_KV_OVERRIDE_TYPE_INT;
                    entry.__bindgen_anon_1.val_i64 = value;
                }
            }
            entries.push(entry);
        }
        entries.push(blank());
        Some(Self(entries))
    }

    /// For a model of this architecture that is to be opened without its vocabulary.
    pub(super) fn no_vocabulary(
        path: &Path,
        arch: &str,
        n_vocab: usize,
    ) -> Result<Self, LlamaError> {
        let n_vocab = i64::try_from(n_vocab).unwrap_or(i64::MAX);
        let overrides = Self::new(&[
            ("tokenizer.ggml.model", Value::Text("no_vocab")),
            (&format!("{arch}.vocab_size"), Value::Number(n_vocab)),
        ]);
        overrides.ok_or_else(|| LlamaError::Load {
            path: path.to_owned(),
            why: format!("the name of its architecture is too long: {arch}"),
        })
    }

    /// For llama.cpp's parameters; good for as long as `self` is.
    pub(super) fn as_ptr(&self) -> *const Entry {
        self.0.as_ptr()
    }
}

fn blank() -> Entry {
    // SAFETY: plain data, for which zero is a value.
    unsafe { std::mem::zeroed() }
}

fn text(text: &str) -> Option<[c_char; FIELD_BYTES]> {
    let mut field = [0; FIELD_BYTES];
    for (to, from) in field.iter_mut().zip(text.bytes()) {
        *to = c_char::from_ne_bytes([from]);
    }
    (text.len() < FIELD_BYTES).then_some(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_refused_and_the_list_ends() {
        let long = "x".repeat(FIELD_BYTES);
        assert!(Overrides::new(&[(&long, Value::Number(1))]).is_none());
        assert!(Overrides::new(&[("key", Value::Text(&long))]).is_none());
        let fits = &long[1..];
        let list = Overrides::new(&[(fits, Value::Text(fits)), ("n", Value::Number(-7))]).unwrap();
        assert_eq!(list.0.len(), 3);
        assert_eq!(list.0[0].key[FIELD_BYTES - 1], 0);
        assert_ne!(list.0[0].key[FIELD_BYTES - 2], 0);
        assert_eq!(list.0[2].key[0], 0);
    }
}
