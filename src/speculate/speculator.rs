//! All that guesses, together: drafters, what they have been worth, and how much is guessed.
//!
//! ```text
//!  text, tree --grow--> drafters --guesses--> calibration --worth--> tree
//!                          ^                                          |
//!                          '-- sizing: another decode? --. <----------'
//!  tree --cut--> pass --learn--> calibration, acceptance, times
//! ```

use super::calibration::Calibration;
use super::guess::{Drafter, Guess};
use super::lookup::LookupDrafter;
use super::model::ModelDrafter;
use super::sampler::Sampler;
use super::sizing::{Frame, Sizing};
use super::tree::{Cut, DraftIdx, DraftTree, NodeKind};
use crate::ggml::llama::LlamaError;
use crate::oracle::{PassCost, Trees, WidthClass};
use crate::plan::TreeSize;
use crate::units::TokenId;
use crate::vocabulary::Label;
use std::time::Instant;

/// Below this worth not even a lookup is asked.
const LEAST_WORTH: f32 = 2e-3;

/// What a lookup must be worth to take the model's place in a chain.
const SURE: f32 = 0.8;

/// What a guess behind a node's best ones must be worth to be kept: less, and no pass has a seat
/// for it. Of the best it is not known: worths grow as the text comes nearer.
const SEAT_WORTH: f32 = 5e-4;
const BEST_KEPT: usize = 8;

/// About the most guesses of a tree: more than any pass takes.
const MOST_GUESSES: usize = 2048;

/// How a tree is to grow.
#[derive(Clone, Copy, Debug)]
pub struct Growth {
    pub class: WidthClass,
    pub label: Option<Label>,
    /// Most nodes that there is room for.
    pub room: usize,
    /// Most guesses that could follow one another.
    pub depth: usize,
    /// No branches.
    pub chain: bool,
    /// A model that has much of the text still to read is left out.
    pub at_once: bool,
}

/// See the module's text.
pub struct Speculator {
    pub(super) lookup: LookupDrafter,
    pub(super) model: Option<Box<dyn Drafter>>,
    calibration: Calibration,
    pub(super) sizing: Sizing,
    /// See [`Speculator::works_ahead`].
    ahead: bool,
    /// Guesses have been judged since a class was chosen.
    has_judged: bool,
    /// Time that the present tree has taken since the last pass.
    spent_ms: f64,
}

/// Bits of [`super::tree::DraftNode::asked`].
const LOOKUP: u8 = 1;
const MODEL: u8 = 2;
/// The model had nothing to say, or no room: it may have when the text has gone on.
const REFUSED: u8 = 4;

impl Speculator {
    /// Without a model at first. `cap` is the most nodes that the oracle takes in a pass,
    /// `trees` which of them.
    pub fn new(size: TreeSize, cap: usize, trees: Trees) -> Self {
        Self::with(None, Sizing::new(size, cap, None).of(trees))
    }

    /// With answers that depend on nothing but model, prompt and sampling.
    #[must_use]
    pub fn with_one_text(mut self, one_text: bool) -> Self {
        self.sizing = self.sizing.with_one_text(one_text);
        self
    }

    /// With a drafter that computes of the caller's choice.
    pub fn with(model: Option<Box<dyn Drafter>>, sizing: Sizing) -> Self {
        Self {
            lookup: LookupDrafter::new(),
            model,
            calibration: Calibration::default(),
            sizing,
            ahead: false,
            has_judged: false,
            spent_ms: 0.0,
        }
    }

    pub fn has_model(&self) -> bool {
        self.model.is_some()
    }

    /// Takes a model in from now on.
    pub fn add_model(&mut self, model: ModelDrafter) {
        self.sizing.set_model(Some(model.times()));
        self.model = Some(Box::new(model));
    }

    /// Leaves the model out from now on.
    pub fn drop_model(&mut self) {
        self.model = None;
        self.sizing.set_model(None);
    }

    /// Lets the model work while a pass runs, where it has cores of its own or a device.
    pub fn set_ahead(&mut self, ahead: bool) {
        self.ahead = ahead;
    }

    /// Whether the model may work while a pass runs, and there is one.
    pub fn works_ahead(&self) -> bool {
        self.ahead && self.has_model()
    }

    /// Guesses what `sampler` would choose, from now on: each answer has its own.
    pub fn choose_by(&mut self, sampler: &Sampler) {
        if let Some(model) = &mut self.model {
            model.choose_by(sampler);
        }
    }

    /// Whether there is anything to choose an answer's class by: not before the first pass.
    pub fn can_choose(&self) -> bool {
        self.sizing.can_choose()
    }

    /// The width class for an answer that begins now.
    pub fn class(&mut self, label: Option<Label>) -> WidthClass {
        if !std::mem::take(&mut self.has_judged) {
            self.sizing.acceptance.fade(label);
        }
        self.sizing.class(label)
    }

    pub fn sizing(&self) -> &Sizing {
        &self.sizing
    }

    pub fn calibration(&self) -> &Calibration {
        &self.calibration
    }

    /// Adds guesses to `tree`, whose tip is the end of `text`, for as long as that pays.
    ///
    /// # Errors
    /// The model's, which must be dropped then. The tree stands.
    pub fn grow(
        &mut self,
        tree: &mut DraftTree,
        text: &[TokenId],
        growth: &Growth,
    ) -> Result<(), LlamaError> {
        let frame = frame(tree, growth);
        if self.sizing.cap() == 1 || growth.room <= tree.n_certain() {
            return Ok(());
        }
        self.lookup.follow(text)?;
        let mut followed = false;
        loop {
            self.look_up(tree, growth)?;
            let Some(model) = &mut self.model else {
                return Ok(());
            };
            let open = open(tree, growth);
            let worths = worths(tree);
            let pairs: Vec<_> = open.iter().map(|&(_, worth, free)| (worth, free)).collect();
            let batch = model.batch().unwrap_or(1);
            if growth.at_once && !followed && model.unread(text) > batch {
                return Ok(());
            }
            let most = if growth.chain { 1 } else { batch };
            let n = self
                .sizing
                .ask(&frame, &worths, &pairs, self.spent_ms, most);
            if n == 0 {
                return Ok(());
            }
            if !followed {
                model.follow(text)?;
                followed = true;
            }
            let nodes: Vec<_> = open[..n].iter().map(|&(node, ..)| node).collect();
            let began = Instant::now();
            self.expand(tree, &nodes, growth)?;
            let ms = began.elapsed().as_secs_f64() * 1e3;
            self.sizing.observe_decode(n, ms);
            self.spent_ms += ms;
        }
    }

    /// Asks the model what follows `nodes`.
    pub(super) fn expand(
        &mut self,
        tree: &mut DraftTree,
        nodes: &[DraftIdx],
        growth: &Growth,
    ) -> Result<(), LlamaError> {
        let Some(model) = &mut self.model else {
            return Ok(());
        };
        let guesses = model.expand(tree, nodes)?;
        for (&node, guesses) in nodes.iter().zip(&guesses) {
            let said = if guesses.is_empty() { REFUSED } else { MODEL };
            tree.node_mut(node).asked |= said;
            self.add(tree, node, guesses, growth);
        }
        Ok(())
    }

    /// Asks for repetitions wherever that has not been done, new guesses included.
    pub(super) fn look_up(
        &mut self,
        tree: &mut DraftTree,
        growth: &Growth,
    ) -> Result<(), LlamaError> {
        let first = tree.tip().map_or(0, |tip| tip.0);
        let mut at = first;
        while at < tree.len() {
            let node = DraftIdx(at);
            at += 1;
            if tree.node(node).asked & LOOKUP != 0 || !is_open(tree, node, growth) {
                continue;
            }
            tree.node_mut(node).asked |= LOOKUP;
            for mut guesses in self.lookup.expand(tree, &[node])? {
                if growth.chain && self.model.is_some() {
                    // A chain has room for one guess, and the model's is mostly better.
                    guesses.retain(|guess| self.calibration.of(guess) > SURE);
                }
                self.add(tree, node, &guesses, growth);
            }
        }
        Ok(())
    }

    fn add(&self, tree: &mut DraftTree, parent: DraftIdx, guesses: &[Guess], growth: &Growth) {
        let worth = tree.node(parent).path_p();
        for (rank, guess) in guesses.iter().enumerate() {
            let calibrated = self.calibration.of(guess);
            if rank >= BEST_KEPT && worth * calibrated < SEAT_WORTH {
                continue;
            }
            tree.add(parent, *guess, calibrated, NodeKind::Answer);
            if growth.chain {
                // The best guess of a node is its first.
                break;
            }
        }
    }

    /// The nodes that a pass should verify. `answers`: the oracle's choice behind the tip is
    /// wanted.
    pub fn cut(&self, tree: &DraftTree, growth: &Growth) -> Cut {
        let frame = frame(tree, growth);
        let guesses = self.sizing.cut(&frame, &worths(tree), self.spent_ms);
        tree.cut(tree.n_certain() + guesses, true)
    }

    /// Learns from a pass over `cut`, in which the oracle chose `chosen` behind the nodes of
    /// `path`, the tip first. What is below the last of them stays in the tree.
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
                let guess = *tree.node(child);
                let stood = guess.token == token;
                if let Some(source) = guess.source {
                    self.calibration.observe(source, guess.stated, stood);
                }
                if verified[child.0] {
                    any = Some(any.unwrap_or(false) || stood);
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
            tree.ask_again(REFUSED);
        }
        self.spent_ms = 0.0;
    }

    /// Learns what a pass of so many nodes in a class cost.
    pub fn observe_pass(&mut self, nodes: usize, class: WidthClass, cost: PassCost) {
        let ms = |us: u64| us as f64 / 1e3;
        let width = nodes.max(class.min);
        let passes = &mut self.sizing.passes;
        passes.observe(width, class, ms(cost.wall_us), ms(cost.stall_us));
        passes.expect_stream(ms(cost.stream_us));
    }
}

fn frame(tree: &DraftTree, growth: &Growth) -> Frame {
    Frame {
        class: growth.class,
        label: growth.label,
        certain: tree.n_certain(),
        room: growth.room,
    }
}

/// What guesses are worth, falling.
fn worths(tree: &DraftTree) -> Vec<f64> {
    let ranked = tree.ranked();
    ranked
        .into_iter()
        .map(|node| f64::from(tree.node(node).path_p()))
        .collect()
}

/// Whether guesses behind a node can be of use.
fn is_open(tree: &DraftTree, node: DraftIdx, growth: &Growth) -> bool {
    let below = tree.node(node).depth + 1 - tree.n_certain();
    let worthy = tree.node(node).path_p() >= LEAST_WORTH && tree.len() < MOST_GUESSES;
    let branches = growth.chain && node.0 + 1 < tree.len();
    worthy && below < growth.depth && !branches
}

/// Nodes that the model has not been asked about, the most worthy first and so parents before
/// their children: their worth, and what of it is not guessed yet.
pub(super) fn open(tree: &DraftTree, growth: &Growth) -> Vec<(DraftIdx, f64, f64)> {
    let mut guessed = vec![0.0_f64; tree.len()];
    for guess in tree.guesses() {
        let node = tree.node(guess);
        if let Some(parent) = node.parent {
            guessed[parent.0] += f64::from(node.p);
        }
    }
    tree.tip()
        .into_iter()
        .chain(tree.ranked())
        .filter(|&node| {
            tree.node(node).asked & (MODEL | REFUSED) == 0 && is_open(tree, node, growth)
        })
        .map(|node| {
            let worth = f64::from(tree.node(node).path_p());
            (node, worth, worth * (1.0 - guessed[node.0]).max(0.0))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::speculate::Source;

    #[test]
    fn of_guesses_that_are_worth_little_now_the_best_are_kept() {
        let speculator = Speculator::new(TreeSize::Auto, 63, Trees::Exact);
        let growth = Growth {
            class: WidthClass::BATCH,
            label: None,
            room: 100,
            depth: 50,
            chain: false,
            at_once: false,
        };
        let guesses = |p, n| -> Vec<_> {
            let guess = |id| Guess {
                token: TokenId(id),
                p,
                source: Source::Model,
            };
            (0..n).map(guess).collect()
        };
        let mut tree = DraftTree::certain([(TokenId(100), NodeKind::Answer)]);
        let tip = DraftIdx(0);
        speculator.add(&mut tree, tip, &guesses(0.03, 32), &growth);
        assert_eq!(tree.children(tip).count(), 32);
        // Once it is the tip these are worth 0.01 each.
        let child = tree.child(tip, TokenId(31)).expect("just added");
        speculator.add(&mut tree, child, &guesses(0.01, 32), &growth);
        assert_eq!(tree.children(child).count(), BEST_KEPT);
    }
}
