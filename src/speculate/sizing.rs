//! How much to guess: what gives the most tokens a second.
//!
//! A pass over the tip and k guesses yields `1 + sum of their path probabilities` tokens on
//! average, in the time that drafting took plus `T(width)`. Guesses are sorted by path probability
//! (how likely it is that a guess and all above it are accepted), so that one scan finds the best
//! k:
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
//! The width class of an answer (the widths of passes within which batch invariance holds: see
//! [`oracle`](crate::oracle)) is chosen before its first token by the same rule, from how often
//! guesses were right in earlier answers.

use super::acceptance::Acceptance;
use super::limits::PassLimits;
use crate::oracle::{Trees, WidthClass};
use crate::plan::{DecodeTimes, PassTimes, TreeSize};
use crate::vocabulary::Label;

/// By this factor another class must be better than the last one: measurements are never exact,
/// and the class of an answer can change its text.
const CLEARLY: f64 = 1.2;

/// A node of a smaller path probability is never asked about.
const LEAST_P: f64 = 1e-3;

/// In a tree of fixed size, a node's best child is taken to be at most this part as likely as the
/// node.
const BEST_CHILD: f64 = 0.8;

/// How many nodes a drafter may be asked about at a time.
const AT_ONCE: [usize; 6] = [1, 2, 4, 8, 16, 32];

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Sizing {
    size: TreeSize,
    /// Most nodes of a pass.
    cap: usize,
    trees: Trees,
    /// Answers are of the class whose bits are the same at any width, whatever it costs.
    one_text: bool,
    pub passes: PassTimes,
    pub acceptance: Acceptance,
    last: Option<WidthClass>,
}

impl Sizing {
    /// `cap` is the most nodes that the oracle takes in a pass.
    pub fn new(size: TreeSize, cap: usize) -> Self {
        let cap = size.nodes().map_or(cap, |nodes| nodes.min(cap));
        Self {
            size,
            cap: cap.max(1),
            trees: Trees::Exact,
            one_text: false,
            passes: PassTimes::default(),
            acceptance: Acceptance::new(false),
            last: None,
        }
    }

    /// For an oracle of these trees.
    #[must_use]
    pub fn of(mut self, trees: Trees) -> Self {
        self.trees = trees;
        self.passes = match trees {
            Trees::Exact | Trees::Chains | Trees::RoundedChains => PassTimes::default(),
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

    /// Says whether there is a drafter that computes from now on. What was learnt of guesses before
    /// that is forgotten: it does not hold any more.
    pub fn set_drafted(&mut self, drafted: bool) {
        self.acceptance = Acceptance::new(drafted);
    }

    /// Whether there is anything to choose a class by. `decodes` is what asking the fastest
    /// drafter takes, `None` where none computes.
    pub fn can_choose(&self, decodes: Option<&DecodeTimes>) -> bool {
        self.one_text || decodes.is_none() || self.size != TreeSize::Auto || self.passes.are_known()
    }

    /// The width class for an answer that begins now; `decodes` as in [`Sizing::can_choose`].
    pub fn class(&mut self, label: Option<Label>, decodes: Option<&DecodeTimes>) -> WidthClass {
        // Where only repetitions are guessed, guesses are few: a class for many brings nothing.
        let Some(decodes) = decodes.filter(|_| !self.one_text) else {
            return self.trees.invariant();
        };
        let classes = self.trees.classes();
        // A class wider than all nodes has nothing to offer.
        let widest = WidthClass::holding(classes, self.cap);
        let class = match self.size {
            TreeSize::Fixed(_) | TreeSize::Chain(_) => classes[widest],
            TreeSize::Auto => {
                let rate = |class| self.expected_rate(class, label, decodes);
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
    fn expected_rate(&self, class: WidthClass, label: Option<Label>, decodes: &DecodeTimes) -> f64 {
        let most = class.max.min(self.cap);
        let probabilities = self.acceptance.path_probabilities(label, most - 1);
        let mut tokens = 1.0;
        let mut best = tokens / self.passes.ms(class.min, class);
        for (i, p) in probabilities.iter().enumerate() {
            tokens += p;
            let nodes = i + 2;
            // About half of a tree's nodes are asked about, a few at a time.
            let times = (nodes as f64 / 8.0).max(1.0).log2() + nodes.min(4) as f64;
            let at_a_time = (nodes / 8).clamp(1, 8);
            let draft_ms = times * decodes.ms(at_a_time);
            let ms = draft_ms + self.passes.ms(nodes.max(class.min), class);
            best = best.max(tokens / ms);
        }
        best
    }

    /// How many of the guesses, whose path probabilities are given in falling order, a pass should
    /// verify after `spent_ms` of drafting.
    pub fn cut(&self, limits: &PassLimits, probabilities: &[f64], spent_ms: f64) -> usize {
        match self.size {
            TreeSize::Fixed(_) | TreeSize::Chain(_) => probabilities.len().min(self.most(limits)),
            TreeSize::Auto => self.best(limits, probabilities.iter().copied(), spent_ms).0,
        }
    }

    /// Most guesses of a pass. Memory for logits is set aside for as many nodes as the cap, the tip
    /// among them (other certain nodes want no logits); memory for nodes, for a pass over a prompt
    /// or for the cap, whichever is more.
    pub fn most(&self, limits: &PassLimits) -> usize {
        let widest = self.cap.max(WidthClass::BATCH.max);
        let nodes = limits.class.max.min(limits.capacity).min(widest);
        nodes.saturating_sub(limits.certain).min(self.cap - 1)
    }

    /// The best number of guesses, and its tokens a millisecond.
    fn best(
        &self,
        limits: &PassLimits,
        probabilities: impl Iterator<Item = f64>,
        spent_ms: f64,
    ) -> (usize, f64) {
        let rate = |guesses: usize, tokens: f64| {
            let width = (limits.certain + guesses).max(limits.class.min);
            tokens / (spent_ms + self.passes.ms(width, limits.class))
        };
        let mut tokens = 1.0;
        let mut best = (0, rate(0, tokens));
        for (i, p) in probabilities.take(self.most(limits)).enumerate() {
            tokens += p;
            let found = rate(i + 1, tokens);
            if found > best.1 {
                best = (i + 1, found);
            }
        }
        best
    }

    /// How many nodes a drafter that computes should be asked about next; none: drafting ends.
    ///
    /// `probabilities` are the path probabilities of all guesses, falling. `open` are the nodes
    /// that the drafter has not been asked about, as many as it takes at a time, falling too: the
    /// path probability of each, and the part of it that falls to tokens not guessed yet.
    pub fn ask(
        &self,
        limits: &PassLimits,
        probabilities: &[f64],
        open: &[(f64, f64)],
        spent_ms: f64,
        decodes: &DecodeTimes,
    ) -> usize {
        let likely = open.iter().take_while(|(p, _)| *p > LEAST_P);
        let open = &open[..likely.count()];
        let most = self.most(limits);
        if most == 0 {
            return 0;
        }
        if self.size != TreeSize::Auto {
            // It pays until no child can be among the best any more.
            let last = probabilities.get(most - 1).copied().unwrap_or(0.0);
            let better = open.iter().take_while(|(p, _)| p * BEST_CHILD > last);
            let better = &open[..better.count()];
            let value = |at_once: &usize| {
                let sum: f64 = better[..*at_once].iter().map(|(p, _)| p).sum();
                sum / decodes.ms(*at_once)
            };
            let sizes = AT_ONCE.into_iter().filter(|&n| n <= better.len());
            return sizes
                .max_by(|a, b| value(a).total_cmp(&value(b)))
                .unwrap_or(0);
        }
        let (_, now) = self.best(limits, probabilities.iter().copied(), spent_ms);
        let rate = self.acceptance.rate(limits.label);
        let mut choice = (0, now);
        for at_once in AT_ONCE {
            if at_once > open.len() {
                break;
            }
            for decodes_ahead in [1_i32, 2, 4, 8] {
                let mut expected = probabilities.to_vec();
                for (_, unguessed) in &open[..at_once] {
                    expected.extend((1..=decodes_ahead).map(|i| unguessed * rate.powi(i)));
                }
                expected.sort_unstable_by(|a, b| b.total_cmp(a));
                let ms = spent_ms + f64::from(decodes_ahead) * decodes.ms(at_once);
                let (_, found) = self.best(limits, expected.into_iter(), ms);
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

    /// Of a session with a drafter that computes.
    fn drafted(size: TreeSize, cap: usize) -> Sizing {
        let mut sizing = Sizing::new(size, cap);
        sizing.set_drafted(true);
        sizing
    }

    /// One that takes so long for a token.
    fn draft(ms: f64) -> DecodeTimes {
        DecodeTimes::new(1, ms)
    }

    /// The figures of a small oracle in memory on a processor without AVX-512: 33 ms for one token,
    /// 73 for two, 140 for 8 to 16.
    fn resident() -> Sizing {
        let mut sizing = drafted(TreeSize::Auto, 63);
        for _ in 0..10 {
            for (width, ms) in [(1, 33.0), (2, 73.0), (4, 102.0), (7, 148.0)] {
                sizing.passes.observe(width, WidthClass::NARROW, ms, 0.0);
            }
            sizing.passes.observe(16, WidthClass::BATCH, 145.0, 0.0);
        }
        sizing
    }

    /// The same where reading takes two seconds.
    fn streamed() -> Sizing {
        let mut sizing = resident();
        for _ in 0..30 {
            sizing.passes.observe(16, WidthClass::BATCH, 2000.0, 1855.0);
        }
        sizing
    }

    fn limits(class: WidthClass) -> PassLimits {
        PassLimits {
            class,
            label: None,
            certain: 1,
            capacity: 1000,
        }
    }

    /// A chain of guesses.
    fn chain(p: f64, n: i32) -> Vec<f64> {
        (1..=n).map(|i| p.powi(i)).collect()
    }

    #[test]
    fn where_drafting_loses_a_pass_is_one_token() {
        let (mut sizing, draft) = (resident(), draft(12.0));
        assert_eq!(sizing.class(None, Some(&draft)), WidthClass::NARROW);
        let limits = limits(WidthClass::NARROW);
        assert_eq!(sizing.ask(&limits, &[], &[(1.0, 1.0)], 0.0, &draft), 0);
        assert_eq!(sizing.cut(&limits, &chain(0.6, 6), 0.0), 0);
        // A repetition that is almost sure costs no drafting and pays.
        assert_eq!(sizing.cut(&limits, &chain(0.99, 6), 0.0), 6);
    }

    #[test]
    fn without_a_model_and_where_it_is_asked_for_a_text_is_of_one_class() {
        let sizes = [TreeSize::Auto, TreeSize::Fixed(1), TreeSize::Fixed(100)];
        for size in sizes {
            for (trees, class) in [
                (Trees::Exact, WidthClass::PLAIN),
                (Trees::Chains, WidthClass::NARROW),
                (Trees::Rounded, WidthClass::DEVICE),
                (Trees::RoundedChains, WidthClass::DEVICE),
            ] {
                let mut alone = Sizing::new(size, 512).of(trees);
                assert_eq!(alone.class(None, None), class);
                let mut drafted = drafted(size, 512).of(trees).with_one_text(true);
                drafted.acceptance.observe(None, 300, 297);
                assert_eq!(drafted.class(None, Some(&draft(0.1))), class);
            }
        }
    }

    #[test]
    fn where_passes_are_expensive_the_tree_grows() {
        let (mut sizing, draft) = (streamed(), draft(12.0));
        assert_eq!(sizing.class(None, Some(&draft)), WidthClass::BATCH);
        let limits = limits(WidthClass::BATCH);
        assert!(sizing.ask(&limits, &[], &[(1.0, 1.0)], 0.0, &draft) > 0);
        // All that can be computed while weights are read.
        let probabilities = vec![0.05; 100];
        assert_eq!(sizing.cut(&limits, &probabilities, 50.0), 62);
        let narrow = PassLimits {
            capacity: 20,
            ..limits
        };
        assert_eq!(sizing.cut(&narrow, &probabilities, 50.0), 19);
    }

    #[test]
    fn drafting_ends_when_the_rest_is_not_worth_it() {
        let sizing = streamed();
        let limits = limits(WidthClass::BATCH);
        let ask = |left, draft_ms| {
            let left = [(left, left)];
            sizing.ask(&limits, &chain(0.8, 12), &left, 400.0, &draft(draft_ms))
        };
        assert_eq!(ask(0.01, 12.0), 0);
        // A slow draft ends sooner.
        assert!(ask(0.3, 12.0) > 0);
        assert_eq!(ask(0.3, 2000.0), 0);
    }

    #[test]
    fn nodes_up_to_the_costs_next_step_are_free() {
        let mut sizing = resident();
        for _ in 0..10 {
            sizing.passes.observe(8, WidthClass::BATCH, 140.0, 0.0);
            sizing.passes.observe(24, WidthClass::BATCH, 210.0, 0.0);
        }
        // Unlikely guesses fill a pass up to 16 nodes, which cost what 8 do, and not more.
        let cut = sizing.cut(&limits(WidthClass::BATCH), &[0.01; 40], 0.0);
        assert_eq!(cut, 15);
    }

    #[test]
    fn a_bad_draft_is_found_out_and_tried_again() {
        let (mut sizing, draft) = (drafted(TreeSize::Auto, 63), draft(12.0));
        for _ in 0..20 {
            // 16 tokens take less than twice as long as one.
            sizing.passes.observe(16, WidthClass::BATCH, 145.0, 0.0);
            sizing.passes.observe(1, WidthClass::NARROW, 80.0, 0.0);
        }
        sizing.acceptance.observe(None, 300, 270);
        assert_eq!(sizing.class(None, Some(&draft)), WidthClass::BATCH);
        sizing.acceptance.observe(None, 400, 20);
        assert_eq!(sizing.class(None, Some(&draft)), WidthClass::NARROW);
        for _ in 0..60 {
            sizing.acceptance.fade(None);
        }
        assert!(sizing.acceptance.rate(None) > 0.4);
    }

    #[test]
    fn a_fixed_tree_is_filled_with_the_best() {
        let (mut sizing, draft) = (drafted(TreeSize::Fixed(32), 512), draft(12.0));
        assert_eq!(sizing.class(None, Some(&draft)), WidthClass::BATCH);
        let limits = limits(WidthClass::BATCH);
        let many = vec![0.1; 60];
        assert_eq!(sizing.cut(&limits, &many, 1e6), 31);
        assert!(sizing.ask(&limits, &[0.5], &[(0.4, 0.4)], 1e6, &draft) > 0);
        // No child can be among the best 31 any more.
        assert_eq!(sizing.ask(&limits, &many, &[(0.11, 0.11)], 1e6, &draft), 0);
        // A pass that ends a prompt is no wider than there is memory for.
        let wide = Sizing::new(TreeSize::Fixed(100), 512);
        let limits = PassLimits {
            class: WidthClass::WIDE,
            certain: 60,
            ..limits
        };
        assert_eq!(wide.cut(&limits, &[0.1; 200], 0.0), 40);
        let none = Sizing::new(TreeSize::Fixed(1), 512);
        let limits = PassLimits {
            class: WidthClass::NARROW,
            ..limits
        };
        assert_eq!(none.cut(&limits, &many, 0.0), 0);
    }

    #[test]
    fn the_class_changes_only_for_a_clear_gain() {
        let (mut sizing, draft) = (resident(), draft(12.0));
        assert_eq!(sizing.class(None, Some(&draft)), WidthClass::NARROW);
        // Now a batch is about as good.
        sizing.acceptance.observe(None, 400, 330);
        for _ in 0..40 {
            sizing.passes.observe(1, WidthClass::NARROW, 48.0, 0.0);
        }
        assert_eq!(sizing.class(None, Some(&draft)), WidthClass::NARROW);
    }
}
