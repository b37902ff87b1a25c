//! One pass before Enter.
//!
//! A pass leaves before Enter when the typist pauses, on the whole prompt as if Enter came now, or
//! earlier when so much has been typed that it would not fit that pass. A pass for the whole prompt
//! is given up when the text changes meanwhile.

use super::answer::Answer;
use super::decoder::{Decoder, StepError};
use super::inbox::Inbox;
use crate::units::TokenId;
use std::rc::Rc;

/// Answer tokens that are decoded before Enter at the most.
const AHEAD_TOKENS: usize = 32;

/// A pass before Enter of which so much is done is not given up any more.
const NEARLY_DONE: f64 = 0.75;

/// What the pass is for.
pub(super) enum Anticipation {
    /// Reads tokens of `text`, the first of which are committed, that more typing will not change.
    Read { text: Vec<TokenId>, from: usize },
    /// Goes on with an answer to the prompt as it is.
    Answer(Box<Answer>),
}

/// Whether as much of `answer` is there as is worth computing before Enter.
pub(super) fn at_most(answer: &Answer) -> bool {
    answer.end().is_some() || answer.tokens().len() >= AHEAD_TOKENS
}

impl Anticipation {
    /// Does it. `inbox` tells whether it is still of use.
    ///
    /// # Errors
    /// See [`Answer::step`]; a pass that was given up is one that failed.
    pub(super) fn pass(
        &mut self,
        decoder: &mut Decoder,
        inbox: &Rc<Inbox>,
    ) -> Result<(), StepError> {
        match self {
            Self::Read { text, from } => {
                decoder.cache.truncate(*from);
                let width = decoder.cache.oracle().prompt_class();
                let end = text.len().min(*from + width.max);
                decoder.read(&text[*from..end], width, text)
            }
            Self::Answer(answer) => {
                // A text that changes under the pass makes it of no use, unless it is nearly done.
                let inbox = Rc::clone(inbox);
                let outdated = move |done: f64| done < NEARLY_DONE && inbox.outdates_text();
                decoder.cache.give_up_when(Some(Rc::new(outdated)));
                let step = answer.step(decoder);
                decoder.cache.give_up_when(None);
                step.map(|_| ())
            }
        }
    }
}
