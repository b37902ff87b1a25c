//! How soon each expert is expected to be used next.
//!
//! The rate of an expert is the part of tokens that use it. It is estimated from how often the
//! expert was used of late, over three spans, and from a prior: how often a profile of the text
//! at hand says that it is used. Bursts end within a few tokens, topics last for dozens, and what
//! a label is about for whole conversations, so that no single span will do:
//!
//! ```text
//!  rate = 0.2 x prior + 0.15 x over the last token + 0.25 x over 4 + 0.4 x over 24
//!
//!  layers   0 1 2 3 4 5 6 7          wait = 1 / rate, in tokens
//!                 ^ computed now     the same for all layers but for this: those after it come in
//!                                    this pass, those before it in the next
//! ```
//!
//! Invariants: rates are above 0 and finite. A use takes time in the experts of its layer, once a
//! pass, and nothing is allocated. Units: tokens.

use super::eviction::{ExpertId, Share};

/// After so many tokens half of a rate is of older ones.
const HALF_LIVES: [f32; SPANS] = [1.0, 4.0, 24.0];
/// What each of these counts, and what the prior does: together 1.
const SPAN_WEIGHTS: [f32; SPANS] = [0.15, 0.25, 0.4];
const PRIOR_WEIGHT: f32 = 0.2;
const SPANS: usize = 3;
/// An expert that was never used may be used yet.
const LEAST_RATE: f32 = 1e-3;

/// See the module's text.
#[derive(Clone, Debug)]
pub(super) struct Rates {
    groups: Vec<Group>,
    /// By number, in one count over all groups, as are the next.
    experts: Vec<Expert>,
    prior: Vec<f32>,
    /// Number of the pass at hand.
    pass: u64,
    /// The group that was used last.
    at: usize,
}

#[derive(Clone, Debug)]
struct Group {
    start: usize,
    end: usize,
    /// Experts that a token uses.
    used: f32,
    /// The last pass that used it.
    pass: u64,
}

#[derive(Clone, Copy, Debug)]
struct Expert {
    spans: [f32; SPANS],
    /// Tokens until the next use, were all layers alike.
    wait: f32,
    /// The last pass that used it.
    pass: u64,
}

impl Rates {
    /// Of groups of so many `experts`, of which a token uses `used`, each as often as any other.
    pub fn new(experts: &[usize], used: usize) -> Self {
        let (mut groups, mut all, mut prior) = (Vec::new(), Vec::new(), Vec::new());
        for &experts in experts {
            let used = used.clamp(1, experts.max(1)) as f32;
            let rate = used / experts.max(1) as f32;
            groups.push(Group {
                start: all.len(),
                end: all.len() + experts,
                used,
                pass: 0,
            });
            let expert = Expert {
                spans: [rate; SPANS],
                wait: 1.0 / rate.max(LEAST_RATE),
                pass: 0,
            };
            all.resize(all.len() + experts, expert);
            prior.resize(all.len(), rate);
        }
        Self {
            groups,
            experts: all,
            prior,
            pass: 0,
            at: 0,
        }
    }

    pub fn begin_pass(&mut self) {
        self.pass += 1;
    }

    /// The rates that a profile has, by number. What is no rate counts as none.
    pub fn set_prior(&mut self, rates: impl IntoIterator<Item = f32>) {
        for (number, (prior, rate)) in self.prior.iter_mut().zip(rates).enumerate() {
            *prior = if rate.is_finite() {
                rate.clamp(0.0, 1.0)
            } else {
                0.0
            };
            self.experts[number].expect(*prior);
        }
    }

    /// The pass at hand uses `id`. Says whether that was not known
    /// yet: an expert counts once a pass.
    pub fn used(&mut self, id: ExpertId, share: Share) -> bool {
        let number = self.number(id);
        let group = &mut self.groups[id.group];
        let tokens = (share.all as f32 / group.used).max(1.0);
        let keep = HALF_LIVES.map(|half_life| (-tokens / half_life).exp2());
        self.at = id.group;
        if group.pass != self.pass {
            group.pass = self.pass;
            let experts = self.experts[group.start..group.end].iter_mut();
            for (expert, &prior) in experts.zip(&self.prior[group.start..group.end]) {
                expert
                    .spans
                    .iter_mut()
                    .zip(keep)
                    .for_each(|(rate, keep)| *rate *= keep);
                expert.expect(prior);
            }
        }
        let expert = &mut self.experts[number];
        if expert.pass == self.pass {
            return false;
        }
        expert.pass = self.pass;
        let rate = (share.its as f32 / tokens).min(1.0);
        for (span, keep) in expert.spans.iter_mut().zip(keep) {
            *span += rate * (1.0 - keep);
        }
        expert.expect(self.prior[number]);
        true
    }

    /// The pass at hand has used experts of this group.
    pub fn has_begun(&self, group: usize) -> bool {
        self.groups[group].pass == self.pass
    }

    /// The pass at hand has used it.
    pub fn is_in_pass(&self, id: ExpertId) -> bool {
        self.experts[self.number(id)].pass == self.pass
    }

    fn number(&self, id: ExpertId) -> usize {
        self.groups[id.group].start + id.expert
    }

    /// Tokens until `id` is expected to be used.
    pub fn wait(&self, id: ExpertId) -> f32 {
        let after = id.group as f32 - self.at as f32;
        let ahead = match id.group > self.at {
            true => 0.0,
            false => 1.0,
        };
        self.experts[self.number(id)].wait + ahead + after / self.groups.len() as f32
    }
}

impl Expert {
    fn expect(&mut self, prior: f32) {
        let spans = self.spans.iter().zip(SPAN_WEIGHTS);
        let rate = PRIOR_WEIGHT * prior + spans.map(|(rate, weight)| rate * weight).sum::<f32>();
        self.wait = 1.0 / rate.max(LEAST_RATE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(group: usize, expert: usize) -> ExpertId {
        ExpertId { group, expert }
    }

    #[test]
    fn what_is_used_often_is_expected_soon() {
        let mut rates = Rates::new(&[4, 4], 1);
        for pass in 0..60 {
            rates.begin_pass();
            let expert = if pass % 4 == 0 { 1 } else { 0 };
            rates.used(id(0, expert), Share { its: 1, all: 1 });
        }
        assert!(rates.wait(id(0, 0)) < rates.wait(id(0, 1)));
        assert!(rates.wait(id(0, 1)) < rates.wait(id(0, 2)));
    }

    #[test]
    fn layers_that_come_in_this_pass_are_expected_before_those_that_were() {
        let mut rates = Rates::new(&[2, 2, 2], 2);
        rates.begin_pass();
        for expert in 0..2 {
            rates.used(id(1, expert), Share { its: 1, all: 2 });
        }
        rates.begin_pass();
        let waits = [2, 0].map(|group| rates.wait(id(group, 0)));
        assert!(waits[0] < waits[1], "{waits:?}");
        assert!(waits[1] < waits[0] + 1.0, "{waits:?}");
    }

    #[test]
    fn a_use_counts_once_a_pass() {
        let mut rates = Rates::new(&[4], 1);
        rates.begin_pass();
        assert!(rates.used(id(0, 1), Share { its: 1, all: 1 }));
        let wait = rates.wait(id(0, 1));
        assert!(!rates.used(id(0, 1), Share { its: 1, all: 1 }));
        assert_eq!(rates.wait(id(0, 1)), wait);
    }

    proptest! {
        #[test]
        fn waits_are_finite_whatever_comes(
            priors in prop::collection::vec(any::<f32>(), 8),
            acts in prop::collection::vec((0usize..2, 0usize..4, any::<u32>(), any::<u32>()), 0..60),
        ) {
            let mut rates = Rates::new(&[4, 4], 2);
            rates.set_prior(priors);
            for (group, expert, its, all) in acts {
                rates.begin_pass();
                rates.used(id(group, expert), Share { its, all });
                for number in 0..8 {
                    let wait = rates.wait(id(number / 4, number % 4));
                    prop_assert!(wait.is_finite() && wait > 0.0 && wait <= 1.0 / LEAST_RATE + 2.0);
                }
            }
        }
    }
}
