//! One pass before Enter.
//!
//! A pass leaves before Enter when the typist pauses, on the whole prompt as if Enter came now, or
//! earlier when so much has been typed that it would not fit that pass. A pass for the whole prompt
//! is given up when the text changes meanwhile, and any pass where that makes Enter wait less.

use super::answer::Answer;
use super::decoder::{Decoder, StepError};
use super::inbox::Inbox;
use super::stakes::{Reads, Stakes, Typed};
use crate::experts::routing::PassKind;
use crate::units::TokenId;
use std::rc::Rc;

/// Answer tokens that are decoded before Enter at the most.
const AHEAD_TOKENS: usize = 32;

/// See the module's text.
pub(super) struct Anticipation {
    pub work: Work,
    /// The prompt that it is for.
    pub typed: Typed,
}

/// What the pass is for.
pub(super) enum Work {
    /// Reads tokens of `text` that more typing will not change; the first `from` are committed.
    Read { text: Vec<TokenId>, from: usize },
    /// Goes on with an answer to the prompt as it is.
    Answer(Box<Answer>),
}

/// Whether no more of `answer` should be computed before Enter.
pub(super) fn is_far_enough(answer: &Answer) -> bool {
    answer.end().is_some() || answer.tokens().len() >= AHEAD_TOKENS
}

impl Anticipation {
    /// What its tokens are of.
    pub(super) fn kind(&self) -> PassKind {
        match &self.work {
            Work::Answer(answer) if answer.has_begun() => PassKind::Answer,
            Work::Read { .. } | Work::Answer(_) => PassKind::Prompt,
        }
    }

    /// Computes the pass. `inbox` tells whether its result is still of use.
    ///
    /// # Errors
    /// See [`Answer::step`]; a pass that was given up is one that failed.
    pub(super) fn pass(
        &mut self,
        decoder: &mut Decoder,
        inbox: &Rc<Inbox>,
    ) -> Result<(), StepError> {
        let class = decoder.cache.oracle().prompt_class();
        let (reads, ready, end) = match &self.work {
            Work::Read { text, from } => (Reads::Part, *from, text.len().min(*from + class.max)),
            Work::Answer(answer) => {
                let prompt = answer.prompt();
                let ready = decoder.cache.common(prompt);
                (Reads::Whole, ready, prompt.len().min(ready + class.max))
            }
        };
        let stakes = Stakes {
            inbox: Rc::clone(inbox),
            typed: self.typed.clone(),
            reads,
            ready,
            tokens: end - ready,
            times: decoder.speculator.sizing().passes.clone(),
            class,
        };
        let gives_up = move |done| stakes.gives_up(done);
        decoder.cache.give_up_when(Some(Rc::new(gives_up)));
        let done = match &mut self.work {
            Work::Read { text, .. } => {
                decoder.cache.truncate(ready);
                decoder.read(&text[ready..end], class, text)
            }
            Work::Answer(answer) => answer.step(decoder).map(|_| ()),
        };
        decoder.cache.give_up_when(None);
        done
    }
}
