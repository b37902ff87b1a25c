//! Eviction by what the text at hand is about.
//!
//! The expert leaves which, among the oldest part of those in memory, is expected last: by how it
//! was used of late, the prompt's own tokens included, and by how a profile says that texts of
//! this label use it.
//!
//! ```text
//!  scout's probabilities --.
//!  routing so far ---------+--> labels --profile--> prior --.
//!  uses of the last dozens of tokens ----------------------+--> rates --.
//!  hits of simulated caches --> window ---------------------------------+--> victim
//! ```
//!
//! Whoever owns the text keeps an [`IntentLink`]: it says what the scout thinks, and, once the
//! answer's own label is known, that the profile may learn from what was used. Without a scout the
//! labels count alike until routing tells them apart.
//!
//! Cost: a use takes time in the sampled experts at most (`window.rs`), a victim in those in
//! memory, a pass in all experts where the labels changed; none allocates, but to learn.

use super::eviction::{Eviction, ExpertId, Share};
use super::labels::Labels;
use super::lru::Lru;
use super::profile::{Profile, Uses};
use super::rates::Rates;
use super::routing::Header;
use super::window::{self, Window};
use crate::vocabulary::Label;
use std::cell::RefCell;
use std::rc::Rc;

/// See the module's text.
#[derive(Debug)]
pub struct Intent {
    here: Lru,
    rates: Rates,
    window: Window,
    labels: Labels,
    profile: Profile,
    link: IntentLink,
    layers: usize,
    /// One has left: memory is full.
    was_full: bool,
    /// Experts that a token uses.
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

    fn with<T>(&self, act: impl FnOnce(&mut Shared) -> T) -> T {
        act(&mut self.0.borrow_mut())
    }
}

impl Intent {
    /// With nothing in memory, of the groups in `header`, of which `profile` is as well.
    pub fn new(header: &Header, profile: Profile) -> Self {
        let (experts, used) = (&header.experts()[..], header.used());
        let link = IntentLink::default();
        link.with(|shared| shared.uses.experts = vec![0.0; experts.iter().sum()]);
        Self {
            here: Lru::new(experts.iter().copied()),
            rates: Rates::new(experts, used),
            window: Window::new(experts),
            labels: {
                let mut labels = Labels::new(profile.experts());
                labels.learn(&profile);
                labels
            },
            profile,
            link,
            layers: experts.len(),
            was_full: false,
            used: used.max(1),
        }
    }

    pub fn link(&self) -> IntentLink {
        self.link.clone()
    }
}

impl Eviction for Intent {
    fn begin_pass(&mut self) {
        self.rates.begin_pass();
        if self.was_full {
            self.window.begin_pass(self.here.len());
        }
        let (probabilities, lessons) = self.link.with(|shared| {
            let lessons = std::mem::take(&mut shared.lessons);
            (shared.probabilities.take(), lessons)
        });
        if !lessons.is_empty() {
            for (label, uses) in lessons {
                self.profile.learn(label, &uses);
            }
            self.labels.learn(&self.profile);
        }
        if let Some(probabilities) = probabilities {
            self.labels.set_scout(probabilities);
        }
        if let Some(probabilities) = self.labels.changed() {
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

    fn used(&mut self, expert: ExpertId, share: Share) {
        self.here.used(expert, share);
        self.window.used(expert, share, &self.rates);
        let is_first_of_pass = expert.group == 0 && !self.rates.has_begun(0);
        if self.rates.used(expert, share) {
            let number = self.here.number(expert);
            let tokens = share.all as f32 / self.used as f32;
            if is_first_of_pass {
                self.labels.forget(tokens);
            }
            self.labels.used(number, share, tokens, self.layers);
            self.link.with(|shared| {
                shared.uses.experts[number] += share.its as f32;
                if is_first_of_pass {
                    shared.uses.tokens += tokens;
                }
            });
        }
    }

    fn left(&mut self, expert: ExpertId) {
        self.was_full = true;
        self.here.left(expert);
    }

    fn victim(&self, may_go: &dyn Fn(ExpertId) -> bool) -> Option<ExpertId> {
        window::victim(&self.here, self.window.get(), &self.rates, may_go)
    }

    fn window(&self) -> f64 {
        self.window.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experts::ModelKey;
    use crate::experts::routing::RoutedGroup;
    use crate::units::Bytes;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// Two layers of 8 experts, of which a token uses two.
    fn header() -> Header {
        let group = |layer| RoutedGroup {
            layer,
            experts: 8,
            used: 2,
            expert_bytes: Bytes(100),
        };
        Header {
            model: ModelKey::of(b"a model"),
            groups: vec![group(0), group(1)],
        }
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
            for expert in experts {
                intent.used(ExpertId { group, expert }, Share { its: 1, all: 2 });
            }
        }
    }

    /// The part of the prior that is for each label.
    fn labels(intent: &mut Intent) -> [f32; 3] {
        pass(intent, [7, 7]);
        intent.labels.changed().or(intent.labels.said()).unwrap()
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
                prop_assert!((0.0..=1.0).contains(&intent.window()));
            }
        }
    }
}
