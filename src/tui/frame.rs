//! When to draw: only when something changed, and at most sixty times a second.

use std::time::{Duration, Instant};

/// Shortest time between two frames.
pub const MIN_GAP: Duration = Duration::from_micros(16_667);

/// Gathers requests into frames. Time comes in as an argument.
#[derive(Debug, Default)]
pub struct FrameLimiter {
    last: Option<Instant>,
    requested: bool,
}

impl FrameLimiter {
    /// Asks for a frame; any number of requests before it make one.
    pub fn request(&mut self) {
        self.requested = true;
    }

    /// How long until a frame is due: `None` while none is asked for, zero for now.
    pub fn due_in(&self, now: Instant) -> Option<Duration> {
        let wait = |last: Instant| (last + MIN_GAP).saturating_duration_since(now);
        self.requested
            .then(|| self.last.map_or(Duration::ZERO, wait))
    }

    /// A frame was drawn.
    pub fn drawn(&mut self, now: Instant) {
        self.last = Some(now);
        self.requested = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_on_demand_coalesced_and_capped() {
        let start = Instant::now();
        let mut frames = FrameLimiter::default();
        assert_eq!(frames.due_in(start), None);
        frames.request();
        frames.request();
        assert_eq!(frames.due_in(start), Some(Duration::ZERO));
        frames.drawn(start);
        assert_eq!(frames.due_in(start + MIN_GAP * 9), None);
        frames.request();
        assert_eq!(frames.due_in(start), Some(MIN_GAP));
        assert_eq!(
            frames.due_in(start + MIN_GAP / 2),
            Some(MIN_GAP - MIN_GAP / 2)
        );
        assert_eq!(frames.due_in(start + MIN_GAP * 2), Some(Duration::ZERO));
    }
}
