//! The anticipatory loop: requests and typing events in, tokens and telemetry out.
//!
//! ```text
//!  front-ends            the session's thread
//!  Client  --Intent-->   Engine   one pass after another, for one answer at a time
//!  Client  --------->      |--- Composition   the prompt being typed, and what is begun of it
//!    ^                     |--- Turn          the answer under way
//!    '------ Event --------'--- Decoder       the oracle's cache, and all that guesses
//! ```
//!
//! [`spawn`] starts a session on a thread of its own; everything else goes through the
//! [`EngineHandle`] that it returns, and the [`Client`]s that this connects. Models load
//! meanwhile: intents are taken from the first moment, and worked on when the models are ready.

mod answer;
#[cfg(test)]
mod answer_tests;
mod anticipation;
mod cache;
mod client;
mod clients;
mod composition;
mod decoder;
mod deferred_draft;
mod engine;
mod event;
mod experts;
mod figures;
mod handle;
mod inbox;
mod intent;
mod intent_backlog;
mod load;
mod load_error;
mod options;
mod overlap;
mod prompt;
mod request;
mod stakes;
mod turn;

pub use crate::plan::{DraftRequest, TreeSize, Vram};
pub use crate::speculate::{DrafterOptions, Sampling};
pub use client::{Answer, AskError, Client};
pub use clients::{ClientId, Clients};
pub use event::{DraftFailure, Event, Notice, RequestEvent, SessionError};
pub use handle::{EngineEnd, EngineHandle};
pub use intent::{Intent, SessionEnded, Stamped};
pub use load_error::LoadError;
pub use options::EngineOptions;
pub use request::{Message, MessagesError, Params, Request, RequestError, RequestId, Role};

use crate::telemetry::Phase;
use crate::typing::{Clock, MonotonicClock};
use engine::Engine;
use intent_backlog::IntentBacklog;
use load_error::Unloaded;
use std::sync::Arc;

/// Starts a session.
pub fn spawn(options: EngineOptions) -> EngineHandle {
    spawn_with_clock(options, Arc::new(MonotonicClock::new()))
}

/// Starts a session whose time is `clock`'s: a virtual one is for tests of behaviour.
pub fn spawn_with_clock(options: EngineOptions, clock: Arc<dyn Clock>) -> EngineHandle {
    let (handle, end) = EngineHandle::pair(Arc::clone(&clock));
    end.hub
        .update(|s| s.phase = Phase::Loading("starting".to_owned()));
    handle.on_thread(end, move |end| conduct(&options, &end, clock))
}

/// Loads the models, and answers until the session is to end.
fn conduct(options: &EngineOptions, end: &EngineEnd, clock: Arc<dyn Clock>) {
    let mut backlog = IntentBacklog::new(end.intents.clone());
    match load::load(options, &end.hub, &mut backlog) {
        Ok(mut loaded) => {
            for notice in loaded.notices.drain(..) {
                end.clients.tell_all(Event::Notice(Notice::Setup(notice)));
            }
            Engine::new(loaded, options, end, clock).run(backlog.heard, options.draft_waits);
        }
        Err(Unloaded::Ended) => {}
        Err(Unloaded::Failed(error)) => {
            let error = SessionError::Load(*error);
            let why = error.to_string();
            end.hub.update(|s| s.phase = Phase::Failed(why));
            end.clients.tell_all(Event::Fatal(Arc::new(error)));
        }
    }
}
