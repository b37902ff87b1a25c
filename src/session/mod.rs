//! The anticipatory loop: typing events in, tokens and telemetry out.

mod api;
mod options;

pub use api::{EngineHandle, Event, Intent};
pub use options::{EngineOptions, Sampling};
