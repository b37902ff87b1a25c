//! What a session tells of its texts to those who look after a mixture's experts, and what it keeps
//! of what they learn.
//!
//! ```text
//!  scout's guess, prompt or answer --> eviction, recorder
//!  an answer's own label           --> eviction learns what was used --> the profile in the cache
//!  a prompt without an answer      --> what was used for it is forgotten
//! ```
//!
//! Under plain LRU nothing but the recorder listens, and nothing is learnt. A profile is kept by
//! label also where eviction takes all labels for one.

use super::event::Notice;
use crate::experts::profile_file::{self, Added, ProfileError};
use crate::experts::routing::{Header, PassKind};
use crate::experts::{
    EarlierUse, ExpertGuide, Intent, IntentLink, Lru, Profile, RecordError, Recorder,
};
use crate::scout::label_of_answer;
use crate::vocabulary::{ExpertPolicy, Label};
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

/// See the module's text.
pub(super) struct Experts {
    /// To eviction by intent, if that is what decides.
    intent: Option<IntentLink>,
    recorder: Option<Rc<RefCell<Recorder>>>,
    /// Where the profile is kept; none without a place for it.
    path: Option<PathBuf>,
    /// What has been learnt and is not in that file yet.
    unkept: Profile,
    header: Header,
    label: Option<Label>,
    kind: PassKind,
}

impl Experts {
    /// For a mixture whose experts come and go by `policy`, with what is `known` of it.
    pub(super) fn new(known: &EarlierUse, policy: ExpertPolicy) -> (Self, ExpertGuide) {
        let header = known.header.clone();
        let unkept = Profile::of(&header);
        let profile = known.profile.clone().unwrap_or_else(|| unkept.clone());
        let intent = match policy {
            ExpertPolicy::ByLabel => Some(Intent::new(&header, profile)),
            ExpertPolicy::AllLabels => Some(Intent::of_all_labels(&header, profile)),
            // Of layers that come and go as a whole no expert leaves by itself.
            ExpertPolicy::Lru | ExpertPolicy::WholeLayers => None,
        };
        let experts = Self {
            intent: intent.as_ref().map(Intent::link),
            recorder: None,
            path: known.path.clone(),
            unkept,
            label: None,
            kind: PassKind::Prompt,
            header,
        };
        let guide = ExpertGuide {
            eviction: match intent {
                Some(intent) => Box::new(intent),
                None => Box::new(Lru::new(experts.header.experts())),
            },
            recorder: None,
        };
        (experts, guide)
    }

    /// Routing is recorded to the file at `path`, from the first pass on, by whoever is handed
    /// `guide`.
    ///
    /// # Errors
    /// A recording that cannot be begun.
    pub(super) fn record(
        &mut self,
        path: &Path,
        guide: &mut ExpertGuide,
    ) -> Result<(), RecordError> {
        let recorder = Recorder::create(path, self.header.clone())?;
        let recorder = Rc::new(RefCell::new(recorder));
        guide.recorder = Some(Rc::clone(&recorder));
        self.recorder = Some(recorder);
        Ok(())
    }

    /// The scout's opinion of the text that passes are for from now on.
    pub(super) fn see(&mut self, guess: Option<(Label, f32)>) {
        self.label = guess.map(|(label, _)| label);
        if let Some(intent) = &self.intent {
            intent.set_guess(guess);
        }
        self.tell_recorder();
    }

    /// Whether passes from now on compute a prompt or an answer.
    pub(super) fn computes(&mut self, kind: PassKind) {
        self.kind = kind;
        self.tell_recorder();
    }

    fn tell_recorder(&self) {
        if let Some(recorder) = &self.recorder {
            recorder.borrow_mut().reads(self.kind, self.label);
        }
    }

    /// Writes down all passes up to here. Returns, once, why nothing more is recorded.
    pub(super) fn flush(&mut self) -> Option<Notice> {
        self.tell_end(Recorder::flush)
    }

    /// What has been computed since the last turn is of no answer: nothing is learnt of it.
    /// Returns, once, why nothing more is recorded.
    pub(super) fn give_up(&mut self) -> Option<Notice> {
        if let Some(intent) = &self.intent {
            intent.forget();
        }
        self.tell_end(Recorder::give_up)
    }

    /// A `prompt` has been answered: the turn ends in the recording, and what was used for it is
    /// learnt. Returns what a user should know.
    pub(super) fn answered(&mut self, prompt: &str, answer: &str) -> Vec<Notice> {
        let label = label_of_answer(prompt, answer, self.label);
        let unrecorded = self.tell_end(|recorder| recorder.end_turn(label));
        let unkept = self.learn(label).err();
        let unkept = unkept.map(|error| Notice::Profile(Arc::new(error)));
        unrecorded.into_iter().chain(unkept).collect()
    }

    fn tell_end(
        &self,
        tell: impl FnOnce(&mut Recorder) -> Result<(), RecordError>,
    ) -> Option<Notice> {
        let recorder = self.recorder.as_ref()?;
        let told = tell(&mut recorder.borrow_mut());
        told.err().map(|error| Notice::Recording(Arc::new(error)))
    }

    /// What was used for the turn that has ended is of text with this `label`.
    ///
    /// # Errors
    /// Why it is not kept for later sessions; once.
    fn learn(&mut self, label: Label) -> Result<(), ProfileError> {
        let Some(intent) = &self.intent else {
            return Ok(());
        };
        let uses = intent.learn(label);
        let Some(path) = &self.path else {
            return Ok(());
        };
        self.unkept.learn(label, &uses);
        match profile_file::add(path, &self.unkept) {
            Ok(Added::Kept) => self.unkept = Profile::of(&self.header),
            // It is kept with what the next answer teaches.
            Ok(Added::Busy) => {}
            Err(error) => {
                self.path = None;
                return Err(error);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experts::routing::{Reader, Record};
    use crate::experts::{ExpertId, TableIdx, Use, Uses};
    use std::fs::File;

    /// One layer of 4 experts, of which a token uses one.
    fn header() -> Header {
        Header::made_up(1, 4, 1)
    }

    fn experts(dir: &Path) -> (Experts, ExpertGuide) {
        let known = EarlierUse::of(header(), Some(dir.join("model.profile")));
        assert!(known.fault.is_none());
        let (mut experts, mut guide) = Experts::new(&known, ExpertPolicy::ByLabel);
        let recording = dir.join("routing");
        experts.record(&recording, &mut guide).unwrap();
        (experts, guide)
    }

    /// A pass over one token, which uses this expert.
    fn pass(guide: &mut ExpertGuide, expert: usize) {
        let mut recorder = guide.recorder.as_ref().unwrap().borrow_mut();
        recorder.begin_pass(1);
        let id = ExpertId { group: 0, expert };
        guide.eviction.begin_pass();
        guide.eviction.used(0, &[Use { id, its: 1 }]);
        let table = TableIdx { group: 0, table: 0 };
        recorder.chose(table, &[expert as i32]);
        recorder.end_pass();
    }

    fn kept(experts: &Experts) -> Profile {
        let path = experts.path.as_ref().unwrap();
        profile_file::load(path, &Profile::of(&header()))
            .unwrap()
            .unwrap()
    }

    #[test]
    fn what_was_given_up_is_not_learnt_with_the_next_answer() {
        let dir = tempfile::tempdir().unwrap();
        let (mut experts, mut guide) = experts(dir.path());
        for _ in 0..5 {
            pass(&mut guide, 3);
        }
        assert!(experts.give_up().is_none());
        pass(&mut guide, 1);
        pass(&mut guide, 1);
        assert!(experts.answered("A question", "An answer.").is_empty());
        assert!(experts.give_up().is_none(), "there is nothing to give up");

        let kept = kept(&experts);
        assert_eq!(kept.tokens(Label::Chat), 2.0);
        assert!(kept.rate(Label::Chat, 3) < kept.rate(Label::Chat, 1));
        let recording = File::open(dir.path().join("routing")).unwrap();
        let mut reader = Reader::new(recording).unwrap();
        let mut turns = vec![];
        let mut passes = 0;
        while let Some(record) = reader.record().unwrap() {
            match record {
                Record::Pass(_) => passes += 1,
                Record::TurnEnd(label) => turns.push((label, std::mem::take(&mut passes))),
            }
        }
        assert_eq!(turns, [(None, 5), (Some(Label::Chat), 2)]);
        assert_eq!(passes, 0);
    }

    #[test]
    fn what_is_learnt_while_another_program_writes_is_kept_with_the_next_answer() {
        let dir = tempfile::tempdir().unwrap();
        let (mut experts, mut guide) = experts(dir.path());
        let lock = File::create(dir.path().join("model.lock")).unwrap();
        lock.lock().unwrap();
        pass(&mut guide, 1);
        assert!(experts.answered("A question", "An answer.").is_empty());
        assert!(!dir.path().join("model.profile").exists());
        drop(lock);
        pass(&mut guide, 2);
        assert!(experts.answered("A question", "An answer.").is_empty());
        assert_eq!(kept(&experts).tokens(Label::Chat), 2.0);
    }

    /// By this `policy`, after an earlier session whose code used expert 0 and whose chat used
    /// expert 1, in text that the scout takes for code; all are in memory but expert 3, and expert
    /// 2 has just been used.
    fn seeing_code(dir: &Path, policy: ExpertPolicy) -> (Experts, ExpertGuide) {
        let path = dir.join("model.profile");
        let mut earlier = Profile::of(&header());
        for (label, used, tokens) in [(Label::Code, 0, 2000.0), (Label::Chat, 1, 9000.0)] {
            let mut experts = vec![0.0; 4];
            experts[used] = tokens;
            earlier.learn(label, &Uses { tokens, experts });
        }
        assert_eq!(profile_file::add(&path, &earlier).unwrap(), Added::Kept);
        let known = EarlierUse::of(header(), Some(path));
        let (mut experts, mut guide) = Experts::new(&known, policy);
        experts.see(Some((Label::Code, 0.98)));
        for expert in [0, 1, 2] {
            guide.eviction.came(ExpertId { group: 0, expert });
        }
        guide.eviction.begin_pass();
        let id = ExpertId {
            group: 0,
            expert: 2,
        };
        guide.eviction.used(0, &[Use { id, its: 1 }]);
        (experts, guide)
    }

    fn victim(guide: &ExpertGuide, may_go: &[usize]) -> Option<usize> {
        let may_go = |id: ExpertId| may_go.contains(&id.expert);
        guide.eviction.victim(&may_go).map(|id| id.expert)
    }

    #[test]
    fn the_scouts_label_says_who_leaves_but_where_all_labels_are_one() {
        let dir = tempfile::tempdir().unwrap();
        let leaves = |policy| victim(&seeing_code(dir.path(), policy).1, &[0, 1]);
        assert_eq!(leaves(ExpertPolicy::ByLabel), Some(1), "chat uses it");
        assert_eq!(leaves(ExpertPolicy::AllLabels), Some(0), "chat was more");
    }

    #[test]
    fn what_is_expected_most_is_read_while_nothing_is_asked_for_but_under_lru() {
        let dir = tempfile::tempdir().unwrap();
        let first = |policy| {
            let (_, guide) = seeing_code(dir.path(), policy);
            let rarity = |expert| guide.eviction.rarity(ExpertId { group: 0, expert });
            let first = [0, 1]
                .into_iter()
                .min_by(|&a, &b| rarity(a).total_cmp(&rarity(b)));
            first.filter(|_| guide.eviction.foresees())
        };
        assert_eq!(first(ExpertPolicy::ByLabel), Some(0));
        assert_eq!(first(ExpertPolicy::AllLabels), Some(1));
        assert_eq!(first(ExpertPolicy::Lru), None);
    }

    #[test]
    fn lru_goes_by_age_alone_and_learns_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (mut experts, mut guide) = seeing_code(dir.path(), ExpertPolicy::Lru);
        let before = kept(&experts);
        for expert in [1, 2, 0] {
            let id = ExpertId { group: 0, expert };
            guide.eviction.begin_pass();
            guide.eviction.used(0, &[Use { id, its: 1 }]);
        }
        assert_eq!(victim(&guide, &[0, 1, 2]), Some(1));
        assert!(experts.answered("A question", "An answer.").is_empty());
        assert!(experts.give_up().is_none());
        assert_eq!(kept(&experts), before);
    }

    #[test]
    fn what_all_labels_taken_for_one_teach_is_kept_by_label() {
        let dir = tempfile::tempdir().unwrap();
        let (mut experts, _) = seeing_code(dir.path(), ExpertPolicy::AllLabels);
        assert!(experts.answered("A question", "An answer.").is_empty());
        let kept = kept(&experts);
        assert_eq!(kept.tokens(Label::Chat), 9001.0);
        assert_eq!(kept.tokens(Label::Code), 2000.0);
    }
}
