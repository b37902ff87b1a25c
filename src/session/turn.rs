//! One answer from its submission on: what is computed, what of it has been said, and its figures.
//!
//! ```text
//!  Submitted --begin--> Turn --step*--> ended --> stats, and what the conversation keeps
//!                        |  '-- news: what the client has not heard yet
//!                        '-- show: what the panes draw
//! ```
//!
//! A step is one pass. Between two of them the turn can be stopped; it ends with the text that
//! there is.

use super::answer::{Answer, Rules};
use super::clients::ClientId;
use super::decoder::{Decoder, StepError};
use super::event::RequestEvent;
use super::figures::{Figures, Times, rate};
use super::request::{RequestError, RequestId};
use crate::model::Conversation;
use crate::oracle::{Oracle, WidthClass};
use crate::system;
use crate::telemetry::{AnswerEnd, AnswerStats, HISTORY, Hub, PassView};
use crate::units::{Micros, TokenId};
use crate::vocabulary::{ExpertPolicy, Label};
use std::collections::VecDeque;
use std::sync::Arc;

/// The request that a prompt belongs to, and its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub client: ClientId,
    pub id: RequestId,
}

/// The conversation that a prompt continues.
pub(super) enum Origin {
    /// The session's own, in which prompts are typed.
    Typed,
    /// One that the request brought.
    Request(Box<Conversation>),
}

/// A prompt that waits for its answer.
pub(super) struct Submitted {
    pub asked: Asked,
    pub origin: Origin,
    pub prompt: String,
    pub at_us: Micros,
    /// What the prompt asks for, if the scout knows.
    pub label: Option<(Label, f32)>,
    pub rules: Arc<Rules>,
    /// Begun with its first key.
    pub figures: Figures,
    /// A stop came before its answer began.
    pub stopped: bool,
}

/// See the module's text.
pub(super) struct Turn {
    pub asked: Asked,
    pub origin: Origin,
    pub prompt: String,
    answer: Answer,
    told: Told,
    submitted_us: Micros,
    label: Option<(Label, f32)>,
    figures: Figures,
    times: Option<Times>,
    /// When the first word of the answer itself was shown.
    first_answer_us: Option<Micros>,
    /// The last passes that verified guesses.
    recent: VecDeque<PassView>,
    failure: Option<RequestError>,
}

/// How much of an answer its client has heard.
#[derive(Default)]
struct Told {
    tokens: usize,
    thought_bytes: usize,
    text_bytes: usize,
}

impl Turn {
    /// Goes on with `answer`, which may have been begun before Enter.
    pub(super) fn new(submitted: Submitted, mut answer: Answer) -> Self {
        if submitted.stopped {
            answer.stop(AnswerEnd::Stopped);
        }
        Self {
            asked: submitted.asked,
            origin: submitted.origin,
            prompt: submitted.prompt,
            answer,
            told: Told::default(),
            submitted_us: submitted.at_us,
            label: submitted.label,
            figures: submitted.figures,
            times: None,
            first_answer_us: None,
            recent: VecDeque::new(),
            failure: None,
        }
    }

    /// Whether its first token is known.
    pub(super) fn has_begun(&self) -> bool {
        self.answer.has_begun()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.answer.end().is_some()
    }

    /// Ends it where it is.
    pub(super) fn stop(&mut self) {
        self.answer.stop(AnswerEnd::Stopped);
    }

    /// Ends it where it is, since no more of it can be had.
    pub(super) fn fail(&mut self, error: RequestError) {
        self.stop();
        self.failure = Some(error);
    }

    /// Why it failed, if it did.
    pub(super) fn take_failure(&mut self) -> Option<RequestError> {
        self.failure.take()
    }

    /// One pass.
    ///
    /// # Errors
    /// See [`Answer::step`].
    pub(super) fn step(&mut self, decoder: &mut Decoder) -> Result<(), StepError> {
        if let Some(pass) = self.answer.step(decoder)? {
            if self.recent.len() == HISTORY {
                self.recent.pop_front();
            }
            self.recent.push_back(pass);
        }
        let tokens = self.answer.tokens().len() as u64;
        self.figures.decodes(decoder.cache.oracle(), tokens);
        Ok(())
    }

    /// What has been verified, and read as far as its meaning is clear, since the last call, at
    /// `now_us`: thoughts, then text. `None`: no token more.
    pub(super) fn news(&mut self, now_us: Micros) -> Option<Vec<RequestEvent>> {
        let (reply, told) = (self.answer.reply(), &mut self.told);
        let (tokens, ended) = (self.answer.tokens().len(), self.answer.end().is_some());
        if told.tokens == tokens && !ended {
            return None;
        }
        told.tokens = tokens;
        let thought = &reply.thought()[told.thought_bytes..];
        let text = &reply.text()[told.text_bytes..];
        told.thought_bytes += thought.len();
        told.text_bytes += text.len();
        let mut news = Vec::new();
        if !thought.is_empty() {
            news.push(RequestEvent::Thought {
                text: thought.to_owned(),
                tokens: reply.thinking_tokens() as u64,
            });
        }
        if !text.is_empty() {
            if !text.trim().is_empty() {
                self.first_answer_us.get_or_insert(now_us);
            }
            news.push(RequestEvent::Text(text.to_owned()));
        }
        if !news.is_empty() {
            self.times = Some(Times::at(self.times, now_us, tokens as u64));
        }
        Some(news)
    }

    /// A draft has loaded meanwhile, for `us`, which does not count as answering.
    pub(super) fn waited_for_draft(&mut self, us: Micros) {
        self.times = self.times.map(|times| times.after_loading(us));
    }

    /// Shows how the answer goes.
    pub(super) fn show(&self, hub: &Hub, oracle: &dyn Oracle) {
        let (answer, times) = (&self.answer, self.times);
        let tokens = answer.tokens().len() as u64;
        let experts = self.figures.experts(oracle, tokens);
        hub.update(|s| {
            if let Some(width) = answer.width() {
                s.engine.width_class = (width.min, width.max);
            }
            s.speculation.clone_from(&answer.speculation);
            s.experts.answer = experts.map(|experts| experts.tally);
            let a = &mut s.accept;
            a.recent.clone_from(&self.recent);
            (a.tokens, a.passes) = (tokens, answer.passes);
            (a.drafted, a.accepted) = (answer.drafted, answer.accepted);
            a.tokens_per_s = rate(tokens, times);
            a.ttft_ms = times.map(|t| t.ttft_ms(self.submitted_us));
            a.first_answer_ms = self.first_answer_ms();
            a.thinking_tokens = answer.reply().thinking_tokens() as u64;
            a.is_thinking = answer.reply().is_thinking() && answer.end().is_none();
        });
    }

    fn first_answer_ms(&self) -> Option<f64> {
        let first = self.first_answer_us?;
        Some(first.saturating_sub(self.submitted_us) as f64 / 1e3)
    }

    /// The answer's figures, when it has ended; `policy` is how experts came and went, where that is
    /// to be said.
    pub(super) fn stats(&self, decoder: &Decoder, policy: Option<ExpertPolicy>) -> AnswerStats {
        let (cache, answer, times) = (&decoder.cache, &self.answer, self.times);
        // An answer that ended with its first token was computed by the prompt's last pass.
        let width = answer.width().unwrap_or(WidthClass::BATCH);
        let counted = self.figures.counted(cache.oracle());
        let (tokens, reply) = (answer.tokens().len() as u64, answer.reply());
        let experts = self.figures.experts(cache.oracle(), tokens);
        let ratio = |a: u64, b: u64| (b > 0).then(|| a as f64 / b as f64);
        AnswerStats {
            ttft_ms: times.map(|t| t.ttft_ms(self.submitted_us)),
            cold_ttft_ms: None,
            hidden_fraction: None,
            tokens,
            tokens_per_s: rate(tokens, times),
            passes: cache.passes(),
            accepted_per_pass: ratio(tokens, answer.passes),
            accept_rate: ratio(answer.accepted, answer.drafted),
            tree_nodes_mean: ratio(answer.nodes, answer.trees),
            bytes_read: counted.bytes,
            bytes_wasted: cache.wasted_bytes(),
            // Bytes over microseconds are megabytes a second.
            read_gb_s: ratio(counted.bytes, counted.reading_us)
                .filter(|_| counted.bytes > 0)
                .map(|mb_s| mb_s / 1e3),
            stall_ms: cache.stall_ms(),
            prefetch_hit_rate: ratio(counted.hits, counted.hits + counted.misses)
                .filter(|_| cache.oracle().streams()),
            expert_hit_rate: experts.and_then(|e| e.tally.hit_rate()),
            expert_lru_hit_rate: experts.and_then(|e| e.tally.simulated_lru_hit_rate()),
            expert_bytes_per_token: experts.and_then(|e| e.tally.bytes_per_token()),
            expert_hit_rate_first16: answer.first_hit_rate(),
            expert_policy: policy,
            rss_peak_bytes: system::rss_peak().map(|b| b.0),
            threads_least: Some(cache.threads().least).filter(|&n| n > 0),
            threads_most: Some(cache.threads().most).filter(|&n| n > 0),
            scout_label: self.label.map(|(label, _)| label),
            scout_confidence: self.label.map(|(_, p)| p),
            first_answer_ms: self.first_answer_ms(),
            thinking_tokens: reply.thinking_tokens() as u64,
            think_cut: reply.cut_at().map(|tokens| tokens as u64),
            text: reply.text().to_owned(),
            thinking: Some(reply.thought().trim_end().to_owned()).filter(|t| !t.is_empty()),
            end: answer.end().unwrap_or(AnswerEnd::Stopped),
            width_class: (width.min, width.max),
            rounded: cache.oracle().trees().round(),
            prompt_tokens: self.figures.prompt_tokens as u64,
            prompt_tokens_ready: self.figures.ready_tokens as u64,
        }
    }

    /// The answer's text so far.
    pub(super) fn text(&self) -> &str {
        self.answer.reply().text()
    }

    /// Whether anything of its answer can be shown: a thought or text.
    pub(super) fn shows_anything(&self) -> bool {
        let reply = self.answer.reply();
        !reply.thought().is_empty() || !reply.text().is_empty()
    }

    /// The answer's tokens.
    pub(super) fn tokens(&self) -> &[TokenId] {
        self.answer.tokens()
    }
}
