//! How soon each expert is expected to be used next.
//!
//! The rate of an expert is the part of tokens that use it. It is predicted as a weighted sum of
//! how often the expert was used of late, over three spans, and of a prior: how often texts like
//! the one at hand use it, by a profile. Bursts end within a few tokens, topics last for dozens,
//! and what a label is about for whole conversations. How much each counts is learnt from every
//! layer that is computed, by normalised least mean squares (B. Widrow, M. Hoff, "Adaptive
//! switching circuits", 1960): a profile that does not suit the text soon counts for little.
//!
//! ```text
//!  prior, over 1 token, over 8, over 64 --weights--> rate --> wait = 1 / rate, in tokens
//!              ^                           ^
//!              '---- what a layer used ----'---- less what was predicted of it
//!
//!  layers   0 1 2 3 4 5 6 7          The wait ends with the layer's turn: those after the layer
//!                 ^ computed now     at hand come in this pass, the others in the next.
//! ```
//!
//! Invariants: rates and weights are finite, and from 0 up. What a layer used takes time in its
//! experts, and nothing is allocated. Units: tokens.

use super::eviction::{ExpertId, Use};

/// After so many tokens half of what is remembered is of older ones.
const HALF_LIVES: [f32; SPANS] = [1.0, 8.0, 64.0];
const SPANS: usize = 3;
/// The prior comes first.
const SIGNS: usize = 1 + SPANS;
/// The part of an error that weights are corrected by; larger is sooner and less steady. Five
/// times as much and a fifth give hit rates within 0.2%.
const LEARNING_RATE: f32 = 0.005;
/// Keeps the correction finite where all signs are near zero.
const LEAST_NORM: f32 = 0.05;
/// Keeps waits finite.
const LEAST_RATE: f32 = 1e-6;

/// See the module's text.
#[derive(Clone, Debug)]
pub(super) struct Rates {
    groups: Vec<Group>,
    /// By number, in one count over all groups.
    experts: Vec<Expert>,
    weights: [f32; SIGNS],
    /// The group that was used last.
    at: usize,
}

#[derive(Clone, Debug)]
struct Group {
    start: usize,
    end: usize,
    /// Experts that a token uses.
    used: f32,
}

#[derive(Clone, Copy, Debug)]
struct Expert {
    /// Rates: by the prior, and over each span.
    signs: [f32; SIGNS],
    /// The part of the tokens at hand that use it.
    now: f32,
}

impl Rates {
    /// Of groups of so many `experts`, of which a token uses `used`, each as often as any other.
    pub fn new(experts: &[usize], used: usize) -> Self {
        let (mut groups, mut all) = (Vec::new(), Vec::new());
        for &experts in experts {
            let used = used.clamp(1, experts.max(1)) as f32;
            let start = all.len();
            let expert = Expert {
                signs: [used / experts.max(1) as f32; SIGNS],
                now: 0.0,
            };
            all.resize(start + experts, expert);
            groups.push(Group {
                start,
                end: all.len(),
                used,
            });
        }
        Self {
            groups,
            experts: all,
            weights: [1.0 / SIGNS as f32; SIGNS],
            at: 0,
        }
    }

    /// The rates that a profile has, by number. What is no rate counts as none.
    pub fn set_prior(&mut self, rates: impl IntoIterator<Item = f32>) {
        for (expert, rate) in self.experts.iter_mut().zip(rates) {
            expert.signs[0] = match rate.is_nan() {
                true => 0.0,
                false => rate.clamp(0.0, 1.0),
            };
        }
    }

    /// Tokens have been computed in `group`, with these experts of it and no others.
    pub fn used(&mut self, group: usize, uses: &[Use]) {
        self.at = group;
        let Group { start, end, used } = self.groups[group];
        let choices: u32 = uses.iter().map(|of| of.its).sum();
        let tokens = choices as f32 / used;
        if tokens <= 0.0 {
            return;
        }
        for of in uses {
            self.experts[start + of.id.expert].now = (of.its as f32 / tokens).min(1.0);
        }
        let keep = HALF_LIVES.map(|half_life| (-tokens / half_life).exp2());
        for expert in &mut self.experts[start..end] {
            expert.teach(&mut self.weights);
            expert.remember(keep);
        }
    }

    /// Tokens from one use of `id` to the next, as expected now.
    pub fn tokens_between(&self, id: ExpertId) -> f32 {
        let rate = self.experts[self.groups[id.group].start + id.expert].rate(&self.weights);
        1.0 / rate.max(LEAST_RATE)
    }

    /// Tokens until `id` is expected to be used.
    pub fn wait(&self, id: ExpertId) -> f32 {
        let after = id.group as f32 - self.at as f32;
        let next = if id.group > self.at { 0.0 } else { 1.0 };
        self.tokens_between(id) + next + after / self.groups.len() as f32
    }
}

impl Expert {
    fn rate(&self, weights: &[f32; SIGNS]) -> f32 {
        let products = self.signs.iter().zip(weights).map(|(sign, w)| sign * w);
        products.sum()
    }

    /// Corrects `weights` by how wrong they were about this one.
    fn teach(&self, weights: &mut [f32; SIGNS]) {
        let error = self.now - self.rate(weights);
        let norm = LEAST_NORM + self.signs.iter().map(|sign| sign * sign).sum::<f32>();
        let step = LEARNING_RATE * error / norm;
        for (weight, sign) in weights.iter_mut().zip(self.signs) {
            *weight = (*weight + step * sign).clamp(0.0, 1.0);
        }
    }

    fn remember(&mut self, keep: [f32; SPANS]) {
        let now = std::mem::take(&mut self.now);
        for (rate, keep) in self.signs[1..].iter_mut().zip(keep) {
            *rate = *rate * keep + now * (1.0 - keep);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(group: usize, expert: usize) -> ExpertId {
        ExpertId { group, expert }
    }

    fn used(rates: &mut Rates, group: usize, experts: &[usize]) {
        let uses = experts.iter().map(|&expert| Use {
            id: id(group, expert),
            its: 1,
        });
        rates.used(group, &uses.collect::<Vec<_>>());
    }

    #[test]
    fn what_is_used_often_is_expected_soon() {
        let mut rates = Rates::new(&[4, 4], 1);
        for pass in 0..60 {
            used(&mut rates, 0, &[usize::from(pass % 4 == 0)]);
        }
        assert!(rates.wait(id(0, 0)) < rates.wait(id(0, 1)));
        assert!(rates.wait(id(0, 1)) < rates.wait(id(0, 2)));
    }

    #[test]
    fn layers_that_come_in_this_pass_are_expected_before_those_that_were() {
        let mut rates = Rates::new(&[2, 2, 2], 2);
        used(&mut rates, 1, &[0, 1]);
        let waits = [2, 0, 1].map(|group| rates.wait(id(group, 0)));
        assert!(waits[0] < waits[1] && waits[1] < waits[2], "{waits:?}");
    }

    #[test]
    fn a_profile_counts_as_long_as_it_is_right() {
        let learnt = |is_right: bool| {
            let mut rates = Rates::new(&[16], 2);
            let expected = if is_right { 0..8 } else { 8..16 };
            rates.set_prior((0..16).map(|expert| match expected.contains(&expert) {
                true => 0.25,
                false => 0.0,
            }));
            // Each of the first eight as often, in no order that is seen over the spans.
            for pass in 0..400 {
                let first = pass * 5 % 8;
                used(&mut rates, 0, &[first, (first + 1 + pass % 7) % 8]);
            }
            rates.weights[0]
        };
        assert!(learnt(true) > 1.0 / SIGNS as f32);
        assert!(learnt(false) < 0.02);
    }

    #[test]
    fn tokens_that_are_computed_together_count_as_many() {
        let [mut together, mut apart] = [Rates::new(&[4], 1), Rates::new(&[4], 1)];
        for _ in 0..64 {
            used(&mut apart, 0, &[2]);
        }
        let all = Use {
            id: id(0, 2),
            its: 64,
        };
        together.used(0, &[all]);
        let signs = |rates: &Rates| rates.experts[2].signs;
        for (a, b) in signs(&together).iter().zip(signs(&apart)) {
            assert!((a - b).abs() < 1e-3, "{a} {b}");
        }
    }

    proptest! {
        #[test]
        fn waits_are_finite_whatever_comes(
            priors in prop::collection::vec(any::<f32>(), 8),
            acts in prop::collection::vec((0usize..2, 0usize..4, any::<u32>()), 0..60),
        ) {
            let mut rates = Rates::new(&[4, 4], 2);
            rates.set_prior(priors);
            for (group, expert, its) in acts {
                rates.used(group, &[Use { id: id(group, expert), its }]);
                for number in 0..8 {
                    let wait = rates.wait(id(number / 4, number % 4));
                    prop_assert!(wait.is_finite() && wait > 0.0);
                }
            }
        }
    }
}
