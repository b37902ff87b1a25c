//! The tokens of the conversation with the prompt as it is now.

use crate::model::{ChatTemplate, Conversation, TextError, Turn};
use crate::units::TokenId;
use std::sync::Arc;

/// See the module's text.
pub(super) struct Prompt {
    conversation: Conversation,
}

impl Prompt {
    pub(super) fn new(template: Arc<ChatTemplate>, system: &str) -> Self {
        Self {
            conversation: Conversation::new(template, system),
        }
    }

    /// The whole prompt, as if `text` were submitted now.
    ///
    /// # Errors
    /// A character that the vocabulary has no token for.
    pub(super) fn whole(&mut self, text: &str) -> Result<Vec<TokenId>, TextError> {
        self.conversation.tokens(text)
    }

    /// The tokens of the prompt that more typing at its end will not change: those of the
    /// last word may become others as it grows.
    ///
    /// # Errors
    /// As [`Prompt::whole`].
    pub(super) fn stable(&mut self, text: &str) -> Result<Vec<TokenId>, TextError> {
        let up_to_word = text
            .trim_end_matches(|c: char| !c.is_whitespace())
            .trim_end();
        // With another word instead of the last one: what both have in common will not change. The
        // other word is not white space, which a template might trim.
        let last = text[up_to_word.len()..].trim_start();
        let other = if last.starts_with('x') { " q" } else { " x" };
        let mut whole = self.whole(text)?;
        let settled = self.whole(&format!("{up_to_word}{other}"))?;
        let same = whole.iter().zip(&settled).take_while(|(a, b)| a == b);
        let same = same.count();
        whole.truncate(same);
        Ok(whole)
    }

    /// Something about the template that is to be said once.
    pub(super) fn take_notice(&mut self) -> Option<String> {
        self.conversation.take_notice()
    }

    /// Adds a finished turn.
    pub(super) fn push(&mut self, turn: &Turn) {
        self.conversation.push(turn);
    }

    /// Forgets all turns.
    pub(super) fn clear(&mut self) {
        self.conversation.clear();
    }
}
