//! What is said to a session while its models load.
//!
//! Loading is a row of stages, each of which is one call that cannot be cut short. Between two
//! of them what was said is heard: an end takes place there and then, the rest waits in order
//! for the engine.

use super::api::{Intent, Stamped};
use crossbeam_channel::{Receiver, TryRecvError};

/// The session is to end before it has begun.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("ended while models were loading")]
pub(super) struct Ended;

/// Listens while models load.
pub(super) struct Early {
    pub intents: Receiver<Stamped>,
    /// In the order in which they were said; no shutdown among them.
    pub heard: Vec<Stamped>,
}

impl Early {
    pub fn new(intents: Receiver<Stamped>) -> Self {
        Self {
            intents,
            heard: Vec::new(),
        }
    }

    /// Hears what has been said since.
    ///
    /// # Errors
    /// Where the session is to end, or nobody is left to want it.
    pub fn listen(&mut self) -> Result<(), Ended> {
        loop {
            match self.intents.try_recv() {
                Ok((_, Intent::Shutdown)) | Err(TryRecvError::Disconnected) => return Err(Ended),
                Ok(intent) => self.heard.push(intent),
                Err(TryRecvError::Empty) => return Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::IntentSender;
    use crate::typing::MonotonicClock;
    use std::sync::Arc;

    fn channel() -> (IntentSender, Receiver<Stamped>) {
        IntentSender::new(Arc::new(MonotonicClock::new()))
    }

    #[test]
    fn what_is_said_early_waits_in_order() {
        let (say, intents) = channel();
        let mut early = Early::new(intents);
        assert_eq!(early.listen(), Ok(()));
        say.send(Intent::Anticipate(false)).unwrap();
        assert_eq!(early.listen(), Ok(()));
        say.send(Intent::NewConversation).unwrap();
        assert_eq!(early.listen(), Ok(()));
        assert!(matches!(
            early.heard[..],
            [(_, Intent::Anticipate(false)), (_, Intent::NewConversation)]
        ));
    }

    #[test]
    fn an_end_is_heard_behind_what_was_said_before() {
        let (say, intents) = channel();
        let mut early = Early::new(intents);
        say.send(Intent::Stop).unwrap();
        say.send(Intent::Shutdown).unwrap();
        assert_eq!(early.listen(), Err(Ended));
        let (say, intents) = channel();
        drop(say);
        assert_eq!(Early::new(intents).listen(), Err(Ended));
    }
}
