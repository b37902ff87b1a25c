//! What a session is started with: every default already resolved.

use crate::speculate::{DrafterOptions, Sampling, TreeSize};
use crate::units::Bytes;
use std::path::PathBuf;

/// How to run. Made by the command line from flags, environment, file and defaults.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// The oracle's GGUF (the first of its parts, for a split one).
    pub oracle: PathBuf,
    /// The draft's GGUF, or `None` to verify nothing and decode token by token.
    pub draft: Option<PathBuf>,
    /// The draft was asked for: without it the session does not start. One that was not is left
    /// out where it does not fit, with a notice.
    pub draft_required: bool,
    /// Why the default draft is not `draft`, for a notice.
    pub draft_absent: Option<String>,
    /// The draft loads when the first token is out, not before [`Ready`](super::Event::Ready):
    /// for a session whose first prompt comes at once.
    pub draft_waits: bool,
    /// Whether the scout reads along.
    pub scout: bool,
    /// The most RAM the process may hold; `None` takes what is available less a margin.
    pub ram: Option<Bytes>,
    /// The most of the GPU's memory; zero leaves the GPU alone, `None` takes what is free less
    /// a margin where there is a GPU.
    pub vram: Option<Bytes>,
    /// Tokens of context; at most what the model was trained for.
    pub ctx_tokens: usize,
    pub threads: usize,
    /// Most nodes of a pass.
    pub tree: TreeSize,
    /// What guesses besides a draft.
    pub drafters: DrafterOptions,
    /// Most answer tokens.
    pub max_tokens: usize,
    /// Answer exactly `max_tokens` tokens, end-of-text or not (benchmarks).
    pub fixed_length: bool,
    pub system: String,
    /// The name of a chat template or a Jinja file; `None` takes the model's own.
    pub chat_template: Option<String>,
    /// Work before Enter; a cold baseline turns it off.
    pub anticipate: bool,
    /// Answers depend on model, prompt and sampling alone, also where that takes longer.
    pub exact: bool,
    pub sampling: Sampling,
}
