//! What a drafter is: anything that guesses which tokens follow.
//!
//! ```text
//!  text ----follow----> +---------+ <--expand-- tree and nodes to ask about
//!                       | Drafter |
//!  pass ----learn-----> +---------+ --guesses--> calibration -> tree
//!  (logits, hidden states)
//! ```
//!
//! A drafter says who it is ([`DrafterId`]), what asking it costs ([`Cost`]) and in how many
//! classes its guesses are to be calibrated. The probabilities that it states are never taken at
//! face value: [`Calibration`](super::Calibration) learns how far they can be trusted.

use super::guess::Guess;
use super::sampler::Sampler;
use super::tree::{DraftIdx, DraftTree};
use crate::ggml::llama::LlamaError;
use crate::oracle::{NodeIdx, PassOutput, TokenTree};
use crate::plan::DecodeTimes;
use crate::units::TokenId;
use crate::vocabulary::DrafterId;

/// What asking a drafter costs.
#[derive(Clone, Debug)]
pub enum Cost {
    /// So little that it is asked wherever a guess could be of use.
    Free,
    /// A decode of up to `batch` nodes at a time: it is asked as long as that pays.
    Decodes { batch: usize, times: DecodeTimes },
}

/// A drafter failed. It is not asked again.
#[derive(Debug, thiserror::Error)]
pub enum DraftError {
    #[error(transparent)]
    Llama(#[from] LlamaError),
}

/// A pass of the oracle over guesses, for drafters that learn from what it computed.
#[derive(Clone, Copy, Debug)]
pub struct VerifiedPass<'a> {
    /// Everything up to the tree's tip, which is its last token.
    pub text: &'a [TokenId],
    pub tree: &'a TokenTree,
    pub output: &'a PassOutput,
    /// The nodes that the oracle kept, parents first.
    pub path: &'a [NodeIdx],
}

/// Guesses what follows. It may be asked on another thread, while the oracle computes.
pub trait Drafter: Send {
    fn id(&self) -> DrafterId;

    /// What asking it costs, as known when it joins; what it then takes is measured.
    fn cost(&self) -> Cost {
        Cost::Free
    }

    /// How many kinds of guesses it makes; the probabilities of each are calibrated separately.
    fn classes(&self) -> usize {
        1
    }

    /// From now on guesses what `sampler` would choose, if it has logits to choose from.
    fn choose_by(&mut self, _sampler: &Sampler) {}

    /// How many tokens it would have to compute to follow `text`.
    fn unread(&self, _text: &[TokenId]) -> usize {
        0
    }

    /// Tells it the text up to the tip of the tree that it will be asked about. It forgets what
    /// it knew of text that has been removed, and keeps what it found out about the rest.
    ///
    /// # Errors
    /// See [`DraftError`].
    fn follow(&mut self, text: &[TokenId]) -> Result<(), DraftError>;

    /// What may follow each of `nodes`, best first: guesses of `tree`, or its tip. A node's
    /// parent has been asked about before, or comes before it in `nodes`. None where it has
    /// nothing to say.
    ///
    /// # Errors
    /// See [`DraftError`].
    fn expand(
        &mut self,
        tree: &DraftTree,
        nodes: &[DraftIdx],
    ) -> Result<Vec<Vec<Guess>>, DraftError>;

    /// Whether it learns from the oracle's hidden states, which then come with every pass that
    /// verifies, where the oracle can give them.
    fn needs_hidden(&self) -> bool {
        false
    }

    /// Learns from what the oracle computed.
    fn learn(&mut self, _pass: &VerifiedPass<'_>) {}
}
