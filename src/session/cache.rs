//! The oracle's committed tokens, and the passes that put them there.

use crate::ggml::ThreadsUsed;
use crate::oracle::{GiveUp, Oracle, OracleError, PassCost, PassOutput, TokenTree, WidthClass};
use crate::prefix::common_prefix;
use crate::units::TokenId;

/// An oracle together with the tokens that it has committed.
///
/// Invariant: `tokens.len() == oracle.len()`.
pub(super) struct Cache {
    oracle: Box<dyn Oracle>,
    tokens: Vec<TokenId>,
    /// Passes whose tokens are kept, oldest first, since [`Cache::start_prompt`].
    passes: Vec<PassRecord>,
    wasted_bytes: u64,
    /// Threads of all passes since then, and of the last one.
    threads: ThreadsUsed,
    threads_last: ThreadsUsed,
}

struct PassRecord {
    /// The first token that it committed.
    from: usize,
    bytes: u64,
    stall_us: u64,
}

impl Cache {
    pub(super) fn new(oracle: Box<dyn Oracle>) -> Self {
        Self {
            oracle,
            tokens: Vec::new(),
            passes: Vec::new(),
            wasted_bytes: 0,
            threads: ThreadsUsed::default(),
            threads_last: ThreadsUsed::default(),
        }
    }

    pub(super) fn oracle(&self) -> &dyn Oracle {
        &*self.oracle
    }

    pub(super) fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    /// How many leading tokens of `prompt` are committed.
    pub(super) fn common(&self, prompt: &[TokenId]) -> usize {
        common_prefix(&self.tokens, prompt)
    }

    /// How many leading tokens of `prompt` are not read again where the rest is forgotten.
    pub(super) fn ready(&self, prompt: &[TokenId]) -> usize {
        self.oracle.ready(self.common(prompt))
    }

    /// See [`Oracle::use_idle_time`]. What fails is told by the pass that needs it.
    pub(super) fn use_idle_time(&mut self) -> bool {
        match self.oracle.use_idle_time() {
            Ok(more) => more,
            Err(error) => {
                tracing::warn!(%error, "nothing is read ahead");
                false
            }
        }
    }

    /// Lets passes be given up: see [`Oracle::give_up_when`].
    pub(super) fn give_up_when(&mut self, outdated: Option<GiveUp>) {
        self.oracle.give_up_when(outdated);
    }

    /// Whether passes are to give hidden states: see [`Oracle::keep_hidden`].
    pub(super) fn keep_hidden(&mut self, wanted: bool) {
        self.oracle.keep_hidden(wanted);
    }

    /// Forgets tokens from position `len` on; passes that gave nothing else were wasted.
    pub(super) fn truncate(&mut self, len: usize) {
        if len >= self.tokens.len() {
            return;
        }
        self.oracle.truncate(len);
        self.tokens.truncate(len);
        while let Some(pass) = self.passes.pop_if(|p| p.from >= len) {
            self.wasted_bytes += pass.bytes;
        }
    }

    /// Computes `tree` and commits the nodes that `keep` chooses.
    ///
    /// # Errors
    /// The oracle's; nothing is committed then.
    pub(super) fn pass<T>(
        &mut self,
        tree: &TokenTree,
        width: WidthClass,
        keep: impl FnOnce(PassOutput) -> (Vec<usize>, T),
    ) -> Result<T, OracleError> {
        let before = self.oracle.bytes_read();
        let output = self.oracle.pass(tree, width);
        if let Err(OracleError::GivenUp) = output {
            self.wasted_bytes += self.oracle.bytes_read() - before;
        }
        let output = output?;
        let cost = output.cost;
        self.threads_last = cost.threads;
        self.threads = self.threads.and(self.threads_last);
        let (path, result) = keep(output);
        self.passes.push(PassRecord {
            from: self.tokens.len(),
            bytes: self.oracle.bytes_read() - before,
            stall_us: cost.stall_us,
        });
        self.oracle.commit(&path);
        self.tokens
            .extend(path.iter().map(|&node| tree.nodes()[node].token));
        Ok(result)
    }

    /// Reads `tokens` in one pass and keeps them all; says what that cost.
    ///
    /// # Errors
    /// As [`Cache::pass`].
    pub(super) fn read(
        &mut self,
        tokens: &[TokenId],
        width: WidthClass,
    ) -> Result<PassCost, OracleError> {
        let tree = TokenTree::chain(tokens, tokens.len());
        self.pass(&tree, width, |output| {
            ((0..tokens.len()).collect(), output.cost)
        })
    }

    /// Starts to count passes from zero: what is committed belongs to earlier prompts.
    pub(super) fn start_prompt(&mut self) {
        self.passes.clear();
        self.wasted_bytes = 0;
        self.threads = ThreadsUsed::default();
    }

    /// Fewest and most threads that computed in all passes since then.
    pub(super) fn threads(&self) -> ThreadsUsed {
        self.threads
    }

    /// The same of the last pass.
    pub(super) fn threads_last(&self) -> ThreadsUsed {
        self.threads_last
    }

    /// Passes since then whose tokens are kept.
    pub(super) fn passes(&self) -> u64 {
        self.passes.len() as u64
    }

    /// Time that these waited for weights.
    pub(super) fn stall_ms(&self) -> f64 {
        self.passes.iter().map(|p| p.stall_us as f64 / 1e3).sum()
    }

    /// Bytes read for passes since then whose tokens were all thrown away.
    pub(super) fn wasted_bytes(&self) -> u64 {
        self.wasted_bytes
    }
}
