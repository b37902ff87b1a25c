//! The branches of a tree as llama.cpp's sequences, for models with a cell for each token.
//!
//! Sequence 0 holds what is committed, each leaf gets one that shares it, and a node belongs to the
//! sequences of all leaves below it. A pass that is too short for its width class is padded, in a
//! sequence of its own. A context of one sequence takes chains, and pads nothing.

use super::fed_run::FedRun;
use super::{NodeIdx, OracleError, TokenTree};
use crate::ggml::llama::BatchToken;

/// Most leaves of a tree. Sequence 0 is the committed text and the last one is padding.
const MAX_LEAVES: usize = 62;
const PADDING: i32 = MAX_LEAVES as i32 + 1;

/// Sequences of a context.
pub(super) const SEQUENCES: usize = MAX_LEAVES + 2;

/// What is committed, and the branches of the last pass.
pub(super) struct Branches {
    pub len: usize,
    /// Whether the context has [`SEQUENCES`], not one.
    fork: bool,
    /// The sequence that each node of the last pass lies in (one of them).
    sequence_of: Vec<i32>,
    leaves: i32,
}

impl Branches {
    /// For a context of [`SEQUENCES`] where they `fork`, or else of one.
    pub(super) fn new(fork: bool) -> Self {
        Self {
            len: 0,
            fork,
            sequence_of: Vec::new(),
            leaves: 0,
        }
    }

    pub(super) fn fork(&self) -> bool {
        self.fork
    }

    /// The batch that computes `tree` in at least `least` tokens.
    pub(super) fn batch(
        &mut self,
        tree: &TokenTree,
        least: usize,
        on: &mut FedRun,
    ) -> Result<Vec<BatchToken>, OracleError> {
        self.drop_uncommitted(on);
        let least = if self.fork { least } else { 1 };
        let sequences = self.sequences(tree, on)?;
        let nodes = tree.nodes().iter().zip(sequences).enumerate();
        let mut batch: Vec<BatchToken> = nodes
            .map(|(i, (node, sequences))| BatchToken {
                token: node.token.0,
                position: self.len + tree.depth(i),
                sequences,
                logits: node.logits,
            })
            .collect();
        for i in tree.len()..least {
            batch.push(BatchToken {
                token: tree.nodes()[0].token.0,
                position: i - tree.len(),
                sequences: vec![PADDING],
                logits: false,
            });
        }
        // llama.cpp computes the last layer and the head only for tokens that want logits:
        // these make a batch of their own, which must be of the same width class.
        let missing = match tree.nodes().iter().filter(|node| node.logits).count() {
            0 => 0,
            wanted => least.saturating_sub(wanted),
        };
        for token in batch.iter_mut().rev().filter(|t| !t.logits).take(missing) {
            token.logits = true;
        }
        Ok(batch)
    }

    /// The sequences of every node: those of the leaves at or below it.
    fn sequences(
        &mut self,
        tree: &TokenTree,
        on: &mut FedRun,
    ) -> Result<Vec<Vec<i32>>, OracleError> {
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
            let max = if self.fork { MAX_LEAVES } else { 1 };
            if leaves.len() > max {
                return Err(OracleError::TooWide {
                    nodes: leaves.len(),
                    min: 1,
                    max,
                });
            }
            for (sequence, &leaf) in (1..).zip(&leaves) {
                on.run.share(0, sequence, 0, self.len)?;
                tree.ancestry(leaf).for_each(|node| of[node].push(sequence));
                self.leaves = sequence;
            }
        }
        self.sequence_of = of.iter().map(|s| s[0]).collect();
        Ok(of)
    }

    /// Keeps the nodes of `path` of the last pass.
    pub(super) fn commit(&mut self, path: &[NodeIdx], on: &mut FedRun) {
        let len = self.len + path.len();
        if let Some(&last) = path.last()
            && self.sequence_of[last] != 0
        {
            // Without these cells the next pass has an order of positions that llama.cpp refuses.
            if let Err(error) = on.run.share(self.sequence_of[last], 0, self.len, len) {
                tracing::error!(%error, "cells were not shared");
            }
        }
        self.len = len;
        self.drop_uncommitted(on);
    }

    pub(super) fn truncate(&mut self, len: usize, on: &mut FedRun) {
        self.len = self.len.min(len);
        self.drop_uncommitted(on);
    }

    /// Ends the sequences of the last pass's branches.
    pub(super) fn drop_uncommitted(&mut self, on: &mut FedRun) {
        if self.fork {
            on.run.forget(PADDING, 0);
        }
        on.run.forget(0, self.len);
        for sequence in 1..=self.leaves {
            on.run.forget(sequence, 0);
        }
        self.leaves = 0;
    }
}
