//! Which drafted tokens are accepted.

use crate::oracle::{Logits, NodeIdx, TokenTree};
use crate::units::TokenId;

/// The outcome of a verified tree.
#[derive(Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The tip, all nodes above it, and every accepted node, parents first.
    pub path: Vec<NodeIdx>,
    /// The tokens that the oracle chose, in order: the accepted ones, and one more, which is
    /// no node of the tree.
    pub chosen: Vec<TokenId>,
}

/// Follows the oracle's choices through `tree` from `tip` on, which is certain with all above it.
/// `choose` is asked at each node reached, in order, with its logits.
///
/// The choice never depends on what was drafted, so that the chosen tokens are exactly those
/// of decoding one by one with the same logits, for a sampled choice as for a greedy one.
///
/// # Panics
/// If a node that is reached did not ask for its logits.
pub fn verify(
    tree: &TokenTree,
    tip: NodeIdx,
    logits: &Logits,
    mut choose: impl FnMut(&[f32]) -> TokenId,
) -> Accepted {
    let mut path: Vec<_> = tree.ancestry(tip).collect();
    path.reverse();
    let mut chosen = Vec::new();
    loop {
        let node = path[path.len() - 1];
        let Some(row) = logits.of(node) else {
            panic!("node {node} of a tree to verify has no logits");
        };
        let token = choose(row);
        chosen.push(token);
        match tree.child(Some(node), token) {
            Some(child) => path.push(child),
            None => return Accepted { path, chosen },
        }
    }
}
