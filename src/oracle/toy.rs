//! An oracle for tests, without a model: logits are a function of the last tokens.

use super::logits::LogitPool;
use super::{
    Logits, NodeIdx, Oracle, OracleError, PassCost, PassOutput, TokenTree, Trees, WidthClass,
};
use crate::kv::CellsFull;
use crate::units::TokenId;

/// Speaks a language of a few tokens, in which the last two tell what comes next.
pub struct ToyOracle {
    tokens: Vec<TokenId>,
    capacity: usize,
    /// The token of each node of the last pass.
    last: Vec<TokenId>,
    pub trees: Trees,
    pub max_nodes: usize,
    /// Nodes of every pass so far.
    pub passes: Vec<usize>,
}

impl ToyOracle {
    pub const N_VOCAB: usize = 23;

    pub fn new(capacity: usize) -> Self {
        Self {
            tokens: Vec::new(),
            capacity,
            last: Vec::new(),
            trees: Trees::Exact,
            max_nodes: WidthClass::WIDE.max,
            passes: Vec::new(),
        }
    }

    /// The logits after a text. After most pairs one token is far likelier than the rest.
    pub fn logits_after(text: &[TokenId]) -> Vec<f32> {
        let back = |n: usize| text.len().checked_sub(n).map_or(-1, |at| text[at].0);
        let state = (back(1) * 31 + back(2) * 7).rem_euclid(1009);
        (0..Self::N_VOCAB)
            .map(|i| ((state * 97 + i as i32 * 389) % 1009) as f32 / 100.0)
            .collect()
    }
}

impl Oracle for ToyOracle {
    fn n_vocab(&self) -> usize {
        Self::N_VOCAB
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn len(&self) -> usize {
        self.tokens.len()
    }

    fn max_nodes(&self) -> usize {
        self.max_nodes
    }

    fn trees(&self) -> Trees {
        self.trees
    }

    fn pass(&mut self, tree: &TokenTree, width: WidthClass) -> Result<PassOutput, OracleError> {
        let most = width.max.min(super::max_width(self.max_nodes()));
        assert!(!tree.is_empty() && tree.len() <= most);
        if self.tokens.len() + tree.len() > self.capacity {
            return Err(CellsFull {
                capacity: self.capacity,
                needed: tree.len(),
            }
            .into());
        }
        self.passes.push(tree.len());
        self.last = tree.nodes().iter().map(|node| node.token).collect();
        let mut logits = Logits::for_tree(tree, Self::N_VOCAB, &LogitPool::default());
        for (row, node) in logits.nodes().to_vec().into_iter().enumerate() {
            let mut path: Vec<_> = tree.ancestry(node).map(|n| tree.nodes()[n].token).collect();
            path.reverse();
            let text = [self.tokens.as_slice(), &path].concat();
            logits
                .row_mut(row)
                .copy_from_slice(&Self::logits_after(&text));
        }
        Ok(PassOutput {
            logits,
            hidden: None,
            cost: PassCost::default(),
        })
    }

    fn commit(&mut self, path: &[NodeIdx]) {
        self.tokens.extend(path.iter().map(|&node| self.last[node]));
    }

    fn truncate(&mut self, len: usize) {
        self.tokens.truncate(len);
    }
}
