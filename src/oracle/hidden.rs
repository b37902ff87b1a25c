//! What the last layer made of a pass's nodes, before the output norm and matrix.

use super::NodeIdx;

/// A row of `n_embd` floats for each node whose logits were wanted, in node order.
#[derive(Clone, Debug, PartialEq)]
pub struct HiddenStates {
    n_embd: usize,
    nodes: Vec<NodeIdx>,
    values: Vec<f32>,
}

impl HiddenStates {
    /// Of the states `[n_embd, n]` of all of a pass's tokens, those of `nodes`.
    pub(super) fn of_nodes(nodes: &[NodeIdx], n_embd: usize, all: &[f32]) -> Self {
        let row = |&node: &NodeIdx| &all[node * n_embd..][..n_embd];
        Self {
            n_embd,
            nodes: nodes.to_vec(),
            values: nodes.iter().flat_map(row).copied().collect(),
        }
    }

    /// The nodes that have a row.
    pub fn nodes(&self) -> &[NodeIdx] {
        &self.nodes
    }

    /// The state of `node`, if its logits were wanted.
    pub fn of(&self, node: NodeIdx) -> Option<&[f32]> {
        let row = self.nodes.binary_search(&node).ok()?;
        Some(&self.values[row * self.n_embd..][..self.n_embd])
    }
}
