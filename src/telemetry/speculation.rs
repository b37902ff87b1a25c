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
    /// Guesses by who made them: [`Source::GUESSING`] in order.
    pub by_source: [Tally; 2],
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
    pub source: Source,
    /// What its drafter said of it, given that its parent is kept: 0 to 1. One, where it is known.
    pub stated_p: f32,
    /// It lies on the path that the oracle chose.
    pub kept: bool,
}

/// Where a node's token comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The prompt, or what the oracle chose in the pass before.
    Known,
    /// The draft model.
    Model,
    /// Text that was there before: prompt and answer.
    Lookup,
}

impl Source {
    /// Those that guess.
    pub const GUESSING: [Self; 2] = [Self::Model, Self::Lookup];
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
            depths.push(above + usize::from(node.source != Source::Known));
        }
        depths
    }

    /// Whether the oracle judged the guess `node`.
    fn is_judged(&self, node: &TreeNodeView) -> bool {
        node.parent.is_none_or(|p| self.nodes[p].kept)
    }
}

impl SpeculationView {
    /// Counts a pass that verified `tree` and yielded `tokens` answer tokens.
    pub fn count_pass(&mut self, tree: TreeView, tokens: usize) {
        if let Some(entry) = tokens.checked_sub(1) {
            grow(&mut self.tokens_a_pass, entry);
            self.tokens_a_pass[entry] += 1;
        }
        let depths = tree.depths();
        let mut of_depth: Vec<(bool, bool)> = Vec::new();
        for (node, depth) in tree.nodes.iter().zip(depths) {
            if node.source == Source::Known {
                continue;
            }
            let judged = tree.is_judged(node);
            let (at, kept) = (depth - 1, judged && node.kept);
            grow(&mut of_depth, at);
            of_depth[at].0 |= judged;
            of_depth[at].1 |= kept;
            for (source, tally) in Source::GUESSING.iter().zip(&mut self.by_source) {
                if *source == node.source {
                    tally.count(judged, kept);
                }
            }
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

    fn node(parent: Option<usize>, source: Source, stated_p: f32, kept: bool) -> TreeNodeView {
        TreeNodeView {
            parent,
            source,
            stated_p,
            kept,
        }
    }

    /// The picture at the head of this file; `e` was looked up.
    fn tree() -> TreeView {
        TreeView {
            nodes: vec![
                node(None, Source::Known, 1.0, true),
                node(Some(0), Source::Model, 0.95, true),
                node(Some(1), Source::Model, 0.5, true),
                node(Some(1), Source::Lookup, 0.25, false),
                node(Some(2), Source::Model, 1.0, false),
                node(Some(4), Source::Model, 0.5, false),
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
        assert_eq!(view.by_source, [tally(4, 3, 2), tally(1, 1, 0)]);
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
            nodes: vec![node(None, Source::Known, 1.0, true)],
        };
        view.count_pass(alone.clone(), 1);
        view.count_pass(TreeView::default(), 0);
        assert_eq!(view.tokens_a_pass, [1, 0, 1]);
        assert_eq!(view.by_source[0], tally(4, 3, 2));
        assert_eq!(view.tree, TreeView::default());
        assert_eq!(tree().depths(), [0, 1, 2, 2, 3, 4]);
        assert_eq!(alone.depths(), [0]);
    }
}
