//! A draft that is not loaded yet.
//!
//! Where a prompt waits already when the oracle is ready, or will come at once, the draft loads
//! after the first token:
//!
//! ```text
//!  oracle, vocabulary -> first pass -> first token -> draft -> passes that verify guesses
//! ```
//!
//! The first pass has no guesses to verify in any case, since nothing is known yet of what a
//! pass costs. Loading the draft before it would keep the reader waiting for twice as long.

use crate::ggml::Device;
use crate::model::Gguf;
use crate::speculate::{DraftOpenError, ModelDrafter};

/// A draft that fits the oracle and is not loaded yet.
pub(super) struct DeferredDraft {
    pub index: Gguf,
    pub ctx_tokens: usize,
    pub threads: usize,
    /// Where it computes, if not on the CPU.
    pub device: Option<Device>,
    /// Tokens that the oracle has.
    pub n_vocab: usize,
}

impl DeferredDraft {
    /// Loads it.
    ///
    /// # Errors
    /// See [`ModelDrafter::open`].
    pub(super) fn load(self) -> Result<ModelDrafter, DraftOpenError> {
        let (index, ctx_tokens, threads) = (&self.index, self.ctx_tokens, self.threads);
        let mut draft = match self.device {
            Some(device) => ModelDrafter::open_on(device, index, ctx_tokens, threads)?,
            None => ModelDrafter::open(index, ctx_tokens, threads)?,
        };
        draft.limit_vocabulary(self.n_vocab);
        Ok(draft)
    }
}
