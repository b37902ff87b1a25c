//! The model whose word counts: one pass computes the logits of every node of a token tree.
//!
//! Three forms behind [`Oracle`]. *Streamed*: [`LayerOracle`] streams weights that do not fit
//! through per-layer graphs of our own. *Resident*: [`LlamaOracle`] runs llama.cpp's graph over
//! a model that fits. *Hooked*: the same graph over weights that stream, for architectures that
//! we have no graph for.
//!
//! **Width classes.** ggml picks kernels by the number of tokens in a batch, and kernels
//! differ in the last bits. Within a class the logits of a token are the same bits whatever
//! else is in the pass, so that an answer computed in one class does not depend on how much
//! was drafted. A pass shorter than its class is padded.

mod hooked;
mod layer;
mod llama;

mod logits;
#[cfg(test)]
mod toy;
mod tree;

pub use hooked::HookedOptions;
pub use layer::{LayerOracle, LayerOracleOptions, PassShape, StepTimes};

pub use llama::LlamaOracle;
pub use logits::{Logits, argmax};
#[cfg(test)]
pub use toy::ToyOracle;
pub use tree::{NodeIdx, TokenTree, TreeNode};

use crate::kv::CellsFull;
use crate::river::RiverError;

/// Fewest and most tokens in a pass whose kernels are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct WidthClass {
    pub min: usize,
    pub max: usize,
}

impl WidthClass {
    /// A few tokens: the cheapest where compute, not reading, is what a pass costs.
    pub const NARROW: Self = Self { min: 1, max: 7 };

    /// Several tokens: all passes over prompts, and answers where guesses fill the seats.
    ///
    /// Measured with ggml's plain CPU kernels: the bits of a row change between 7 and 8 tokens
    /// and at 64, and nowhere between (`tests/width_class.rs`). Its kernels for repacked
    /// weights make them depend on a row's place in the batch: no oracle uses those.
    pub const BATCH: Self = Self { min: 8, max: 63 };

    /// Many tokens: answers whose passes cost the same for hundreds of them.
    pub const WIDE: Self = Self { min: 64, max: 512 };

    pub const ALL: [Self; 3] = [Self::NARROW, Self::BATCH, Self::WIDE];

    /// The class that so many tokens need no padding in.
    pub fn of(nodes: usize) -> Self {
        let found = Self::ALL.into_iter().find(|class| nodes <= class.max);
        found.unwrap_or(Self::WIDE)
    }
}

/// Nodes of a pass whose logits memory is set aside for. A pass for more computes them all
/// the same, in memory that no budget counts.
pub const LOGIT_ROWS: usize = 16;

/// What a pass cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct PassCost {
    pub wall_us: u64,
    /// Waiting for weights.
    pub stall_us: u64,
}

/// The result of a pass.
#[derive(Debug)]
pub struct PassOutput {
    pub logits: Logits,
    pub cost: PassCost,
}

/// Why a pass failed. The committed tokens stand; the next pass may work.
#[derive(Debug, thiserror::Error)]
pub enum OracleError {
    #[error(transparent)]
    ContextFull(#[from] CellsFull),
    #[error("{0}")]
    Weights(#[from] RiverError),
    #[error(transparent)]
    Compute(#[from] crate::ggml::ComputeError),
    #[error("reading the embedding of token {token} failed: {source}")]
    Embedding { token: i32, source: std::io::Error },
    #[error("token {token} is not in the vocabulary of {n_vocab}")]
    Token { token: i32, n_vocab: usize },
    #[error("a tree of {nodes} nodes does not fit a pass of at most {max}")]
    TooWide { nodes: usize, max: usize },
    #[error("llama.cpp: {0}")]
    Llama(String),
    #[error("this model's weights cannot be streamed: {0}")]
    Graph(String),
}

/// Computes passes over a growing row of committed tokens.
pub trait Oracle {
    /// Tokens of the vocabulary: columns of the logits.
    fn n_vocab(&self) -> usize;

    /// Most tokens that can be committed.
    fn capacity(&self) -> usize;

    /// Committed tokens.
    fn len(&self) -> usize;

    /// Whether nothing is committed.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Computes all nodes of `tree` behind the committed tokens, in a batch of `width`.
    ///
    /// # Errors
    /// See [`OracleError`]; nothing is committed then.
    fn pass(&mut self, tree: &TokenTree, width: WidthClass) -> Result<PassOutput, OracleError>;

    /// Keeps the nodes of `path` (parents first) of the last pass, prunes the rest.
    fn commit(&mut self, path: &[NodeIdx]);

    /// Forgets committed tokens from position `len` on.
    fn truncate(&mut self, len: usize);

    /// Bytes read from disk for weights so far; zero for a resident model.
    fn bytes_read(&self) -> u64 {
        0
    }

    /// Time with a read in flight so far, in microseconds.
    fn reading_us(&self) -> u64 {
        0
    }

    /// Shards that were there when needed and those that were not, so far.
    fn hits_and_misses(&self) -> (u64, u64) {
        (0, 0)
    }

    /// Whether what is committed of a tree is the same to the last bit as if its path had been
    /// computed alone. Where it is not, only chains are.
    fn exact_trees(&self) -> bool {
        true
    }

    /// Whether weights stream in every pass.
    fn streams(&self) -> bool {
        false
    }
}
