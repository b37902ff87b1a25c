//! What is said to the engine, in order, with a look at what waits.
//!
//! A pass before Enter is begun for the text as it stands. While it runs, what is said meanwhile
//! tells whether its result will be of use: a text that has changed needs another pass, which an
//! Enter that comes now would have to wait for twice.

use super::intent::{Intent, Stamped};
use crate::typing::Edit;
use crossbeam_channel::{Receiver, RecvError, RecvTimeoutError};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::Duration;

/// See the module's text.
pub(super) struct Inbox {
    intents: Receiver<Stamped>,
    /// Looked at, and not taken yet.
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
    /// Nobody is left to say anything.
    pub(super) fn recv(&self) -> Result<Stamped, RecvError> {
        self.try_recv().map_or_else(|| self.intents.recv(), Ok)
    }

    /// The next intent, waited for so long.
    ///
    /// # Errors
    /// None came, or nobody is left to say anything.
    pub(super) fn recv_timeout(&self, wait: Duration) -> Result<Stamped, RecvTimeoutError> {
        let next = self.try_recv();
        next.map_or_else(|| self.intents.recv_timeout(wait), Ok)
    }

    /// Whether what waits makes a pass over the text as it was of no use: an edit, a request that
    /// somebody waits for, or the end of all. Enter alone asks for just that pass.
    pub(super) fn outdates_text(&self) -> bool {
        let mut seen = self.seen.borrow_mut();
        seen.extend(self.intents.try_iter());
        seen.iter().any(|stamped| match &stamped.intent {
            Intent::Typing(event) => !matches!(event.edit, Edit::Enter | Edit::Cursor { .. }),
            Intent::Stop | Intent::Cancel(_) => false,
            Intent::Submit(..)
            | Intent::NewConversation
            | Intent::Anticipate(_)
            | Intent::Shutdown => true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::intent::IntentSender;
    use crate::session::{Params, Request, RequestId, Sampling};
    use crate::typing::{MonotonicClock, TypingEvent};
    use std::sync::Arc;

    fn typed(edit: Edit) -> Intent {
        Intent::Typing(TypingEvent { t_us: 0, edit })
    }

    #[test]
    fn a_look_takes_nothing_and_changes_no_order() {
        let (say, intents) = IntentSender::new(Arc::new(MonotonicClock::new()));
        let inbox = Inbox::new(intents);
        assert!(!inbox.outdates_text());
        say.send(typed(Edit::Enter)).unwrap();
        assert!(!inbox.outdates_text(), "Enter asks for the pass under way");
        say.send(Intent::NewConversation).unwrap();
        assert!(inbox.outdates_text() && inbox.outdates_text());
        say.send(Intent::Stop).unwrap();
        assert!(matches!(inbox.recv().unwrap().intent, Intent::Typing(_)));
        let next = inbox.recv_timeout(Duration::ZERO).unwrap();
        assert!(matches!(next.intent, Intent::NewConversation));
        assert!(matches!(inbox.try_recv().unwrap().intent, Intent::Stop));
        assert!(inbox.try_recv().is_none());
        drop(say);
        assert!(inbox.recv().is_err());
    }

    #[test]
    fn a_request_outdates_the_text_and_its_end_does_not() {
        let (say, intents) = IntentSender::new(Arc::new(MonotonicClock::new()));
        let inbox = Inbox::new(intents);
        let id = RequestId(7);
        say.send(Intent::Cancel(id)).unwrap();
        assert!(!inbox.outdates_text());
        let params = Params {
            sampling: Sampling::default(),
            max_tokens: 1,
            fixed_length: false,
        };
        let request = Request::prompt("", "Hi", params);
        say.send(Intent::Submit(id, Box::new(request))).unwrap();
        assert!(inbox.outdates_text());
    }

    #[test]
    fn an_edit_outdates_the_text_and_a_move_does_not() {
        let (say, intents) = IntentSender::new(Arc::new(MonotonicClock::new()));
        let inbox = Inbox::new(intents);
        say.send(typed(Edit::Cursor { pos: 0 })).unwrap();
        assert!(!inbox.outdates_text());
        say.send(typed(Edit::Backspace)).unwrap();
        assert!(inbox.outdates_text());
    }
}
