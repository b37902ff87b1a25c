//! What the passes of an answer say about its guesses: counted pass by pass, from the trees.
//!
//! ```text
//!  known -- a (kept) --+-- b (kept) -- c (rejected) -- d (never judged)
//!                      +-- e (rejected)
//! ```
//!
//! A guess is *judged* when the token before it was kept: only then did the oracle say whether
//! it was right. Rates are over judged guesses, since a node below a rejected one says nothing
//! about the drafter; of `b` and `e`, at most one can be right.

use crate::vocabulary::DrafterId;

/// How speculation fares in the answer under way, or in the last one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpeculationView {
    /// Of the last pass.
    pub tree: TreeView,
    /// Most nodes that a pass may have.
    pub max_nodes: usize,
    /// Time that the last pass's drafting was waited for, in milliseconds; `None` where nothing
    /// drafts.
    pub draft_ms: Option<f64>,
    /// Time that the draft worked while the last pass ran, in milliseconds; `None` where it does
    /// not.
    pub draft_hidden_ms: Option<f64>,
    /// Wall time of the last pass, in milliseconds.
    pub pass_ms: Option<f64>,
    /// Passes by the answer tokens that they yielded: entry `i` counts those with `i + 1`.
    pub tokens_a_pass: Vec<u64>,
    /// Guesses by who made them, in the order in which drafters are shown.
    pub by_drafter: Vec<(DrafterId, Tally)>,
    /// By depth, guesses that follow a known token first: in how many passes one was judged, and
    /// in how many one of them was kept.
    pub by_depth: Vec<Tally>,
    /// Judged guesses by what their drafter said of them, in equal bins of stated probability.
    pub calibration: [CalibrationBin; CALIBRATION_BINS],
}

/// Bins of [`SpeculationView::calibration`].
pub const CALIBRATION_BINS: usize = 10;

/// A verified tree; a node's parent comes before it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TreeView {
    pub nodes: Vec<TreeNodeView>,
}

/// A node of a verified tree.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TreeNodeView {
    /// `None`: it follows what was committed before the pass.
    pub parent: Option<usize>,
    /// Who guessed it. `None`: it was known, from the prompt or by the oracle's choice in the pass
    /// before.
    pub drafter: Option<DrafterId>,
    /// What its drafter said of it, given that its parent is kept: 0 to 1. One, where it is known.
    pub stated_p: f32,
    /// It lies on the path that the oracle chose.
    pub kept: bool,
}

/// How often something was guessed, judged and kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub guessed: u64,
    pub judged: u64,
    pub kept: u64,
}

impl Tally {
    /// Kept over judged.
    pub fn rate(&self) -> Option<f64> {
        (self.judged > 0).then(|| self.kept as f64 / self.judged as f64)
    }

    fn count(&mut self, judged: bool, kept: bool) {
        self.guessed += 1;
        self.judged += u64::from(judged);
        self.kept += u64::from(kept);
    }
}

/// Judged guesses of about the same stated probability.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CalibrationBin {
    pub judged: u64,
    pub kept: u64,
    /// Sum of what was stated.
    pub stated: f64,
}

impl CalibrationBin {
    /// Mean stated probability, and the share that was kept.
    pub fn stated_and_kept(&self) -> Option<(f64, f64)> {
        let n = self.judged as f64;
        (self.judged > 0).then(|| (self.stated / n, self.kept as f64 / n))
    }
}

impl TreeView {
    /// Guesses on the longest way down, and so the depth of each node: zero for known ones.
    pub fn depths(&self) -> Vec<usize> {
        let mut depths: Vec<usize> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let above = node.parent.map_or(0, |p| depths[p]);
            depths.push(above + usize::from(node.drafter.is_some()));
        }
        depths
    }

    /// Whether the oracle judged the guess `node`.
    fn is_judged(&self, node: &TreeNodeView) -> bool {
        node.parent.is_none_or(|p| self.nodes[p].kept)
    }
}

impl SpeculationView {
    /// Shows `present` in this order, whether they have guessed or not; then others that have.
    pub fn show_drafters(&mut self, present: impl Iterator<Item = DrafterId>) {
        let before = std::mem::take(&mut self.by_drafter);
        self.by_drafter = present.map(|id| (id, Tally::default())).collect();
        for (id, tally) in before {
            *self.tally_mut(id) = tally;
        }
    }

    /// What became of the guesses of one drafter.
    pub fn tally(&self, of: DrafterId) -> Tally {
        let found = self.by_drafter.iter().find(|(id, _)| *id == of);
        found.map_or_else(Tally::default, |(_, tally)| *tally)
    }

    fn tally_mut(&mut self, of: DrafterId) -> &mut Tally {
        let found = self.by_drafter.iter().position(|(id, _)| *id == of);
        let at = found.unwrap_or_else(|| {
            self.by_drafter.push((of, Tally::default()));
            self.by_drafter.len() - 1
        });
        &mut self.by_drafter[at].1
    }

    /// Counts a pass that verified `tree` and yielded `tokens` answer tokens.
    pub fn count_pass(&mut self, tree: TreeView, tokens: usize) {
        if let Some(entry) = tokens.checked_sub(1) {
            grow(&mut self.tokens_a_pass, entry);
            self.tokens_a_pass[entry] += 1;
        }
        let depths = tree.depths();
        let mut of_depth: Vec<(bool, bool)> = Vec::new();
        for (node, depth) in tree.nodes.iter().zip(depths) {
            let Some(drafter) = node.drafter else {
                continue;
            };
            let judged = tree.is_judged(node);
            let (at, kept) = (depth - 1, judged && node.kept);
            grow(&mut of_depth, at);
            of_depth[at].0 |= judged;
            of_depth[at].1 |= kept;
            self.tally_mut(drafter).count(judged, kept);
            if judged {
                let bin = (f64::from(node.stated_p) * CALIBRATION_BINS as f64) as usize;
                let bin = &mut self.calibration[bin.min(CALIBRATION_BINS - 1)];
                bin.judged += 1;
                bin.kept += u64::from(kept);
                bin.stated += f64::from(node.stated_p);
            }
        }
        for (at, (judged, kept)) in of_depth.into_iter().enumerate() {
            grow(&mut self.by_depth, at);
            self.by_depth[at].count(judged, kept);
        }
        self.tree = tree;
    }
}

/// Makes room for entry `at`.
fn grow<T: Clone + Default>(entries: &mut Vec<T>, at: usize) {
    if entries.len() <= at {
        entries.resize(at + 1, T::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::Marks;

    const MODEL: DrafterId = DrafterId::new(&Marks {
        name: "model",
        unicode: ["●", "○"],
        ascii: ["M", "m"],
    });
    const LOOKUP: DrafterId = DrafterId::new(&Marks {
        name: "lookup",
        unicode: ["◆", "◇"],
        ascii: ["L", "l"],
    });

    fn guess(parent: usize, drafter: DrafterId, stated_p: f32, kept: bool) -> TreeNodeView {
        TreeNodeView {
            parent: Some(parent),
            drafter: Some(drafter),
            stated_p,
            kept,
        }
    }

    fn known() -> TreeNodeView {
        TreeNodeView {
            parent: None,
            drafter: None,
            stated_p: 1.0,
            kept: true,
        }
    }

    /// The picture at the head of this file; `e` was looked up.
    fn tree() -> TreeView {
        TreeView {
            nodes: vec![
                known(),
                guess(0, MODEL, 0.95, true),
                guess(1, MODEL, 0.5, true),
                guess(1, LOOKUP, 0.25, false),
                guess(2, MODEL, 1.0, false),
                guess(4, MODEL, 0.5, false),
            ],
        }
    }

    fn tally(guessed: u64, judged: u64, kept: u64) -> Tally {
        Tally {
            guessed,
            judged,
            kept,
        }
    }

    #[test]
    fn what_was_never_judged_speaks_for_and_against_nobody() {
        let mut view = SpeculationView::default();
        view.count_pass(tree(), 3);
        let by_drafter = [(MODEL, tally(4, 3, 2)), (LOOKUP, tally(1, 1, 0))];
        assert_eq!(view.by_drafter, by_drafter);
        let depths = [
            tally(1, 1, 1),
            tally(1, 1, 1),
            tally(1, 1, 0),
            tally(1, 0, 0),
        ];
        assert_eq!(view.by_depth, depths);
        assert_eq!(view.by_depth[3].rate(), None);
        assert_eq!(view.tokens_a_pass, [0, 0, 1]);
        let stated = f64::midpoint(f64::from(0.95_f32), 1.0);
        assert_eq!(view.calibration[9].stated_and_kept(), Some((stated, 0.5)));
        assert_eq!(view.calibration[5].stated_and_kept(), Some((0.5, 1.0)));
        assert_eq!(view.calibration[2].stated_and_kept(), Some((0.25, 0.0)));
        assert_eq!(view.calibration[0].stated_and_kept(), None);
    }

    #[test]
    fn passes_add_up_and_the_last_tree_stays() {
        let mut view = SpeculationView::default();
        view.count_pass(tree(), 3);
        let alone = TreeView {
            nodes: vec![known()],
        };
        view.count_pass(alone.clone(), 1);
        view.count_pass(TreeView::default(), 0);
        assert_eq!(view.tokens_a_pass, [1, 0, 1]);
        assert_eq!(view.tally(MODEL), tally(4, 3, 2));
        assert_eq!(view.tree, TreeView::default());
        assert_eq!(tree().depths(), [0, 1, 2, 2, 3, 4]);
        assert_eq!(alone.depths(), [0]);
    }

    #[test]
    fn drafters_are_shown_in_their_order_and_none_that_guessed_is_lost() {
        let mut view = SpeculationView::default();
        view.show_drafters([LOOKUP].into_iter());
        view.count_pass(tree(), 3);
        view.show_drafters([MODEL, LOOKUP].into_iter());
        let shown = [(MODEL, tally(4, 3, 2)), (LOOKUP, tally(1, 1, 0))];
        assert_eq!(view.by_drafter, shown);
        view.show_drafters([LOOKUP].into_iter());
        assert_eq!(view.by_drafter, [shown[1], shown[0]]);
    }
}
