//! The anticipatory loop: typing events in, tokens and telemetry out.

mod api;
mod options;

pub use api::{EngineHandle, Event, Intent};
pub use options::{EngineOptions, Sampling};

/// Placeholder until the session's thread exists: an engine that says it is absent.
pub fn spawn(_options: EngineOptions) -> EngineHandle {
    let (intents, _) = crossbeam_channel::unbounded();
    let (outbox, events) = crossbeam_channel::unbounded();
    let _ = outbox.send(Event::Fatal("the engine is not part of this build".into()));
    EngineHandle {
        intents,
        events,
        hub: crate::telemetry::Hub::new(),
        thread: None,
    }
}
