//! The drafters of a session, with what is known of each: whether it is there, how often its
//! guesses have been right, and what asking it costs.
//!
//! An entry's place never changes, so that a bit of [`Asked`](super::asked::Asked) means the same
//! drafter for as long as a tree lives: first the drafters of the registry in its order, whether
//! they are there or not, then others in the order in which they joined.

use super::asked::Place;
use super::calibration::Calibration;
use super::drafter::{Cost, DraftError, Drafter, VerifiedPass};
use super::drafters::REGISTRY;
use super::guess::Guess;
use super::sampler::Sampler;
use super::tree::{DraftIdx, DraftTree, Source};
use crate::plan::DecodeTimes;
use crate::units::TokenId;
use crate::vocabulary::DrafterId;

/// See the module's text.
pub(super) struct DrafterSet(Vec<Entry>);

struct Entry {
    id: DrafterId,
    /// `None`: it has not joined yet, or it failed.
    drafter: Option<Box<dyn Drafter>>,
    calibration: Calibration,
    decodes: Option<Decodes>,
}

/// How a drafter that computes is asked.
#[derive(Clone, Debug)]
pub(super) struct Decodes {
    pub batch: usize,
    pub times: DecodeTimes,
}

impl DrafterSet {
    pub fn new(drafters: impl IntoIterator<Item = Box<dyn Drafter>>) -> Self {
        let mut set = Self(REGISTRY.iter().map(|row| Entry::absent(row.id)).collect());
        drafters.into_iter().for_each(|drafter| set.add(drafter));
        set
    }

    /// Adds a drafter, in place of an earlier one of its name.
    ///
    /// # Panics
    /// If there are more drafters than a tree has bits for.
    pub fn add(&mut self, drafter: Box<dyn Drafter>) {
        let id = drafter.id();
        let place = self.0.iter().position(|entry| entry.id == id);
        let place = place.unwrap_or_else(|| {
            assert!(self.0.len() < 32, "more drafters than bits");
            self.0.push(Entry::absent(id));
            self.0.len() - 1
        });
        let entry = &mut self.0[place];
        entry.calibration = Calibration::new(drafter.classes());
        entry.decodes = match drafter.cost() {
            Cost::Free => None,
            Cost::Decodes { batch, times } => Some(Decodes { batch, times }),
        };
        entry.drafter = Some(drafter);
    }

    /// Leaves out the drafter that failed with `error`, which is returned.
    fn leave_out(&mut self, place: Place, error: DraftError) -> DraftError {
        let entry = &mut self.0[place];
        (entry.drafter, entry.decodes) = (None, None);
        error
    }

    fn present(&self) -> impl Iterator<Item = (Place, &Entry)> {
        let all = self.0.iter().enumerate();
        all.filter(|(_, entry)| entry.drafter.is_some())
    }

    /// See [`Drafter::choose_by`].
    pub fn choose_by(&mut self, sampler: &Sampler) {
        for drafter in self.0.iter_mut().filter_map(|entry| entry.drafter.as_mut()) {
            drafter.choose_by(sampler);
        }
    }

    /// Those that are there.
    pub fn ids(&self) -> impl Iterator<Item = DrafterId> {
        self.present().map(|(_, entry)| entry.id)
    }

    /// Those that cost nothing to ask.
    pub fn free(&self) -> Vec<Place> {
        let free = self.present().filter(|(_, entry)| entry.decodes.is_none());
        free.map(|(place, _)| place).collect()
    }

    /// Those that compute.
    pub fn computing(&self) -> Vec<Place> {
        let computing = self.present().filter(|(_, entry)| entry.decodes.is_some());
        computing.map(|(place, _)| place).collect()
    }

    /// Whether any of them computes.
    pub fn compute(&self) -> bool {
        self.0.iter().any(|entry| entry.decodes.is_some())
    }

    /// What the fastest decode takes; `None` where nothing computes.
    pub fn fastest(&self) -> Option<&DecodeTimes> {
        let all = self.0.iter().filter_map(|entry| entry.decodes.as_ref());
        all.map(|decodes| &decodes.times)
            .min_by(|a, b| a.ms(1).total_cmp(&b.ms(1)))
    }

    pub fn decodes(&self, place: Place) -> Option<&Decodes> {
        self.0[place].decodes.as_ref()
    }

    /// Learns what a decode of so many nodes took.
    pub fn observe_decode(&mut self, place: Place, nodes: usize, ms: f64) {
        if let Some(decodes) = &mut self.0[place].decodes {
            decodes.times.observe(nodes, ms);
        }
    }

    /// Whether any of them learns from hidden states.
    pub fn needs_hidden(&self) -> bool {
        let mut all = self.0.iter().filter_map(|entry| entry.drafter.as_ref());
        all.any(|drafter| drafter.needs_hidden())
    }

    /// Lets all learn from what the oracle computed.
    pub fn learn(&mut self, pass: &VerifiedPass<'_>) {
        let all = self.0.iter_mut();
        all.filter_map(|entry| entry.drafter.as_mut())
            .for_each(|drafter| drafter.learn(pass));
    }

    pub fn unread(&self, place: Place, text: &[TokenId]) -> usize {
        let drafter = self.0[place].drafter.as_ref();
        drafter.map_or(0, |drafter| drafter.unread(text))
    }

    /// Tells a drafter the text.
    ///
    /// # Errors
    /// The drafter's, which is left out from then on.
    pub fn follow(&mut self, place: Place, text: &[TokenId]) -> Result<(), DraftError> {
        let Some(drafter) = &mut self.0[place].drafter else {
            return Ok(());
        };
        let followed = drafter.follow(text);
        followed.map_err(|error| self.leave_out(place, error))
    }

    /// What a drafter guesses to follow each of `nodes`, with calibrated probabilities.
    ///
    /// # Errors
    /// As [`DrafterSet::follow`].
    pub fn expand(
        &mut self,
        place: Place,
        tree: &mut DraftTree,
        nodes: &[DraftIdx],
    ) -> Result<Vec<Vec<(Guess, f32)>>, DraftError> {
        let Some(drafter) = &mut self.0[place].drafter else {
            return Ok(Vec::new());
        };
        let all = match drafter.expand(tree, nodes) {
            Ok(all) => all,
            Err(error) => return Err(self.leave_out(place, error)),
        };
        let calibration = &self.0[place].calibration;
        let with_p = |guess: Guess| (guess, calibration.of(guess.class, guess.p));
        let answers = nodes.iter().zip(all).map(|(&node, guesses)| {
            let asked = &mut tree.node_mut(node).asked;
            asked.note(place, !guesses.is_empty());
            guesses.into_iter().map(with_p).collect()
        });
        Ok(answers.collect())
    }

    /// Learns whether a judged guess was right: see [`Calibration`].
    pub fn observe(&mut self, source: &Source, right: bool) {
        let entry = self.0.iter_mut().find(|entry| entry.id == source.drafter);
        if let Some(entry) = entry {
            let calibration = &mut entry.calibration;
            calibration.observe(source.class, source.stated, right);
        }
    }

    pub fn id(&self, place: Place) -> DrafterId {
        self.0[place].id
    }

    pub fn calibration(&self, id: DrafterId) -> Option<&Calibration> {
        let entry = self.0.iter().find(|entry| entry.id == id);
        entry.map(|entry| &entry.calibration)
    }
}

impl Entry {
    fn absent(id: DrafterId) -> Self {
        Self {
            id,
            drafter: None,
            calibration: Calibration::new(1),
            decodes: None,
        }
    }
}
