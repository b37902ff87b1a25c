//! What would throw something away is done when its key is pressed twice in a row.
//!
//! ```text
//!   key                 same key again
//!    +--> armed, remark ----+--> done
//!              |
//!              +--> any other key, paste or click: called off
//! ```

use super::{Action, App, Effect, Item};
use crate::session::Intent;

impl App {
    /// The user did something: a remark has been read, and what was asked for is called off
    /// unless this asks for it again.
    pub(super) fn heed(&mut self, action: Option<Action>) {
        self.toast = None;
        if self.armed != action {
            self.armed = None;
        }
    }

    /// Whether to do what would lose something: the first time it is asked for, only a warning is
    /// shown.
    fn confirmed(&mut self, action: Action) -> bool {
        let again = self.armed.take() == Some(action);
        if !again {
            self.armed = Some(action);
            self.toast = self.armed_remark();
        }
        again
    }

    pub(super) fn armed_remark(&self) -> Option<String> {
        let action = self.armed?;
        let key = self.key_name(action);
        Some(match action {
            Action::NewConversation => {
                format!("{key} again begins a new conversation: the model forgets this one")
            }
            _ => format!("{key} again quits"),
        })
    }

    /// Quits at once where nothing is lost by it. A second key quits whatever is under way.
    pub(super) fn quit(&mut self) {
        let nothing_to_lose = self.prompt.is_blank() && !self.talk.has_turns();
        if nothing_to_lose || self.fatal.is_some() || self.confirmed(Action::Quit) {
            return self.effects.push(Effect::Quit);
        }
        if self.busy {
            let stopping = self.stop();
            let key = self.key_name(Action::Quit);
            self.toast = Some(format!("{stopping}; {key} again quits"));
        }
    }

    pub(super) fn new_conversation(&mut self) {
        if self.busy {
            self.toast = Some(self.busy_remark());
        } else if !self.talk.has_context() {
            self.toast = Some("this is a new conversation already".into());
        } else if self.confirmed(Action::NewConversation) {
            self.effects.push(Effect::Send(Intent::NewConversation));
            self.talk.push(Item::NewConversation);
            self.talk.follow();
        }
    }
}
