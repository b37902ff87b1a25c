//! How large a file's vocabulary is, and whether two files hold the same, byte for byte.

use super::cursor::{Cursor, MAX_STRING_BYTES};
use super::error::GgufError;
use super::metadata::{Value, ValueType};
use super::{Gguf, GgufFault, open_mapped};
use crate::units::TokenId;
use std::collections::HashMap;

/// Keys of everything that text is cut into tokens by.
const PREFIX: &str = "tokenizer.ggml.";

/// Keys by which some files name more tokens that end an answer: a number, or a list.
const END_KEYS: [&str; 4] = [
    "tokenizer.ggml.eog_token_id",
    "tokenizer.ggml.eog_token_ids",
    "tokenizer.ggml.eos_token_ids",
    "tokenizer.ggml.stop_token_ids",
];

/// More tokens than this are no list of ends.
const MOST_ENDS: u64 = 256;

impl Gguf {
    /// Tokens that end an answer by keys of their own, which llama.cpp does not read.
    ///
    /// # Errors
    /// When the file cannot be read any more.
    pub fn named_ends(&self) -> Result<Vec<TokenId>, GgufError> {
        let mut ends = Vec::new();
        for key in END_KEYS {
            match self.metadata.get(key) {
                Some(Value::Array(list)) => {
                    let width = list.element.min_bytes();
                    let is_whole = matches!(
                        list.element,
                        ValueType::U32 | ValueType::I32 | ValueType::U64 | ValueType::I64
                    );
                    if !is_whole || list.len > MOST_ENDS {
                        continue;
                    }
                    let map = open_mapped(self.path())?;
                    let mut cursor = Cursor::new(&map, list.offset);
                    let fail = |fault| GgufError::new(self.path(), fault);
                    let bytes = cursor.take(list.len * width, key).map_err(fail)?;
                    // Numbers of tokens fit the lower half of any of these.
                    let halves = bytes.chunks_exact(usize::try_from(width).unwrap_or(8));
                    ends.extend(halves.map(|n| i32::from_le_bytes([n[0], n[1], n[2], n[3]])));
                }
                Some(value) => ends.extend(value.integer().and_then(|n| i32::try_from(n).ok())),
                None => {}
            }
        }
        Ok(ends.into_iter().map(TokenId).collect())
    }

    /// Tokens of its vocabulary.
    ///
    /// # Errors
    /// Where the file names none.
    pub fn n_tokens(&self) -> Result<usize, GgufError> {
        let key = "tokenizer.ggml.tokens";
        let n = self.array_len(key)?;
        let n = n.ok_or_else(|| GgufError::new(self.path(), GgufFault::MissingKey(key.into())))?;
        Ok(usize::try_from(n).unwrap_or(usize::MAX))
    }

    /// Calls `each` with every token: its number, its text, and what kind of token it is, where the
    /// file says.
    ///
    /// # Errors
    /// When the file cannot be read any more.
    pub(in crate::model) fn each_token(
        &self,
        mut each: impl FnMut(u64, &[u8], Option<i32>),
    ) -> Result<(), GgufError> {
        let array = |key: &str, element: ValueType| match self.metadata.get(key) {
            Some(Value::Array(array)) if array.element == element => Some(*array),
            _ => None,
        };
        let Some(tokens) = array("tokenizer.ggml.tokens", ValueType::String) else {
            return Ok(());
        };
        let kinds = array("tokenizer.ggml.token_type", ValueType::I32);
        let map = open_mapped(self.path())?;
        let fail = |fault| GgufError::new(self.path(), fault);
        let mut texts = Cursor::new(&map, tokens.offset);
        let mut numbers = kinds.map(|kinds| (Cursor::new(&map, kinds.offset), kinds.len));
        for id in 0..tokens.len {
            let text = texts.bytes(MAX_STRING_BYTES, "a token").map_err(fail)?;
            let kind = match &mut numbers {
                Some((cursor, len)) if id < *len => {
                    Some(cursor.u32("a token's type").map_err(fail)?.cast_signed())
                }
                _ => None,
            };
            each(id, text, kind);
        }
        Ok(())
    }

    /// The first token that is there twice: its text and both numbers. Tokens without a text are
    /// told apart by their numbers.
    ///
    /// # Errors
    /// When the file cannot be read any more.
    pub(in crate::model) fn double_token(&self) -> Result<Option<(String, u64, u64)>, GgufError> {
        let key = "tokenizer.ggml.tokens";
        let Some(Value::Array(tokens)) = self.metadata.get(key) else {
            return Ok(None);
        };
        if tokens.element != ValueType::String {
            return Ok(None);
        }
        let map = open_mapped(self.path())?;
        let mut cursor = Cursor::new(&map, tokens.offset);
        let mut seen = HashMap::new();
        for id in 0..tokens.len {
            // Any bytes: a token may be a part of a character.
            let text = cursor.bytes(MAX_STRING_BYTES, key);
            let text = text.map_err(|fault| GgufError::new(self.path(), fault))?;
            if text.is_empty() {
                continue;
            }
            if let Some(first) = seen.insert(text, id) {
                let text = String::from_utf8_lossy(text).into_owned();
                return Ok(Some((text, first, id)));
            }
        }
        Ok(None)
    }

    /// Whether both files cut any text into the same tokens: all of their tokenizer's metadata
    /// is equal. False is no proof that they differ (a padded vocabulary is not equal).
    ///
    /// # Errors
    /// When a file cannot be read any more.
    pub fn has_vocabulary_of(&self, other: &Self) -> Result<bool, GgufError> {
        let keys = |gguf: &Self| -> Vec<String> {
            let keys = gguf.metadata.iter().map(|(key, _)| key);
            keys.filter(|k| k.starts_with(PREFIX))
                .map(str::to_owned)
                .collect()
        };
        let mine = keys(self);
        if mine.is_empty() || mine != keys(other) {
            return Ok(false);
        }
        let maps = (open_mapped(self.path())?, open_mapped(other.path())?);
        for key in mine {
            let equal = match (self.metadata.get(&key), other.metadata.get(&key)) {
                (Some(Value::Array(a)), Some(Value::Array(b))) => {
                    if (a.element, a.len) != (b.element, b.len) {
                        return Ok(false);
                    }
                    let (mut x, mut y) = (
                        Cursor::new(&maps.0, a.offset),
                        Cursor::new(&maps.1, b.offset),
                    );
                    let fail = |fault| GgufError::new(self.path(), fault);
                    let mut same = true;
                    match a.element {
                        // No tokenizer has arrays of arrays.
                        ValueType::Array => same = false,
                        ValueType::String => {
                            for _ in 0..a.len {
                                let left = x.bytes(MAX_STRING_BYTES, &key).map_err(fail)?;
                                same &= left == y.bytes(MAX_STRING_BYTES, &key).map_err(fail)?;
                            }
                        }
                        fixed => {
                            let bytes = a.len * fixed.min_bytes();
                            same = x.take(bytes, &key).map_err(fail)?
                                == y.take(bytes, &key).map_err(fail)?;
                        }
                    }
                    same
                }
                (a, b) => a == b,
            };
            if !equal {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
