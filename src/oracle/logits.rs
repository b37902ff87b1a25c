//! Logits of the nodes that asked for them.

use super::tree::{NodeIdx, TokenTree};
use crate::units::TokenId;

/// One row of `n_vocab` floats for each node whose logits were wanted, in node order.
#[derive(Debug)]
pub struct Logits {
    n_vocab: usize,
    nodes: Vec<NodeIdx>,
    values: Vec<f32>,
}

impl Logits {
    /// Rows for the nodes of `tree` that want them, all zero.
    pub(super) fn for_tree(tree: &TokenTree, n_vocab: usize) -> Self {
        let wanted = tree.nodes().iter().enumerate().filter(|(_, n)| n.logits);
        let nodes: Vec<_> = wanted.map(|(i, _)| i).collect();
        let values = vec![0.0; nodes.len() * n_vocab];
        Self {
            n_vocab,
            nodes,
            values,
        }
    }

    /// The nodes that have a row.
    pub fn nodes(&self) -> &[NodeIdx] {
        &self.nodes
    }

    pub(super) fn row_mut(&mut self, row: usize) -> &mut [f32] {
        &mut self.values[row * self.n_vocab..][..self.n_vocab]
    }

    /// The logits of `node`, if it asked for them.
    pub fn of(&self, node: NodeIdx) -> Option<&[f32]> {
        let row = self.nodes.binary_search(&node).ok()?;
        Some(&self.values[row * self.n_vocab..][..self.n_vocab])
    }
}

/// The likeliest token; the first of equals, as llama.cpp's greedy sampler has it.
pub fn argmax(logits: &[f32]) -> TokenId {
    let mut best = 0;
    for (i, &value) in logits.iter().enumerate() {
        if value > logits[best] {
            best = i;
        }
    }
    TokenId(i32::try_from(best).unwrap_or(i32::MAX))
}
