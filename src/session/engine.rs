//! The session's thread: takes intents, works before Enter, answers after it.
//!
//! ```text
//!           typing, paused                 Enter                 last token
//!  Idle -> Composing -> Anticipating  ->  Answering  ------------->  Idle
//!               ^            |              ^  |
//!               +-- edit ----+   unchanged  |  +-- typing for the next prompt is kept
//!                            +--------------+
//! ```
//!
//! Between any two passes all waiting intents are taken. A pass leaves before Enter when the
//! typist stands still, on the whole prompt as if Enter came now, or earlier when so much has
//! been typed that it would not fit that pass. A pass for the whole prompt is given up when the
//! text changes meanwhile.

use super::answer::{Answer, Rules, StepError};
use super::api::{Event, Intent, Stamped};
use super::cache::Cache;
use super::figures::{Figures, Times};
use super::inbox::Inbox;
use super::late::LateDraft;
use super::load::Loaded;
use super::options::EngineOptions;
use super::prompt::Prompt;
use crate::model::{TextStream, Turn};
use crate::oracle::OracleError;
use crate::scout::HeuristicScout;
use crate::speculate::Speculator;
use crate::system;
use crate::telemetry::{AcceptView, AnswerEnd, HISTORY, Hub, Label, PassView, Phase};
use crate::typing::{Cadence, Clock, Composer, Edit, TypingEvent};
use crate::units::Micros;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Typed tokens that are read while the typing goes on: what is left must fit one pass.
const EAGER_TOKENS: usize = 32;

/// Answer tokens that are decoded before Enter at the most.
const AHEAD_TOKENS: usize = 32;

/// A pass before Enter of which so much is done is not given up any more.
const NEARLY_DONE: f64 = 0.75;

/// How often the pause is looked at while nothing else happens, at first and when it is long.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const LOOK_SELDOM: Duration = Duration::from_secs(1);

/// See the module's text.
pub(super) struct Engine {
    cache: Cache,
    tokenizer: crate::model::Tokenizer,
    speculator: Speculator,
    /// What `speculator` gets when there is time to load it.
    draft: Option<LateDraft>,
    draft_waits: bool,
    scout: Option<HeuristicScout>,
    rules: Rules,
    prompt: Prompt,
    composer: Composer,
    cadence: Cadence,
    anticipate: bool,
    /// An answer to the prompt as it stands, begun before Enter.
    ahead: Option<Answer>,
    /// A failure before Enter, after which nothing is tried until the text changes.
    rest: bool,
    /// Prompts that wait for their answer.
    waiting: VecDeque<Submitted>,
    /// Of the prompt being composed.
    figures: Figures,
    /// A new conversation is to begin when the answer under way has ended.
    forget: bool,
    answering: bool,
    /// When the prompt's first event was, on `clock`; `None` between prompts.
    first_us: Option<Micros>,
    inbox: Rc<Inbox>,
    events: Sender<Event>,
    hub: Arc<Hub>,
    clock: Arc<dyn Clock>,
}

/// A prompt as it was submitted.
struct Submitted {
    text: String,
    at_us: u64,
    scout: Option<(Label, f32)>,
    figures: Figures,
    /// A stop came before its answer began.
    stopped: bool,
}

/// What to do after the waiting intents have been taken.
enum Next {
    Go,
    Stop,
    Shutdown,
}

impl Engine {
    pub(super) fn new(
        loaded: Loaded,
        options: &EngineOptions,
        (intents, events): (Receiver<Stamped>, Sender<Event>),
        hub: Arc<Hub>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            cache: Cache::new(loaded.oracle),
            prompt: Prompt::new(loaded.template, &options.system),
            tokenizer: loaded.tokenizer,
            speculator: loaded.speculator,
            draft: loaded.draft,
            draft_waits: options.draft_waits,
            scout: loaded.scout,
            rules: Rules {
                sampler: loaded.sampler,
                ends: loaded.ends,
                max_tokens: options.max_tokens.max(1),
                fixed_length: options.fixed_length,
            },
            composer: Composer::new(),
            cadence: Cadence::new(),
            anticipate: options.anticipate,
            ahead: None,
            rest: false,
            waiting: VecDeque::new(),
            figures: Figures::default(),
            forget: false,
            answering: false,
            first_us: None,
            inbox: Rc::new(Inbox::new(intents)),
            events,
            hub,
            clock,
        }
    }

    /// Runs until a shutdown is asked for, or nobody is left to ask for anything. `heard` was
    /// said while models were loading.
    pub(super) fn run(mut self, heard: Vec<Stamped>) {
        for intent in heard {
            self.take(intent);
        }
        if let Next::Shutdown = self.take_intents() {
            return;
        }
        // A prompt that waits already gets its first token before.
        if self.waiting.is_empty() && !self.draft_waits {
            self.load_draft();
        }
        self.say(Event::Ready);
        loop {
            if let Next::Shutdown = self.take_intents() {
                return;
            }
            if std::mem::take(&mut self.forget) {
                self.forget_conversation();
            }
            if let Some(submitted) = self.waiting.pop_front() {
                self.answering = true;
                let next = self.answer(submitted);
                self.answering = false;
                if let Next::Shutdown = next {
                    return;
                }
                continue;
            }
            let ahead = self.ahead.as_ref().is_some_and(Answer::has_begun);
            if (ahead && self.load_draft()) || self.work_ahead() {
                continue;
            }
            let composing = !self.composer.text().is_empty();
            self.phase(if composing {
                Phase::Composing
            } else {
                Phase::Idle
            });
            let intent = if composing {
                self.show_cadence();
                let wait = if self.cadence.is_long_pause(self.clock.now_us()) {
                    LOOK_SELDOM
                } else {
                    LOOK_EVERY
                };
                match self.inbox.recv_timeout(wait) {
                    Ok(intent) => intent,
                    Err(RecvTimeoutError::Timeout) => continue,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            } else {
                match self.inbox.recv() {
                    Ok(intent) => intent,
                    Err(_) => return,
                }
            };
            if let Next::Shutdown = self.take(intent) {
                return;
            }
        }
    }

    /// Takes all intents that wait; a shutdown or a stop ends that early.
    fn take_intents(&mut self) -> Next {
        while let Some(intent) = self.inbox.try_recv() {
            match self.take(intent) {
                Next::Go => {}
                other => return other,
            }
        }
        Next::Go
    }

    fn take(&mut self, (sent_us, intent): Stamped) -> Next {
        match intent {
            Intent::Typing(event) => self.typed(&event, sent_us),
            Intent::Stop => return self.stop(),
            Intent::NewConversation => {
                self.forget = true;
                return self.stop();
            }
            Intent::Anticipate(yes) => {
                self.anticipate = yes;
                self.ahead = None;
            }
            Intent::Shutdown => return Next::Shutdown,
        }
        Next::Go
    }

    /// Stops the answer under way, or those that have not begun.
    fn stop(&mut self) -> Next {
        if !self.answering {
            self.waiting.iter_mut().for_each(|s| s.stopped = true);
        }
        Next::Stop
    }

    fn forget_conversation(&mut self) {
        self.ahead = None;
        self.cache.truncate(0);
        self.figures = Figures::default();
        self.prompt.clear();
        self.rest = false;
    }

    /// Starts to count for the next prompt, if that has not been done.
    fn start_figures(&mut self) {
        if self.figures.is_unstarted() {
            self.figures = Figures::start(self.cache.oracle());
            self.cache.start_prompt();
        }
    }

    fn typed(&mut self, event: &TypingEvent, sent_us: Micros) {
        // What is read until an answer has ended is that answer's.
        if !self.answering && self.waiting.is_empty() {
            self.start_figures();
        }
        let change = match self.composer.apply(&event.edit) {
            Ok(change) => change,
            Err(error) => {
                self.say(Event::Notice(format!("an edit was left out: {error}")));
                return;
            }
        };
        let at = self.time_of(event, sent_us);
        self.cadence.observe(&event.edit, at, &self.composer);
        self.rest = false;
        if let Some(scout) = &mut self.scout
            && !matches!(event.edit, Edit::Cursor { .. } | Edit::Enter)
        {
            let view = scout.look_timed(self.composer.text(), &*self.clock);
            self.hub.update(|s| s.scout = view);
        }
        if change.submitted && self.composer.text().trim().is_empty() {
            self.composer.take();
            self.first_us = None;
            self.say(Event::Notice("an empty prompt has no answer".to_owned()));
        } else if change.submitted {
            let scout = self.scouted();
            self.first_us = None;
            let text = self.composer.take();
            let figures = std::mem::take(&mut self.figures);
            self.waiting.push_back(Submitted {
                text,
                at_us: at,
                scout,
                figures,
                stopped: false,
            });
        } else {
            self.show_cadence();
        }
    }

    /// What the prompt being composed asks for, by the scout.
    fn scouted(&self) -> Option<(Label, f32)> {
        let scout = self.scout.as_ref();
        scout.and_then(|_| self.hub.snapshot().scout.best())
    }

    /// When an event was, on the session's clock. Events wait while models load or a pass
    /// runs: the gaps between them are their own, and none of them is in the future.
    fn time_of(&mut self, event: &TypingEvent, sent_us: Micros) -> Micros {
        let now = self.clock.now_us();
        let first = *self.first_us.get_or_insert(sent_us);
        let at = first + event.t_us;
        let ahead = at.saturating_sub(now);
        self.first_us = Some(first.saturating_sub(ahead));
        self.cadence.shift_back(ahead);
        at - ahead
    }

    /// One pass before Enter, if one is worth it. False: nothing to do.
    fn work_ahead(&mut self) -> bool {
        let text = self.composer.text();
        if !self.anticipate || self.rest || text.trim().is_empty() {
            return false;
        }
        let paused = self.cadence.is_pause(self.clock.now_us());
        // What has no tokens is an error of the prompt when it is submitted; until then it may
        // be typed away.
        let Ok(whole) = self.prompt.whole(text) else {
            self.rest = true;
            return false;
        };
        let ready = self.cache.common(&whole);
        self.hub.update(|s| {
            s.prefill.prompt_tokens = whole.len();
            s.prefill.ready_tokens = ready;
        });
        if whole.len() >= self.cache.oracle().capacity() {
            return false;
        }
        let result = if paused {
            self.start_figures();
            if self.ahead.as_ref().is_none_or(|a| a.prompt() != whole) {
                self.ahead = Some(Answer::new(whole, self.scouted().map(|(label, _)| label)));
            }
            let Some(answer) = &mut self.ahead else {
                return false;
            };
            if answer.end().is_some() || answer.tokens().len() >= AHEAD_TOKENS {
                return false;
            }
            self.hub.update(|s| s.phase = Phase::Anticipating);
            // A text that changes under the pass makes it of no use, unless it is nearly done.
            let inbox = Rc::clone(&self.inbox);
            let outdated = move |done: f64| done < NEARLY_DONE && inbox.outdates_text();
            self.cache.give_up_when(Some(Rc::new(outdated)));
            let step = answer.step(&mut self.cache, &mut self.speculator, &self.rules);
            self.cache.give_up_when(None);
            let speculation = answer.speculation.clone();
            self.hub.update(|s| s.speculation = speculation);
            step.map(|_| ())
        } else {
            let Ok(stable) = self.prompt.stable(text) else {
                return false;
            };
            let common = self.cache.common(&stable);
            if stable.len() < common + EAGER_TOKENS {
                return false;
            }
            self.start_figures();
            self.hub.update(|s| s.phase = Phase::Anticipating);
            self.cache.truncate(common);
            let (cache, speculator) = (&mut self.cache, &mut self.speculator);
            let width = cache.oracle().prompt_class();
            let part = &stable[common..stable.len().min(common + width.max)];
            Answer::read(part, width, &stable, cache, speculator)
        };
        self.show_work();
        match result {
            Ok(()) | Err(StepError::Oracle(OracleError::GivenUp)) => {}
            Err(StepError::Draft(error)) => self.drop_draft(&error.to_string()),
            Err(error) => {
                self.ahead = None;
                self.rest = true;
                self.say(Event::Notice(format!("working ahead failed: {error}")));
            }
        }
        true
    }

    /// Answers a submitted prompt to its end.
    fn answer(&mut self, submitted: Submitted) -> Next {
        let Submitted {
            text,
            at_us: submitted_us,
            scout,
            figures,
            stopped,
        } = submitted;
        self.figures = figures;
        self.start_figures();
        let mut figures = std::mem::take(&mut self.figures);
        self.phase(Phase::Answering);
        self.say(Event::Submitted {
            prompt: text.clone(),
        });
        let whole = self.prompt.whole(&text);
        if let Some(notice) = self.prompt.take_notice() {
            self.say(Event::Notice(notice));
        }
        let whole = match whole {
            Ok(whole) => whole,
            Err(error) => {
                self.say(Event::Error(error.to_string()));
                return Next::Go;
            }
        };
        let capacity = self.cache.oracle().capacity();
        if whole.len() >= capacity {
            self.say(Event::Error(format!(
                "the prompt and its history have {} tokens, the context holds {capacity}: shorten \
                 it, start a new conversation, or give a larger --ctx",
                whole.len()
            )));
            return Next::Go;
        }
        figures.prompt_tokens = whole.len();
        figures.ready_tokens = self.cache.common(&whole);
        self.hub.update(|s| {
            s.prefill.prompt_tokens = figures.prompt_tokens;
            s.prefill.ready_tokens = figures.ready_tokens;
            s.accept = AcceptView::default();
        });
        let mut answer = match self.ahead.take() {
            Some(ahead) if ahead.prompt() == whole => ahead,
            _ => Answer::new(whole, scout.map(|(label, _)| label)),
        };
        let (mut stream, mut text_out, mut shown) = (TextStream::default(), String::new(), 0);
        let mut times: Option<Times> = None;
        let mut recent: VecDeque<PassView> = VecDeque::new();
        let (mut outcome, mut failed) = (Next::Go, false);
        if stopped {
            answer.stop(AnswerEnd::Stopped);
        }
        loop {
            let fresh: String = answer.tokens()[shown..]
                .iter()
                .map(|&t| stream.push(&self.tokenizer.bytes(t)))
                .collect();
            if shown < answer.tokens().len() {
                shown = answer.tokens().len();
                // Tokens that end within a character show nothing yet.
                if !fresh.is_empty() {
                    let now = self.clock.now_us();
                    times = Some(Times::at(times, now, shown as u64));
                    text_out.push_str(&fresh);
                    self.say(Event::Text(fresh));
                }
                self.show_answer(&answer, &recent, submitted_us, times);
            }
            if answer.end().is_some() {
                break;
            }
            match self.take_intents() {
                Next::Go => {}
                Next::Stop => answer.stop(AnswerEnd::Stopped),
                Next::Shutdown => {
                    answer.stop(AnswerEnd::Stopped);
                    outcome = Next::Shutdown;
                }
            }
            if answer.has_begun() {
                let began = self.clock.now_us();
                if self.load_draft() {
                    let us = self.clock.now_us().saturating_sub(began);
                    times = times.map(|times| times.after_loading(us));
                    self.phase(Phase::Answering);
                }
            }
            let step = answer.step(&mut self.cache, &mut self.speculator, &self.rules);
            self.show_work();
            match step {
                Ok(Some(pass)) => {
                    if recent.len() == HISTORY {
                        recent.pop_front();
                    }
                    recent.push_back(pass);
                }
                Ok(None) => {}
                Err(StepError::Draft(error)) => self.drop_draft(&error.to_string()),
                Err(StepError::Oracle(error)) => {
                    tracing::error!(%error, "a pass failed");
                    answer.stop(AnswerEnd::Stopped);
                    failed = true;
                    self.say(Event::Error(format!(
                        "the answer ends here: {error}. The conversation stands; ask again to go on"
                    )));
                }
            }
        }
        let tail = stream.finish();
        if !tail.is_empty() {
            text_out.push_str(&tail);
            self.say(Event::Text(tail));
        }
        // A prompt without an answer is no turn: it is given back to be asked again.
        if !answer.tokens().is_empty() {
            let turn = Turn {
                user: text,
                answer: answer.tokens().to_vec(),
            };
            self.prompt.push(&turn);
        }
        let stats = figures.stats(&self.cache, &answer, submitted_us, times, scout, text_out);
        if !failed {
            self.say(Event::Done(Box::new(stats)));
        }
        outcome
    }

    /// Loads the draft, if that has not been done. False: there was nothing to do.
    fn load_draft(&mut self) -> bool {
        let Some(draft) = self.draft.take() else {
            return false;
        };
        self.phase(Phase::Loading("draft".to_owned()));
        match draft.load() {
            Ok(model) => self.speculator.add(Box::new(model)),
            Err(error) => self.drop_draft(&error.to_string()),
        }
        self.show_work();
        true
    }

    fn drop_draft(&mut self, why: &str) {
        self.hub.update(|s| s.engine.draft = None);
        self.say(Event::Notice(format!(
            "the draft failed and is left out from now on: {why}"
        )));
    }

    fn say(&self, event: Event) {
        // With nobody listening any more, the closed channel of intents ends the session.
        let _ = self.events.send(event);
    }

    fn phase(&self, phase: Phase) {
        self.hub.update(|s| s.phase = phase);
    }

    fn show_cadence(&self) {
        let view = self.cadence.view(self.clock.now_us());
        self.hub.update(|s| s.cadence = view);
    }

    /// What a pass changed, whoever it was for.
    fn show_work(&self) {
        let (rss, peak) = (system::rss(), system::rss_peak());
        let ready = self.cache.tokens().len();
        let threads = self.cache.threads_last().least;
        self.hub.update(|s| {
            s.engine.threads_now = threads;
            s.memory.rss = rss.unwrap_or_default();
            s.memory.rss_peak = peak.unwrap_or_default();
            s.prefill.ready_tokens = ready.min(s.prefill.prompt_tokens);
        });
    }

    fn show_answer(
        &self,
        answer: &Answer,
        recent: &VecDeque<PassView>,
        submitted_us: u64,
        times: Option<Times>,
    ) {
        let tokens = answer.tokens().len() as u64;
        self.hub.update(|s| {
            if let Some(width) = answer.width() {
                s.engine.width_class = (width.min, width.max);
            }
            s.speculation.clone_from(&answer.speculation);
            let a = &mut s.accept;
            a.recent.clone_from(recent);
            (a.tokens, a.passes) = (tokens, answer.passes);
            (a.drafted, a.accepted) = (answer.drafted, answer.accepted);
            a.tokens_per_s = super::figures::rate(tokens, times);
            a.ttft_ms = times.map(|t| t.ttft_ms(submitted_us));
        });
    }
}
