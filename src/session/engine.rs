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
//! One turn of the loop takes all waiting intents, chooses what to do by what there is, and does
//! it: a pass, or a wait for the next intent. Prompts that were typed and requests wait in one
//! queue, and are answered one after another.
//!
//! ```text
//!  intake      intents -> prompts in the queue, stops
//!  answering   a prompt of the queue -> Turn -> events
//! ```

mod answering;
mod intake;

use super::answer::Rules;
use super::anticipation::{Anticipation, Work};
use super::composition::Composition;
use super::decoder::{Decoder, StepError};
use super::deferred_draft::DeferredDraft;
use super::event::{DraftFailure, Event, Notice, RequestEvent};
use super::experts::Experts;
use super::inbox::Inbox;
use super::intent::Stamped;
use super::load::Loaded;
use super::options::EngineOptions;
use super::prompt::Prompt;
use super::request::RequestError;
use super::turn::{Asked, Submitted, Turn};
use super::{Clients, EngineEnd};
use crate::model::ChatTemplate;
use crate::oracle::OracleError;
use crate::scout::HeuristicScout;
use crate::system;
use crate::telemetry::{Hub, Phase};
use crate::typing::Clock;
use crate::vocabulary::ExpertPolicy;
use crossbeam_channel::RecvTimeoutError;
use std::collections::VecDeque;
use std::mem::take;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// What the engine does until it looks for intents again.
#[derive(Default)]
enum State {
    /// Waits: nothing is typed and nothing is asked.
    #[default]
    Idle,
    /// Waits: a prompt is being typed, and no pass for it would pay now.
    Composing,
    /// Computes a pass before Enter.
    Anticipating(Anticipation),
    /// Computes a pass of an answer.
    Answering(Box<Turn>),
}

impl State {
    fn phase(&self) -> Phase {
        match self {
            Self::Idle => Phase::Idle,
            Self::Composing => Phase::Composing,
            Self::Anticipating(_) => Phase::Anticipating,
            Self::Answering(_) => Phase::Answering,
        }
    }
}

/// See the module's text.
pub(super) struct Engine {
    state: State,
    decoder: Decoder,
    /// What the decoder's speculator gets when there is time to load it.
    draft: Option<DeferredDraft>,
    template: Arc<ChatTemplate>,
    scout: Option<HeuristicScout>,
    /// In a mixture whose experts come and go one by one.
    experts: Option<Experts>,
    /// How they do, where reports are to say so.
    policy: Option<ExpertPolicy>,
    composition: Composition,
    /// Whether to work before Enter.
    anticipate: bool,
    /// A new conversation is to begin when the answer under way has ended.
    forget: bool,
    /// Prompts that wait for their answer.
    queue: VecDeque<Submitted>,
    inbox: Rc<Inbox>,
    clients: Arc<Clients>,
    hub: Arc<Hub>,
    clock: Arc<dyn Clock>,
}

impl Engine {
    pub(super) fn new(
        loaded: Loaded,
        options: &EngineOptions,
        end: &EngineEnd,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let conversation = Prompt::new(Arc::clone(&loaded.template), &options.system);
        let rules = Arc::new(Rules::new(&options.params(), loaded.template.answers()));
        Self {
            state: State::Idle,
            decoder: Decoder::new(loaded.oracle, loaded.speculator, Arc::clone(&clock)),
            draft: loaded.draft,
            template: loaded.template,
            scout: loaded.scout,
            experts: loaded.experts,
            policy: options.experts.unless_default(),
            composition: Composition::new(conversation, rules),
            anticipate: options.anticipate,
            forget: false,
            queue: VecDeque::new(),
            inbox: Rc::new(Inbox::new(end.intents.clone())),
            clients: Arc::clone(&end.clients),
            hub: Arc::clone(&end.hub),
            clock,
        }
    }

    /// Runs until a shutdown is asked for, or nobody is left to ask for anything. `heard` was
    /// said while models were loading. Where `draft_waits`, a draft loads after the first token.
    pub(super) fn run(mut self, heard: Vec<Stamped>, draft_waits: bool) {
        let early = heard.into_iter().try_for_each(|intent| self.take(intent));
        if early.is_break() || self.take_waiting().is_break() {
            return;
        }
        // Where a prompt waits already, its first token comes before the draft.
        if self.queue.is_empty() && !draft_waits {
            self.load_draft();
        }
        self.clients.tell_all(Event::Ready);
        while self.take_waiting().is_continue() {
            // Enter may have come while it loaded.
            if self.queue.is_empty() && self.composition.has_begun() && self.load_draft() {
                continue;
            }
            self.state = self.next_state();
            let phase = self.state.phase();
            self.hub.update(|s| s.phase = phase);
            if self.act().is_break() {
                break;
            }
        }
        if let State::Answering(mut turn) = take(&mut self.state) {
            turn.stop();
            self.finish(*turn);
        }
    }

    /// Takes all intents that wait. Break: the session is to end.
    fn take_waiting(&mut self) -> ControlFlow<()> {
        while let Some(intent) = self.inbox.try_recv() {
            self.take(intent)?;
        }
        ControlFlow::Continue(())
    }

    /// What to do now.
    fn next_state(&mut self) -> State {
        if let State::Answering(turn) = take(&mut self.state) {
            if !turn.has_ended() {
                return State::Answering(turn);
            }
            self.finish(*turn);
        }
        if take(&mut self.forget) {
            self.forget_conversation();
        }
        while let Some(submitted) = self.queue.pop_front() {
            if let Some(turn) = self.begin(submitted) {
                return State::Answering(Box::new(turn));
            }
        }
        if self.anticipate
            && let Some(work) = self.composition.work_ahead(&mut self.decoder, &self.hub)
        {
            return State::Anticipating(work);
        }
        match self.composition.text() {
            "" => State::Idle,
            _ => State::Composing,
        }
    }

    /// Does what the state says. Break: the session is to end.
    fn act(&mut self) -> ControlFlow<()> {
        match take(&mut self.state) {
            State::Idle if self.decoder.cache.use_idle_time() => ControlFlow::Continue(()),
            State::Idle => self.wait(None),
            State::Composing => {
                self.show_cadence();
                if self.decoder.cache.use_idle_time() {
                    return ControlFlow::Continue(());
                }
                let look_after = self.composition.look_after(self.clock.now_us());
                self.wait(Some(look_after))
            }
            State::Anticipating(work) => {
                self.work_ahead(work);
                ControlFlow::Continue(())
            }
            State::Answering(mut turn) => {
                self.answer(&mut turn);
                self.state = State::Answering(turn);
                ControlFlow::Continue(())
            }
        }
    }

    /// Waits for an intent, at `most` so long, and takes it.
    fn wait(&mut self, most: Option<Duration>) -> ControlFlow<()> {
        let heard = match most {
            Some(most) => self.inbox.recv_timeout(most),
            None => self.inbox.recv().map_err(RecvTimeoutError::from),
        };
        match heard {
            Ok(intent) => self.take(intent),
            Err(RecvTimeoutError::Timeout) => ControlFlow::Continue(()),
            Err(RecvTimeoutError::Disconnected) => ControlFlow::Break(()),
        }
    }

    fn forget_conversation(&mut self) {
        self.composition.forget_conversation();
        self.decoder.cache.truncate(0);
    }

    /// One pass before Enter.
    fn work_ahead(&mut self, mut work: Anticipation) {
        if let Some(experts) = &mut self.experts {
            experts.computes(work.kind());
        }
        let done = work.pass(&mut self.decoder, &self.inbox);
        if let Work::Answer(answer) = &work.work {
            let speculation = answer.speculation.clone();
            self.hub.update(|s| s.speculation = speculation);
        }
        self.composition.keep(work);
        self.show_work();
        match done {
            Ok(()) | Err(StepError::Oracle(OracleError::GivenUp)) => {}
            Err(StepError::Draft(error)) => self.drop_draft(error.into()),
            Err(StepError::Oracle(error)) => {
                self.composition.rest();
                self.notice(Notice::WorkAhead(Arc::new(error)));
            }
        }
    }

    /// Loads the draft, if that has not been done. False: there was nothing to do.
    fn load_draft(&mut self) -> bool {
        let Some(draft) = self.draft.take() else {
            return false;
        };
        self.hub
            .update(|s| s.phase = Phase::Loading("draft".to_owned()));
        match draft.load() {
            Ok(model) => self.decoder.speculator.add(Box::new(model)),
            Err(error) => self.drop_draft(error.into()),
        }
        self.show_work();
        true
    }

    fn drop_draft(&mut self, why: DraftFailure) {
        self.hub.update(|s| s.engine.draft = None);
        self.notice(Notice::Draft(Arc::new(why)));
    }

    /// False: nobody listens any more.
    fn tell(&self, asked: Asked, event: RequestEvent) -> bool {
        self.clients.tell(asked.client, asked.id, event)
    }

    fn fail(&self, asked: Asked, error: RequestError) {
        self.tell(asked, RequestEvent::Failed(error));
    }

    fn notice(&self, notice: Notice) {
        self.clients.tell_all(Event::Notice(notice));
    }

    fn show_cadence(&self) {
        let view = self.composition.cadence_view(self.clock.now_us());
        self.hub.update(|s| s.cadence = view);
    }

    /// What a pass changed, whoever it was for.
    fn show_work(&self) {
        let (rss, peak) = (system::rss(), system::rss_peak());
        let ready = self.decoder.cache.tokens().len();
        let threads = self.decoder.cache.threads_last().least;
        self.hub.update(|s| {
            s.engine.threads_now = threads;
            s.memory.rss = rss.unwrap_or_default();
            s.memory.rss_peak = peak.unwrap_or_default();
            s.prefill.ready_tokens = ready.min(s.prefill.prompt_tokens);
        });
    }
}
