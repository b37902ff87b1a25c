//! What a session tells of its texts to those who look after a mixture's experts, and what it keeps
//! of what they learn.
//!
//! ```text
//!  scout's guess, prompt or answer --> eviction, recorder
//!  an answer's own label           --> eviction learns what was used --> the profile in the cache
//!  a prompt without an answer      --> what was used for it is forgotten
//! ```

use super::event::Notice;
use super::load_error::WithCauses;
use crate::experts::profile_file::{self, Added, ProfileError};
use crate::experts::routing::{Header, PassKind};
use crate::experts::{
    ExpertGuide, Intent, IntentLink, Mixture, ModelKey, Profile, RecordError, Recorder,
};
use crate::model::Gguf;
use crate::scout::label_of_answer;
use crate::system::cache::cache_dir;
use crate::vocabulary::Label;
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

/// See the module's text.
pub(super) struct Experts {
    intent: IntentLink,
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
    /// For the `mixture` in `index`, with what is known of it from earlier sessions. Also returns
    /// what a user should know.
    pub(super) fn open(mixture: &Mixture, index: &Gguf) -> (Self, ExpertGuide, Vec<String>) {
        let key = ModelKey::of_mixture(index, &mixture.groups);
        let header = mixture.routing_header(key);
        let empty = Profile::of(&header);
        let path = cache_dir().map(|dir| profile_file::path(&dir, key));
        let mut notices = Vec::new();
        let kept = path.as_deref().map(|path| profile_file::load(path, &empty));
        let profile = match kept.transpose() {
            Ok(kept) => kept.flatten(),
            Err(error) => {
                notices.push(WithCauses(&error).to_string());
                None
            }
        };
        let intent = Intent::new(&header, profile.unwrap_or_else(|| empty.clone()));
        let experts = Self {
            intent: intent.link(),
            recorder: None,
            path,
            unkept: empty,
            header,
            label: None,
            kind: PassKind::Prompt,
        };
        let guide = ExpertGuide {
            eviction: Box::new(intent),
            recorder: None,
        };
        (experts, guide, notices)
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
        self.intent.set_guess(guess);
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
        self.intent.forget();
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
        let uses = self.intent.learn(label);
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
    use crate::experts::{ExpertId, TableIdx, Use};
    use std::fs::File;

    /// One layer of 4 experts, of which a token uses one.
    fn header() -> Header {
        Header::made_up(1, 4, 1)
    }

    fn experts(dir: &Path) -> (Experts, ExpertGuide) {
        let unkept = Profile::of(&header());
        let intent = Intent::new(&header(), unkept.clone());
        let mut experts = Experts {
            intent: intent.link(),
            recorder: None,
            path: Some(dir.join("model.profile")),
            unkept,
            header: header(),
            label: None,
            kind: PassKind::Prompt,
        };
        let mut guide = ExpertGuide {
            eviction: Box::new(intent),
            recorder: None,
        };
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
}
