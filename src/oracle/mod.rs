//! The model whose choices decide: one pass computes the logits of every node of a token tree.
//!
//! [`Oracle`] has three forms. *Streamed*: [`LayerOracle`] streams weights that do not fit
//! through per-layer graphs of our own. *Resident*: [`LlamaOracle`] runs llama.cpp's graph over
//! a model that fits. *Hooked*: the same graph over weights that stream, for architectures that
//! we have no graph for.
//!
//! **Width classes.** ggml picks kernels by the number of tokens in a batch, and kernels differ in
//! the last bits. A width class is a range of widths with *batch invariance*: the logits of a token
//! are the same bits whatever else is in the pass, so that an answer computed in one class does not
//! depend on how much was drafted. A pass shorter than its class is padded. Prompts are read with the
//! bits of [`WidthClass::BATCH`], those of mixtures of experts in wider passes too. Answers are of one class for all widths ([`Trees::invariant`]), so that
//! they depend on model, prompt and sampling alone; where a draft guesses, the class that costs
//! least is chosen instead, unless that is ruled out (`--exact`).
//!
//! A GPU's kernels divide sums by the width of a pass and the number of cells, so that no class is
//! batch invariant there. Every token of an answer is still the oracle's own choice in the pass
//! that verified it, and answers differ between trees of other shapes only where two logits are
//! closer to each other than the rounding error. [`Trees`] says which of these an oracle promises.

mod branches;
mod expert_scratch;
mod fed_run;
mod hidden;
mod hooked;
mod layer;
mod llama;
mod logits;
mod open_error;
mod pass_rows;
mod state;
#[cfg(test)]
mod toy;
mod tree;
mod trees;

pub use hidden::HiddenStates;
pub use hooked::HookedOptions;
pub use layer::{
    DeviceOptions, LayerOracle, LayerOracleOptions, PassShape, ProbeOptions, StepTimes,
};
pub use llama::LlamaOracle;
pub use logits::{Logits, argmax};
pub use open_error::OpenError;
#[cfg(test)]
pub use toy::ToyOracle;
pub use tree::{NodeIdx, TokenTree, TreeNode};
pub use trees::Trees;

use crate::experts::{ExpertCounts, ExpertError};
use crate::ggml::llama::LlamaError;
use crate::ggml::{Kernels, ThreadsUsed};
use crate::kv::{CellsFull, PageError};
use crate::river::RiverError;
use std::rc::Rc;

/// Fewest and most tokens of passes within which batch invariance holds: see the module's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct WidthClass {
    pub min: usize,
    pub max: usize,
}

impl WidthClass {
    /// Any number of tokens, with kernels that compute each of them alone: a text does not depend
    /// on how much is guessed. In exchange, wide passes take longer.
    pub const PLAIN: Self = Self { min: 1, max: 512 };

    /// A few tokens: the bits of [`WidthClass::PLAIN`], with memory for less.
    pub const NARROW: Self = Self { min: 1, max: 7 };

    /// Several tokens: all passes over prompts, and answers with a draft or with streaming.
    ///
    /// Measured with ggml's plain CPU kernels: the bits of a row change between 7 and 8 tokens,
    /// and nowhere between 8 and 63 (`tests/engine/width_class.rs`). Its kernels for repacked
    /// weights make them depend on a row's place in the batch: no oracle uses those.
    pub const BATCH: Self = Self { min: 8, max: 63 };

    /// Several tokens or many, for oracles whose trees are exact: the bits of
    /// [`WidthClass::BATCH`], with capacity for more guesses where passes are expensive.
    pub const WIDE: Self = Self { min: 8, max: 512 };

    /// Any number of tokens, where kernels are not batch invariant in any case: nothing is padded.
    pub const DEVICE: Self = Self { min: 1, max: 512 };

    /// The batch-invariant ones that answers choose among, the narrowest first.
    pub const ALL: [Self; 3] = [Self::NARROW, Self::BATCH, Self::WIDE];

    /// The CPU's kernels that its passes are computed with.
    pub fn kernels(self) -> Kernels {
        if self.min < Self::BATCH.min {
            Kernels::Plain
        } else {
            Kernels::Fastest
        }
    }

    /// The class for passes of at most `nodes` nodes.
    pub fn of(nodes: usize) -> Self {
        Self::ALL[Self::holding(&Self::ALL, nodes)]
    }

    /// The first of `classes`, the narrowest first, that holds `nodes` nodes; the last where none
    /// does.
    pub fn holding(classes: &[Self], nodes: usize) -> usize {
        let found = classes.iter().position(|class| nodes <= class.max);
        found.unwrap_or(classes.len().saturating_sub(1))
    }
}

/// Tokens of the widest pass of an oracle for trees of at most `max_nodes` nodes: prompts are
/// read in passes of [`WidthClass::BATCH`] in any case.
fn max_width(max_nodes: usize) -> usize {
    max_nodes.max(WidthClass::BATCH.max)
}

/// What a pass cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct PassCost {
    pub wall_us: u64,
    /// Waiting for weights.
    pub stall_us: u64,
    /// Of that, for experts that its own tokens chose: the more tokens, the more of them.
    pub demand_us: u64,
    /// The time that the streamed weights of a pass take at the rate of all reading so far, or over
    /// the link to the device where that is longer. Zero where none stream.
    pub stream_us: u64,
    /// Of the CPU that computed.
    pub threads: ThreadsUsed,
}

/// The result of a pass.
#[derive(Debug)]
pub struct PassOutput {
    pub logits: Logits,
    /// Where they are wanted and the oracle has them: see [`Oracle::keep_hidden`].
    pub hidden: Option<HiddenStates>,
    pub cost: PassCost,
}

/// Why a pass failed. The committed tokens are kept; the next pass may work.
#[derive(Debug, thiserror::Error)]
pub enum OracleError {
    #[error(transparent)]
    ContextFull(#[from] CellsFull),
    #[error(transparent)]
    Kv(#[from] PageError),
    #[error("{0}")]
    Weights(#[from] RiverError),
    #[error(transparent)]
    Experts(#[from] ExpertError),
    #[error(transparent)]
    Compute(#[from] crate::ggml::ComputeError),
    #[error("reading the embedding of token {token} failed: {source}")]
    Embedding { token: i32, source: std::io::Error },
    #[error("token {token} is not in the vocabulary of {n_vocab}")]
    Token { token: i32, n_vocab: usize },
    #[error("a tree of {nodes} nodes does not fit a pass of {min} to {max}")]
    TooWide {
        nodes: usize,
        min: usize,
        max: usize,
    },
    #[error(transparent)]
    Llama(LlamaError),
    #[error("the model computes no numbers: its file is damaged, or made wrongly")]
    NoNumbers,
    #[error(
        "step {step} of the model's graph looks up number {number}, which there is not: its file \
         is damaged, or made wrongly"
    )]
    Lookup { step: String, number: i32 },
    #[error("this model's weights cannot be streamed: {0}")]
    Graph(String),
    /// Its result was of no use any more ([`Oracle::give_up_when`]).
    #[error("the pass was given up")]
    GivenUp,
}

/// Asked while a pass runs, with the part of it that is done (0 where that is not known): whether
/// its result is of no use any more.
pub type GiveUp = Rc<dyn Fn(f64) -> bool>;

/// Computes passes over a growing sequence of committed tokens.
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

    /// Most nodes of a pass whose logits can be wanted: memory is set aside for as many. A wider
    /// pass, as over a prompt, wants fewer logits.
    fn max_nodes(&self) -> usize;

    /// What trees it takes, and how exactly.
    fn trees(&self) -> Trees {
        Trees::Exact
    }

    /// Most tokens of a pass over a prompt: as many as there is memory for in any case, where wide
    /// passes cost little.
    fn prompt_width(&self) -> usize {
        match self.trees() {
            Trees::Exact | Trees::Chains | Trees::RoundedChains => WidthClass::BATCH.max,
            Trees::Rounded => max_width(self.max_nodes()).min(WidthClass::DEVICE.max),
        }
    }

    /// The class of passes over prompts.
    fn prompt_class(&self) -> WidthClass {
        let narrowest = match self.trees() {
            Trees::Exact | Trees::Chains => WidthClass::BATCH,
            Trees::RoundedChains | Trees::Rounded => WidthClass::DEVICE,
        };
        WidthClass {
            max: self.prompt_width(),
            ..narrowest
        }
    }

    /// Computes all nodes of `tree` after the committed tokens, in a batch of `width`.
    ///
    /// # Errors
    /// See [`OracleError`]; nothing is committed then.
    fn pass(&mut self, tree: &TokenTree, width: WidthClass) -> Result<PassOutput, OracleError>;

    /// Lets the passes from now on be given up between two steps: they end with
    /// [`OracleError::GivenUp`] and commit nothing. An oracle may ignore this.
    fn give_up_when(&mut self, _outdated: Option<GiveUp>) {}

    /// Whether passes from now on are to give the last layer's states of the nodes whose logits are
    /// wanted: for drafters that read them. An oracle need not have them.
    fn keep_hidden(&mut self, _wanted: bool) {}

    /// Does a few milliseconds of what later passes would have to wait for, while none is wanted.
    /// Whether there may be more to do.
    ///
    /// # Errors
    /// What a pass would fail with as well.
    fn use_idle_time(&mut self) -> Result<bool, OracleError> {
        Ok(false)
    }

    /// Keeps the nodes of `path` (parents first) of the last pass, prunes the rest.
    fn commit(&mut self, path: &[NodeIdx]);

    /// Forgets committed tokens from position `len` on.
    fn truncate(&mut self, len: usize);

    /// How many tokens need not be read again where the first `len` are kept: all, where each has
    /// a place of its own in the cache.
    fn ready(&self, len: usize) -> usize {
        len.min(self.len())
    }

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

    /// What passes have asked for so far of routed experts that come and go; `None` where there
    /// are none.
    fn experts(&self) -> Option<ExpertCounts> {
        None
    }

    /// Whether weights stream in every pass.
    fn streams(&self) -> bool {
        false
    }
}

/// Refuses a tree that an oracle of at most `most` tokens cannot compute in a batch of `width`.
fn check_width(tree: &TokenTree, width: WidthClass, most: usize) -> Result<(), OracleError> {
    let max = width.max.min(most);
    if tree.is_empty() || tree.len() > max || width.min > max {
        return Err(OracleError::TooWide {
            nodes: tree.len(),
            min: width.min,
            max,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_nodes_has_its_class() {
        for (nodes, class) in [
            (1, WidthClass::NARROW),
            (7, WidthClass::NARROW),
            (8, WidthClass::BATCH),
            (63, WidthClass::BATCH),
            (64, WidthClass::WIDE),
            (512, WidthClass::WIDE),
        ] {
            assert_eq!(WidthClass::of(nodes), class, "{nodes}");
        }
        assert_eq!((max_width(1), max_width(63), max_width(64)), (63, 63, 64));
    }
}
