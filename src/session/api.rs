//! What the outside says to a session and hears from it. A session runs on a thread of its
//! own; the workbench, the benchmark and `run` all talk to it through an [`EngineHandle`].

use crate::telemetry::{AnswerStats, Hub};
use crate::typing::{Clock, TypingEvent};
use crate::units::Micros;
use crossbeam_channel::{Receiver, SendError, Sender};
use std::sync::Arc;

/// Something that the user wants.
#[derive(Clone, Debug)]
pub enum Intent {
    /// An edit of the prompt being composed; `Edit::Enter` submits it.
    Typing(TypingEvent),
    /// Ends the answer under way and keeps its text. Nothing where none is.
    Stop,
    /// Forgets the conversation and what is cached of it: the next prompt is its first turn.
    NewConversation,
    /// Whether to work before Enter, from now on (a cold baseline does not).
    Anticipate(bool),
    /// Ends the session and its thread.
    Shutdown,
}

/// Something that happened. Sent in order over a channel that never drops.
#[derive(Clone, Debug)]
pub enum Event {
    /// Models are ready.
    Ready,
    /// The prompt was taken: its text, as the session understood the edits.
    Submitted { prompt: String },
    /// Verified text of the answer, whole characters.
    Text(String),
    /// The answer ended.
    Done(Box<AnswerStats>),
    /// Something worth saying that stops nothing, such as a draft that gave up.
    Notice(String),
    /// The present answer or pass failed; the conversation stands and the next prompt works.
    Error(String),
    /// The session cannot go on (models that do not load).
    Fatal(String),
}

/// An intent, and when it was sent on the session's clock: it may wait while models load.
pub type Stamped = (Micros, Intent);

/// Where intents go in. What waits there never blocks the sender.
#[derive(Clone)]
pub struct IntentSender {
    sender: Sender<Stamped>,
    clock: Arc<dyn Clock>,
}

impl IntentSender {
    /// A sender that stamps by `clock`, and where its intents come out.
    pub fn new(clock: Arc<dyn Clock>) -> (Self, Receiver<Stamped>) {
        let (sender, receiver) = crossbeam_channel::unbounded();
        (Self { sender, clock }, receiver)
    }

    /// # Errors
    /// The session is gone.
    pub fn send(&self, intent: Intent) -> Result<(), SendError<Stamped>> {
        self.sender.send((self.clock.now_us(), intent))
    }
}

/// The outside's end of a running session.
pub struct EngineHandle {
    pub intents: IntentSender,
    pub events: Receiver<Event>,
    pub hub: Arc<Hub>,
    /// Joined by [`EngineHandle::shutdown`]; `None` for a session that has no thread.
    pub thread: Option<std::thread::JoinHandle<()>>,
}

impl EngineHandle {
    /// Asks the session to end and waits until its memory is given back.
    pub fn shutdown(mut self) {
        // A session that already ended has closed the channel: there is nothing to ask.
        let _ = self.intents.send(Intent::Shutdown);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
