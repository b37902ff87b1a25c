//! What the user does at the keyboard, as data: edits with times, the text they make,
//! traces of them on disk, their rhythm, and the clock that everything is timed by.
//!
//! ```text
//!  keyboard --+
//!             +--> TypingEvent --> Composer   the text, and how much of its start is kept
//!  Trace -> Replay      |    \--> Cadence    gaps, pauses, P(submit)
//!                       \-------> TraceRecorder --> Trace
//! ```
//! Times are microseconds; positions count Unicode scalar values, offsets count bytes.

mod cadence;
mod clock;
mod composer;
mod event;
mod record;
mod replay;
mod submit;
mod trace;

pub use cadence::Cadence;
pub use clock::{Clock, MonotonicClock, VirtualClock};
pub use composer::{Change, Composer, EditError};
pub use event::{Edit, TypingEvent};
pub use record::{RecordError, RecordText, TraceRecorder};
pub use replay::{Replay, SpeedError};
pub use submit::{TextEnd, submit_probability};
pub use trace::{Fault, Trace, TraceError, TraceHeader, sha256_hex};
