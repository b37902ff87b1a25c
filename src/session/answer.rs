//! One answer, from its prompt's tokens on: a pass a step.
//!
//! A step reads more of the prompt or verifies a tree of guesses; the last pass over the prompt
//! does both. An answer does not know whether its prompt has been submitted: the session also
//! begins one at a pause, and adopts it if Enter finds the prompt unchanged.
//!
//! Prompts are read in passes of [`Oracle::prompt_class`](crate::oracle::Oracle::prompt_class),
//! answers in a class that is chosen when
//! the first token is due and kept. Guesses share the prompt's last pass only where both are of
//! one class, or of two that differ in room alone: what is verified there must have the bits of
//! the answer's.
//!
//! Where the draft has cores of its own, or a device, it works while a pass runs: it reads what
//! is certain and guesses what will follow what is being verified.

use super::ahead::{Ahead, beside};
use super::cache::Cache;
use crate::oracle::{OracleError, PassOutput, WidthClass};
use crate::speculate::{
    Accepted, Cut, DraftError, DraftLimits, DraftTree, Sampler, Speculator, VerifiedPass, verify,
};
use crate::telemetry::{AnswerEnd, Label, PassView, SpeculationView, TreeNodeView, TreeView};
use crate::units::TokenId;
use std::time::Instant;

/// What an answer needs besides the oracle.
pub(super) struct Rules {
    pub sampler: Sampler,
    pub ends: Vec<TokenId>,
    pub max_tokens: usize,
    /// Do not end at an end token.
    pub fixed_length: bool,
}

/// See the module's text.
pub(super) struct Answer {
    prompt: Vec<TokenId>,
    /// What the prompt asks for, if the scout knows.
    label: Option<Label>,
    tokens: Vec<TokenId>,
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
}

/// A step failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    #[error(transparent)]
    Oracle(#[from] OracleError),
    #[error("the draft fails ({0}); answering without it")]
    Draft(DraftError),
}

impl Answer {
    pub(super) fn new(prompt: Vec<TokenId>, label: Option<Label>) -> Self {
        Self {
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
        }
    }

    pub(super) fn prompt(&self) -> &[TokenId] {
        &self.prompt
    }

    /// The answer so far, without a token that ends it.
    pub(super) fn tokens(&self) -> &[TokenId] {
        &self.tokens
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
        self.end.get_or_insert(end);
    }

    /// One pass. Says what a pass that verified guesses looked like.
    ///
    /// # Errors
    /// A failed pass leaves the answer as it was: another step may succeed. After a failed
    /// draft, which is asked no more, the caller goes on; if it failed beside a pass, what that pass said is
    /// part of the answer.
    pub(super) fn step(
        &mut self,
        cache: &mut Cache,
        speculator: &mut Speculator,
        rules: &Rules,
    ) -> Result<Option<PassView>, StepError> {
        if self.end.is_some() {
            return Ok(None);
        }
        if self.tokens.is_empty() {
            return self.read_prompt(cache, speculator, rules);
        }
        if self.catch_up(cache, speculator)? {
            return Ok(None);
        }
        let tree = self.tree.take().or_else(|| {
            let last = *self.tokens.last()?;
            Some(DraftTree::certain([last]))
        });
        let Some(tree) = tree else {
            unreachable!("an answer has its first token")
        };
        if cache.oracle().len() >= cache.oracle().capacity() {
            self.end = Some(AnswerEnd::ContextFull);
            return Ok(None);
        }
        let width = self.class(speculator);
        self.verify(tree, width, false, cache, speculator, rules)
            .map(Some)
    }

    /// The class of the passes that decode, chosen now if need be.
    fn class(&mut self, speculator: &mut Speculator) -> WidthClass {
        *self
            .width
            .get_or_insert_with(|| speculator.class(self.label))
    }

    /// Reads tokens of prompt and answer that the cache has lost, all but the last. True: a
    /// pass was needed. (The text was changed and changed back after the answer began.)
    fn catch_up(
        &mut self,
        cache: &mut Cache,
        speculator: &mut Speculator,
    ) -> Result<bool, StepError> {
        let known = [self.prompt.as_slice(), &self.tokens].concat();
        let known = &known[..known.len() - 1];
        let common = cache.common(known);
        cache.truncate(common);
        let (lost, width) = match self.prompt.get(common..) {
            Some(prompt) if !prompt.is_empty() => (prompt, cache.oracle().prompt_class()),
            _ => (&known[common..], self.class(speculator)),
        };
        if lost.is_empty() {
            return Ok(false);
        }
        let lost = &lost[..lost.len().min(width.max)];
        Self::read(lost, width, known, cache, speculator)?;
        Ok(true)
    }

    /// Reads the next part of the prompt. Its last part gives the first token, and verifies
    /// guesses of those behind it if the answer is of the same class.
    fn read_prompt(
        &mut self,
        cache: &mut Cache,
        speculator: &mut Speculator,
        rules: &Rules,
    ) -> Result<Option<PassView>, StepError> {
        // The last token is read again if need be, since its logits were not kept.
        let common = cache.common(&self.prompt).min(self.prompt.len() - 1);
        cache.truncate(common);
        let width = cache.oracle().prompt_class();
        let rest = &self.prompt[common..];
        if rest.len() > width.max {
            Self::read(&rest[..width.max], width, &self.prompt, cache, speculator)?;
            return Ok(None);
        }
        let tree = DraftTree::certain(rest.iter().copied());
        // Before a pass was measured there is nothing to choose the answer's class by.
        let class = speculator.can_choose().then(|| self.class(speculator));
        let of_prompt = class.filter(|class| class.min == width.min);
        let (width, guesses) = (of_prompt.unwrap_or(width), of_prompt.is_some());
        let view = self.verify(tree, width, !guesses, cache, speculator, rules)?;
        Ok(guesses.then_some(view))
    }

    /// One pass over `tokens`, a part of `text`, which the draft reads meanwhile.
    ///
    /// # Errors
    /// As [`Answer::step`].
    pub(super) fn read(
        tokens: &[TokenId],
        width: WidthClass,
        text: &[TokenId],
        cache: &mut Cache,
        speculator: &mut Speculator,
    ) -> Result<(), StepError> {
        let (cost, ahead) = beside(
            speculator,
            |speculator, stop| speculator.read_ahead(text, stop),
            || cache.read(tokens, width),
        );
        match cost {
            Ok(cost) => speculator.observe_pass(tokens.len(), width, cost),
            Err(error) => return Err(failed(error, ahead.drafted)),
        }
        ahead.drafted.map_err(StepError::Draft)
    }

    /// One pass over what is certain and, unless it is `bare`, guesses of what follows.
    fn verify(
        &mut self,
        mut tree: DraftTree,
        class: WidthClass,
        bare: bool,
        cache: &mut Cache,
        speculator: &mut Speculator,
        rules: &Rules,
    ) -> Result<PassView, StepError> {
        let began = Instant::now();
        let text: Vec<_> = self.prompt.iter().chain(&self.tokens).copied().collect();
        let oracle = cache.oracle();
        let limits = DraftLimits {
            class,
            label: self.label,
            room: oracle.capacity().saturating_sub(oracle.len()),
            depth: rules.max_tokens.saturating_sub(self.tokens.len() + 1),
            chain: !oracle.trees().branch() || !speculator.sizing().branches(),
            at_once: self.tokens.is_empty(),
        };
        let cut = if bare {
            tree.cut(tree.len())
        } else {
            if let Err(error) = speculator.grow(&mut tree, &text, &limits) {
                return Err(StepError::Draft(error));
            }
            speculator.cut(&tree, &limits)
        };
        let drafted_ms = began.elapsed().as_secs_f64() * 1e3;
        let certain = tree.n_certain();
        cache.keep_hidden(speculator.needs_hidden());
        let (done, ahead) = beside(
            speculator,
            |speculator, stop| match bare {
                true => speculator.read_ahead(&text, stop),
                false => speculator.grow_ahead(&mut tree, &text, &limits, stop),
            },
            || Self::pass(certain, &cut, class, &text, cache, rules),
        );
        let Ahead {
            hidden_ms,
            waited_ms,
            drafted,
        } = ahead;
        let (accepted, output) = match done {
            Ok(done) => done,
            Err(error) => {
                self.tree = (!self.tokens.is_empty()).then_some(tree);
                return Err(failed(error, drafted));
            }
        };
        speculator.observe_pass(cut.nodes.len(), class, output.cost);
        speculator.learn_output(&VerifiedPass {
            text: &text,
            tree: &cut.tree,
            output: &output,
            path: &accepted.path,
        });
        drop(output);
        let path: Vec<_> = accepted.path.iter().map(|&node| cut.origin(node)).collect();
        let reached = &path[certain - 1..];
        let guesses = cut.n_guesses(&tree);
        let right = reached.len() - 1;
        let before = self.tokens.len();
        self.take(&accepted.chosen, rules);
        let ms = began.elapsed().as_secs_f64() * 1e3;
        let draft_ms = drafted_ms + waited_ms;
        if !bare {
            let shown = &mut self.speculation;
            shown.show_drafters(speculator.drafters());
            shown.count_pass(view(&tree, &cut, &accepted), self.tokens.len() - before);
            shown.max_nodes = speculator.sizing().cap();
            shown.draft_ms = speculator.computes().then_some(draft_ms);
            shown.draft_hidden_ms = hidden_ms;
            shown.pass_ms = Some(ms - draft_ms);
            speculator.learn(&mut tree, &cut, self.label, reached, &accepted.chosen);
            self.tree = Some(tree);
            self.trees += 1;
            self.nodes += (guesses + 1) as u64;
        }
        self.passes += 1;
        self.drafted += guesses as u64;
        self.accepted += right as u64;
        let pass_ms = ms - draft_ms;
        tracing::debug!(guesses, right, draft_ms, hidden_ms, pass_ms, "pass");
        drafted.map_err(StepError::Draft)?;
        Ok(PassView {
            drafted: guesses,
            accepted: right,
            ms,
        })
    }

    /// Computes and commits; says what the oracle chose, and from what. What is certain comes
    /// first in a cut, in order.
    fn pass(
        certain: usize,
        cut: &Cut,
        class: WidthClass,
        text: &[TokenId],
        cache: &mut Cache,
        rules: &Rules,
    ) -> Result<(Accepted, PassOutput), OracleError> {
        cache.pass(&cut.tree, class, |output| {
            let mut history = text.to_vec();
            let accepted = verify(&cut.tree, certain - 1, &output.logits, |row| {
                let token = rules.sampler.choose(row, &history, history.len());
                history.push(token);
                token
            });
            (accepted.path.clone(), (accepted, output))
        })
    }

    /// Adds chosen tokens up to the answer's end.
    fn take(&mut self, chosen: &[TokenId], rules: &Rules) {
        for &token in chosen {
            if !rules.fixed_length && rules.ends.contains(&token) {
                self.end = Some(AnswerEnd::EndOfText);
                break;
            }
            self.tokens.push(token);
            if self.tokens.len() >= rules.max_tokens {
                self.end = Some(AnswerEnd::Length);
                break;
            }
        }
    }
}

/// What a failed pass leads to. A draft that failed beside it must not be asked again, so that this
/// is told; the step that is tried then tells whether passes still fail.
fn failed(pass: OracleError, drafted: Result<(), DraftError>) -> StepError {
    match drafted {
        Ok(()) => pass.into(),
        Err(draft) => {
            tracing::error!(error = %pass, "a pass failed, and the draft beside it");
            StepError::Draft(draft)
        }
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
