//! What the outside says to a session and hears from it. A session runs on a thread of its
//! own; the workbench, the benchmark and `run` all talk to it through an [`EngineHandle`].

use crate::telemetry::{AnswerStats, Hub, Phase};
use crate::typing::{Clock, TypingEvent};
use crate::units::Micros;
use crossbeam_channel::{Receiver, RecvTimeoutError, SendError, Sender};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An end that takes longer than this is worth a word.
const AT_ONCE: Duration = Duration::from_millis(150);

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
    pub fn shutdown(self) {
        self.shutdown_telling(|_| ());
    }

    /// The same, and calls `tell` with what is waited for if that takes noticeable time: a pass
    /// under way, or a stage of loading, is not cut short.
    pub fn shutdown_telling(mut self, tell: impl FnOnce(&str)) {
        // A session that already ended has closed the channel: there is nothing to ask.
        let _ = self.intents.send(Intent::Shutdown);
        if !self.ends_by(Instant::now() + AT_ONCE)
            && let Some(what) = self.under_way()
        {
            tell(&what);
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }

    /// Whether the session's end of the events is closed before then: the last that it does.
    fn ends_by(&self, deadline: Instant) -> bool {
        loop {
            match self.events.recv_deadline(deadline) {
                // Nobody is left who wants to hear it.
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return false,
                Err(RecvTimeoutError::Disconnected) => return true,
            }
        }
    }

    /// What an end has to wait for.
    fn under_way(&self) -> Option<String> {
        match self.hub.snapshot().phase {
            Phase::Loading(what) => Some(format!("ending after what is being loaded ({what})")),
            Phase::Anticipating | Phase::Answering => {
                Some("ending after the pass under way".to_owned())
            }
            Phase::Idle | Phase::Composing | Phase::Failed(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::typing::MonotonicClock;
    use crossbeam_channel::unbounded;

    /// A session in `phase` whose thread ends when `released` says so or is closed.
    fn session(phase: Phase, released: Receiver<()>) -> EngineHandle {
        let (intents, heard) = IntentSender::new(Arc::new(MonotonicClock::new()));
        let (say, events) = unbounded();
        let hub = Hub::new();
        hub.update(|s| s.phase = phase);
        let thread = std::thread::spawn(move || {
            let _open = say;
            assert!(matches!(heard.recv(), Ok((_, Intent::Shutdown))));
            let _ = released.recv();
        });
        EngineHandle {
            intents,
            events,
            hub,
            thread: Some(thread),
        }
    }

    #[test]
    fn what_is_waited_for_is_told_before_it_is_waited_for() {
        for (phase, words) in [
            (Phase::Loading("oracle".into()), "loaded (oracle)"),
            (Phase::Answering, "the pass under way"),
        ] {
            // The thread ends only when it has been told: else this would hang.
            let (release, released) = unbounded();
            let mut told = String::new();
            session(phase, released).shutdown_telling(|what| {
                told = what.to_owned();
                release.send(()).unwrap();
            });
            assert!(told.contains(words), "{told}");
        }
    }

    #[test]
    fn an_end_at_once_tells_nothing() {
        // It has ended already: nobody holds the other end of its events.
        let (intents, _) = IntentSender::new(Arc::new(MonotonicClock::new()));
        let (_, events) = unbounded();
        let hub = Hub::new();
        hub.update(|s| s.phase = Phase::Answering);
        let handle = EngineHandle {
            intents,
            events,
            hub,
            thread: None,
        };
        handle.shutdown_telling(|what| panic!("{what}"));
    }
}
