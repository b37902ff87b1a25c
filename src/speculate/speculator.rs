//! All that guesses, together: drafters, how often they were right, and how much is guessed.
//!
//! ```text
//!  text, tree --grow--> drafters --guesses--> calibration --p--> tree
//!                          ^                                      |
//!                          '-- sizing: another decode? <----------'
//!  tree --cut--> pass --learn--> calibration, acceptance, times, drafters
//! ```
//!
//! How a tree grows is told in [`grow`](super::grow).

use super::calibration::Calibration;
use super::drafter::{DraftError, Drafter, VerifiedPass};
use super::drafter_set::DrafterSet;
use super::limits::DraftLimits;
use super::sampler::Sampler;
use super::sizing::Sizing;
use super::tree::{Cut, DraftIdx, DraftTree};
use crate::oracle::{PassCost, WidthClass};
use crate::units::TokenId;
use crate::vocabulary::{DrafterId, Label};

/// See the module's text.
pub struct Speculator {
    pub(super) drafters: DrafterSet,
    pub(super) sizing: Sizing,
    /// See [`Speculator::works_ahead`].
    ahead: bool,
    /// Guesses have been judged since a class was chosen.
    has_judged: bool,
    /// Time that the present tree has taken since the last pass.
    pub(super) spent_ms: f64,
}

impl Speculator {
    /// With these drafters at first.
    pub fn new(drafters: Vec<Box<dyn Drafter>>, sizing: Sizing) -> Self {
        let mut speculator = Self {
            drafters: DrafterSet::new(drafters),
            sizing,
            ahead: false,
            has_judged: false,
            spent_ms: 0.0,
        };
        let drafted = speculator.computes();
        speculator.sizing.set_drafted(drafted);
        speculator
    }

    /// Adds a drafter.
    pub fn add(&mut self, drafter: Box<dyn Drafter>) {
        self.drafters.add(drafter);
        let drafted = self.computes();
        self.sizing.set_drafted(drafted);
    }

    /// The drafters that are there.
    pub fn drafters(&self) -> impl Iterator<Item = DrafterId> {
        self.drafters.ids()
    }

    /// Whether a drafter computes, as a model does.
    pub fn computes(&self) -> bool {
        self.drafters.compute()
    }

    /// Forgets what was learnt with a drafter that has failed.
    pub(super) fn settle<T>(&mut self, done: Result<T, DraftError>) -> Result<T, DraftError> {
        if done.is_err() {
            let drafted = self.computes();
            self.sizing.set_drafted(drafted);
        }
        done
    }

    /// Lets drafters that compute work while a pass runs, where they have cores of their own or
    /// a device.
    pub fn set_ahead(&mut self, ahead: bool) {
        self.ahead = ahead;
    }

    /// Whether a drafter that computes may work while a pass runs, and there is one.
    pub fn works_ahead(&self) -> bool {
        self.ahead && self.computes()
    }

    /// Whether the oracle's hidden states are wanted with its passes.
    pub fn needs_hidden(&self) -> bool {
        self.drafters.needs_hidden()
    }

    /// From now on guesses what `sampler` would choose: each answer has its own.
    pub fn choose_by(&mut self, sampler: &Sampler) {
        self.drafters.choose_by(sampler);
    }

    /// Whether there is anything to choose an answer's class by: not before the first pass.
    pub fn can_choose(&self) -> bool {
        self.sizing.can_choose(self.drafters.fastest())
    }

    /// The width class for an answer that begins now.
    pub fn class(&mut self, label: Option<Label>) -> WidthClass {
        if !std::mem::take(&mut self.has_judged) {
            self.sizing.acceptance.fade(label);
        }
        self.sizing.class(label, self.drafters.fastest())
    }

    pub fn sizing(&self) -> &Sizing {
        &self.sizing
    }

    /// How far a drafter's probabilities can be trusted; `None` for one that never joined.
    pub fn calibration(&self, of: DrafterId) -> Option<&Calibration> {
        self.drafters.calibration(of)
    }

    /// The nodes that a pass should verify.
    pub fn cut(&self, tree: &DraftTree, limits: &DraftLimits) -> Cut {
        let pass = limits.of_pass(tree);
        let guesses = self
            .sizing
            .cut(&pass, &tree.path_probabilities(), self.spent_ms);
        tree.cut(tree.n_certain() + guesses)
    }

    /// Learns from a pass over `cut`, in which the oracle chose the tokens `chosen` after the nodes
    /// of `path`, the tip first. What is below the last of them stays in the tree.
    pub fn learn(
        &mut self,
        tree: &mut DraftTree,
        cut: &Cut,
        label: Option<Label>,
        path: &[DraftIdx],
        chosen: &[TokenId],
    ) {
        let (mut judged, mut right) = (0, 0);
        let mut verified = vec![false; tree.len()];
        cut.nodes.iter().for_each(|node| verified[node.0] = true);
        for (&node, &token) in path.iter().zip(chosen) {
            let mut any = None;
            for child in tree.children(node) {
                let guess = tree.node(child);
                let is_right = guess.token == token;
                if let Some(source) = &guess.source {
                    self.drafters.observe(source, is_right);
                }
                if verified[child.0] {
                    any = Some(any.unwrap_or(false) || is_right);
                }
            }
            judged += usize::from(any.is_some());
            right += usize::from(any == Some(true));
        }
        if judged > 0 {
            self.has_judged = true;
            self.sizing.acceptance.observe(label, judged, right);
        }
        if let (Some(&last), Some(&next)) = (path.last(), chosen.last()) {
            tree.advance(last, next);
            tree.ask_again();
        }
        self.spent_ms = 0.0;
    }

    /// Lets drafters learn from what the oracle computed.
    pub fn learn_output(&mut self, pass: &VerifiedPass<'_>) {
        if self.sizing.cap() > 1 {
            self.drafters.learn(pass);
        }
    }

    /// Learns what a pass of so many nodes in a class cost.
    pub fn observe_pass(&mut self, nodes: usize, class: WidthClass, cost: PassCost) {
        let ms = |us: u64| us as f64 / 1e3;
        let width = nodes.max(class.min);
        let passes = &mut self.sizing.passes;
        // What tokens have read for themselves takes longer the more they are, as computing does.
        let stall_us = cost.stall_us.saturating_sub(cost.demand_us);
        passes.observe(width, class, ms(cost.wall_us), ms(stall_us));
        passes.expect_stream(ms(cost.stream_us));
    }
}
