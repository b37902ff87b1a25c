//! One answer, from its prompt's tokens on: a pass a step.
//!
//! A step either reads more of the prompt or, once that is whole, verifies what the draft
//! proposes. An answer does not know whether its prompt has been submitted: the session
//! also begins one at a pause, and adopts it if Enter finds the prompt unchanged.

use super::cache::Cache;
use crate::ggml::llama::LlamaError;
use crate::oracle::{OracleError, TokenTree, WidthClass};
use crate::speculate::{Draft, LengthRule, Sampler, accept};
use crate::telemetry::{AnswerEnd, PassView};
use crate::units::TokenId;
use std::time::Instant;

/// Most drafted tokens of a pass, behind the last token that was chosen. The cost of a pass
/// hardly grows up to 16 tokens.
const MAX_CHAIN: usize = 15;

/// What an answer needs besides the oracle.
pub(super) struct Rules {
    pub sampler: Sampler,
    /// Of the passes that decode.
    pub width: WidthClass,
    pub ends: Vec<TokenId>,
    pub max_tokens: usize,
    /// Do not end at an end token.
    pub fixed_length: bool,
}

/// See the module's text.
pub(super) struct Answer {
    prompt: Vec<TokenId>,
    tokens: Vec<TokenId>,
    end: Option<AnswerEnd>,
    /// Smoothed wall time of an answer token, for the length of chains.
    token_ms: f64,
    pub passes: u64,
    pub drafted: u64,
    pub accepted: u64,
    /// Nodes of all verified trees.
    pub nodes: u64,
}

/// A step failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    #[error(transparent)]
    Oracle(#[from] OracleError),
    #[error("the draft fails ({0}); answering without it")]
    Draft(LlamaError),
}

impl Answer {
    pub(super) fn new(prompt: Vec<TokenId>) -> Self {
        Self {
            prompt,
            tokens: Vec::new(),
            end: None,
            token_ms: 0.0,
            passes: 0,
            drafted: 0,
            accepted: 0,
            nodes: 0,
        }
    }

    pub(super) fn prompt(&self) -> &[TokenId] {
        &self.prompt
    }

    /// The answer so far, without a token that ends it.
    pub(super) fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    pub(super) fn end(&self) -> Option<AnswerEnd> {
        self.end
    }

    /// Ends it where it is.
    pub(super) fn stop(&mut self, end: AnswerEnd) {
        self.end.get_or_insert(end);
    }

    /// One pass. Says what a pass that decoded looked like.
    ///
    /// # Errors
    /// A failed pass leaves the answer as it was: another step may succeed. After a failed
    /// draft the caller drops it and goes on.
    pub(super) fn step(
        &mut self,
        cache: &mut Cache,
        draft: Option<&mut Draft>,
        rules: &Rules,
    ) -> Result<Option<PassView>, StepError> {
        if self.end.is_some() {
            return Ok(None);
        }
        if self.tokens.is_empty() {
            self.read_prompt(cache, rules)?;
            return Ok(None);
        }
        if self.catch_up(cache, rules)? {
            return Ok(None);
        }
        self.decode(cache, draft, rules).map(Some)
    }

    /// Reads tokens of prompt and answer that the cache has lost, all but the last. True: a
    /// pass was needed. (The text was changed and changed back after the answer began.)
    fn catch_up(&mut self, cache: &mut Cache, rules: &Rules) -> Result<bool, StepError> {
        let known = [self.prompt.as_slice(), &self.tokens].concat();
        let known = &known[..known.len() - 1];
        let common = cache.common(known);
        cache.truncate(common);
        let (lost, width) = match self.prompt.get(common..) {
            Some(prompt) if !prompt.is_empty() => (prompt, WidthClass::BATCH),
            _ => (&known[common..], rules.width),
        };
        if lost.is_empty() {
            return Ok(false);
        }
        let part = &lost[..lost.len().min(width.max)];
        let tree = TokenTree::chain(part, part.len());
        cache.pass(&tree, width, |_| ((0..part.len()).collect(), ()))?;
        Ok(true)
    }

    /// Reads the next part of the prompt; the last part gives the first token.
    fn read_prompt(&mut self, cache: &mut Cache, rules: &Rules) -> Result<(), StepError> {
        // The last token is read again if need be, since its logits were not kept.
        let common = cache.common(&self.prompt).min(self.prompt.len() - 1);
        cache.truncate(common);
        let rest = &self.prompt[common..];
        let part = &rest[..rest.len().min(WidthClass::BATCH.max)];
        let last = part.len() == rest.len();
        let tree = TokenTree::chain(part, if last { part.len() - 1 } else { part.len() });
        let first = cache.pass(&tree, WidthClass::BATCH, |output| {
            let chosen = output
                .logits
                .of(part.len() - 1)
                .map(|row| rules.sampler.choose(row, &self.prompt, self.prompt.len()));
            ((0..part.len()).collect(), chosen)
        })?;
        if let Some(token) = first {
            self.passes += 1;
            self.take(&[token], rules);
        }
        Ok(())
    }

    /// Verifies a chain behind the last token.
    fn decode(
        &mut self,
        cache: &mut Cache,
        draft: Option<&mut Draft>,
        rules: &Rules,
    ) -> Result<PassView, StepError> {
        let began = Instant::now();
        let Some(&last) = self.tokens.last() else {
            unreachable!("an answer has its first token")
        };
        let committed = self.prompt.len() + self.tokens.len() - 1;
        let room = cache.oracle().capacity().saturating_sub(committed);
        if room == 0 {
            self.end = Some(AnswerEnd::ContextFull);
            return Ok(PassView {
                drafted: 0,
                accepted: 0,
                ms: 0.0,
            });
        }
        let context: Vec<_> = self.prompt.iter().chain(&self.tokens).copied().collect();
        let mut chain = vec![last];
        if let Some(draft) = draft {
            let left = rules.max_tokens - self.tokens.len();
            let rule = LengthRule {
                max: MAX_CHAIN
                    .min(left.saturating_sub(1))
                    .min(room - 1)
                    .min(rules.width.max - 1)
                    .min(cache.oracle().max_nodes() - 1),
                min_path_p: self.min_path_p(draft.token_ms()),
            };
            let drafted = draft.chain(&context, rule).map_err(StepError::Draft)?;
            chain.extend(drafted.iter().map(|d| d.token));
        }
        let draft_ms = began.elapsed().as_secs_f64() * 1e3;
        let tree = TokenTree::chain(&chain, 0);
        let chosen = cache.pass(&tree, rules.width, |output| {
            let mut history = context.clone();
            let accepted = accept(&tree, &output.logits, |row| {
                let token = rules.sampler.choose(row, &history, history.len());
                history.push(token);
                token
            });
            (accepted.path, accepted.chosen)
        })?;
        let taken = self.take(&chosen, rules);
        let (drafted, accepted) = (chain.len() - 1, chosen.len() - 1);
        self.passes += 1;
        self.drafted += drafted as u64;
        self.accepted += accepted as u64;
        self.nodes += chain.len() as u64;
        let ms = began.elapsed().as_secs_f64() * 1e3;
        tracing::debug!(drafted, accepted, draft_ms, pass_ms = ms - draft_ms, "pass");
        let each = ms / taken.max(1) as f64;
        self.token_ms = if self.token_ms == 0.0 {
            each
        } else {
            0.7 * self.token_ms + 0.3 * each
        };
        Ok(PassView {
            drafted,
            accepted,
            ms,
        })
    }

    /// A further drafted token is worth its time when the probability that it counts, times
    /// what a token costs otherwise, is more than that time.
    fn min_path_p(&self, draft_token_ms: f64) -> f32 {
        if self.token_ms == 0.0 {
            return 0.2;
        }
        (draft_token_ms / self.token_ms).clamp(0.05, 0.95) as f32
    }

    /// Adds chosen tokens up to the answer's end; says how many.
    fn take(&mut self, chosen: &[TokenId], rules: &Rules) -> usize {
        let before = self.tokens.len();
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
        self.tokens.len() - before
    }
}
