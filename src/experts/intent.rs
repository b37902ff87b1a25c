//! Eviction by what the text at hand is about.
//!
//! The expert leaves of those in memory that is expected last: by how it was used of late, the
//! prompt's own tokens included, and by how a profile says that texts of this label use it.
//!
//! ```text
//!  scout's guess ----.
//!  routing so far ---+--> labels --profile--> prior --.
//!  what layers used ----------------------------------+--> rates --> victim
//! ```
//!
//! Whoever owns the text keeps an [`IntentLink`]: it says what the scout thinks, and, once the
//! answer's own label is known, that the profile may learn from what was used. Without a scout the
//! labels count alike until routing tells them apart. For comparison all labels can be taken for
//! one, whatever the scout and the routing say ([`Intent::of_all_labels`]).
//!
//! Cost: what a layer used takes time in its experts, a victim in those of the model, a pass in
//! these where the labels changed. Nothing is allocated, but to learn.

use super::eviction::{Eviction, ExpertId, Use};
use super::labels::Labels;
use super::profile::{Profile, Uses};
use super::rates::Rates;
use super::routing::Header;
use crate::vocabulary::Label;
use std::cell::RefCell;
use std::rc::Rc;

/// See the module's text.
#[derive(Debug)]
pub struct Intent {
    /// Number of the first expert of each group, in one count over all.
    starts: Vec<usize>,
    /// By that count: which expert is in memory.
    here: Vec<Option<ExpertId>>,
    rates: Rates,
    /// None where all labels' profile is the prior of any text.
    labels: Option<Labels>,
    profile: Profile,
    link: IntentLink,
    /// Experts that a token uses in a group.
    used: usize,
}

/// The other end of an [`Intent`], which a store owns.
#[derive(Clone, Debug, Default)]
pub struct IntentLink(Rc<RefCell<Shared>>);

#[derive(Debug, Default)]
struct Shared {
    probabilities: Option<[f32; Label::ALL.len()]>,
    uses: Uses,
    /// For the profile.
    lessons: Vec<(Label, Uses)>,
}

impl IntentLink {
    /// What a scout takes the text at hand for, and how surely; seen at the next pass.
    pub fn set_guess(&self, guess: Option<(Label, f32)>) {
        let others = Label::ALL.len() as f32 - 1.0;
        let probabilities = Label::ALL.map(|of| match guess {
            Some((label, p)) if label == of => p,
            Some((_, p)) => (1.0 - p) / others,
            None => 1.0 / (others + 1.0),
        });
        self.with(|shared| shared.probabilities = Some(probabilities));
    }

    /// All that was used since this was last called is of texts with this `label`; the profile
    /// learns it at the next pass. Returns the uses, for the profile on disk.
    pub fn learn(&self, label: Label) -> Uses {
        self.with(|shared| {
            let none = Uses {
                tokens: 0.0,
                experts: vec![0.0; shared.uses.experts.len()],
            };
            let uses = std::mem::replace(&mut shared.uses, none);
            shared.lessons.push((label, uses.clone()));
            uses
        })
    }

    /// Nothing is learnt of what was used since [`Self::learn`] was last called.
    pub fn forget(&self) {
        self.with(|shared| {
            if shared.uses.tokens > 0.0 {
                shared.uses.tokens = 0.0;
                shared.uses.experts.fill(0.0);
            }
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut Shared) -> T) -> T {
        act(&mut self.0.borrow_mut())
    }
}

impl Intent {
    /// With nothing in memory, of the groups in `header`, of which `profile` is as well.
    pub fn new(header: &Header, profile: Profile) -> Self {
        let mut labels = Labels::new(profile.experts());
        labels.learn(&profile);
        Self::with(header, profile, Some(labels))
    }

    /// The same, which takes all labels for one: for comparison.
    pub fn of_all_labels(header: &Header, profile: Profile) -> Self {
        let mut intent = Self::with(header, profile, None);
        intent.expect_any_label();
        intent
    }

    fn with(header: &Header, profile: Profile, labels: Option<Labels>) -> Self {
        let (experts, used) = (header.experts(), header.used());
        let starts = experts.iter().scan(0, |all, experts| {
            let start = *all;
            *all += experts;
            Some(start)
        });
        let link = IntentLink::default();
        link.with(|shared| shared.uses.experts = vec![0.0; profile.experts()]);
        let mut intent = Self {
            starts: starts.collect(),
            here: vec![None; profile.experts()],
            rates: Rates::new(&experts, used),
            labels,
            profile,
            link,
            used,
        };
        // What is read before the first pass is what the profile says.
        intent.take_news();
        intent
    }

    pub fn link(&self) -> IntentLink {
        self.link.clone()
    }

    /// Takes what came over the link since the last time: lessons, and what the scout says now.
    fn take_news(&mut self) {
        let (probabilities, lessons) = self.link.with(|shared| {
            let lessons = std::mem::take(&mut shared.lessons);
            (shared.probabilities.take(), lessons)
        });
        let has_learnt = !lessons.is_empty();
        for (label, uses) in lessons {
            self.profile.learn(label, &uses);
        }
        let Some(labels) = &mut self.labels else {
            if has_learnt {
                self.expect_any_label();
            }
            return;
        };
        if has_learnt {
            labels.learn(&self.profile);
        }
        if let Some(probabilities) = probabilities {
            labels.set_scout(probabilities);
        }
        if let Some(probabilities) = labels.changed() {
            let profile = &self.profile;
            let rate = |number| -> f32 {
                let of_label = |(label, p): (Label, f32)| p * profile.rate(label, number);
                Label::ALL
                    .into_iter()
                    .zip(probabilities)
                    .map(of_label)
                    .sum()
            };
            self.rates.set_prior((0..profile.experts()).map(rate));
        }
    }

    /// The prior is what all labels' texts use.
    fn expect_any_label(&mut self) {
        let profile = &self.profile;
        let rates = (0..profile.experts()).map(|number| profile.rate_of_all(number));
        self.rates.set_prior(rates);
    }
}

impl Eviction for Intent {
    fn begin_pass(&mut self) {
        self.take_news();
    }

    fn used(&mut self, group: usize, uses: &[Use]) {
        let start = self.starts[group];
        for of in uses {
            self.here[start + of.id.expert] = Some(of.id);
        }
        self.rates.used(group, uses);
        let choices: u32 = uses.iter().map(|of| of.its).sum();
        let tokens = choices as f32 / self.used as f32;
        if let Some(labels) = &mut self.labels {
            if group == 0 {
                labels.forget(tokens);
            }
            labels.used(start, uses, tokens, self.starts.len());
        }
        self.link.with(|shared| {
            if group == 0 {
                shared.uses.tokens += tokens;
            }
            for of in uses {
                shared.uses.experts[start + of.id.expert] += of.its as f32;
            }
        });
    }

    fn came(&mut self, id: ExpertId) {
        self.here[self.starts[id.group] + id.expert] = Some(id);
    }

    fn foresees(&self) -> bool {
        true
    }

    fn before_fill(&mut self) {
        self.take_news();
    }

    fn rarity(&self, expert: ExpertId) -> f32 {
        self.rates.tokens_between(expert)
    }

    fn left(&mut self, expert: ExpertId) {
        self.here[self.starts[expert.group] + expert.expert] = None;
    }

    fn victim(&self, may_go: &dyn Fn(ExpertId) -> bool) -> Option<ExpertId> {
        let here = self.here.iter().flatten().filter(|&&id| may_go(id));
        let waits = here.map(|&id| (id, self.rates.wait(id)));
        waits
            .max_by(|(_, a), (_, b)| a.total_cmp(b))
            .map(|(id, _)| id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// Two layers of 8 experts, of which a token uses two.
    fn header() -> Header {
        Header::made_up(2, 8, 2)
    }

    fn profile() -> Profile {
        let mut profile = Profile::of(&header());
        for (label, first) in Label::ALL.into_iter().zip([0, 2, 4]) {
            let mut uses = Uses {
                tokens: 2000.0,
                experts: vec![0.0; 16],
            };
            for number in [first, first + 1, 8 + first, 9 + first] {
                uses.experts[number] = 2000.0;
            }
            profile.learn(label, &uses);
        }
        profile
    }

    fn pass(intent: &mut Intent, experts: [usize; 2]) {
        intent.begin_pass();
        for group in 0..2 {
            let uses = experts.map(|expert| Use {
                id: ExpertId { group, expert },
                its: 1,
            });
            intent.used(group, &uses);
        }
    }

    /// The part of the prior that is for each label.
    fn labels(intent: &mut Intent) -> [f32; 3] {
        pass(intent, [7, 7]);
        let labels = intent.labels.as_mut().unwrap();
        labels.changed().or(labels.said()).unwrap()
    }

    #[test]
    fn the_scout_says_the_label_and_routing_corrects_it() {
        let mut intent = Intent::new(&header(), profile());
        let even = labels(&mut intent);
        assert!(
            even.iter().all(|p| (p - 1.0 / 3.0).abs() < 0.05),
            "{even:?}"
        );
        intent.link().set_guess(Some((Label::ALL[0], 0.9)));
        let said = labels(&mut intent);
        assert!(said[0] > 0.85, "{said:?}");
        for _ in 0..16 {
            pass(&mut intent, [4, 5]);
        }
        let corrected = labels(&mut intent);
        assert!(corrected[2] > 0.8, "{corrected:?}");
    }

    #[test]
    fn before_anything_is_used_the_labels_profile_decides() {
        for (label, first) in Label::ALL.into_iter().zip([0, 2, 4]) {
            let mut intent = Intent::new(&header(), profile());
            intent.link().set_guess(Some((label, 0.98)));
            intent.before_fill();
            let all = (0..2).flat_map(|group| (0..8).map(move |expert| ExpertId { group, expert }));
            let is_its = |id: &ExpertId| (first..first + 2).contains(&id.expert);
            let (its, others): (Vec<_>, Vec<_>) = all.partition(is_its);
            for id in its.iter().chain(&others) {
                intent.came(*id);
            }
            let rarest = its.iter().map(|&id| intent.rarity(id)).fold(0.0, f32::max);
            assert!(others.iter().all(|&id| intent.rarity(id) > rarest));
            for _ in &others {
                let victim = intent.victim(&|_| true).unwrap();
                assert!(!is_its(&victim), "{victim:?}");
                intent.left(victim);
            }
        }
    }

    #[test]
    fn all_labels_taken_for_one_are_expected_alike_whatever_the_scout_says() {
        let mut intent = Intent::of_all_labels(&header(), profile());
        let rarity = |intent: &Intent| {
            [0, 2, 4, 7].map(|expert| intent.rarity(ExpertId { group: 1, expert }))
        };
        let [code, chat, docs, none] = rarity(&intent);
        assert!(code == chat && chat == docs && docs < none);
        intent.link().set_guess(Some((Label::ALL[0], 0.98)));
        intent.before_fill();
        assert_eq!(rarity(&intent), [code, chat, docs, none]);
        // What is learnt of one label is expected of any text.
        for _ in 0..5 {
            pass(&mut intent, [6, 7]);
        }
        intent.link().learn(Label::ALL[2]);
        let before = rarity(&intent);
        intent.before_fill();
        assert!(rarity(&intent)[3] < before[3]);
    }

    #[test]
    fn what_was_used_is_learnt_once() {
        let mut intent = Intent::new(&header(), profile());
        for _ in 0..3 {
            pass(&mut intent, [1, 6]);
        }
        let uses = intent.link().learn(Label::Docs);
        assert_eq!(uses.tokens, 3.0);
        assert_eq!(
            (uses.experts[1], uses.experts[14], uses.experts[0]),
            (3.0, 3.0, 0.0)
        );
        let before = intent.profile.rate(Label::Docs, 1);
        pass(&mut intent, [1, 6]);
        assert!(intent.profile.rate(Label::Docs, 1) > before);
        let after = intent.link().learn(Label::Docs);
        assert_eq!(
            (after.tokens, after.experts[1], after.experts.len()),
            (1.0, 1.0, 16)
        );
    }

    proptest! {
        #[test]
        fn the_victim_is_in_memory_and_may_go(
            acts in prop::collection::vec((prop::array::uniform2(0usize..8), any::<u32>()), 1..120),
        ) {
            let mut intent = Intent::new(&header(), profile());
            let mut here = BTreeSet::new();
            for (experts, stays) in acts {
                pass(&mut intent, experts);
                for group in 0..2 {
                    here.extend(experts.map(|expert| ExpertId { group, expert }));
                }
                let may_go = |id: ExpertId| stays >> (id.group * 8 + id.expert) & 1 == 0;
                while here.len() > 6 {
                    let Some(victim) = intent.victim(&may_go) else {
                        prop_assert!(!here.iter().any(|&id| may_go(id)));
                        break;
                    };
                    prop_assert!(may_go(victim) && here.remove(&victim));
                    intent.left(victim);
                }
            }
        }
    }
}
