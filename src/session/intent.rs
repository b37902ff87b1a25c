//! What clients want of a session, and the channel by which they say so.

use super::clients::ClientId;
use super::request::{Request, RequestId};
use crate::typing::{Clock, TypingEvent};
use crate::units::Micros;
use crossbeam_channel::{Receiver, Sender};
use std::sync::Arc;

/// Something that a client wants.
#[derive(Clone, Debug)]
pub enum Intent {
    /// Answers a request: see [`Client::submit`](super::Client::submit), which chooses the id.
    Submit(RequestId, Box<Request>),
    /// Ends a request of the client's, begun or not; what there is of its answer is kept. Nothing
    /// where it has ended.
    Cancel(RequestId),
    /// An edit of the prompt being composed; `Edit::Enter` submits it. A session has one such
    /// prompt, in one conversation: only one client at a time should edit it.
    Typing(TypingEvent),
    /// Ends the client's answer under way and keeps its text; or, where none is under way, all its
    /// prompts that wait.
    Stop,
    /// Forgets the typed conversation and what is cached of any: the next prompt is its first
    /// turn.
    NewConversation,
    /// Whether to work before Enter, from now on (a cold baseline does not).
    Anticipate(bool),
    /// Ends the session and its thread.
    Shutdown,
}

/// An intent, whose it is, and when it was sent on the session's clock: it may wait while models
/// load.
#[derive(Clone, Debug)]
pub struct Stamped {
    pub at_us: Micros,
    pub client: ClientId,
    pub intent: Intent,
}

/// The session has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session has ended")]
pub struct SessionEnded;

/// Where one client's intents go in. What waits there never blocks the sender.
#[derive(Clone)]
pub(super) struct IntentSender {
    sender: Sender<Stamped>,
    clock: Arc<dyn Clock>,
    client: ClientId,
}

impl IntentSender {
    /// A sender of [`ClientId::OWNER`]'s that stamps by `clock`, and where all intents come out.
    pub fn new(clock: Arc<dyn Clock>) -> (Self, Receiver<Stamped>) {
        let (sender, receiver) = crossbeam_channel::unbounded();
        let client = ClientId::OWNER;
        let sender = Self {
            sender,
            clock,
            client,
        };
        (sender, receiver)
    }

    /// The same for another client.
    pub fn of(&self, client: ClientId) -> Self {
        Self {
            client,
            ..self.clone()
        }
    }

    pub fn client(&self) -> ClientId {
        self.client
    }

    /// # Errors
    /// The session is gone.
    pub fn send(&self, intent: Intent) -> Result<(), SessionEnded> {
        let stamped = Stamped {
            at_us: self.clock.now_us(),
            client: self.client,
            intent,
        };
        self.sender.send(stamped).map_err(|_| SessionEnded)
    }
}
