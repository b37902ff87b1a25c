//! What a session is started with: every default already resolved.

use crate::units::Bytes;
use std::path::PathBuf;

/// How to run. Made by the command line from flags, environment, file and defaults.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// The oracle's GGUF (the first of its parts, for a split one).
    pub oracle: PathBuf,
    /// The draft's GGUF, or `None` to verify nothing and decode token by token.
    pub draft: Option<PathBuf>,
    /// Whether the scout reads along.
    pub scout: bool,
    /// The most RAM the process may hold; `None` takes what is available less a margin.
    pub ram: Option<Bytes>,
    /// Tokens of context; at most what the model was trained for.
    pub ctx_tokens: usize,
    pub threads: usize,
    /// Most answer tokens.
    pub max_tokens: usize,
    /// Answer exactly `max_tokens` tokens, end-of-text or not (benchmarks).
    pub fixed_length: bool,
    pub system: String,
    /// Work before Enter; a cold baseline turns it off.
    pub anticipate: bool,
    pub sampling: Sampling,
}

/// How the next token is chosen from the oracle's logits. Temperature 0 is greedy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    pub temperature: f32,
    /// Zero: all.
    pub top_k: usize,
    pub top_p: f32,
    pub min_p: f32,
    /// One: none.
    pub repeat_penalty: f32,
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repeat_penalty: 1.0,
            seed: 0,
        }
    }
}
