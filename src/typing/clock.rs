//! Where time comes from. When keys came, how long a pause has been, when text was shown: a session
//! asks its clock for all of that and never the operating system, so that a trace replays the same
//! way twice.
//!
//! What hardware takes is no part of a replay and is measured on the spot, by [`Instant`]: passes
//! and waits for weights (`oracle`, `river`), a draft's decodes (`speculate`), disks and memory
//! (`system::measure`, `plan::forecast`).

use crate::units::Micros;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// A source of time that never goes back.
pub trait Clock: Send + Sync {
    /// Microseconds since the clock began.
    fn now_us(&self) -> Micros;
}

/// Real time from the clock's creation. The only one that may time anything that is reported.
#[derive(Clone, Copy, Debug)]
pub struct MonotonicClock {
    began: Instant,
}

impl MonotonicClock {
    /// A clock that begins now.
    pub fn new() -> Self {
        Self {
            began: Instant::now(),
        }
    }
}

impl Default for MonotonicClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for MonotonicClock {
    fn now_us(&self) -> Micros {
        // 2^64 microseconds are half a million years.
        self.began.elapsed().as_micros() as Micros
    }
}

/// Time that moves only when told to, for tests of behaviour.
#[derive(Debug, Default)]
pub struct VirtualClock {
    now_us: AtomicU64,
}

impl VirtualClock {
    /// A clock at zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves on by `us`.
    pub fn advance(&self, us: Micros) {
        self.now_us.fetch_add(us, Ordering::SeqCst);
    }

    /// Moves on to `us`; stays where it is if that has passed.
    pub fn advance_to(&self, us: Micros) {
        self.now_us.fetch_max(us, Ordering::SeqCst);
    }
}

impl Clock for VirtualClock {
    fn now_us(&self) -> Micros {
        self.now_us.load(Ordering::SeqCst)
    }
}
