//! How many of a token's experts will be here when they are asked for.
//!
//! ```text
//!  the most used of the experts that fit      x, their part of all uses
//!  those that stay go by recent use too       1 - (1 - x)^LOCALITY, since uses come in bursts
//! ```
//!
//! How skewed uses are is known from a profile. Before one has been learnt a shape is all there is,
//! and what mixtures of other shapes were measured to do.

use super::mixture::{ExpertPlan, Mixture};
use super::profile::Profile;
use crate::units::Bytes;
use serde::Serialize;

/// How much more hits there are than if the most used experts stayed: the exponent that fits three
/// recordings (of 24 and 64 experts; answers, and texts read token by token) within 0.08 at 12.5,
/// 25, 50 and 75% of the experts.
const LOCALITY: f64 = 1.6;

/// A profile of so many tokens counts for half: from fewer, uses look more skewed than they are.
const HALF_KNOWN_TOKENS: f64 = 256.0;

/// What a hit rate is predicted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PredictedFrom {
    /// How often texts used each expert before.
    EarlierUse,
    /// How many experts there are, and how many fit.
    Shape,
}

impl PredictedFrom {
    /// As the end of a sentence.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EarlierUse => "from earlier use",
            Self::Shape => "from its shape",
        }
    }
}

impl Mixture {
    /// Predicts for `plan`, which is from the shape, by what texts have used so far; the less is
    /// known of it, the less that counts.
    pub fn predict_by(&self, profile: &Profile, plan: &mut ExpertPlan) {
        if plan.bytes >= plan.all {
            return;
        }
        let tokens = f64::from(profile.all_tokens());
        let known = tokens / (tokens + HALF_KNOWN_TOKENS);
        let used = 1.0 - (1.0 - self.most_used(plan.bytes, profile)).powf(LOCALITY);
        let rate = known * used + (1.0 - known) * plan.predicted_hit_rate;
        plan.predicted_hit_rate = rate.clamp(0.0, 1.0);
        plan.predicted_token_bytes = self.missed(plan.predicted_hit_rate);
        if known >= 0.5 {
            plan.predicted_from = PredictedFrom::EarlierUse;
        }
    }

    /// What a token has read at this hit rate.
    pub(super) fn missed(&self, hit_rate: f64) -> Bytes {
        Bytes((self.token_bytes().0 as f64 * (1.0 - hit_rate)) as u64)
    }

    /// The part of all uses that is of the most used experts, as many as fit.
    fn most_used(&self, memory: Bytes, profile: &Profile) -> f64 {
        let sizes = self.groups.iter().flat_map(|group| {
            let experts = group.experts();
            std::iter::repeat_n(group.bytes().0 as f64 / experts.max(1) as f64, experts)
        });
        let rates = (0..profile.experts()).map(|number| f64::from(profile.rate_of_all(number)));
        let mut experts: Vec<_> = rates.zip(sizes).collect();
        experts.sort_unstable_by(|(a, _), (b, _)| b.total_cmp(a));
        let all: f64 = experts.iter().map(|(rate, _)| rate).sum();
        let mut left = memory.0 as f64;
        let fitting = experts.iter().map(|(rate, bytes)| {
            let part = (left / bytes).clamp(0.0, 1.0);
            left -= bytes * part;
            rate * part
        });
        fitting.sum::<f64>() / all.max(f64::MIN_POSITIVE)
    }
}

#[cfg(test)]
mod tests {
    use super::super::model_key::ModelKey;
    use super::super::pages::ExpertGroup;
    use super::super::pages::tests::tensor;
    use super::super::profile::Uses;
    use super::*;
    use crate::vocabulary::Label;
    use proptest::prelude::*;

    /// Two layers of 16 experts, of which a token uses 2.
    fn mixture() -> Mixture {
        let tables = [0, 1].map(|layer| {
            let name = format!("blk.{layer}.ffn_up_exps.weight");
            tensor(&name, 16, 8192, 8192 * 16 * layer)
        });
        Mixture {
            groups: ExpertGroup::all(&tables),
            used: 2,
        }
    }

    /// Of `tokens` tokens, each of which used the first experts of each layer so much.
    fn profile(tokens: f32, parts: &[f32]) -> Profile {
        let mut profile = Profile::of(&mixture().routing_header(ModelKey::of(b"a model")));
        let mut experts = vec![0.0; 32];
        for layer in [0, 16] {
            for (number, part) in parts.iter().enumerate() {
                experts[layer + number] = part * tokens;
            }
        }
        profile.learn(Label::Docs, &Uses { tokens, experts });
        profile
    }

    fn predicted(part: f64, profile: &Profile) -> ExpertPlan {
        let mixture = mixture();
        let all = mixture.plan_for_all(63);
        let mut plan = mixture.plan(Bytes((all.memory().0 as f64 * part) as u64), 63);
        mixture.predict_by(profile, &mut plan);
        plan
    }

    #[test]
    fn where_texts_used_few_experts_few_are_enough() {
        let few = predicted(0.5, &profile(9000.0, &[1.0, 0.5, 0.25, 0.25]));
        assert!(few.predicted_hit_rate > 0.97, "{few:?}");
        assert_eq!(few.predicted_from, PredictedFrom::EarlierUse);
        assert!(few.predicted_token_bytes.0 * 20 < mixture().token_bytes().0);
        let all = predicted(0.5, &profile(9000.0, &[0.125; 16]));
        assert!(all.predicted_hit_rate < 0.75, "{all:?}");
    }

    #[test]
    fn little_that_is_known_counts_for_little() {
        let shape = predicted(0.25, &profile(0.0, &[]));
        assert_eq!(shape.predicted_from, PredictedFrom::Shape);
        let little = predicted(0.25, &profile(16.0, &[1.0, 1.0]));
        assert_eq!(little.predicted_from, PredictedFrom::Shape);
        let much = predicted(0.25, &profile(9000.0, &[1.0, 1.0]));
        let rates = [shape, little, much].map(|plan| plan.predicted_hit_rate);
        assert!(
            rates.is_sorted() && rates[1] - rates[0] < rates[2] - rates[1],
            "{rates:?}"
        );
    }

    #[test]
    fn what_fits_whole_is_read_once_whatever_was_used() {
        let plan = predicted(1.0, &profile(9000.0, &[1.0, 1.0]));
        assert_eq!(plan, mixture().plan_for_all(63));
    }

    proptest! {
        #[test]
        fn more_memory_is_never_expected_to_hold_less(
            tokens in 0f32..20_000.0, parts in prop::collection::vec(0f32..1.0, 16),
            memory in (0.01..1.0_f64, 0.01..1.0_f64),
        ) {
            let profile = profile(tokens, &parts);
            let (less, more) = (memory.0.min(memory.1), memory.0.max(memory.1));
            let [less, more] = [less, more].map(|part| predicted(part, &profile).predicted_hit_rate);
            prop_assert!((0.0..=1.0).contains(&less) && less <= more + 1e-9, "{less} {more}");
        }
    }
}
