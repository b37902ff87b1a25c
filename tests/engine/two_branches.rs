//! The smallest tree whose branches must not see each other.

use nmos::oracle::{NodeIdx, TokenTree, TreeNode};
use nmos::units::TokenId;

/// A root with two branches, side by side, over an odd number of tokens; and the nodes of each
/// branch from the root on.
///
/// ```text
///  0 --+-- 1 -- 3 -- 5 ...
///      +-- 2 -- 4 -- 6 ...
/// ```
pub fn two_branches(tokens: &[TokenId]) -> (TokenTree, [Vec<NodeIdx>; 2]) {
    let mut tree = TokenTree::new();
    for (i, &token) in tokens.iter().enumerate() {
        let parent = match i {
            0 => None,
            1 | 2 => Some(0),
            _ => Some(i - 2),
        };
        tree.push(TreeNode {
            token,
            parent,
            logits: true,
        });
    }
    let branch = |first: NodeIdx| std::iter::once(0).chain((first..tokens.len()).step_by(2));
    (tree, [1, 2].map(|first| branch(first).collect()))
}
