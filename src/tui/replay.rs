//! Recorded typing that is played into the prompt as if it were typed now.
//!
//! Each recorded prompt starts when the one before has been answered (the first when the
//! models are ready), and its events come at their recorded times divided by the speed.

use crate::typing::TypingEvent;
use crate::units::Micros;
use std::collections::VecDeque;

/// What to replay.
#[derive(Clone, Debug)]
pub struct Replay {
    /// One list of events a prompt; times count from each list's first event.
    pub prompts: Vec<Vec<TypingEvent>>,
    /// Two is twice as fast as it was typed.
    pub speed: f64,
}

/// A replay under way.
#[derive(Debug)]
pub struct Player {
    prompts: VecDeque<VecDeque<TypingEvent>>,
    speed: f64,
    /// When the prompt that is being typed began; `None` between prompts.
    started_us: Option<Micros>,
}

impl Player {
    pub fn new(replay: Replay) -> Self {
        Self {
            prompts: replay
                .prompts
                .into_iter()
                .filter(|p| !p.is_empty())
                .map(VecDeque::from)
                .collect(),
            speed: replay.speed,
            started_us: None,
        }
    }

    pub fn speed(&self) -> f64 {
        self.speed
    }

    /// Prompts not yet typed to their end.
    pub fn remaining(&self) -> usize {
        self.prompts.len()
    }

    /// Begins the next prompt, unless one has begun.
    pub fn begin(&mut self, now_us: Micros) {
        if !self.prompts.is_empty() {
            self.started_us.get_or_insert(now_us);
        }
    }

    /// When the next event is due; `None` where nothing has begun.
    pub fn due_us(&self) -> Option<Micros> {
        let next = self.prompts.front()?.front()?;
        let after = (next.t_us as f64 / self.speed) as Micros;
        Some(self.started_us? + after)
    }

    /// The next event if it is due, with the time at which it was.
    pub fn next(&mut self, now_us: Micros) -> Option<(Micros, TypingEvent)> {
        let due = self.due_us().filter(|due| *due <= now_us)?;
        let prompt = self.prompts.front_mut()?;
        let event = prompt.pop_front()?;
        if prompt.is_empty() {
            self.prompts.pop_front();
            self.started_us = None;
        }
        Some((due, event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::typing::Edit;

    #[test]
    fn events_come_at_their_times_divided_by_the_speed() {
        let event = |t_us| TypingEvent {
            t_us,
            edit: Edit::Backspace,
        };
        let mut player = Player::new(Replay {
            prompts: vec![vec![event(0), event(1_000)], vec![], vec![event(0)]],
            speed: 2.0,
        });
        assert_eq!((player.remaining(), player.due_us()), (2, None));
        player.begin(100);
        assert_eq!(player.next(100).map(|e| e.0), Some(100));
        assert_eq!(player.next(599), None);
        assert_eq!(player.due_us(), Some(600));
        assert_eq!(player.next(700).map(|e| e.0), Some(600));
        assert_eq!((player.remaining(), player.next(9_999)), (1, None));
        player.begin(10_000);
        assert!(player.next(10_000).is_some());
        assert_eq!(player.remaining(), 0);
    }
}
