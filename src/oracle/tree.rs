//! The nodes that one pass computes.

use crate::units::TokenId;

/// A node's place in its tree.
pub type NodeIdx = usize;

/// A token to compute, and what it follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeNode {
    pub token: TokenId,
    /// `None`: it follows the last committed token.
    pub parent: Option<NodeIdx>,
    /// Whether its logits are wanted.
    pub logits: bool,
}

/// Tokens that follow what is committed: a chain is the simplest tree.
///
/// ```text
///  committed ... c --+-- 0 --+-- 1 -- 3          node:    0  1  2  3
///                            +-- 2               parent:  -  0  0  1
/// ```
///
/// Invariant: a node's parent comes before it. A node attends to the committed tokens, its
/// ancestors and itself.
///
/// ```
/// use nmos::oracle::{TokenTree, TreeNode};
/// use nmos::units::TokenId;
///
/// let mut tree = TokenTree::chain(&[TokenId(7), TokenId(8)], 1);
/// let other = tree.push(TreeNode {
///     token: TokenId(9),
///     parent: Some(0),
///     logits: true,
/// });
/// assert_eq!(tree.child(Some(0), TokenId(9)), Some(other));
/// assert_eq!(tree.ancestry(other).collect::<Vec<_>>(), [other, 0]);
/// assert_eq!(tree.depth(other), 1);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenTree {
    nodes: Vec<TreeNode>,
}

impl TokenTree {
    pub fn new() -> Self {
        Self::default()
    }

    /// A chain; the logits of every token from index `logits_from` on are wanted.
    pub fn chain(tokens: &[TokenId], logits_from: usize) -> Self {
        let nodes = tokens
            .iter()
            .enumerate()
            .map(|(i, &token)| TreeNode {
                token,
                parent: i.checked_sub(1),
                logits: i >= logits_from,
            })
            .collect();
        Self { nodes }
    }

    /// Adds a node.
    ///
    /// # Panics
    /// If the parent is not in the tree.
    pub fn push(&mut self, node: TreeNode) -> NodeIdx {
        assert!(
            node.parent.is_none_or(|p| p < self.nodes.len()),
            "a parent comes before its children"
        );
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    pub fn nodes(&self) -> &[TreeNode] {
        &self.nodes
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The node itself and what it follows, from it up to the tree's root.
    pub fn ancestry(&self, node: NodeIdx) -> impl Iterator<Item = NodeIdx> + '_ {
        std::iter::successors(Some(node), |&n| self.nodes[n].parent)
    }

    /// How many nodes of the tree it follows: its position, counted from the committed tokens.
    pub fn depth(&self, node: NodeIdx) -> usize {
        self.ancestry(node).count() - 1
    }

    /// The child of `node` (of the committed tokens, for `None`) that holds `token`.
    pub fn child(&self, node: Option<NodeIdx>, token: TokenId) -> Option<NodeIdx> {
        self.nodes
            .iter()
            .position(|n| n.parent == node && n.token == token)
    }
}
