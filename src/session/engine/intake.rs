//! How intents are taken between two passes: prompts go into the queue, stops end what they name.

use super::{Engine, State};
use crate::session::ClientId;
use crate::session::answer::Rules;
use crate::session::composition::Edited;
use crate::session::event::{Notice, RequestEvent};
use crate::session::figures::Figures;
use crate::session::intent::{Intent, Stamped};
use crate::session::request::Request;
use crate::session::turn::{Asked, Origin, Submitted};
use crate::telemetry::{AnswerEnd, AnswerStats, ScoutView};
use crate::typing::{Edit, TypingEvent};
use crate::units::Micros;
use std::collections::VecDeque;
use std::mem::take;
use std::ops::ControlFlow;
use std::sync::Arc;

impl Engine {
    /// Carries out an intent, or notes it for later. Break: the session is to end.
    pub(super) fn take(&mut self, stamped: Stamped) -> ControlFlow<()> {
        let Stamped {
            at_us,
            client,
            intent,
        } = stamped;
        match intent {
            Intent::Submit(id, request) => self.submit(Asked { client, id }, *request, at_us),
            Intent::Cancel(id) => self.stop(|asked| asked == Asked { client, id }),
            Intent::Typing(event) => self.typed(&event, client, at_us),
            Intent::Stop => self.stop(|asked| asked.client == client),
            Intent::NewConversation => {
                self.stop(|asked| asked.client == client);
                match self.state {
                    State::Answering(_) => self.forget = true,
                    _ => self.forget_conversation(),
                }
            }
            Intent::Anticipate(yes) => {
                self.anticipate = yes;
                self.composition.drop_begun();
            }
            Intent::Shutdown => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }

    fn submit(&mut self, asked: Asked, request: Request, at_us: Micros) {
        let rules = Arc::new(Rules::new(&request.params, self.template.answers()));
        let opened = request.open(Arc::clone(&self.template));
        let (conversation, prompt) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.fail(asked, error),
        };
        // What the scout shows is of the prompt being typed.
        let label = self.look(&prompt).and_then(|view| view.best());
        self.queue.push_back(Submitted {
            asked,
            origin: Origin::Request(Box::new(conversation)),
            prompt,
            at_us,
            label,
            rules,
            figures: Figures::default(),
            stopped: false,
        });
    }

    fn typed(&mut self, event: &TypingEvent, client: ClientId, sent_us: Micros) {
        // What is read until an answer has ended is that answer's.
        if !matches!(self.state, State::Answering(_)) && self.queue.is_empty() {
            self.composition.figures.start(&mut self.decoder.cache);
        }
        let now_us = self.clock.now_us();
        match self.composition.edit(event, sent_us, now_us) {
            Err(error) => self.notice(Notice::Edit(error)),
            Ok(Edited::Empty) => {
                self.deleted();
                self.notice(Notice::EmptyPrompt);
            }
            Ok(Edited::Text) => {
                if self.composition.text().trim().is_empty() {
                    self.deleted();
                }
                if !matches!(event.edit, Edit::Cursor { .. }) && self.scout.is_some() {
                    let text = self.composition.text().to_owned();
                    let view = self.look(&text).unwrap_or_default();
                    self.composition.label = view.best();
                    self.see_typed();
                    self.hub.update(|s| s.scout = view);
                }
                self.show_cadence();
            }
            Ok(Edited::Submitted {
                prompt,
                at_us,
                figures,
            }) => self.queue.push_back(Submitted {
                asked: Asked {
                    client,
                    id: self.clients.next_request(),
                },
                origin: Origin::Typed,
                prompt,
                at_us,
                label: self.composition.label,
                rules: Arc::clone(&self.composition.rules),
                figures,
                stopped: false,
            }),
        }
    }

    /// Nothing is left of the prompt being typed, for which passes may have been computed.
    fn deleted(&mut self) {
        if !self.answers() {
            self.give_up();
        }
    }

    /// An answer is under way or next.
    fn answers(&self) -> bool {
        matches!(self.state, State::Answering(_)) || !self.queue.is_empty()
    }

    /// Passes are for the prompt being typed, unless an answer is under way.
    fn see_typed(&mut self) {
        if let (false, Some(experts)) = (self.answers(), &mut self.experts) {
            experts.see(self.composition.label);
        }
    }

    /// An answer has ended: the next passes are for what was typed meanwhile, if anything was.
    pub(super) fn see_typed_next(&mut self) {
        if !self.composition.text().is_empty() {
            self.see_typed();
        }
    }

    /// What a text asks for, by the scout.
    fn look(&mut self, text: &str) -> Option<ScoutView> {
        let scout = self.scout.as_mut()?;
        Some(scout.look_timed(text, &*self.clock))
    }

    /// Stops the answer under way if it is `wanted`, or else all `wanted` prompts that wait.
    fn stop(&mut self, wanted: impl Fn(Asked) -> bool) {
        let State::Answering(turn) = &mut self.state else {
            // They end as they begin: what was computed before Enter is theirs.
            let waiting = self.queue.iter_mut().filter(|s| wanted(s.asked));
            return waiting.for_each(|s| s.stopped = true);
        };
        if wanted(turn.asked) {
            return turn.stop();
        }
        let (stopped, queue): (VecDeque<_>, _) = take(&mut self.queue)
            .into_iter()
            .partition(|s| wanted(s.asked));
        self.queue = queue;
        for Submitted { asked, label, .. } in stopped {
            let stats = AnswerStats {
                end: AnswerEnd::Stopped,
                scout_label: label.map(|(label, _)| label),
                scout_confidence: label.map(|(_, p)| p),
                ..AnswerStats::default()
            };
            self.tell(asked, RequestEvent::Done(Box::new(stats)));
        }
    }
}
