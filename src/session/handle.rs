//! The two ends of a session: its owner's, which connects clients and ends it, and the engine's.
//!
//! ```text
//!  EngineHandle --connect()--> Client, Client, ...
//!      |                          |  intents        ^ events
//!      |  Shutdown                v                 |
//!      '------------------->  EngineEnd on the session's thread
//! ```

use super::client::Client;
use super::clients::Clients;
use super::event::{Event, SessionError};
use super::intent::{Intent, IntentSender, Stamped};
use crate::telemetry::{Hub, Phase};
use crate::typing::Clock;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An end that takes longer than this is announced.
const AT_ONCE: Duration = Duration::from_millis(150);

/// The owner's end of a running session.
pub struct EngineHandle {
    intents: IntentSender,
    clients: Arc<Clients>,
    hub: Arc<Hub>,
    /// Closed when the engine's end is dropped.
    ended: Receiver<Infallible>,
    /// Joined by [`EngineHandle::shutdown`]; `None` for a session that has no thread.
    thread: Option<std::thread::JoinHandle<()>>,
}

/// The engine's end. Dropping it ends the session for all clients.
pub struct EngineEnd {
    pub intents: Receiver<Stamped>,
    pub clients: Arc<Clients>,
    pub hub: Arc<Hub>,
    _ended: Sender<Infallible>,
}

impl Drop for EngineEnd {
    fn drop(&mut self) {
        self.clients.end();
    }
}

impl EngineHandle {
    /// Both ends of a session that has no thread yet, and whose time is `clock`'s.
    pub fn pair(clock: Arc<dyn Clock>) -> (Self, EngineEnd) {
        let (intents, heard) = IntentSender::new(clock);
        let (clients, hub) = (Arc::new(Clients::default()), Hub::new());
        let (ends, ended) = unbounded();
        let end = EngineEnd {
            intents: heard,
            clients: Arc::clone(&clients),
            hub: Arc::clone(&hub),
            _ended: ends,
        };
        let handle = Self {
            intents,
            clients,
            hub,
            ended,
            thread: None,
        };
        (handle, end)
    }

    /// A session that `work` conducts, on a thread of its own.
    pub fn start(clock: Arc<dyn Clock>, work: impl FnOnce(EngineEnd) + Send + 'static) -> Self {
        let (handle, end) = Self::pair(clock);
        handle.on_thread(end, work)
    }

    /// The same, where both ends are there.
    pub(super) fn on_thread(
        mut self,
        end: EngineEnd,
        work: impl FnOnce(EngineEnd) + Send + 'static,
    ) -> Self {
        let thread = std::thread::Builder::new().name("session".into());
        match thread.spawn(move || work(end)) {
            Ok(thread) => self.thread = Some(thread),
            Err(error) => {
                let error = Arc::new(SessionError::Thread(error));
                self.clients.tell_all(Event::Fatal(error));
            }
        }
        self
    }

    /// Another client of the session.
    pub fn connect(&self) -> Client {
        Client::join(&self.intents, &self.clients, &self.hub)
    }

    /// What the session shows of itself.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Whether the session's thread has ended.
    pub fn has_ended(&self) -> bool {
        self.thread
            .as_ref()
            .is_none_or(|thread| thread.is_finished())
    }

    /// Asks the session to end and waits until its memory is given back.
    pub fn shutdown(self) {
        self.shutdown_telling(|_| ());
    }

    /// The same, and if that takes noticeable time, calls `tell` with what is waited for: a pass
    /// under way, or a stage of loading, is not interrupted.
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

    /// Whether the engine's end is gone before then.
    fn ends_by(&self, deadline: Instant) -> bool {
        match self.ended.recv_deadline(deadline) {
            Ok(never) => match never {},
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => true,
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

    /// A session in `phase` whose thread ends when `released` says so or is closed.
    fn session(phase: Phase, released: Receiver<()>) -> EngineHandle {
        EngineHandle::start(Arc::new(MonotonicClock::new()), move |end| {
            end.hub.update(|s| s.phase = phase);
            end.clients.tell_all(Event::Ready);
            let heard = end.intents.recv().map(|stamped| stamped.intent);
            assert!(matches!(heard, Ok(Intent::Shutdown)));
            let _ = released.recv();
        })
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
            let session = session(phase, released);
            // It is in its phase by then.
            assert!(matches!(
                session.connect().events().recv(),
                Ok(Event::Ready)
            ));
            session.shutdown_telling(|what| {
                told = what.to_owned();
                release.send(()).unwrap();
            });
            assert!(told.contains(words), "{told}");
        }
    }

    #[test]
    fn an_end_at_once_tells_nothing() {
        // It has ended already: nobody holds the engine's end.
        let (handle, end) = EngineHandle::pair(Arc::new(MonotonicClock::new()));
        end.hub.update(|s| s.phase = Phase::Answering);
        drop(end);
        handle.shutdown_telling(|what| panic!("{what}"));
    }
}
