//! How much to guess: what gives the most tokens a second.
//!
//! A pass over the tip and k guesses yields `1 + sum of their worth` tokens on average, in the
//! time that drafting took plus `T(width)`. Guesses are sorted by worth, so that one look at
//! all k finds the best:
//!
//! ```text
//!  tokens / ms |        . ' ' ' - .            k where it is greatest: here the cost's
//!              |     .´             ` .        next step begins
//!              | . ´                    `
//!              +---------------------------- k
//! ```
//!
//! Drafting goes on while the rate that is to be expected after another decode (or a few of
//! them) is greater than the rate of what there is. Where no guess pays, k is 0.
//!
//! The width class of an answer is chosen before its first token by the same rule, from what
//! guesses have been worth in earlier answers.

use super::acceptance::Acceptance;
use crate::oracle::{Trees, WidthClass};
use crate::plan::{DecodeTimes, PassTimes, TreeSize};
use crate::vocabulary::Label;

/// Another class must be so much better than the last one: what is measured is never exact, and
/// the class of an answer can change its text.
const CLEARLY: f64 = 1.2;

/// A guess worth less is never asked about.
const LEAST_WORTH: f64 = 1e-3;

/// Of what a fixed tree asks about, a node's best child is worth this part of it at the most.
const BEST_CHILD: f64 = 0.8;

/// How many nodes a drafter may be asked about at a time.
const AT_ONCE: [usize; 6] = [1, 2, 4, 8, 16, 32];

/// What a pass is to be.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    pub class: WidthClass,
    pub label: Option<Label>,
    /// Nodes that are in it for certain.
    pub certain: usize,
    /// Most nodes that there is room for.
    pub room: usize,
}

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Sizing {
    size: TreeSize,
    /// Most nodes of a pass.
    cap: usize,
    trees: Trees,
    /// Answers are of the class that keeps their bits at any width, whatever it costs.
    one_text: bool,
    pub passes: PassTimes,
    /// `None` where no drafter computes.
    pub decodes: Option<DecodeTimes>,
    pub acceptance: Acceptance,
    last: Option<WidthClass>,
}

impl Sizing {
    /// `cap` is the most nodes that the oracle takes in a pass.
    pub fn new(size: TreeSize, cap: usize, decodes: Option<DecodeTimes>) -> Self {
        let cap = size.nodes().map_or(cap, |nodes| nodes.min(cap));
        Self {
            size,
            cap: cap.max(1),
            trees: Trees::Exact,
            one_text: false,
            passes: PassTimes::default(),
            acceptance: Acceptance::new(decodes.is_some()),
            decodes,
            last: None,
        }
    }

    /// For an oracle of these trees.
    #[must_use]
    pub fn of(mut self, trees: Trees) -> Self {
        self.trees = trees;
        self.passes = match trees {
            Trees::Exact | Trees::Chains => PassTimes::default(),
            Trees::Rounded => PassTimes::on_device(),
        };
        self
    }

    /// With answers that depend on nothing but model, prompt and sampling.
    #[must_use]
    pub fn with_one_text(mut self, one_text: bool) -> Self {
        self.one_text = one_text;
        self
    }

    /// Most nodes of a pass.
    pub fn cap(&self) -> usize {
        self.cap
    }

    /// Whether guesses may branch.
    pub fn branches(&self) -> bool {
        !matches!(self.size, TreeSize::Chain(_))
    }

    /// Learns what a decode of so many nodes took.
    pub fn observe_decode(&mut self, nodes: usize, ms: f64) {
        if let Some(decodes) = &mut self.decodes {
            decodes.observe(nodes, ms);
        }
    }

    /// From now on there is a drafter that computes, and what asking it costs; or none any more.
    pub fn set_model(&mut self, decodes: Option<DecodeTimes>) {
        self.acceptance = Acceptance::new(decodes.is_some());
        self.decodes = decodes;
    }

    /// Whether there is anything to choose a class by.
    pub fn can_choose(&self) -> bool {
        self.one_text
            || self.decodes.is_none()
            || self.size != TreeSize::Auto
            || self.passes.are_known()
    }

    /// The width class for an answer that begins now.
    pub fn class(&mut self, label: Option<Label>) -> WidthClass {
        // Repetitions alone are few: a class that is faster for many guesses brings nothing.
        if self.one_text || self.decodes.is_none() {
            return self.trees.invariant();
        }
        let classes = self.trees.classes();
        // A wider one than holds all nodes has nothing to offer.
        let widest = WidthClass::holding(classes, self.cap);
        let class = match self.size {
            TreeSize::Fixed(_) | TreeSize::Chain(_) => classes[widest],
            TreeSize::Auto => {
                let rate = |class| self.expected_rate(class, label);
                let best = classes[..=widest].iter().copied();
                let best = best.max_by(|a, b| rate(*a).total_cmp(&rate(*b)));
                let best = best.unwrap_or(WidthClass::BATCH);
                match self.last {
                    Some(last) if rate(best) < CLEARLY * rate(last) => last,
                    _ => best,
                }
            }
        };
        self.last = Some(class);
        class
    }

    /// Tokens a millisecond of an answer in this class, with what is known of earlier ones.
    fn expected_rate(&self, class: WidthClass, label: Option<Label>) -> f64 {
        let most = class.max.min(self.cap);
        let worths = self.acceptance.worths(label, most - 1);
        let mut tokens = 1.0;
        let mut best = tokens / self.passes.ms(class.min, class);
        for (i, worth) in worths.iter().enumerate() {
            tokens += worth;
            let nodes = i + 2;
            // About half of a tree's nodes are asked about, a few at a time.
            let decodes = (nodes as f64 / 8.0).max(1.0).log2() + nodes.min(4) as f64;
            let at_a_time = (nodes / 8).clamp(1, 8);
            let draft_ms = self
                .decodes
                .as_ref()
                .map_or(0.0, |d| decodes * d.ms(at_a_time));
            let ms = draft_ms + self.passes.ms(nodes.max(class.min), class);
            best = best.max(tokens / ms);
        }
        best
    }

    /// How many of the guesses, worth `worths` in falling order, a pass should verify after
    /// `spent_ms` of drafting.
    pub fn cut(&self, frame: &Frame, worths: &[f64], spent_ms: f64) -> usize {
        match self.size {
            TreeSize::Fixed(_) | TreeSize::Chain(_) => worths.len().min(self.most(frame)),
            TreeSize::Auto => self.best(frame, worths.iter().copied(), spent_ms).0,
        }
    }

    /// Most guesses of a pass. Memory for logits is for as many nodes as the cap, the tip among
    /// them; what else is certain wants none. Memory for nodes is for a pass over a prompt, or
    /// for the cap.
    fn most(&self, frame: &Frame) -> usize {
        let widest = self.cap.max(WidthClass::BATCH.max);
        let nodes = frame.class.max.min(frame.room).min(widest);
        nodes.saturating_sub(frame.certain).min(self.cap - 1)
    }

    /// The best number of guesses, and its tokens a millisecond.
    fn best(
        &self,
        frame: &Frame,
        worths: impl Iterator<Item = f64>,
        spent_ms: f64,
    ) -> (usize, f64) {
        let rate = |guesses: usize, tokens: f64| {
            let width = (frame.certain + guesses).max(frame.class.min);
            tokens / (spent_ms + self.passes.ms(width, frame.class))
        };
        let mut tokens = 1.0;
        let mut best = (0, rate(0, tokens));
        for (i, worth) in worths.take(self.most(frame)).enumerate() {
            tokens += worth;
            let found = rate(i + 1, tokens);
            if found > best.1 {
                best = (i + 1, found);
            }
        }
        best
    }

    /// How many nodes a drafter that computes should be asked about next; none: drafting ends.
    ///
    /// `worths` are those of all guesses, falling. `open` are the nodes that it has not been
    /// asked about, falling too: their worth, and what of it is not guessed yet.
    pub fn ask(
        &self,
        frame: &Frame,
        worths: &[f64],
        open: &[(f64, f64)],
        spent_ms: f64,
        batch: usize,
    ) -> usize {
        let worthy = open.iter().take_while(|(worth, _)| *worth > LEAST_WORTH);
        let open = &open[..worthy.count().min(batch)];
        let most = self.most(frame);
        let Some(decodes) = self.decodes.as_ref().filter(|_| most > 0) else {
            return 0;
        };
        if self.size != TreeSize::Auto {
            // Until no child can be among the best any more.
            let last = most.checked_sub(1).and_then(|i| worths.get(i)).copied();
            let last = last.unwrap_or(0.0);
            let better = open.iter().take_while(|(w, _)| w * BEST_CHILD > last);
            let better = &open[..better.count()];
            let value = |at_once: &usize| {
                let worth: f64 = better[..*at_once].iter().map(|(worth, _)| worth).sum();
                worth / decodes.ms(*at_once)
            };
            let sizes = AT_ONCE.into_iter().filter(|&n| n <= better.len());
            return sizes
                .max_by(|a, b| value(a).total_cmp(&value(b)))
                .unwrap_or(0);
        }
        let (_, now) = self.best(frame, worths.iter().copied(), spent_ms);
        let rate = self.acceptance.rate(frame.label);
        let mut choice = (0, now);
        for at_once in AT_ONCE {
            if at_once > open.len() {
                break;
            }
            for decodes_ahead in [1_i32, 2, 4, 8] {
                let mut expected = worths.to_vec();
                for (_, unguessed) in &open[..at_once] {
                    expected.extend((1..=decodes_ahead).map(|i| unguessed * rate.powi(i)));
                }
                expected.sort_unstable_by(|a, b| b.total_cmp(a));
                let ms = spent_ms + f64::from(decodes_ahead) * decodes.ms(at_once);
                let (_, found) = self.best(frame, expected.into_iter(), ms);
                if found > choice.1 {
                    choice = (at_once, found);
                }
            }
        }
        choice.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The figures of a small oracle in memory on a processor without AVX-512: 33 ms for one token,
    /// 73 for two, 140 for 8 to 16.
    fn resident(draft_ms: f64) -> Sizing {
        let mut sizing = Sizing::new(TreeSize::Auto, 63, Some(DecodeTimes::new(1, draft_ms)));
        for _ in 0..10 {
            for (width, ms) in [(1, 33.0), (2, 73.0), (4, 102.0), (7, 148.0)] {
                sizing.passes.observe(width, WidthClass::NARROW, ms, 0.0);
            }
            sizing.passes.observe(16, WidthClass::BATCH, 145.0, 0.0);
        }
        sizing
    }

    /// The same where reading takes two seconds.
    fn streamed(draft_ms: f64) -> Sizing {
        let mut sizing = resident(draft_ms);
        for _ in 0..30 {
            sizing.passes.observe(16, WidthClass::BATCH, 2000.0, 1855.0);
        }
        sizing
    }

    fn frame(class: WidthClass) -> Frame {
        Frame {
            class,
            label: None,
            certain: 1,
            room: 1000,
        }
    }

    /// A chain of guesses.
    fn chain(p: f64, n: i32) -> Vec<f64> {
        (1..=n).map(|i| p.powi(i)).collect()
    }

    #[test]
    fn where_drafting_loses_a_pass_is_one_token() {
        let mut sizing = resident(12.0);
        assert_eq!(sizing.class(None), WidthClass::NARROW);
        let frame = frame(WidthClass::NARROW);
        assert_eq!(sizing.ask(&frame, &[], &[(1.0, 1.0)], 0.0, 16), 0);
        assert_eq!(sizing.cut(&frame, &chain(0.6, 6), 0.0), 0);
        // A repetition that is all but sure costs no drafting and pays.
        assert_eq!(sizing.cut(&frame, &chain(0.99, 6), 0.0), 6);
    }

    #[test]
    fn without_a_model_and_where_it_is_asked_for_a_text_is_of_one_class() {
        let sizes = [TreeSize::Auto, TreeSize::Fixed(1), TreeSize::Fixed(100)];
        for size in sizes {
            for (trees, class) in [
                (Trees::Exact, WidthClass::PLAIN),
                (Trees::Chains, WidthClass::NARROW),
                (Trees::Rounded, WidthClass::DEVICE),
            ] {
                let mut alone = Sizing::new(size, 512, None).of(trees);
                assert_eq!(alone.class(None), class);
                let decodes = Some(DecodeTimes::new(1, 0.1));
                let drafted = Sizing::new(size, 512, decodes).of(trees);
                let mut drafted = drafted.with_one_text(true);
                drafted.acceptance.observe(None, 300, 297);
                assert_eq!(drafted.class(None), class);
            }
        }
    }

    #[test]
    fn where_passes_are_dear_the_tree_grows() {
        let mut sizing = streamed(12.0);
        assert_eq!(sizing.class(None), WidthClass::BATCH);
        let frame = frame(WidthClass::BATCH);
        assert!(sizing.ask(&frame, &[], &[(1.0, 1.0)], 0.0, 16) > 0);
        // All that reading leaves time for.
        let worths = vec![0.05; 100];
        assert_eq!(sizing.cut(&frame, &worths, 50.0), 62);
        assert_eq!(sizing.cut(&Frame { room: 20, ..frame }, &worths, 50.0), 19);
    }

    #[test]
    fn drafting_ends_when_the_rest_is_not_worth_it() {
        let sizing = streamed(12.0);
        let frame = frame(WidthClass::BATCH);
        let worths = chain(0.8, 12);
        let left = [(0.01, 0.01)];
        assert_eq!(sizing.ask(&frame, &worths, &left, 400.0, 16), 0);
        // A slow draft ends sooner.
        let left = [(0.3, 0.3)];
        assert!(sizing.ask(&frame, &worths, &left, 400.0, 16) > 0);
        assert_eq!(streamed(2000.0).ask(&frame, &worths, &left, 400.0, 16), 0);
    }

    #[test]
    fn nodes_up_to_the_costs_next_step_are_free() {
        let mut sizing = resident(1.0);
        for _ in 0..10 {
            sizing.passes.observe(8, WidthClass::BATCH, 140.0, 0.0);
            sizing.passes.observe(24, WidthClass::BATCH, 210.0, 0.0);
        }
        // Unlikely guesses fill a pass up to 16 nodes, which cost what 8 do, and not more.
        let cut = sizing.cut(&frame(WidthClass::BATCH), &[0.01; 40], 0.0);
        assert_eq!(cut, 15);
    }

    #[test]
    fn a_bad_draft_is_found_out_and_tried_again() {
        let mut sizing = Sizing::new(TreeSize::Auto, 63, Some(DecodeTimes::new(1, 12.0)));
        for _ in 0..20 {
            // Reading is as dear as 16 tokens, but one alone would do.
            sizing.passes.observe(16, WidthClass::BATCH, 145.0, 0.0);
            sizing.passes.observe(1, WidthClass::NARROW, 80.0, 0.0);
        }
        sizing.acceptance.observe(None, 300, 270);
        assert_eq!(sizing.class(None), WidthClass::BATCH);
        sizing.acceptance.observe(None, 400, 20);
        assert_eq!(sizing.class(None), WidthClass::NARROW);
        for _ in 0..60 {
            sizing.acceptance.fade(None);
        }
        assert!(sizing.acceptance.rate(None) > 0.4);
    }

    #[test]
    fn a_fixed_tree_is_filled_with_the_best() {
        let mut sizing = Sizing::new(TreeSize::Fixed(32), 512, Some(DecodeTimes::new(1, 12.0)));
        assert_eq!(sizing.class(None), WidthClass::BATCH);
        let frame = frame(WidthClass::BATCH);
        let many = vec![0.1; 60];
        assert_eq!(sizing.cut(&frame, &many, 1e6), 31);
        assert!(sizing.ask(&frame, &[0.5], &[(0.4, 0.4)], 1e6, 16) > 0);
        // No child can be among the best 31 any more.
        assert_eq!(sizing.ask(&frame, &many, &[(0.11, 0.11)], 1e6, 16), 0);
        // A pass that ends a prompt is no wider than there is memory for.
        let wide = Sizing::new(TreeSize::Fixed(100), 512, None);
        let frame = Frame {
            class: WidthClass::WIDE,
            certain: 60,
            ..frame
        };
        assert_eq!(wide.cut(&frame, &[0.1; 200], 0.0), 40);
        let none = Sizing::new(TreeSize::Fixed(1), 512, None);
        assert_eq!(
            none.cut(
                &Frame {
                    class: WidthClass::NARROW,
                    ..frame
                },
                &many,
                0.0
            ),
            0
        );
    }

    #[test]
    fn the_class_changes_only_for_a_clear_gain() {
        let mut sizing = resident(12.0);
        assert_eq!(sizing.class(None), WidthClass::NARROW);
        // Now a batch is about as good.
        sizing.acceptance.observe(None, 400, 330);
        for _ in 0..40 {
            sizing.passes.observe(1, WidthClass::NARROW, 48.0, 0.0);
        }
        assert_eq!(sizing.class(None), WidthClass::NARROW);
    }
}
