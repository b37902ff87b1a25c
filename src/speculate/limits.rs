//! How far a tree may grow, and how much of it a pass may take.

use super::tree::{DraftIdx, DraftTree};
use crate::oracle::WidthClass;
use crate::vocabulary::Label;

/// Below this path probability not even a drafter that costs nothing is asked.
const LEAST_P: f32 = 2e-3;

/// Roughly the most guesses of a tree: more than any pass takes.
const MOST_GUESSES: usize = 2048;

/// What a pass is to be.
#[derive(Clone, Copy, Debug)]
pub struct PassLimits {
    pub class: WidthClass,
    pub label: Option<Label>,
    /// Nodes that are in it for certain.
    pub certain: usize,
    /// Most nodes that the context can still take.
    pub capacity: usize,
}

/// How a tree may grow.
#[derive(Clone, Copy, Debug)]
pub struct DraftLimits {
    pub class: WidthClass,
    pub label: Option<Label>,
    /// Most nodes that the context can still take.
    pub capacity: usize,
    /// Most guesses that could follow one another.
    pub depth: usize,
    /// No branches.
    pub chain: bool,
    /// Guesses are wanted at once: a drafter that still has much of the text to read is passed
    /// over.
    pub at_once: bool,
}

impl DraftLimits {
    /// The limits of a pass over `tree`.
    pub(super) fn of_pass(&self, tree: &DraftTree) -> PassLimits {
        PassLimits {
            class: self.class,
            label: self.label,
            certain: tree.n_certain(),
            capacity: self.capacity,
        }
    }

    /// Whether guesses after a node can be of use.
    pub(super) fn is_open(&self, tree: &DraftTree, node: DraftIdx) -> bool {
        let below = tree.node(node).depth + 1 - tree.n_certain();
        let useful = tree.node(node).path_p() >= LEAST_P && tree.len() < MOST_GUESSES;
        let branches = self.chain && node.0 + 1 < tree.len();
        useful && below < self.depth && !branches
    }
}
