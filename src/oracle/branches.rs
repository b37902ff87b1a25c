//! The branches of a tree as llama.cpp's sequences, for models with a cell for each token.
//!
//! Sequence 0 holds what is committed, each leaf gets one that shares it, and a node belongs to the
//! sequences of all leaves below it.
//!
//! What is too short for its width class is padded: its first token is repeated, each time in a
//! sequence of its own. In a mixture that shares all before the token, so that it computes the same
//! and needs no experts of its own. A context of one sequence takes chains, and pads nothing.

use super::fed_run::FedRun;
use super::hooked::Bits;
use super::{NodeIdx, OracleError, TokenTree, TreeNode, WidthClass};
use crate::ggml::llama::BatchToken;

/// Most leaves of a tree. Sequence 0 is the committed text, and the last ones are padding.
const MAX_LEAVES: usize = 56;
const PADDING: i32 = MAX_LEAVES as i32 + 1;
const MAX_PADDING: usize = WidthClass::BATCH.min - 1;

/// Sequences of a context.
pub(super) const SEQUENCES: usize = 1 + MAX_LEAVES + MAX_PADDING;

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

    /// The batch that computes `tree`, for [`Branches::decode`].
    pub(super) fn batch(
        &mut self,
        tree: &TokenTree,
        on: &mut FedRun,
    ) -> Result<Vec<BatchToken>, OracleError> {
        self.drop_uncommitted(on);
        let sequences = self.sequences(tree, on)?;
        let nodes = tree.nodes().iter().zip(sequences).enumerate();
        let token = |(i, (node, sequences)): (usize, (&TreeNode, Vec<i32>))| BatchToken {
            token: node.token.0,
            position: self.len + tree.depth(i),
            sequences,
            logits: node.logits,
        };
        Ok(nodes.map(token).collect())
    }

    /// Decodes a piece of a batch, of which all before it has been decoded, with these `bits` and in
    /// at least `least` tokens.
    pub(super) fn decode(
        &self,
        piece: &[BatchToken],
        (bits, least): (Bits, usize),
        on: &mut FedRun,
    ) -> Result<(), OracleError> {
        let padding = match (self.fork, piece.first()) {
            (true, Some(first)) => {
                let missing = least.saturating_sub(piece.len());
                (PADDING..)
                    .take(missing)
                    .map(|sequence| BatchToken {
                        sequences: vec![sequence],
                        logits: false,
                        ..first.clone()
                    })
                    .collect()
            }
            _ => Vec::new(),
        };
        let mut batch = [piece, &padding].concat();
        // llama.cpp computes the last layer and the head only for tokens that want logits:
        // these make a batch of their own, which must be of the same width class.
        let missing = match batch.iter().filter(|token| token.logits).count() {
            0 => 0,
            wanted => least.min(batch.len()).saturating_sub(wanted),
        };
        for token in batch.iter_mut().rev().filter(|t| !t.logits).take(missing) {
            token.logits = true;
        }
        let mut shared = Ok(());
        if on.experts().is_some() {
            let mut padding = padding
                .iter()
                .map(|token| (token.sequences[0], token.position));
            shared = padding.try_for_each(|(sequence, end)| {
                on.run.share(piece[0].sequences[0], sequence, 0, end)
            });
        }
        let decoded = match shared {
            Ok(()) => on.decode(&batch, piece.len(), bits),
            Err(error) => Err(error.into()),
        };
        for token in &padding {
            on.run.forget(token.sequences[0], 0);
        }
        decoded
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
        on.run.forget(0, self.len);
        for sequence in 1..=self.leaves {
            on.run.forget(sequence, 0);
        }
        self.leaves = 0;
    }
}
