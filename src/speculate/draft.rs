//! The small model that proposes what comes next.

use crate::ggml::llama::{self, BatchToken, LlamaError, LlamaRun, Load, RunOptions};
use crate::model::Tokenizer;
use crate::units::TokenId;
use std::path::Path;
use std::time::Instant;

/// Tokens of one decode while it reads the context: its scratch memory grows with this, its
/// speed hardly.
pub const DRAFT_BATCH: usize = 16;

/// A proposed token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drafted {
    pub token: TokenId,
    /// The draft's own probability of it.
    pub p: f32,
}

/// When a chain ends.
#[derive(Clone, Copy, Debug)]
pub struct LengthRule {
    pub max: usize,
    /// The chain ends when the probability that all of it is accepted (by the draft's own
    /// word) falls below this.
    pub min_path_p: f32,
}

/// A llama.cpp context that follows the text.
pub struct Draft {
    run: LlamaRun,
    /// Tokens in its cache.
    cached: Vec<TokenId>,
    capacity: usize,
    n_vocab: usize,
    /// Smoothed time to propose one token.
    token_ms: f64,
}

impl Draft {
    /// Loads the model. Its vocabulary may be larger than the oracle's by padding:
    /// tokens from `n_vocab` on are never proposed.
    ///
    /// # Errors
    /// llama.cpp's, naming the file.
    pub fn open(path: &Path, ctx_tokens: usize, threads: usize) -> Result<Self, LlamaError> {
        let model = llama::load(path, Load::Weights)?;
        let n_vocab = usize::try_from(model.n_vocab()).unwrap_or(0);
        let options = RunOptions {
            ctx_tokens,
            batch: DRAFT_BATCH,
            sequences: 1,
            threads,
        };
        let mut run = LlamaRun::new(model, options)?;
        // A first decode makes llama.cpp take the memory that it will ever need, so that what
        // is measured after this stays true.
        let warm: Vec<_> = (0..DRAFT_BATCH)
            .map(|i| token_at(TokenId(0), i, i + 1 == DRAFT_BATCH))
            .collect();
        run.decode(&warm)?;
        run.forget(0, 0);
        Ok(Self {
            run,
            cached: Vec::new(),
            capacity: ctx_tokens,
            n_vocab,
            token_ms: 0.0,
        })
    }

    /// Its vocabulary.
    pub fn tokenizer(&self) -> Tokenizer {
        Tokenizer::of(std::sync::Arc::clone(self.run.model()))
    }

    /// Never proposes tokens from `n_vocab` on.
    pub fn limit_vocabulary(&mut self, n_vocab: usize) {
        self.n_vocab = self.n_vocab.min(n_vocab);
    }

    /// Smoothed time to propose one token, in milliseconds; zero before the first.
    pub fn token_ms(&self) -> f64 {
        self.token_ms
    }

    /// Forgets all that it has read.
    pub fn forget(&mut self) {
        self.run.forget(0, 0);
        self.cached.clear();
    }

    /// Reads `context` as far as it differs from what is cached, all but its last token.
    ///
    /// # Errors
    /// llama.cpp's.
    pub fn follow(&mut self, context: &[TokenId]) -> Result<(), LlamaError> {
        let context = &context[..context.len().saturating_sub(1).min(self.capacity)];
        let common = context
            .iter()
            .zip(&self.cached)
            .take_while(|(a, b)| a == b)
            .count();
        self.run.forget(0, common);
        self.cached.truncate(common);
        for chunk in context[common..].chunks(DRAFT_BATCH) {
            let first = self.cached.len();
            let batch: Vec<_> = chunk
                .iter()
                .enumerate()
                .map(|(i, &t)| token_at(t, first + i, false))
                .collect();
            self.run.decode(&batch)?;
            self.cached.extend_from_slice(chunk);
        }
        Ok(())
    }

    /// Proposes what follows `context`, greedily.
    ///
    /// # Errors
    /// llama.cpp's.
    pub fn chain(
        &mut self,
        context: &[TokenId],
        rule: LengthRule,
    ) -> Result<Vec<Drafted>, LlamaError> {
        let mut chain = Vec::new();
        let Some(&last) = context.last() else {
            return Ok(chain);
        };
        self.follow(context)?;
        let mut next = last;
        let mut path_p = 1.0;
        while chain.len() < rule.max && self.cached.len() + 1 < self.capacity {
            let began = Instant::now();
            self.run
                .decode(&[token_at(next, self.cached.len(), true)])?;
            self.cached.push(next);
            let best = likeliest(&self.run.logits(0)[..self.n_vocab]);
            let ms = began.elapsed().as_secs_f64() * 1e3;
            self.token_ms = if self.token_ms == 0.0 {
                ms
            } else {
                0.9 * self.token_ms + 0.1 * ms
            };
            path_p *= best.p;
            if path_p < rule.min_path_p {
                break;
            }
            chain.push(best);
            next = best.token;
        }
        Ok(chain)
    }
}

fn token_at(token: TokenId, position: usize, logits: bool) -> BatchToken {
    BatchToken {
        token: token.0,
        position,
        sequences: vec![0],
        logits,
    }
}

/// The likeliest token and its probability.
fn likeliest(logits: &[f32]) -> Drafted {
    let token = crate::oracle::argmax(logits);
    let top = logits[usize::try_from(token.0).unwrap_or(0)];
    let total: f32 = logits.iter().map(|l| (l - top).exp()).sum();
    Drafted {
        token,
        p: 1.0 / total,
    }
}
