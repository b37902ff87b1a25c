//! One answer, from its prompt's tokens on: a pass a step.
//!
//! A step reads more of the prompt or verifies a tree of guesses; the last pass over the prompt
//! does both. An answer does not know whether its prompt has been submitted: the session also
//! begins one at a pause, and adopts it if Enter finds the prompt unchanged.
//!
//! Prompts are read in passes of [`Oracle::prompt_class`](crate::oracle::Oracle::prompt_class),
//! answers in a width class that is chosen when the first token is due, and kept. Guesses share the
//! prompt's last pass only where both are of one class, or of two that differ only in the most
//! nodes that they take: what is verified there must have the bits of the answer's class (batch
//! invariance).
//!
//! A thought that has become too long is closed by tokens that the model did not choose (see
//! [`Reply::forced`]). They enter where a choice would: guesses that differ from them are not
//! accepted. As soon as the first of them is due, all are certain, and the next pass reads them.
//!
//! Where the draft has cores of its own, or a device, it works while a pass runs: it reads what
//! is certain and guesses what will follow what is being verified.

use super::cache::Cache;
use super::decoder::{Decoder, StepError, failed};
use super::figures::FirstExperts;
use super::overlap::{ms_since, overlapped};
use super::request::Params;
use crate::model::{AnswerForm, Reply};
use crate::oracle::{OracleError, PassOutput, WidthClass};
use crate::speculate::{
    Accepted, Cut, DraftLimits, DraftTree, Sampler, Speculator, VerifiedPass, verify,
};
use crate::telemetry::{AnswerEnd, PassView, SpeculationView, TreeNodeView, TreeView};
use crate::units::TokenId;
use crate::vocabulary::Label;
use std::sync::Arc;

/// How an answer's tokens are chosen, and where it ends.
#[derive(Clone)]
pub(super) struct Rules {
    pub sampler: Sampler,
    answers: Arc<AnswerForm>,
    /// Nothing but its length ends it.
    endless: bool,
    pub max_tokens: usize,
    think_budget: Option<usize>,
}

impl Rules {
    /// `answers` are the model's. An answer of fixed length never has a token that ends one.
    pub(super) fn new(params: &Params, answers: &Arc<AnswerForm>) -> Self {
        let banned = match params.fixed_length {
            true => answers.ends().to_vec(),
            false => Vec::new(),
        };
        Self {
            sampler: Sampler::new(params.sampling, banned),
            answers: Arc::clone(answers),
            endless: params.fixed_length,
            max_tokens: params.max_tokens.max(1),
            think_budget: params.think_budget,
        }
    }

    /// The same for answers of this form: another where the chat template has failed.
    pub(super) fn reading(self: &Arc<Self>, answers: &Arc<AnswerForm>) -> Arc<Self> {
        match Arc::ptr_eq(&self.answers, answers) {
            true => Arc::clone(self),
            false => Arc::new(Self {
                answers: Arc::clone(answers),
                ..Self::clone(self)
            }),
        }
    }

    /// An answer to `prompt`, as it is read.
    fn reply(&self, prompt: &[TokenId]) -> Reply {
        let reply = Reply::after(&self.answers, prompt, self.think_budget);
        match self.endless {
            true => reply.without_stops(),
            false => reply,
        }
    }

    fn is_end(&self, token: TokenId) -> bool {
        !self.endless && self.answers.ends().contains(&token)
    }
}

/// What a pass verifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seats {
    /// What is certain, and the choice after it.
    CertainOnly,
    /// Guesses of what follows as well.
    Guesses,
}

/// The outcome of a pass, and its times.
struct Verified {
    tree: DraftTree,
    cut: Cut,
    accepted: Accepted,
    /// All of it, guessing included.
    ms: f64,
    /// Of it, time in which only the draft worked.
    draft_ms: f64,
    /// The draft's time that the pass hid.
    hidden_ms: Option<f64>,
}

/// See the module's text.
pub(super) struct Answer {
    rules: Arc<Rules>,
    prompt: Vec<TokenId>,
    /// What the prompt asks for, if the scout knows.
    label: Option<Label>,
    tokens: Vec<TokenId>,
    /// The same, read.
    reply: Reply,
    end: Option<AnswerEnd>,
    /// Of the passes that decode, once it is chosen.
    width: Option<WidthClass>,
    /// What may follow the last token.
    tree: Option<DraftTree>,
    pub passes: u64,
    pub drafted: u64,
    pub accepted: u64,
    /// Passes that verified a tree, and the nodes of all of them.
    pub trees: u64,
    pub nodes: u64,
    /// What these passes say of their guesses.
    pub speculation: SpeculationView,
    first_experts: FirstExperts,
}

impl Answer {
    pub(super) fn new(prompt: Vec<TokenId>, label: Option<Label>, rules: Arc<Rules>) -> Self {
        Self {
            reply: rules.reply(&prompt),
            rules,
            prompt,
            label,
            tokens: Vec::new(),
            end: None,
            width: None,
            tree: None,
            passes: 0,
            drafted: 0,
            accepted: 0,
            trees: 0,
            nodes: 0,
            speculation: SpeculationView::default(),
            first_experts: FirstExperts::default(),
        }
    }

    pub(super) fn prompt(&self) -> &[TokenId] {
        &self.prompt
    }

    /// The answer so far, without what ends it.
    pub(super) fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    /// Its thoughts and its text so far.
    pub(super) fn reply(&self) -> &Reply {
        &self.reply
    }

    /// Whether its first token is known.
    pub(super) fn has_begun(&self) -> bool {
        !self.tokens.is_empty()
    }

    pub(super) fn end(&self) -> Option<AnswerEnd> {
        self.end
    }

    /// The class of the passes that decode; `None` before the first.
    pub(super) fn width(&self) -> Option<WidthClass> {
        self.width
    }

    /// Ends it where it is.
    pub(super) fn stop(&mut self, end: AnswerEnd) {
        if self.end.is_none() {
            self.end = Some(end);
            self.reply.finish();
        }
    }

    /// See [`FirstExperts::hit_rate`].
    pub(super) fn first_hit_rate(&self) -> Option<f64> {
        self.first_experts.hit_rate(self.tokens.len())
    }

    /// One pass. Says what a pass that verified guesses looked like.
    ///
    /// # Errors
    /// A failed pass leaves the answer as it was: another step may succeed. After a failed draft,
    /// which is not asked again, the caller goes on; if it failed during a pass, the tokens of that
    /// pass are part of the answer.
    pub(super) fn step(&mut self, decoder: &mut Decoder) -> Result<Option<PassView>, StepError> {
        let (known, before) = (self.tokens.len(), decoder.cache.oracle().experts());
        let done = self.next_pass(decoder);
        // A pass that reads lost tokens again has no view, and is none of the answer's.
        let counts = match &done {
            Ok(view) => view.is_some(),
            Err(error) => !matches!(error, StepError::Oracle(_)),
        };
        if counts {
            let after = decoder.cache.oracle().experts();
            self.first_experts.count_pass(known, before, after);
        }
        done
    }

    fn next_pass(&mut self, decoder: &mut Decoder) -> Result<Option<PassView>, StepError> {
        if self.end.is_some() {
            return Ok(None);
        }
        decoder.speculator.choose_by(&self.rules.sampler);
        if self.tokens.is_empty() {
            return self.read_prompt(decoder);
        }
        if self.tree.as_ref().is_some_and(|tree| tree.n_certain() > 1) {
            // What was forced may be more than a pass of the answer takes.
            let most = self.class(decoder).max;
            self.tree = self.tree.take().filter(|tree| tree.n_certain() <= most);
        }
        if self.catch_up(decoder)? {
            return Ok(None);
        }
        let tree = self.tree.take().or_else(|| {
            let last = *self.tokens.last()?;
            Some(DraftTree::certain([last]))
        });
        let Some(tree) = tree else {
            unreachable!("an answer has its first token")
        };
        let oracle = decoder.cache.oracle();
        if oracle.len() + tree.n_certain() > oracle.capacity() {
            self.stop(AnswerEnd::ContextFull);
            return Ok(None);
        }
        let class = self.class(decoder);
        self.verify(tree, class, Seats::Guesses, decoder).map(Some)
    }

    /// The class of the passes that decode, chosen now if need be.
    fn class(&mut self, decoder: &mut Decoder) -> WidthClass {
        *self
            .width
            .get_or_insert_with(|| decoder.speculator.class(self.label))
    }

    /// Reads tokens of prompt and answer that the cache has lost, but those that the tree holds for
    /// certain. True: a pass was needed. (The text was changed and changed back after the answer began, or another
    /// was answered.)
    fn catch_up(&mut self, decoder: &mut Decoder) -> Result<bool, StepError> {
        let known = [self.prompt.as_slice(), &self.tokens].concat();
        let in_tree = self.tree.as_ref().map_or(1, DraftTree::n_certain);
        let known = &known[..known.len() - in_tree];
        let cache = &mut decoder.cache;
        let common = cache.common(known);
        cache.truncate(common);
        let (lost, width) = match self.prompt.get(common..) {
            Some(prompt) if !prompt.is_empty() => (prompt, cache.oracle().prompt_class()),
            _ => (&known[common..], self.class(decoder)),
        };
        if lost.is_empty() {
            return Ok(false);
        }
        let lost = &lost[..lost.len().min(width.max)];
        decoder.read(lost, width, known)?;
        Ok(true)
    }

    /// Reads the next part of the prompt. Its last part gives the first token, and verifies
    /// guesses of those after it if the answer is of the same class.
    fn read_prompt(&mut self, decoder: &mut Decoder) -> Result<Option<PassView>, StepError> {
        let cache = &mut decoder.cache;
        // The last token is read again if need be, since its logits were not kept.
        let common = cache.common(&self.prompt).min(self.prompt.len() - 1);
        cache.truncate(common);
        let width = cache.oracle().prompt_class();
        let rest = &self.prompt[common..];
        if rest.len() > width.max {
            decoder.read(&rest[..width.max], width, &self.prompt)?;
            return Ok(None);
        }
        let tree = DraftTree::certain(rest.iter().copied());
        // Without a measured pass there is nothing to choose the answer's class by.
        let chooses = decoder.speculator.can_choose();
        let class = chooses.then(|| self.class(decoder));
        let fits = |class: &WidthClass| class.min == width.min && tree.len() <= class.max;
        match class.filter(fits) {
            Some(class) => self.verify(tree, class, Seats::Guesses, decoder).map(Some),
            None => {
                self.verify(tree, width, Seats::CertainOnly, decoder)?;
                Ok(None)
            }
        }
    }

    /// One pass over what is certain and, if there are `seats` for them, guesses of what follows.
    fn verify(
        &mut self,
        mut tree: DraftTree,
        class: WidthClass,
        seats: Seats,
        decoder: &mut Decoder,
    ) -> Result<PassView, StepError> {
        let began_us = decoder.clock.now_us();
        let text: Vec<_> = self.prompt.iter().chain(&self.tokens).copied().collect();
        let limits = self.draft_limits(class, decoder);
        let Decoder {
            cache,
            speculator,
            clock,
        } = decoder;
        let cut = match seats {
            Seats::CertainOnly => tree.cut(tree.len()),
            Seats::Guesses => {
                let grown = speculator.grow(&mut tree, &text, &limits);
                grown.map_err(StepError::Draft)?;
                speculator.cut(&tree, &limits)
            }
        };
        let drafted_ms = ms_since(&**clock, began_us);
        let certain = tree.n_certain();
        cache.keep_hidden(speculator.needs_hidden());
        let (done, ahead) = overlapped(
            speculator,
            &**clock,
            |speculator, stop| match seats {
                Seats::CertainOnly => speculator.read_ahead(&text, stop),
                Seats::Guesses => speculator.grow_ahead(&mut tree, &text, &limits, stop),
            },
            || {
                self.rules
                    .pass(cache, &cut, certain, class, &text, &self.reply)
            },
        );
        let (accepted, output) = match done {
            Ok(done) => done,
            Err(error) => {
                self.tree = (!self.tokens.is_empty()).then_some(tree);
                return Err(failed(error, ahead.drafted));
            }
        };
        let ms = ms_since(&**clock, began_us);
        speculator.observe_pass(cut.nodes.len(), class, output.cost);
        speculator.learn_output(&VerifiedPass {
            text: &text,
            tree: &cut.tree,
            output: &output,
            path: &accepted.path,
        });
        drop(output);
        let verified = Verified {
            tree,
            cut,
            accepted,
            ms,
            draft_ms: drafted_ms + ahead.waited_ms,
            hidden_ms: ahead.hidden_ms,
        };
        let view = self.judge(verified, seats, speculator);
        ahead.drafted.map_err(StepError::Draft)?;
        Ok(view)
    }

    /// Takes what a pass verified into the answer, and learns from it.
    fn judge(&mut self, verified: Verified, seats: Seats, speculator: &mut Speculator) -> PassView {
        let Verified {
            mut tree,
            cut,
            accepted,
            ms,
            draft_ms,
            hidden_ms,
        } = verified;
        let path: Vec<_> = accepted.path.iter().map(|&node| cut.origin(node)).collect();
        let reached = &path[tree.n_certain() - 1..];
        let guesses = cut.n_guesses(&tree);
        let right = reached.len() - 1;
        let pass_ms = ms - draft_ms;
        let before = self.tokens.len();
        self.take(&accepted.chosen);
        // A stop string takes back tokens of earlier passes as well.
        let given = self.tokens.len().saturating_sub(before);
        if seats == Seats::Guesses {
            let shown = &mut self.speculation;
            shown.show_drafters(speculator.drafters());
            shown.count_pass(view(&tree, &cut, &accepted), given);
            shown.max_nodes = speculator.sizing().cap();
            shown.draft_ms = speculator.computes().then_some(draft_ms);
            shown.draft_hidden_ms = hidden_ms;
            shown.pass_ms = Some(pass_ms);
            speculator.learn(&mut tree, &cut, self.label, reached, &accepted.chosen);
            self.tree = Some(tree);
            self.trees += 1;
            self.nodes += (guesses + 1) as u64;
        }
        self.take_forced();
        self.passes += 1;
        self.drafted += guesses as u64;
        self.accepted += right as u64;
        tracing::debug!(guesses, right, draft_ms, hidden_ms, pass_ms, "pass");
        PassView {
            drafted: guesses,
            accepted: right,
            ms,
        }
    }

    /// How the tree of the next pass may grow.
    fn draft_limits(&self, class: WidthClass, decoder: &Decoder) -> DraftLimits {
        let oracle = decoder.cache.oracle();
        DraftLimits {
            class,
            label: self.label,
            capacity: oracle.capacity().saturating_sub(oracle.len()),
            depth: self.rules.max_tokens.saturating_sub(self.tokens.len() + 1),
            chain: !oracle.trees().branch() || !decoder.speculator.sizing().branches(),
            at_once: self.tokens.is_empty(),
        }
    }

    /// Adds chosen tokens up to the answer's end.
    fn take(&mut self, chosen: &[TokenId]) {
        for &token in chosen {
            if self.rules.is_end(token) {
                self.stop(AnswerEnd::EndOfText);
            } else {
                self.push(token);
            }
            if self.end.is_some() {
                break;
            }
        }
    }

    /// Adds the rest of what closes a thought by force, if it has begun to: the next pass reads it
    /// with the last token.
    fn take_forced(&mut self) {
        let from = self.tokens.len().saturating_sub(1);
        while self.end.is_none()
            && let Some(token) = self.reply.forced()
        {
            self.push(token);
        }
        if self.end.is_none() && self.tokens.len() > from + 1 {
            self.tree = Some(DraftTree::certain(self.tokens[from..].iter().copied()));
        }
    }

    fn push(&mut self, token: TokenId) {
        self.tokens.push(token);
        self.reply.push(token);
        if self.reply.has_stopped() {
            self.tokens = self.reply.kept(&self.tokens);
            self.stop(AnswerEnd::StopString);
        } else if self.tokens.len() >= self.rules.max_tokens {
            self.stop(AnswerEnd::Length);
        }
    }
}

impl Rules {
    /// Computes and commits; says what the oracle chose after `text`, whose end is `reply`, and from
    /// what. What is certain comes first in a cut, in order.
    fn pass(
        &self,
        cache: &mut Cache,
        cut: &Cut,
        certain: usize,
        class: WidthClass,
        text: &[TokenId],
        reply: &Reply,
    ) -> Result<(Accepted, PassOutput), OracleError> {
        cache.pass(&cut.tree, class, |output| {
            let mut history = text.to_vec();
            let mut reply = reply.may_force().then(|| reply.clone());
            let accepted = verify(&cut.tree, certain - 1, &output.logits, |row| {
                let forced = reply.as_ref().and_then(Reply::forced);
                let token =
                    forced.unwrap_or_else(|| self.sampler.choose(row, &history, history.len()));
                history.push(token);
                if let Some(reply) = &mut reply {
                    reply.push(token);
                }
                token
            });
            (accepted.path.clone(), (accepted, output))
        })
    }
}

/// A verified tree, as it is shown.
fn view(tree: &DraftTree, cut: &Cut, accepted: &Accepted) -> TreeView {
    let nodes = cut.tree.nodes().iter().zip(&cut.nodes).enumerate();
    let nodes = nodes.map(|(i, (node, &origin))| {
        let guess = tree.node(origin);
        TreeNodeView {
            parent: node.parent,
            drafter: guess.source.map(|source| source.drafter),
            stated_p: guess.source.map_or(1.0, |source| source.stated),
            kept: accepted.path.contains(&i),
        }
    });
    TreeView {
        nodes: nodes.collect(),
    }
}
