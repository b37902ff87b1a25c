//! The prompt being typed: its text, its rhythm, and what has been begun of its answer.
//!
//! ```text
//!  edits --> Composer   the text          --Enter--> a prompt for the queue
//!       \--> Cadence    pauses, P(submit)
//!  begun: an answer to the text as it was at the last pause, adopted by an Enter that finds the
//!         prompt unchanged
//! ```

use super::answer::{Answer, Rules};
use super::anticipation::{Anticipation, Work, is_far_enough};
use super::cache::Cache;
use super::decoder::Decoder;
use super::figures::Figures;
use super::prompt::{Around, Prompt};
use super::stakes::{Extent, Typed};
use crate::model::TextError;
use crate::telemetry::{CadenceView, Hub};
use crate::typing::{Cadence, Composer, EditError, TypingEvent};
use crate::units::{Micros, TokenId};
use crate::vocabulary::Label;
use std::sync::Arc;
use std::time::Duration;

/// Typed tokens that are read while the typing goes on: what is left must fit one pass.
const EAGER_TOKENS: usize = 32;

/// How often the pause is looked at while nothing else happens, at first and when it is long.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const LOOK_SELDOM: Duration = Duration::from_secs(1);

/// See the module's text.
pub(super) struct Composition {
    pub conversation: Prompt,
    pub rules: Arc<Rules>,
    composer: Composer,
    cadence: Cadence,
    /// What the prompt asks for, if the scout knows.
    pub label: Option<(Label, f32)>,
    begun: Option<Box<Answer>>,
    /// Work before Enter has failed: nothing is tried until the text changes.
    rests: bool,
    pub figures: Figures,
    /// When the prompt's first event was, on the session's clock; `None` between prompts.
    first_us: Option<Micros>,
}

/// The outcome of an edit.
pub(super) enum Edited {
    Text,
    /// Enter, with nothing to answer.
    Empty,
    /// Enter: the prompt, and when that was.
    Submitted {
        prompt: String,
        at_us: Micros,
        figures: Figures,
    },
}

impl Composition {
    pub(super) fn new(conversation: Prompt, rules: Arc<Rules>) -> Self {
        Self {
            conversation,
            rules,
            composer: Composer::new(),
            cadence: Cadence::new(),
            label: None,
            begun: None,
            rests: false,
            figures: Figures::default(),
            first_us: None,
        }
    }

    pub(super) fn text(&self) -> &str {
        self.composer.text()
    }

    pub(super) fn cadence_view(&self, now_us: Micros) -> CadenceView {
        self.cadence.view(now_us)
    }

    /// Does an edit that was sent at `sent_us`.
    ///
    /// # Errors
    /// An edit that does not fit the text, which is as it was.
    pub(super) fn edit(
        &mut self,
        event: &TypingEvent,
        sent_us: Micros,
        now_us: Micros,
    ) -> Result<Edited, EditError> {
        let change = self.composer.apply(&event.edit)?;
        let at_us = self.time_of(event, sent_us, now_us);
        self.cadence.observe(&event.edit, at_us, &self.composer);
        self.rests = false;
        if !change.submitted {
            return Ok(Edited::Text);
        }
        self.first_us = None;
        let prompt = self.composer.take();
        if prompt.trim().is_empty() {
            return Ok(Edited::Empty);
        }
        Ok(Edited::Submitted {
            prompt,
            at_us,
            figures: std::mem::take(&mut self.figures),
        })
    }

    /// When an event happened, on the session's clock. Events wait while models load or a pass
    /// runs: the gaps between them are those of the typing, and none of them is in the future.
    fn time_of(&mut self, event: &TypingEvent, sent_us: Micros, now_us: Micros) -> Micros {
        let first = *self.first_us.get_or_insert(sent_us);
        let at = first + event.t_us;
        let ahead = at.saturating_sub(now_us);
        self.first_us = Some(first.saturating_sub(ahead));
        self.cadence.shift_back(ahead);
        at - ahead
    }

    /// How long to wait for an intent before the pause is looked at again.
    pub(super) fn look_after(&self, now_us: Micros) -> Duration {
        if self.cadence.is_long_pause(now_us) {
            LOOK_SELDOM
        } else {
            LOOK_EVERY
        }
    }

    /// The next pass before Enter, if one would pay now.
    pub(super) fn work_ahead(&mut self, decoder: &mut Decoder, hub: &Hub) -> Option<Anticipation> {
        let text = self.composer.text();
        if self.rests || text.trim().is_empty() {
            return None;
        }
        let paused = self.cadence.is_pause(decoder.clock.now_us());
        // Text that has no tokens is an error when it is submitted; until then it may be deleted.
        let Ok(whole) = self.conversation.whole(text) else {
            self.rests = true;
            return None;
        };
        let cache = &mut decoder.cache;
        let ready = cache.common(&whole);
        hub.update(|s| {
            s.prefill.prompt_tokens = whole.len();
            s.prefill.ready_tokens = ready;
        });
        let tokens = whole.len();
        let work = if tokens >= cache.oracle().capacity() {
            None
        } else if paused {
            self.answer_ahead(whole, cache)
        } else {
            self.read_ahead(whole, cache)
        }?;
        let typed = self.typed(tokens);
        Some(Anticipation { work, typed })
    }

    /// The prompt as it is, which has `whole` tokens.
    fn typed(&mut self, whole: usize) -> Typed {
        let Around { head, tail } = self.conversation.around();
        Typed {
            composer: self.composer.clone(),
            extent: Extent { head, whole, tail },
        }
    }

    /// Begins an answer to the whole prompt, or goes on with it, up to the most that is computed
    /// before Enter.
    fn answer_ahead(&mut self, whole: Vec<TokenId>, cache: &mut Cache) -> Option<Work> {
        self.figures.start(cache);
        let begun = self.take_begun(&whole);
        let answer = begun.unwrap_or_else(|| Box::new(self.new_answer(whole)));
        if is_far_enough(&answer) {
            self.begun = Some(answer);
            return None;
        }
        Some(Work::Answer(answer))
    }

    /// An answer to the prompt that was rendered last.
    fn new_answer(&self, whole: Vec<TokenId>) -> Answer {
        let label = self.label.map(|(label, _)| label);
        Answer::new(
            whole,
            label,
            self.rules.reading(self.conversation.answers()),
        )
    }

    /// Reads what more typing will not change of the `whole` prompt, where there is enough of it.
    fn read_ahead(&mut self, whole: Vec<TokenId>, cache: &mut Cache) -> Option<Work> {
        let stable = self.conversation.stable(self.composer.text(), whole);
        let stable = stable.ok()?;
        let common = cache.common(&stable);
        if stable.len() < common + EAGER_TOKENS {
            return None;
        }
        self.figures.start(cache);
        Some(Work::Read {
            text: stable,
            from: common,
        })
    }

    /// The answer that was begun, if it is to this prompt. None is left.
    pub(super) fn take_begun(&mut self, whole: &[TokenId]) -> Option<Box<Answer>> {
        self.begun.take().filter(|begun| begun.prompt() == whole)
    }

    /// Keeps the result of a pass before Enter.
    pub(super) fn keep(&mut self, done: Anticipation) {
        if let Work::Answer(answer) = done.work {
            self.begun = Some(answer);
        }
    }

    /// Whether an answer before Enter has its first token.
    pub(super) fn has_begun(&self) -> bool {
        self.begun.as_ref().is_some_and(|begun| begun.has_begun())
    }

    /// Drops what was begun before Enter.
    pub(super) fn drop_begun(&mut self) {
        self.begun = None;
    }

    /// The same, and tries nothing more until the text changes.
    pub(super) fn rest(&mut self) {
        self.begun = None;
        self.rests = true;
    }

    /// Forgets the conversation; what is being typed stays.
    pub(super) fn forget_conversation(&mut self) {
        self.begun = None;
        self.rests = false;
        self.figures = Figures::default();
        self.conversation.clear();
    }

    /// The tokens of a prompt that was submitted.
    ///
    /// # Errors
    /// See [`Prompt::whole`].
    pub(super) fn whole(&mut self, prompt: &str) -> Result<Vec<TokenId>, TextError> {
        self.conversation.whole(prompt)
    }
}
