//! The oracle that runs llama.cpp's own graph over a model that fits in memory.
//!
//! A tree's branches are llama.cpp's sequences: sequence 0 holds what is committed, each leaf
//! gets one that shares it, and a node belongs to the sequences of all leaves below it.

use super::{Logits, NodeIdx, Oracle, OracleError, PassCost, PassOutput, TokenTree, WidthClass};
use crate::ggml::llama::{BatchToken, LlamaError, LlamaRun, RunOptions};
use crate::kv::CellsFull;
use crate::units::Bytes;
use llama_cpp_2::model::LlamaModel;
use std::sync::Arc;
use std::time::Instant;

/// Most leaves of a tree. Sequence 0 is the committed text and the last one is padding.
const MAX_LEAVES: usize = 62;
const PADDING: i32 = MAX_LEAVES as i32 + 1;

/// See the module's text.
pub struct LlamaOracle {
    run: LlamaRun,
    n_vocab: usize,
    capacity: usize,
    len: usize,
    /// The sequence that each node of the last pass lies in (one of them).
    sequence_of: Vec<i32>,
    leaves: i32,
}

impl From<LlamaError> for OracleError {
    fn from(error: LlamaError) -> Self {
        Self::Llama(error.to_string())
    }
}

impl LlamaOracle {
    /// A context over a loaded model.
    ///
    /// # Errors
    /// llama.cpp's reason, as a rule that memory is short.
    pub fn new(
        model: &Arc<LlamaModel>,
        ctx_tokens: usize,
        threads: usize,
    ) -> Result<Self, LlamaError> {
        let run = LlamaRun::new(
            Arc::clone(model),
            RunOptions {
                ctx_tokens: ctx_tokens + WidthClass::BATCH.max,
                batch: WidthClass::BATCH.max,
                sequences: MAX_LEAVES + 2,
                threads,
            },
        )?;
        Ok(Self {
            n_vocab: usize::try_from(model.n_vocab()).unwrap_or(0),
            run,
            capacity: ctx_tokens,
            len: 0,
            sequence_of: Vec::new(),
            leaves: 0,
        })
    }

    /// Memory of the context, apart from the weights: an estimate from the model's shape.
    pub fn context_bytes(
        n_layer: usize,
        kv_width: usize,
        n_vocab: usize,
        ctx_tokens: usize,
    ) -> Bytes {
        let cells = (ctx_tokens + WidthClass::BATCH.max).next_multiple_of(256);
        let kv = cells * n_layer * kv_width * 2 * 2;
        let logits = 2 * WidthClass::BATCH.max * n_vocab * 4;
        Bytes((kv + logits + (32 << 20)) as u64)
    }

    /// Ends the sequences of the last pass's branches.
    fn drop_branches(&mut self) {
        self.run.forget(PADDING, 0);
        self.run.forget(0, self.len);
        for sequence in 1..=self.leaves {
            self.run.forget(sequence, 0);
        }
        self.leaves = 0;
    }

    /// The sequences of every node: those of the leaves at or below it.
    fn sequences(&mut self, tree: &TokenTree) -> Result<Vec<Vec<i32>>, OracleError> {
        let n = tree.len();
        let mut has_child = vec![false; n];
        for node in tree.nodes() {
            if let Some(parent) = node.parent {
                has_child[parent] = true;
            }
        }
        let leaves: Vec<_> = (0..n).filter(|&i| !has_child[i]).collect();
        let mut of = vec![Vec::new(); n];
        if let [leaf] = leaves[..] {
            // A chain needs no branch.
            tree.ancestry(leaf).for_each(|node| of[node].push(0));
        } else {
            if leaves.len() > MAX_LEAVES {
                return Err(OracleError::TooWide {
                    nodes: leaves.len(),
                    max: MAX_LEAVES,
                });
            }
            for (sequence, &leaf) in (1..).zip(&leaves) {
                self.run.share(0, sequence, 0, self.len);
                tree.ancestry(leaf).for_each(|node| of[node].push(sequence));
                self.leaves = sequence;
            }
        }
        self.sequence_of = of.iter().map(|s| s[0]).collect();
        Ok(of)
    }
}

impl Oracle for LlamaOracle {
    fn n_vocab(&self) -> usize {
        self.n_vocab
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn len(&self) -> usize {
        self.len
    }

    fn pass(&mut self, tree: &TokenTree, width: WidthClass) -> Result<PassOutput, OracleError> {
        if tree.is_empty() || tree.len() > width.max {
            return Err(OracleError::TooWide {
                nodes: tree.len(),
                max: width.max,
            });
        }
        if self.len + tree.len() > self.capacity {
            return Err(CellsFull {
                capacity: self.capacity,
                needed: tree.len(),
            }
            .into());
        }
        let began = Instant::now();
        self.drop_branches();
        let sequences = self.sequences(tree)?;
        let mut batch: Vec<BatchToken> = tree
            .nodes()
            .iter()
            .zip(sequences)
            .enumerate()
            .map(|(i, (node, sequences))| BatchToken {
                token: node.token.0,
                position: self.len + tree.depth(i),
                sequences,
                logits: node.logits,
            })
            .collect();
        for i in tree.len()..width.min {
            batch.push(BatchToken {
                token: tree.nodes()[0].token.0,
                position: i - tree.len(),
                sequences: vec![PADDING],
                logits: false,
            });
        }
        let mut logits = Logits::for_tree(tree, self.n_vocab);
        // llama.cpp computes the last layer and the head only for tokens that want logits:
        // these make a batch of their own, which must be of the same width class.
        let mut missing = width.min.saturating_sub(logits.nodes().len());
        if logits.nodes().is_empty() {
            missing = 0;
        }
        for token in batch.iter_mut().rev().filter(|t| !t.logits).take(missing) {
            token.logits = true;
        }
        self.run.decode(&batch)?;
        for (row, node) in logits.nodes().to_vec().into_iter().enumerate() {
            logits.row_mut(row).copy_from_slice(self.run.logits(node));
        }
        Ok(PassOutput {
            logits,
            cost: PassCost {
                wall_us: u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
                stall_us: 0,
            },
        })
    }

    fn commit(&mut self, path: &[NodeIdx]) {
        let len = self.len + path.len();
        if let Some(&last) = path.last()
            && self.sequence_of[last] != 0
        {
            self.run.share(self.sequence_of[last], 0, self.len, len);
        }
        self.len = len;
        self.drop_branches();
    }

    fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        self.drop_branches();
    }
}
