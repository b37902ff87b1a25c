//! From a prompt in the queue to the end of its answer.

use super::Engine;
use crate::experts::routing::PassKind;
use crate::model;
use crate::session::answer::Answer;
use crate::session::decoder::StepError;
use crate::session::event::{Notice, RequestEvent};
use crate::session::experts::Experts;
use crate::session::figures::Figures;
use crate::session::request::RequestError;
use crate::session::turn::{Origin, Submitted, Turn};
use crate::telemetry::{AcceptView, Phase};
use std::mem::take;
use std::sync::Arc;

impl Engine {
    /// Begins to answer a prompt. `None`: it has no answer, and its client has been told.
    pub(super) fn begin(&mut self, submitted: Submitted) -> Option<Turn> {
        let is_typed = matches!(submitted.origin, Origin::Typed);
        let turn = self.turn_of(submitted);
        // Passes before an answer are for a prompt that is typed: this one's, if it is that.
        if is_typed != turn.is_some() {
            self.give_up();
        }
        if turn.is_none() {
            self.see_typed_next();
        }
        turn
    }

    fn turn_of(&mut self, mut submitted: Submitted) -> Option<Turn> {
        // What is read from now on is this prompt's, and no other's that waits or is being typed.
        self.composition.figures = Figures::default();
        self.queue
            .iter_mut()
            .for_each(|s| s.figures = Figures::default());
        submitted.figures.start(&mut self.decoder.cache);
        let asked = submitted.asked;
        let prompt = submitted.prompt.clone();
        if !self.tell(asked, RequestEvent::Submitted { prompt }) {
            return None;
        }
        let (whole, notice, answers) = match &mut submitted.origin {
            Origin::Typed => {
                let whole = self.composition.whole(&submitted.prompt);
                let conversation = &mut self.composition.conversation;
                (whole, conversation.take_notice(), conversation.answers())
            }
            Origin::Request(conversation) => {
                let whole = conversation.tokens(&submitted.prompt);
                (whole, conversation.take_notice(), conversation.answers())
            }
        };
        let rules = submitted.rules.reading(answers);
        if let Some(notice) = notice {
            self.notice(Notice::Template(notice));
        }
        let capacity = self.decoder.cache.oracle().capacity();
        let whole = match whole {
            Ok(whole) if whole.len() < capacity => whole,
            Ok(whole) => {
                let tokens = whole.len();
                self.fail(asked, RequestError::TooLong { tokens, capacity });
                return None;
            }
            Err(error) => {
                self.fail(asked, error.into());
                return None;
            }
        };
        let begun = match submitted.origin {
            Origin::Typed => self.composition.take_begun(&whole),
            Origin::Request(_) => None,
        };
        let (all, cache) = (whole.len(), &self.decoder.cache);
        let ready = match begun {
            // It goes on from where it is.
            Some(_) => cache.common(&whole),
            None => cache.ready(&whole),
        };
        submitted.figures.prompt_tokens = all;
        submitted.figures.ready_tokens = ready;
        self.hub.update(|s| {
            s.prefill.prompt_tokens = all;
            s.prefill.ready_tokens = ready;
            s.accept = AcceptView::default();
            s.experts.answer = None;
        });
        let answer = match begun {
            Some(begun) => *begun,
            None => {
                let label = submitted.label.map(|(label, _)| label);
                Answer::new(whole, label, rules)
            }
        };
        if let Some(experts) = &mut self.experts {
            experts.see(submitted.label);
        }
        let mut turn = Turn::new(submitted, answer);
        self.say_text(&mut turn);
        Some(turn)
    }

    /// One pass of the answer under way, and what it gave.
    pub(super) fn answer(&mut self, turn: &mut Turn) {
        if turn.has_ended() {
            // It had ended when it began: it was stopped, or computed to its end before Enter.
            return;
        }
        if turn.has_begun() {
            let began_us = self.clock.now_us();
            if self.load_draft() {
                turn.waited_for_draft(self.clock.now_us().saturating_sub(began_us));
                self.hub.update(|s| s.phase = Phase::Answering);
            }
        }
        if let Some(experts) = &mut self.experts {
            experts.computes(match turn.has_begun() {
                true => PassKind::Answer,
                false => PassKind::Prompt,
            });
        }
        let step = turn.step(&mut self.decoder);
        self.show_work();
        match step {
            Ok(()) => {}
            Err(StepError::Draft(error)) => self.drop_draft(error.into()),
            Err(StepError::Oracle(error)) => {
                tracing::error!(%error, "a pass failed");
                turn.fail(RequestError::Pass(Arc::new(error)));
            }
        }
        self.say_text(turn);
    }

    /// Says what the answer's client has not heard yet.
    fn say_text(&self, turn: &mut Turn) {
        let Some(news) = turn.news(self.clock.now_us()) else {
            return;
        };
        for event in news {
            if !self.tell(turn.asked, event) {
                // Its client has left.
                turn.stop();
            }
        }
        turn.show(&self.hub, self.decoder.cache.oracle());
    }

    /// Says how an answer ended.
    pub(super) fn finish(&mut self, mut turn: Turn) {
        self.say_text(&mut turn);
        // A client may leave at the end: what it should know comes before.
        if let Some(notice) = self.experts.as_mut().and_then(Experts::flush) {
            self.notice(notice);
        }
        let failure = turn.take_failure();
        let is_answered = turn.has_begun() && failure.is_none();
        let end = match failure {
            Some(error) => RequestEvent::Failed(error),
            None => RequestEvent::Done(Box::new(turn.stats(&self.decoder, self.policy))),
        };
        self.tell(turn.asked, end);
        // The answer is looked at and the file is written when nobody waits any more.
        if is_answered {
            let experts = self.experts.as_mut();
            let known = experts.map(|experts| experts.answered(&turn.prompt, turn.text()));
            let known = known.into_iter().flatten();
            known.for_each(|notice| self.notice(notice));
        } else {
            self.give_up();
        }
        // A prompt without an answer is no turn: front-ends give it back to be asked again.
        if matches!(turn.origin, Origin::Typed) && turn.shows_anything() {
            self.composition.conversation.push(&model::Turn {
                user: take(&mut turn.prompt),
                answer: turn.tokens().to_vec(),
            });
        }
        self.see_typed_next();
    }

    /// What has been computed since the last answer is of none.
    pub(super) fn give_up(&mut self) {
        if let Some(notice) = self.experts.as_mut().and_then(Experts::give_up) {
            self.notice(notice);
        }
    }
}
