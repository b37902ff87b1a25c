//! The tokens of the conversation with the prompt as it is now.
//!
//! ```text
//!  head            typed text                  tail
//!  <system, turns> <Explain how bor>           <end of turn, the answer's beginning>
//!  \------ stable: more typing at the end ---^  keeps these
//! ```
//!
//! Each keystroke renders the conversation once for the prompt itself. What else is asked of it is
//! known until the turns change ([`Known`]), or until another word begins.

use crate::model::{AnswerForm, ChatTemplate, Conversation, TextError, Turn};
use crate::prefix::common_prefix;
use crate::units::TokenId;
use std::sync::Arc;

/// See the module's text.
pub(super) struct Prompt {
    conversation: Conversation,
    known: Known,
}

/// How many tokens are around a typed text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Around {
    pub head: usize,
    pub tail: usize,
}

/// What is known of the prompts of a conversation whose turns stay as they are.
#[derive(Default)]
struct Known {
    around: Option<Around>,
    /// The last text with another last word, and its tokens.
    settled: Option<(String, Vec<TokenId>)>,
}

impl Prompt {
    pub(super) fn new(template: Arc<ChatTemplate>, system: &str) -> Self {
        Self {
            conversation: Conversation::new(template, system),
            known: Known::default(),
        }
    }

    /// The whole prompt, as if `text` were submitted now.
    ///
    /// # Errors
    /// A character that the vocabulary has no token for.
    pub(super) fn whole(&mut self, text: &str) -> Result<Vec<TokenId>, TextError> {
        self.conversation.tokens(text)
    }

    /// What an answer to the prompt that was rendered last looks like.
    pub(super) fn answers(&self) -> &Arc<AnswerForm> {
        self.conversation.answers()
    }

    /// The tokens of the prompt that more typing at its end will not change: those of the
    /// last word may become others as it grows. `whole` is the prompt of `text`.
    ///
    /// # Errors
    /// As [`Prompt::whole`].
    pub(super) fn stable(
        &mut self,
        text: &str,
        whole: Vec<TokenId>,
    ) -> Result<Vec<TokenId>, TextError> {
        let conversation = &mut self.conversation;
        self.known
            .stable(text, whole, |text| conversation.tokens(text))
    }

    /// How many tokens are around a typed text, whatever it is.
    pub(super) fn around(&mut self) -> Around {
        let conversation = &mut self.conversation;
        self.known.around(|text| conversation.tokens(text))
    }

    /// Something about the template that is to be said once.
    pub(super) fn take_notice(&mut self) -> Option<String> {
        self.conversation.take_notice()
    }

    /// Adds a finished turn.
    pub(super) fn push(&mut self, turn: &Turn) {
        self.conversation.push(turn);
        self.known = Known::default();
    }

    /// Forgets all turns.
    pub(super) fn clear(&mut self) {
        self.conversation.clear();
        self.known = Known::default();
    }
}

impl Known {
    /// See [`Prompt::stable`]; `tokens` are those of the prompt of a text.
    fn stable(
        &mut self,
        text: &str,
        mut whole: Vec<TokenId>,
        mut tokens: impl FnMut(&str) -> Result<Vec<TokenId>, TextError>,
    ) -> Result<Vec<TokenId>, TextError> {
        let up_to_word = text
            .trim_end_matches(|c: char| !c.is_whitespace())
            .trim_end();
        // With another word instead of the last one: what both have in common will not change. The
        // other word is not white space, which a template might trim.
        let last = text[up_to_word.len()..].trim_start();
        let other = if last.starts_with('x') { " q" } else { " x" };
        let other = format!("{up_to_word}{other}");
        let settled = match self.settled.take().filter(|(text, _)| *text == other) {
            Some(known) => known,
            None => {
                let tokens = tokens(&other)?;
                (other, tokens)
            }
        };
        whole.truncate(common_prefix(&whole, &settled.1));
        self.settled = Some(settled);
        Ok(whole)
    }

    /// See [`Prompt::around`].
    fn around(
        &mut self,
        mut tokens: impl FnMut(&str) -> Result<Vec<TokenId>, TextError>,
    ) -> Around {
        if let Some(known) = self.around {
            return known;
        }
        // Of a letter: a template may refuse an empty prompt.
        let around = match tokens("x") {
            Ok(short) => {
                let both = short.len().saturating_sub(1);
                let head = Self::default().stable("x", short, tokens);
                let head = head.map_or(0, |head| head.len());
                Around {
                    head,
                    tail: both.saturating_sub(head),
                }
            }
            Err(_) => Around::default(),
        };
        self.around = Some(around);
        around
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Tokens = Result<Vec<TokenId>, TextError>;

    /// A template around the trimmed text, whose words are cut from their start into tokens of at
    /// most three characters, so that the last ones change while a word grows.
    fn rendered(turns: usize, text: &str) -> Vec<TokenId> {
        let number = |piece: &[char]| {
            let digits = piece.iter().map(|&c| c as i32 % 1000 + 1);
            TokenId(digits.fold(0, |sum, digit| sum * 1001 + digit))
        };
        let text: Vec<char> = text.trim().chars().collect();
        let words = text.split_inclusive(|c| c.is_whitespace());
        let pieces = words.flat_map(|word| word.chunks(3)).map(number);
        let head = (0..=turns).map(|turn| TokenId(-1 - turn as i32));
        head.chain(pieces).chain([TokenId(-100); 2]).collect()
    }

    /// The same without anything known.
    fn stable(turns: usize, text: &str) -> Vec<TokenId> {
        let whole = rendered(turns, text);
        let known = Known::default().stable(text, whole, |text| Ok(rendered(turns, text)));
        known.expect("plain text")
    }

    #[test]
    fn a_keystroke_within_a_word_renders_nothing_more() {
        let mut known = Known::default();
        let mut times = 0;
        let mut ask = |text: &str| {
            let before = times;
            let counted = |text: &str| -> Tokens {
                times += 1;
                Ok(rendered(1, text))
            };
            let whole = rendered(1, text);
            known.stable(text, whole, counted).expect("plain text");
            times - before
        };
        let asked = ["a", "a b", "a bo", "a bor", "a borrow ", "a borrow c"].map(&mut ask);
        assert_eq!(asked, [1, 1, 0, 0, 1, 0]);
    }

    #[test]
    fn what_is_around_a_text_is_measured_once() {
        let mut known = Known::default();
        let mut times = 0;
        for _ in 0..3 {
            let around = known.around(|text| {
                times += 1;
                Ok(rendered(4, text))
            });
            assert_eq!(around, Around { head: 5, tail: 2 });
        }
        assert_eq!(times, 2);
    }

    proptest! {
        #[test]
        fn edits_and_turns_in_any_order_leave_the_tokens_as_without_anything_known(
            edits in prop::collection::vec((0usize..40, 0usize..4, "[ax \\n]{0,6}"), 1..40),
        ) {
            let (mut known, mut turns, mut text) = (Known::default(), 0, String::new());
            for (at, removed, added) in edits {
                let at = at.min(text.len());
                let end = (at + removed).min(text.len());
                text.replace_range(at..end, &added);
                // Now and then a turn ends.
                if at == 39 {
                    turns += 1;
                    known = Known::default();
                }
                let tokens = |text: &str| -> Tokens { Ok(rendered(turns, text)) };
                let around = known.around(tokens);
                prop_assert_eq!(around, Around { head: turns + 1, tail: 2 });
                let whole = rendered(turns, &text);
                let found = known.stable(&text, whole, tokens).expect("plain text");
                prop_assert_eq!(found, stable(turns, &text));
            }
        }
    }
}
