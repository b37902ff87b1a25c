//! What is said to a session while its models load.
//!
//! Loading is a sequence of stages, each of which is one call that cannot be interrupted. Between
//! two of them intents are received: an end takes effect at once, the rest waits in order for the
//! engine.

use super::intent::{Intent, Stamped};
use crossbeam_channel::{Receiver, TryRecvError};

/// The session is to end before it has begun.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("ended while models were loading")]
pub(super) struct Ended;

/// Listens while models load.
pub(super) struct IntentBacklog {
    pub intents: Receiver<Stamped>,
    /// In the order in which they were said; no shutdown among them.
    pub heard: Vec<Stamped>,
}

impl IntentBacklog {
    pub fn new(intents: Receiver<Stamped>) -> Self {
        Self {
            intents,
            heard: Vec::new(),
        }
    }

    /// Receives what has been said since the last call.
    ///
    /// # Errors
    /// The session is to end, or nobody is left who could want anything of it.
    pub fn listen(&mut self) -> Result<(), Ended> {
        loop {
            match self.intents.try_recv() {
                Ok(heard) if matches!(heard.intent, Intent::Shutdown) => return Err(Ended),
                Ok(heard) => self.heard.push(heard),
                Err(TryRecvError::Disconnected) => return Err(Ended),
                Err(TryRecvError::Empty) => return Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::intent::IntentSender;
    use crate::typing::MonotonicClock;
    use std::sync::Arc;

    fn channel() -> (IntentSender, Receiver<Stamped>) {
        IntentSender::new(Arc::new(MonotonicClock::new()))
    }

    #[test]
    fn what_is_said_early_waits_in_order() {
        let (say, intents) = channel();
        let mut backlog = IntentBacklog::new(intents);
        assert_eq!(backlog.listen(), Ok(()));
        say.send(Intent::Anticipate(false)).unwrap();
        assert_eq!(backlog.listen(), Ok(()));
        say.send(Intent::NewConversation).unwrap();
        assert_eq!(backlog.listen(), Ok(()));
        let heard = backlog.heard.into_iter().map(|stamped| stamped.intent);
        assert!(matches!(
            heard.collect::<Vec<_>>()[..],
            [Intent::Anticipate(false), Intent::NewConversation]
        ));
    }

    #[test]
    fn an_end_is_heard_after_what_was_said_before() {
        let (say, intents) = channel();
        let mut backlog = IntentBacklog::new(intents);
        say.send(Intent::Stop).unwrap();
        say.send(Intent::Shutdown).unwrap();
        assert_eq!(backlog.listen(), Err(Ended));
        let (say, intents) = channel();
        drop(say);
        assert_eq!(IntentBacklog::new(intents).listen(), Err(Ended));
    }
}
