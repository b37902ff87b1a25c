//! The tokens of the conversation with the prompt as it stands.
//!
//! ```text
//!  before: system prompt and earlier turns | typed text | after: up to where the answer begins
//!  (fixed while a prompt is typed)                        (the same for every prompt)
//! ```

use crate::model::{ChatError, ChatTemplate, TextError, Tokenizer, Turn};
use crate::units::TokenId;

/// See the module's text.
pub(super) struct Prompt {
    template: ChatTemplate,
    tokenizer: Tokenizer,
    system: String,
    turns: Vec<Turn>,
    before: Vec<TokenId>,
    after: Vec<TokenId>,
}

impl Prompt {
    pub(super) fn new(
        template: ChatTemplate,
        tokenizer: &Tokenizer,
        system: String,
    ) -> Result<Self, ChatError> {
        let before = template.before(&system, &[])?;
        let after = template.after(&system)?;
        Ok(Self {
            template,
            tokenizer: tokenizer.clone(),
            system,
            turns: Vec::new(),
            before,
            after,
        })
    }

    /// The whole prompt, as if `text` were submitted now.
    ///
    /// # Errors
    /// A character that the vocabulary has no token for.
    pub(super) fn whole(&self, text: &str) -> Result<Vec<TokenId>, TextError> {
        let typed = self.tokenizer.text(text)?;
        Ok([self.before.as_slice(), &typed, &self.after].concat())
    }

    /// The tokens of the prompt that more typing at its end will not change: those of the
    /// last word may become others as it grows.
    ///
    /// # Errors
    /// As [`Prompt::whole`].
    pub(super) fn stable(&self, text: &str) -> Result<Vec<TokenId>, TextError> {
        let grown = self.tokenizer.text(text)?;
        let up_to_word = text
            .trim_end_matches(|c: char| !c.is_whitespace())
            .trim_end();
        let settled = self.tokenizer.text(up_to_word)?;
        let same = grown
            .iter()
            .zip(&settled)
            .take_while(|(a, b)| a == b)
            .count();
        Ok([self.before.as_slice(), &grown[..same]].concat())
    }

    /// Adds a finished turn.
    pub(super) fn push(&mut self, turn: Turn) -> Result<(), ChatError> {
        self.turns.push(turn);
        self.before = self.template.before(&self.system, &self.turns)?;
        Ok(())
    }

    /// Forgets all turns.
    pub(super) fn clear(&mut self) -> Result<(), ChatError> {
        self.turns.clear();
        self.before = self.template.before(&self.system, &[])?;
        Ok(())
    }
}
