//! The tree of what may come next, which the session and the drafters fill together.
//!
//! ```text
//!  committed | p0 -- p1 -- a0 --+-- b .7 --+-- d .8      certain: p0 p1 a0
//!            |  not yet read    |          +-- e .1      guesses: b c d e f
//!                               +-- c .2 ---- f .9
//!
//!  cut(6):   p0 p1 a0 b d c     the likeliest to be accepted, parents first
//!  advance:  b is accepted, the oracle chose d: d is the root of what was below it
//! ```
//!
//! The certain nodes are a chain: tokens of the prompt that are still to be read, and the
//! answer's last token. Guesses follow the last of them, so that a pass that ends the prompt
//! verifies guesses too. There can be more nodes than a pass holds: a cut takes the best, and the
//! others stay for the next pass.
//!
//! Invariants: parents come before their children; siblings hold different tokens; a node's path
//! probability (that it and all above it are accepted) is at most its parent's.

use super::asked::Asked;
use super::guess::Guess;
use crate::oracle::{NodeIdx, TokenTree, TreeNode};
use crate::units::TokenId;
use crate::vocabulary::DrafterId;

/// A node's place in a [`DraftTree`]: not the same as in a cut of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DraftIdx(pub usize);

/// Who guessed a token, and how sure of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Source {
    pub drafter: DrafterId,
    /// See [`Guess::class`].
    pub class: usize,
    /// The probability that the drafter stated.
    pub stated: f32,
}

/// A token that is certain, or a guess.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DraftNode {
    pub token: TokenId,
    pub parent: Option<DraftIdx>,
    /// Nodes above it.
    pub depth: usize,
    /// The probability that it is accepted if its parent is, calibrated.
    pub p: f32,
    /// Logarithm of the path probability.
    pub log_p: f32,
    /// Who guessed it; `None` for what is certain.
    pub source: Option<Source>,
    /// Drafters that have been asked what follows it.
    pub(super) asked: Asked,
}

impl DraftNode {
    /// The path probability: that it and all above it are accepted.
    pub fn path_p(&self) -> f32 {
        self.log_p.exp()
    }
}

/// See the module's text.
#[derive(Clone, Debug, Default)]
pub struct DraftTree {
    nodes: Vec<DraftNode>,
    certain: usize,
}

/// The part of a tree that a pass computes.
#[derive(Clone, Debug)]
pub struct Cut {
    pub tree: TokenTree,
    /// Where each of its nodes is in the [`DraftTree`].
    pub nodes: Vec<DraftIdx>,
}

impl DraftTree {
    /// A tree of what is certain: tokens after those that are committed, in order.
    pub fn certain(tokens: impl IntoIterator<Item = TokenId>) -> Self {
        let mut tree = Self::default();
        for token in tokens {
            let parent = tree.nodes.len().checked_sub(1).map(DraftIdx);
            tree.nodes.push(DraftNode {
                token,
                parent,
                depth: tree.nodes.len(),
                p: 1.0,
                log_p: 0.0,
                source: None,
                asked: Asked::default(),
            });
        }
        tree.certain = tree.nodes.len();
        tree
    }

    pub fn nodes(&self) -> &[DraftNode] {
        &self.nodes
    }

    pub fn node(&self, node: DraftIdx) -> &DraftNode {
        &self.nodes[node.0]
    }

    pub(super) fn node_mut(&mut self, node: DraftIdx) -> &mut DraftNode {
        &mut self.nodes[node.0]
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// How many nodes are certain.
    pub fn n_certain(&self) -> usize {
        self.certain
    }

    /// The last certain node, which all guesses follow.
    pub fn tip(&self) -> Option<DraftIdx> {
        self.certain.checked_sub(1).map(DraftIdx)
    }

    /// Places of all guesses.
    pub fn guesses(&self) -> impl DoubleEndedIterator<Item = DraftIdx> + Clone + use<> {
        (self.certain..self.nodes.len()).map(DraftIdx)
    }

    /// Tokens of the guesses from below the tip down to `node`; none for a certain node.
    pub fn path(&self, node: DraftIdx) -> Vec<TokenId> {
        let guessed = std::iter::successors(Some(node), |&n| self.nodes[n.0].parent)
            .take_while(|n| n.0 >= self.certain);
        let mut path: Vec<_> = guessed.map(|n| self.nodes[n.0].token).collect();
        path.reverse();
        path
    }

    /// What was guessed to follow `node`.
    pub fn children(&self, node: DraftIdx) -> impl Iterator<Item = DraftIdx> + '_ {
        (node.0 + 1..self.nodes.len())
            .map(DraftIdx)
            .filter(move |n| self.nodes[n.0].parent == Some(node))
    }

    /// The child of `node` that holds `token`.
    pub fn child(&self, node: DraftIdx, token: TokenId) -> Option<DraftIdx> {
        self.children(node).find(|n| self.nodes[n.0].token == token)
    }

    /// Adds a guess of what follows `parent`, with its calibrated probability. A token that was
    /// guessed before keeps the more confident guess, and what follows it becomes likelier by the
    /// same factor.
    pub fn add(&mut self, parent: DraftIdx, guess: Guess, drafter: DrafterId, calibrated: f32) {
        let above = &self.nodes[parent.0];
        let p = calibrated.clamp(f32::MIN_POSITIVE, 1.0);
        let (log_p, depth) = (above.log_p + p.ln(), above.depth + 1);
        let source = Some(Source {
            drafter,
            class: guess.class,
            stated: guess.p,
        });
        match self.child(parent, guess.token) {
            Some(same) if self.nodes[same.0].p < p => {
                let node = &mut self.nodes[same.0];
                let more = log_p - node.log_p;
                (node.p, node.source) = (p, source);
                self.raise(same, more);
            }
            Some(_) => {}
            None => self.nodes.push(DraftNode {
                token: guess.token,
                parent: Some(parent),
                depth,
                p,
                log_p,
                source,
                asked: Asked::default(),
            }),
        }
    }

    /// Adds `more` to the logarithms of `top` and of all below it.
    fn raise(&mut self, top: DraftIdx, more: f32) {
        let mut below = vec![false; self.nodes.len()];
        for i in top.0..self.nodes.len() {
            let parent = self.nodes[i].parent;
            below[i] = i == top.0 || parent.is_some_and(|p| below[p.0]);
            if below[i] {
                self.nodes[i].log_p = (self.nodes[i].log_p + more).min(0.0);
            }
        }
    }

    /// Guesses by path probability, best first, parents before their children.
    pub fn ranked(&self) -> Vec<DraftIdx> {
        let mut guesses: Vec<_> = self.guesses().collect();
        // A stable sort: of equals the parent, which has the lower index, comes first.
        guesses.sort_by(|a, b| self.nodes[b.0].log_p.total_cmp(&self.nodes[a.0].log_p));
        guesses
    }

    /// The path probabilities of all guesses, falling.
    pub(super) fn path_probabilities(&self) -> Vec<f64> {
        let ranked = self.ranked().into_iter();
        ranked
            .map(|node| f64::from(self.nodes[node.0].path_p()))
            .collect()
    }

    /// The certain nodes, all of them, and the best guesses, up to `k` nodes together.
    /// Logits are wanted where the oracle's choice can matter: at the tip and at guesses.
    pub fn cut(&self, k: usize) -> Cut {
        let mut nodes: Vec<_> = (0..self.certain).map(DraftIdx).collect();
        let guesses = k.saturating_sub(nodes.len());
        nodes.extend(self.ranked().into_iter().take(guesses));
        nodes.sort_unstable();
        let mut tree = TokenTree::new();
        let mut place = vec![None; self.nodes.len()];
        for &at in &nodes {
            let node = &self.nodes[at.0];
            let pushed = tree.push(TreeNode {
                token: node.token,
                parent: node.parent.and_then(|p| place[p.0]),
                logits: node.source.is_some() || Some(at) == self.tip(),
            });
            place[at.0] = Some(pushed);
        }
        Cut { tree, nodes }
    }

    /// Lets drafters that had nothing to say of a node be asked about it again.
    pub(super) fn ask_again(&mut self) {
        let asked = self.nodes.iter_mut().map(|node| &mut node.asked);
        asked.for_each(Asked::forget_silence);
    }

    /// Moves the root after a pass: `last` is the last node that was accepted and `next` the token
    /// that the oracle chose after it. What was guessed below that token stays.
    pub fn advance(&mut self, last: DraftIdx, next: TokenId) {
        let Some(root) = self.child(last, next) else {
            *self = Self::certain([next]);
            return;
        };
        let top = self.nodes[root.0];
        let mut place: Vec<Option<DraftIdx>> = vec![None; self.nodes.len()];
        let mut kept: Vec<DraftNode> = Vec::new();
        for i in root.0..self.nodes.len() {
            let node = self.nodes[i];
            let parent = node.parent.and_then(|p| place[p.0]);
            if i != root.0 && parent.is_none() {
                continue;
            }
            place[i] = Some(DraftIdx(kept.len()));
            kept.push(DraftNode {
                parent,
                depth: node.depth - top.depth,
                log_p: (node.log_p - top.log_p).min(0.0),
                ..node
            });
        }
        let root = &mut kept[0];
        (root.p, root.source) = (1.0, None);
        self.nodes = kept;
        self.certain = 1;
    }
}

impl Cut {
    /// How many of its nodes are guesses.
    pub fn n_guesses(&self, of: &DraftTree) -> usize {
        self.nodes.iter().filter(|n| n.0 >= of.certain).count()
    }

    /// Where a node of the cut is in the tree that it was cut from.
    pub fn origin(&self, node: NodeIdx) -> DraftIdx {
        self.nodes[node]
    }
}
