//! The anticipatory loop: typing events in, tokens and telemetry out.
//!
//! [`spawn`] starts a session on a thread of its own; everything else goes through the
//! [`EngineHandle`] that it returns. Models load behind it: intents are taken from the first
//! moment, and worked on when the models are ready.

mod ahead;
mod answer;
#[cfg(test)]
mod answer_tests;
mod api;
mod budget;
mod cache;
mod early;
mod engine;
mod figures;
mod held;
mod inbox;
mod late;
mod load;
mod options;
mod pairing;
pub mod predict;
mod prompt;
mod vram;
mod worth;

pub use crate::speculate::{DrafterOptions, Sampling, TreeSize};
pub use api::{EngineHandle, Event, Intent, IntentSender, Stamped};
pub use budget::{Budget, BudgetError, Form, LEAST_CTX, Sizes, TooSmall, shards};
pub use held::{DraftPlace, Held};
pub use load::{TEMPLATE_KEY, open_bare, read_sizes};
pub use options::EngineOptions;
pub use pairing::{Pairing, check_draft, left_out};
pub use vram::{NoVram, VramBudget, VramTooSmall};

use crate::telemetry::{Hub, Phase};
use crate::typing::{Clock, MonotonicClock};
use early::{Early, Ended};
use engine::Engine;
use std::sync::Arc;

/// Starts a session.
pub fn spawn(options: EngineOptions) -> EngineHandle {
    spawn_with_clock(options, Arc::new(MonotonicClock::new()))
}

/// Starts a session whose time is `clock`'s: a virtual one is for tests of behaviour.
pub fn spawn_with_clock(options: EngineOptions, clock: Arc<dyn Clock>) -> EngineHandle {
    let hub = Hub::new();
    let (intents, intents_in) = IntentSender::new(Arc::clone(&clock));
    let (events_out, events) = crossbeam_channel::unbounded();
    let (hub_in, fatal) = (Arc::clone(&hub), events_out.clone());
    hub.update(|s| s.phase = Phase::Loading("starting".to_owned()));
    let work = move || {
        let mut early = Early::new(intents_in);
        let engine = load::load(&options, &hub_in, &mut early).map(|mut loaded| {
            for notice in loaded.notices.drain(..) {
                let _ = events_out.send(Event::Notice(notice));
            }
            let channels = (early.intents, events_out.clone());
            Engine::new(loaded, &options, channels, Arc::clone(&hub_in), clock)
        });
        match engine {
            Ok(engine) => engine.run(early.heard),
            // Whoever asked for the end knows of it.
            Err(error) if error.is::<Ended>() => {}
            Err(error) => {
                let why = format!("{error:#}");
                hub_in.update(|s| s.phase = Phase::Failed(why.clone()));
                // Nobody listens any more only when the program is ending anyway.
                let _ = events_out.send(Event::Fatal(why));
            }
        }
    };
    let thread = match std::thread::Builder::new()
        .name("session".into())
        .spawn(work)
    {
        Ok(thread) => Some(thread),
        Err(error) => {
            let _ = fatal.send(Event::Fatal(format!("no thread for the session: {error}")));
            None
        }
    };
    EngineHandle {
        intents,
        events,
        hub,
        thread,
    }
}
