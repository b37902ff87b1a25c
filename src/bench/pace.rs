//! The clock that a replay keeps to, and the wait for it.

use crate::typing::{Clock, MonotonicClock, VirtualClock};
use crate::units::Micros;
use crossbeam_channel::Receiver;
use std::time::{Duration, Instant};

/// A clock that can wake whoever waits for it.
pub trait Pace: Clock {
    /// Receives one message when [`Clock::now_us`] has come to `due_us`.
    fn until(&self, due_us: Micros) -> Receiver<Instant>;
}

impl Pace for MonotonicClock {
    fn until(&self, due_us: Micros) -> Receiver<Instant> {
        crossbeam_channel::after(Duration::from_micros(due_us.saturating_sub(self.now_us())))
    }
}

impl Pace for VirtualClock {
    /// Goes to `due_us` at once.
    fn until(&self, due_us: Micros) -> Receiver<Instant> {
        self.advance_to(due_us);
        crossbeam_channel::after(Duration::ZERO)
    }
}
