//! The time that events are released by.

use crate::typing::{Clock, MonotonicClock};
use crate::units::Micros;
use crossbeam_channel::Receiver;
use std::time::{Duration, Instant};

/// A clock that can also be waited on. Figures that are reported use [`RealTime`]; tests of
/// behaviour bring one that does not wait.
pub trait Pace {
    /// Microseconds since the pace began.
    fn now_us(&self) -> Micros;

    /// Receives one message when `us` from now have passed.
    fn after(&self, us: Micros) -> Receiver<Instant>;
}

/// The monotonic clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealTime(MonotonicClock);

impl RealTime {
    /// A pace that begins now.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Pace for RealTime {
    fn now_us(&self) -> Micros {
        self.0.now_us()
    }

    fn after(&self, us: Micros) -> Receiver<Instant> {
        crossbeam_channel::after(Duration::from_micros(us))
    }
}
