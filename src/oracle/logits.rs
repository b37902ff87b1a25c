//! Logits of the nodes that asked for them.

use super::OracleError;
use super::tree::{NodeIdx, TokenTree};
use crate::units::TokenId;
use std::cell::RefCell;
use std::rc::Rc;

/// One row of `n_vocab` floats for each node whose logits were wanted, in node order.
///
/// Many rows are hundreds of megabytes: the memory goes back to the oracle's `LogitPool` when the
/// logits are dropped, and the next pass finds it there.
#[derive(Debug)]
pub struct Logits {
    n_vocab: usize,
    nodes: Vec<NodeIdx>,
    values: Vec<f32>,
    pool: LogitPool,
}

/// Memory of the last pass's logits, for the next one.
#[derive(Clone, Debug, Default)]
pub(super) struct LogitPool(Rc<RefCell<Vec<f32>>>);

impl Drop for Logits {
    fn drop(&mut self) {
        self.pool.0.replace(std::mem::take(&mut self.values));
    }
}

impl Logits {
    /// Rows for the nodes of `tree` that want them, to be written before they are read.
    pub(super) fn for_tree(tree: &TokenTree, n_vocab: usize, pool: &LogitPool) -> Self {
        let wanted = tree.nodes().iter().enumerate().filter(|(_, n)| n.logits);
        let nodes: Vec<_> = wanted.map(|(i, _)| i).collect();
        let mut values = pool.0.take();
        let needed = nodes.len() * n_vocab;
        if values.len() < needed {
            values.resize(needed, 0.0);
        }
        Self {
            n_vocab,
            nodes,
            values,
            pool: pool.clone(),
        }
    }

    /// The nodes that have a row.
    pub fn nodes(&self) -> &[NodeIdx] {
        &self.nodes
    }

    pub(super) fn row_mut(&mut self, row: usize) -> &mut [f32] {
        &mut self.values[row * self.n_vocab..][..self.n_vocab]
    }

    /// All rows, in the order of [`Logits::nodes`].
    pub(super) fn rows_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        self.values
            .chunks_exact_mut(self.n_vocab)
            .take(self.nodes.len())
    }

    /// Checks that every row has a number in it. A model with damaged weights computes none, and
    /// its answer would have no text.
    pub(super) fn check(&self) -> Result<(), OracleError> {
        // Usually a row's first value ends the search.
        let has_number = |row: &[f32]| row.iter().any(|x| x.is_finite());
        let rows = self.values.chunks_exact(self.n_vocab.max(1));
        if rows.take(self.nodes.len()).all(has_number) {
            Ok(())
        } else {
            Err(OracleError::NoNumbers)
        }
    }

    /// The logits of `node`, if it asked for them.
    pub fn of(&self, node: NodeIdx) -> Option<&[f32]> {
        let row = self.nodes.binary_search(&node).ok()?;
        Some(&self.values[row * self.n_vocab..][..self.n_vocab])
    }
}

/// The likeliest token; the first of equals, as with llama.cpp's greedy sampler. NaN is never
/// chosen.
pub fn argmax(logits: &[f32]) -> TokenId {
    let mut best = 0;
    for (i, &value) in logits.iter().enumerate() {
        if value > logits[best] || (logits[best].is_nan() && !value.is_nan()) {
            best = i;
        }
    }
    TokenId(i32::try_from(best).unwrap_or(i32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_pass_finds_the_memory_of_the_last() {
        let (pool, tokens) = (LogitPool::default(), vec![TokenId(0); 8]);
        let rows = |n: usize| Logits::for_tree(&TokenTree::chain(&tokens[..n], 0), 100, &pool);
        let address = |logits: &Logits| logits.values.as_ptr();
        let first = rows(8);
        let of_first = address(&first);
        drop(first);
        let few = rows(2);
        assert_eq!((address(&few), few.nodes()), (of_first, &[0, 1][..]));
        // Two at a time do not share.
        let more = rows(8);
        assert_ne!(address(&more), of_first);
        drop(few);
        assert_eq!(address(&rows(8)), of_first);
    }

    #[test]
    fn a_row_without_a_number_is_an_error() {
        let tree = TokenTree::chain(&[TokenId(1), TokenId(2)], 0);
        let mut logits = Logits::for_tree(&tree, 3, &LogitPool::default());
        let row = [f32::NAN, 1.0, f32::INFINITY];
        logits.row_mut(0).copy_from_slice(&row);
        logits.row_mut(1).copy_from_slice(&[0.0; 3]);
        assert!(logits.check().is_ok());
        let row = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        logits.row_mut(1).copy_from_slice(&row);
        assert!(matches!(logits.check(), Err(OracleError::NoNumbers)));
    }

    #[test]
    fn what_is_not_a_number_is_never_chosen() {
        let row = [f32::NAN, -3.0, f32::NAN, -2.0, -2.0];
        assert_eq!(argmax(&row), TokenId(3));
        assert_eq!(argmax(&[1.0, f32::NAN]), TokenId(0));
    }
}
