//! What drafters say.

use super::sampler::Sampler;
use super::tree::{DraftIdx, DraftTree};
use crate::ggml::llama::LlamaError;
use crate::units::TokenId;

/// Who guessed a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The draft model.
    Model,
    /// A repetition of earlier text, in which so many tokens before it were the same.
    Lookup { matched: usize },
}

/// A token that may follow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guess {
    pub token: TokenId,
    /// The guesser's own word for its probability.
    pub p: f32,
    pub source: Source,
}

/// Guesses what follows. It may be asked on another thread, while the oracle computes.
pub trait Drafter: Send {
    /// The most nodes that it computes at a time; `None` for one that need not compute.
    fn batch(&self) -> Option<usize> {
        None
    }

    /// How many tokens it would have to compute to follow `text`.
    fn unread(&self, _text: &[TokenId]) -> usize {
        0
    }

    /// Guesses what `sampler` would choose, from now on, where it has logits to choose from.
    fn choose_by(&mut self, _sampler: &Sampler) {}

    /// Tells it the text up to the tip of the tree that it will be asked about. What it knows
    /// of text that is no more, it forgets; what it found out about the rest, it keeps.
    ///
    /// # Errors
    /// A model's. The drafter must not be asked again.
    fn follow(&mut self, text: &[TokenId]) -> Result<(), LlamaError>;

    /// What may follow each of `nodes`, best first: guesses of `tree`, or its tip. A node's
    /// parent has been asked about before, or stands before it in `nodes`. None where it has
    /// nothing to say.
    ///
    /// # Errors
    /// As [`Drafter::follow`].
    fn expand(
        &mut self,
        tree: &DraftTree,
        nodes: &[DraftIdx],
    ) -> Result<Vec<Vec<Guess>>, LlamaError>;
}
