//! Plays a trace's events back, one at a time, at its own pace or a multiple of it.
//!
//! [`Replay`] is a pure schedule: it works with any clock and knows nothing of the trace's
//! header, so that whoever listens cannot read ahead.
//!
//! ```text
//!  events t_us:   0   120000   300000           due at speed 2:   0   60000   150000
//! ```

use super::TypingEvent;
use crate::units::Micros;
use std::collections::VecDeque;

/// A speed that nothing can be played at.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("the speed {0} makes no sense: give a number above 0, up to {MAX_SPEED}")]
pub struct SpeedError(f64);

const MAX_SPEED: f64 = 1e6;

/// The events still to come, and when.
#[derive(Debug)]
pub struct Replay {
    events: VecDeque<TypingEvent>,
    speed: f64,
}

impl Replay {
    /// Plays `events`, `speed` times as fast as they happened.
    ///
    /// # Errors
    /// A speed that nothing can be played at.
    pub fn new(events: Vec<TypingEvent>, speed: f64) -> Result<Self, SpeedError> {
        if !(speed > 0.0 && speed <= MAX_SPEED) {
            return Err(SpeedError(speed));
        }
        Ok(Self {
            events: events.into(),
            speed,
        })
    }

    /// When the next event is due, from the start of the replay; `None` at the end.
    pub fn next_due_us(&self) -> Option<Micros> {
        let next = self.events.front()?;
        // At the trace's own speed, times are exact; f64 holds microseconds exactly for 285 years.
        Some((next.t_us as f64 / self.speed).round() as Micros)
    }

    /// The next event if it is due at `now_us`, with the time at which it was due as its own:
    /// a listener sees one time scale, that of its clock.
    pub fn pop_due(&mut self, now_us: Micros) -> Option<TypingEvent> {
        let t_us = self.next_due_us().filter(|due_us| *due_us <= now_us)?;
        let TypingEvent { edit, .. } = self.events.pop_front()?;
        Some(TypingEvent { t_us, edit })
    }
}
