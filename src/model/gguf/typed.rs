//! Metadata by key and type.
//!
//! `Ok(None)` is a key that is not there; a key that holds another type is an error naming file
//! and key, and so is an absent one for the `require_` forms. An integer of any width is taken
//! where its value fits.

use super::Gguf;
use super::error::{GgufError, GgufFault};
use super::metadata::Value;

impl Gguf {
    pub fn str(&self, key: &str) -> Result<Option<&str>, GgufError> {
        self.typed(key, "a string", |value| match value {
            Value::String(text) => Some(text.as_str()),
            _ => None,
        })
    }

    pub fn u32(&self, key: &str) -> Result<Option<u32>, GgufError> {
        self.typed(key, "an integer from 0 to 2^32-1", |value| {
            value.integer()?.try_into().ok()
        })
    }

    pub fn u64(&self, key: &str) -> Result<Option<u64>, GgufError> {
        self.typed(key, "an integer from 0 to 2^64-1", |value| {
            value.integer()?.try_into().ok()
        })
    }

    pub fn f32(&self, key: &str) -> Result<Option<f32>, GgufError> {
        self.typed(key, "a real number", |value| match *value {
            Value::F32(v) => Some(v),
            Value::F64(v) => Some(v as f32),
            _ => None,
        })
    }

    pub fn bool(&self, key: &str) -> Result<Option<bool>, GgufError> {
        self.typed(key, "a bool", |value| match *value {
            Value::Bool(v) => Some(v),
            _ => None,
        })
    }

    /// The length of an array, without reading it.
    pub fn array_len(&self, key: &str) -> Result<Option<u64>, GgufError> {
        self.typed(key, "an array", |value| match value {
            Value::Array(array) => Some(array.len),
            _ => None,
        })
    }

    pub fn require_str(&self, key: &str) -> Result<&str, GgufError> {
        self.require(key, self.str(key)?)
    }

    pub fn require_u32(&self, key: &str) -> Result<u32, GgufError> {
        self.require(key, self.u32(key)?)
    }

    pub fn require_f32(&self, key: &str) -> Result<f32, GgufError> {
        self.require(key, self.f32(key)?)
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        wanted: &'static str,
        convert: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, GgufError> {
        let Some(value) = self.metadata.get(key) else {
            return Ok(None);
        };
        convert(value).map(Some).ok_or_else(|| {
            GgufError::new(
                self.path(),
                GgufFault::WrongType {
                    key: key.to_owned(),
                    wanted,
                    found: value.describe(),
                },
            )
        })
    }

    fn require<T>(&self, key: &str, value: Option<T>) -> Result<T, GgufError> {
        value.ok_or_else(|| GgufError::new(self.path(), GgufFault::MissingKey(key.to_owned())))
    }
}
