//! The intents for the engine, in order, with a view of those that wait.
//!
//! While a pass before Enter runs, the intents that wait tell whether its result will be of use
//! (see [`Stakes`](super::stakes::Stakes)).

use super::intent::{Intent, Stamped};
use crate::typing::Composer;
use crossbeam_channel::{Receiver, RecvError, RecvTimeoutError};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::Duration;

/// See the module's text.
pub(super) struct Inbox {
    intents: Receiver<Stamped>,
    /// Looked at but not taken yet.
    seen: RefCell<VecDeque<Stamped>>,
}

impl Inbox {
    pub(super) fn new(intents: Receiver<Stamped>) -> Self {
        Self {
            intents,
            seen: RefCell::default(),
        }
    }

    /// The next intent, if one waits.
    pub(super) fn try_recv(&self) -> Option<Stamped> {
        let seen = self.seen.borrow_mut().pop_front();
        seen.or_else(|| self.intents.try_recv().ok())
    }

    /// The next intent, waited for.
    ///
    /// # Errors
    /// No client is left.
    pub(super) fn recv(&self) -> Result<Stamped, RecvError> {
        self.try_recv().map_or_else(|| self.intents.recv(), Ok)
    }

    /// The next intent, waited for so long.
    ///
    /// # Errors
    /// None came, or no client is left.
    pub(super) fn recv_timeout(&self, wait: Duration) -> Result<Stamped, RecvTimeoutError> {
        let next = self.try_recv();
        next.map_or_else(|| self.intents.recv_timeout(wait), Ok)
    }

    /// What waits, as far as it concerns work on the text of `composer`.
    pub(super) fn waits(&self, composer: &Composer) -> Waits {
        let mut seen = self.seen.borrow_mut();
        seen.extend(self.intents.try_iter());
        let mut after: Option<Composer> = None;
        for stamped in seen.iter() {
            match &stamped.intent {
                Intent::Stop | Intent::Cancel(_) => {}
                Intent::Submit(..)
                | Intent::NewConversation
                | Intent::Anticipate(_)
                | Intent::Shutdown => return Waits::Other,
                Intent::Typing(event) => {
                    let after = after.get_or_insert_with(|| composer.clone());
                    // One that does not fit the text will be left out.
                    let change = after.apply(&event.edit);
                    if change.is_ok_and(|change| change.submitted) {
                        return Waits::Text {
                            after: after.take(),
                            entered: true,
                        };
                    }
                }
            }
        }
        match after {
            None => Waits::Nothing,
            Some(mut after) => Waits::Text {
                after: after.take(),
                entered: false,
            },
        }
    }
}

/// See [`Inbox::waits`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Waits {
    /// Nothing of interest.
    Nothing,
    /// The text as it will be, up to Enter if that is among what waits.
    Text { after: String, entered: bool },
    /// A request, or the end of the conversation or of the session.
    Other,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::intent::IntentSender;
    use crate::session::{Params, Request, RequestId, Sampling};
    use crate::typing::{Edit, MonotonicClock, TypingEvent};
    use std::sync::Arc;

    fn typed(edit: Edit) -> Intent {
        Intent::Typing(TypingEvent { t_us: 0, edit })
    }

    fn text(after: &str, entered: bool) -> Waits {
        let after = after.to_owned();
        Waits::Text { after, entered }
    }

    #[test]
    fn a_look_takes_nothing_and_changes_no_order() {
        let (say, intents) = IntentSender::new(Arc::new(MonotonicClock::new()));
        let inbox = Inbox::new(intents);
        let empty = Composer::new();
        assert_eq!(inbox.waits(&empty), Waits::Nothing);
        say.send(typed(Edit::Enter)).unwrap();
        assert_eq!(inbox.waits(&empty), text("", true));
        say.send(Intent::Stop).unwrap();
        assert_eq!(inbox.waits(&empty), text("", true));
        assert!(matches!(inbox.recv().unwrap().intent, Intent::Typing(_)));
        assert_eq!(inbox.waits(&empty), Waits::Nothing);
        say.send(Intent::NewConversation).unwrap();
        assert_eq!(inbox.waits(&empty), Waits::Other);
        assert!(matches!(inbox.try_recv().unwrap().intent, Intent::Stop));
        let next = inbox.recv_timeout(Duration::ZERO).unwrap();
        assert!(matches!(next.intent, Intent::NewConversation));
        assert!(inbox.try_recv().is_none());
        drop(say);
        assert!(inbox.recv().is_err());
    }

    #[test]
    fn a_request_is_waited_for_and_its_end_is_not() {
        let (say, intents) = IntentSender::new(Arc::new(MonotonicClock::new()));
        let inbox = Inbox::new(intents);
        let id = RequestId(7);
        say.send(Intent::Cancel(id)).unwrap();
        assert_eq!(inbox.waits(&Composer::new()), Waits::Nothing);
        let params = Params {
            sampling: Sampling::default(),
            max_tokens: 1,
            fixed_length: false,
            think_budget: None,
        };
        let request = Request::prompt("", "Hi", params);
        say.send(Intent::Submit(id, Box::new(request))).unwrap();
        assert_eq!(inbox.waits(&Composer::new()), Waits::Other);
    }

    #[test]
    fn what_waits_is_the_text_up_to_enter() {
        let (say, intents) = IntentSender::new(Arc::new(MonotonicClock::new()));
        let inbox = Inbox::new(intents);
        let mut composer = Composer::new();
        let insert = |text: &str| Edit::Insert {
            text: text.to_owned(),
            paste: false,
        };
        composer.apply(&insert("ab")).unwrap();
        say.send(typed(Edit::Cursor { pos: 1 })).unwrap();
        assert_eq!(inbox.waits(&composer), text("ab", false));
        say.send(typed(Edit::Delete { start: 5, end: 6 })).unwrap();
        say.send(typed(insert("x"))).unwrap();
        assert_eq!(inbox.waits(&composer), text("axb", false));
        say.send(typed(Edit::Enter)).unwrap();
        say.send(typed(insert("next"))).unwrap();
        assert_eq!(inbox.waits(&composer), text("axb", true));
        assert_eq!(composer.text(), "ab");
    }
}
