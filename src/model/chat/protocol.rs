//! A form and all that is found out about it, by trying: how prompts are written and answers read.
//!
//! ```text
//!  form --> thinking on or off --> manners     how it treats a conversation
//!                             '--> ends, marks of thoughts --> how its answers are read
//! ```
//!
//! What was wished for holds for every form: the one that serves where the model's own template
//! fails as well.

use super::answer_form::{AnswerForm, Thoughts};
use super::ends::Ends;
use super::marks::ControlNames;
use super::switch::{Switched, Think, switch, with_block};
use super::thinking::{Markers, Past};
use super::{Form, Manners};
use crate::model::tokenizer::Tokenizer;
use crate::units::TokenId;
use std::sync::Arc;

/// What is to hold whatever the form is.
#[derive(Clone, Debug, Default)]
pub(super) struct Wishes {
    /// Tokens that the file names as ends, besides those that the vocabulary is known to have.
    pub ends: Vec<TokenId>,
    pub think: Think,
    /// Conversations begin with a system text.
    pub has_system: bool,
}

/// See the module's text.
pub(super) struct Protocol {
    pub form: Form,
    pub manners: Manners,
    pub answers: Arc<AnswerForm>,
    /// How thoughts are marked; `None` where no known format is recognised.
    pub markers: Option<&'static Markers>,
    /// What becomes of earlier thoughts.
    pub past: Past,
    pub switched: Switched,
}

impl Protocol {
    pub(super) fn new(
        mut form: Form,
        tokenizer: &Tokenizer,
        names: &ControlNames,
        wishes: &Wishes,
    ) -> Self {
        let markers = form.markers(tokenizer, names);
        // First, since it changes what the form writes.
        let switched = switch(&mut form, markers, wishes.think, wishes.has_system);
        let mut ends = Ends::new(tokenizer, names, &form);
        ends.tokens.extend(&wishes.ends);
        let thoughts = markers
            .map(|markers| Thoughts::new(tokenizer, names, markers, &markers.closing(&form)));
        let pieces = Arc::new(tokenizer.clone());
        Self {
            manners: form.try_out().unwrap_or(Manners::PLAIN),
            answers: Arc::new(AnswerForm::new(pieces, names, ends, thoughts)),
            markers,
            past: markers.map_or(Past::AsSaid, |markers| markers.past(&form)),
            switched,
            form,
        }
    }

    /// A prompt whose answer is to have no thought, where the form does not see to it.
    pub(super) fn without_thinking(&self, prompt: String) -> String {
        match (&self.switched, self.markers) {
            (Switched::EmptyBlock(block), Some(markers)) => {
                with_block(&prompt, markers.open(), block)
            }
            _ => prompt,
        }
    }
}
