//! What will be held before the oracle's weights are placed, predicted from files' headers.
//!
//! Weights are placed before vocabulary and draft load, so what these will hold can only be
//! derived from what their files say:
//!
//! ```text
//!  program     what this process holds with llama.cpp started: measured
//!  vocabulary  entries of llama.cpp's tables, by the sizes of their parts
//!  draft       its tensors + its keys and values for the whole context + the activations of
//!              one decode, and logits for each of its branches
//! ```

use crate::model::{Gguf, GgufError};
use crate::speculate::{DRAFT_BATCH, DRAFT_NODES, DRAFT_SEQUENCES};
use crate::units::Bytes;

/// llama.cpp keeps for a token: a record with its text (40 bytes), a node of the table from
/// text to token and its bucket (64 + 8), and the text that it prints (32). Loading leaves
/// behind holes in the heap where the file's own copy of the text and type was (32 + 4).
const TOKEN_BYTES: u64 = 40 + 64 + 8 + 32 + 36;

/// For a merge rule: a node of the table from two texts to a rank and its bucket (96 + 8), and
/// the hole that the file's own copy left (32).
const MERGE_BYTES: u64 = 96 + 8 + 32;

/// Cells of llama.cpp's cache come in runs of this many.
const CELL_RUN: u64 = 256;

/// What is predicted, by owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    pub program: Bytes,
    pub vocabulary: Bytes,
    pub draft: Bytes,
}

impl Held {
    /// `program` is measured; the rest follows from the models' headers.
    ///
    /// # Errors
    /// A header that lacks what every model has.
    pub fn predict(
        program: Bytes,
        oracle: &Gguf,
        draft: Option<&Gguf>,
        ctx_tokens: usize,
    ) -> Result<Self, GgufError> {
        Ok(Self {
            program,
            vocabulary: vocabulary(oracle)?,
            draft: match draft {
                Some(gguf) => whole_model(gguf, ctx_tokens as u64)?,
                None => Bytes(0),
            },
        })
    }

    /// What llama.cpp takes for an oracle that it runs: its tensors.
    pub fn resident(oracle: &Gguf) -> Bytes {
        Bytes(oracle.tensors().map(|t| t.bytes).sum())
    }

    pub fn total(&self) -> Bytes {
        Bytes(self.program.0 + self.vocabulary.0 + self.draft.0)
    }
}

/// llama.cpp's tables of a vocabulary.
fn vocabulary(gguf: &Gguf) -> Result<Bytes, GgufError> {
    let tokens = gguf.array_len("tokenizer.ggml.tokens")?.unwrap_or(0);
    let merges = gguf.array_len("tokenizer.ggml.merges")?.unwrap_or(0);
    Ok(Bytes(tokens * TOKEN_BYTES + merges * MERGE_BYTES))
}

/// A model that llama.cpp runs as a draft.
fn whole_model(gguf: &Gguf, ctx_tokens: u64) -> Result<Bytes, GgufError> {
    let arch = gguf.architecture()?;
    let need = |name: &str| gguf.require_u32(&format!("{arch}.{name}")).map(u64::from);
    let find = |name: &str| {
        gguf.u32(&format!("{arch}.{name}"))
            .map(|n| n.map(u64::from))
    };
    let (layers, width) = (need("block_count")?, need("embedding_length")?);
    let heads = need("attention.head_count")?.max(1);
    let kv_heads = find("attention.head_count_kv")?.unwrap_or(heads);
    let head = find("attention.key_length")?.unwrap_or(width / heads);
    let cells = (ctx_tokens + DRAFT_NODES as u64).next_multiple_of(CELL_RUN);
    // Keys and values, two bytes an element.
    let kv = cells * layers * kv_heads * head * 2 * 2;
    // The widest step of a decode holds the gated inner state three times, as floats.
    let inner = find("feed_forward_length")?.unwrap_or(4 * width);
    let batch = DRAFT_BATCH as u64;
    let activations = batch * (3 * inner + 2 * width) * 4;
    // A row for each branch that may be under way, and what a decode computes them in.
    let n_vocab = gguf.n_tokens()? as u64;
    let logits = (DRAFT_SEQUENCES as u64 + batch) * n_vocab * 4;
    Ok(Bytes(Held::resident(gguf).0 + kv + activations + logits))
}
