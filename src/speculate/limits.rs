//! How far a tree may grow, and how much of it a pass may take.

use super::tree::{DraftIdx, DraftTree};
use crate::oracle::WidthClass;
use crate::vocabulary::Label;

/// Below this worth not even a drafter that costs nothing is asked.
const LEAST_P: f32 = 2e-3;

/// About the most guesses of a tree: more than any pass takes.
const MOST_GUESSES: usize = 2048;

/// What a pass is to be.
#[derive(Clone, Copy, Debug)]
pub struct PassLimits {
    pub class: WidthClass,
    pub label: Option<Label>,
    /// Nodes that are in it for certain.
    pub certain: usize,
    /// Most nodes that there is room for.
    pub capacity: usize,
}

/// How a tree may grow.
#[derive(Clone, Copy, Debug)]
pub struct DraftLimits {
    pub class: WidthClass,
    pub label: Option<Label>,
    /// Most nodes that there is room for.
    pub capacity: usize,
    /// Most guesses that could follow one another.
    pub depth: usize,
    /// No branches.
    pub chain: bool,
    /// A drafter that has much of the text still to read is left out.
    pub at_once: bool,
}

impl DraftLimits {
    /// What they leave to a pass over `tree`.
    pub(super) fn of_pass(&self, tree: &DraftTree) -> PassLimits {
        PassLimits {
            class: self.class,
            label: self.label,
            certain: tree.n_certain(),
            capacity: self.capacity,
        }
    }

    /// Whether guesses behind a node can be of use.
    pub(super) fn is_open(&self, tree: &DraftTree, node: DraftIdx) -> bool {
        let below = tree.node(node).depth + 1 - tree.n_certain();
        let useful = tree.node(node).path_p() >= LEAST_P && tree.len() < MOST_GUESSES;
        let branches = self.chain && node.0 + 1 < tree.len();
        useful && below < self.depth && !branches
    }
}
