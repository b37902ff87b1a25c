//! A vocabulary as the header has it.

use crate::model::gguf::{Gguf, GgufError};
use serde::Serialize;
use std::collections::BTreeMap;

const PREFIX: &str = "tokenizer.ggml.";
const ID: &str = "_token_id";

/// GGUF's number for a token that is not used.
const UNUSED: i32 = 5;

/// See the module's text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Vocabulary {
    /// `tokenizer.ggml.model`, as in `gpt2`.
    pub tokenizer: String,
    /// `tokenizer.ggml.pre`: how text is split before it is cut into tokens.
    pub split: Option<String>,
    pub tokens: u64,
    /// Of which so many only fill it up.
    pub padding: u64,
    /// Rows of the embedding; a model whose rows are not its tokens cannot be run.
    pub embedding_rows: Option<u64>,
    /// Whether prompts begin with the token for it; null where the file does not say.
    pub adds_begin: Option<bool>,
    pub special: Vec<SpecialToken>,
}

/// A token that the file names for something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SpecialToken {
    /// As the key has it: `bos`, `eos`, `padding`, `fim_pre`.
    pub purpose: String,
    pub id: u64,
    /// Null where the vocabulary has no such token.
    pub text: Option<String>,
}

impl Vocabulary {
    /// `None` for a file without one.
    pub(super) fn read(gguf: &Gguf) -> Result<Option<Self>, GgufError> {
        let Ok(Some(tokens)) = gguf.array_len("tokenizer.ggml.tokens") else {
            return Ok(None);
        };
        let mut texts: BTreeMap<u64, Option<String>> = BTreeMap::new();
        let mut purposes = Vec::new();
        for (key, _) in gguf.metadata.iter() {
            let purpose = key.strip_prefix(PREFIX).and_then(|k| k.strip_suffix(ID));
            if let Some(purpose) = purpose
                && let Ok(Some(id)) = gguf.u64(key)
            {
                purposes.push((purpose.to_owned(), id));
                texts.insert(id, None);
            }
        }
        let mut padding = 0;
        gguf.each_token(|id, text, kind| {
            if kind == Some(UNUSED) || text.starts_with(b"[PAD") {
                padding += 1;
            }
            if let Some(place) = texts.get_mut(&id) {
                *place = Some(String::from_utf8_lossy(text).into_owned());
            }
        })?;
        let text = |key: &str| gguf.str(key).ok().flatten().map(str::to_owned);
        Ok(Some(Self {
            tokenizer: text("tokenizer.ggml.model").unwrap_or_default(),
            split: text("tokenizer.ggml.pre"),
            tokens,
            padding,
            embedding_rows: gguf.tensor("token_embd.weight").map(|t| t.dims[1]),
            adds_begin: gguf.bool("tokenizer.ggml.add_bos_token").ok().flatten(),
            special: purposes
                .into_iter()
                .map(|(purpose, id)| SpecialToken {
                    purpose,
                    id,
                    text: texts.get(&id).cloned().flatten(),
                })
                .collect(),
        }))
    }
}
