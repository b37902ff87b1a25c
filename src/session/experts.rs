//! What a session tells of its texts to those who look after a mixture's experts, and what it keeps
//! of what they learn.
//!
//! ```text
//!  scout's guess, prompt or answer --> eviction, recorder
//!  an answer's own label           --> eviction learns what was used --> the profile in the cache
//! ```

use super::load_error::WithCauses;
use crate::experts::profile_file::{self, ProfileError};
use crate::experts::routing::PassKind;
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

/// See the module's text.
pub(super) struct Experts {
    intent: IntentLink,
    recorder: Option<Rc<RefCell<Recorder>>>,
    /// Where the profile is kept; none without a place for it.
    path: Option<PathBuf>,
    /// A profile of the model that knows nothing.
    empty: Profile,
    label: Option<Label>,
    kind: PassKind,
}

impl Experts {
    /// For the `mixture` in `index`, with what is known of it from earlier sessions. Routing is
    /// recorded to `recording`. Also returns what a user should know.
    ///
    /// # Errors
    /// A recording that cannot be begun.
    pub(super) fn open(
        mixture: &Mixture,
        index: &Gguf,
        recording: Option<&Path>,
    ) -> Result<(Self, ExpertGuide, Vec<String>), RecordError> {
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
        let recorder = recording.map(|path| Recorder::create(path, header));
        let recorder = recorder.transpose()?.map(|r| Rc::new(RefCell::new(r)));
        let experts = Self {
            intent: intent.link(),
            recorder: recorder.clone(),
            path,
            empty,
            label: None,
            kind: PassKind::Prompt,
        };
        let guide = ExpertGuide {
            eviction: Box::new(intent),
            recorder,
        };
        Ok((experts, guide, notices))
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

    /// A `prompt` has been answered: the turn ends in the recording. Returns what the
    /// answer was, and, once, why nothing more is recorded.
    pub(super) fn answered(&mut self, prompt: &str, answer: &str) -> (Label, Option<RecordError>) {
        let label = label_of_answer(prompt, answer, self.label);
        let recorder = self.recorder.as_ref();
        let ended = recorder.map(|recorder| recorder.borrow_mut().end_turn(Some(label)));
        (label, ended.and_then(Result::err))
    }

    /// What was used since this was last called is of texts with this `label`, and is learnt.
    ///
    /// # Errors
    /// Why it is not kept for later sessions; once.
    pub(super) fn learn(&mut self, label: Label) -> Result<(), ProfileError> {
        let uses = self.intent.learn(label);
        let Some(path) = &self.path else {
            return Ok(());
        };
        let mut learnt = self.empty.clone();
        learnt.learn(label, &uses);
        let kept = profile_file::add(path, &learnt);
        if kept.is_err() {
            self.path = None;
        }
        kept
    }
}
