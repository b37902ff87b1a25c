//! Recorded typing that is played into the prompt as if it were typed now.
//!
//! Each recorded prompt starts when the one before has been answered (the first when the
//! models are ready), and its events come when its [`Replay`] says.

use crate::typing::{Replay, SpeedError, TypingEvent};
use crate::units::Micros;
use std::collections::VecDeque;

/// Recorded prompts, one after another.
#[derive(Debug)]
pub struct Player {
    prompts: VecDeque<Replay>,
    speed: f64,
    /// When the prompt that is being typed began; `None` between prompts.
    started_us: Option<Micros>,
}

impl Player {
    /// Plays one list of events a prompt, each `speed` times as fast as it was typed. Times
    /// count from each list's first event.
    ///
    /// # Errors
    /// A speed that nothing can be played at.
    pub fn new(prompts: Vec<Vec<TypingEvent>>, speed: f64) -> Result<Self, SpeedError> {
        let prompts = prompts.into_iter().filter(|p| !p.is_empty());
        Ok(Self {
            prompts: prompts
                .map(|events| Replay::new(events, speed))
                .collect::<Result<_, _>>()?,
            speed,
            started_us: None,
        })
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
        Some(self.started_us? + self.prompts.front()?.next_due_us()?)
    }

    /// The next event if it is due, with the time at which it was.
    pub fn next(&mut self, now_us: Micros) -> Option<TypingEvent> {
        let started_us = self.started_us?;
        let prompt = self.prompts.front_mut()?;
        let event = prompt.pop_due(now_us.checked_sub(started_us)?)?;
        if prompt.next_due_us().is_none() {
            self.prompts.pop_front();
            self.started_us = None;
        }
        Some(TypingEvent {
            t_us: started_us + event.t_us,
            edit: event.edit,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::typing::Edit;

    fn event(t_us: Micros) -> TypingEvent {
        TypingEvent {
            t_us,
            edit: Edit::Backspace,
        }
    }

    #[test]
    fn events_come_at_their_times_divided_by_the_speed() {
        let prompts = vec![vec![event(0), event(1_000)], vec![], vec![event(0)]];
        let mut player = Player::new(prompts, 2.0).unwrap();
        let next = |player: &mut Player, now| player.next(now).map(|e| e.t_us);
        assert_eq!((player.remaining(), player.due_us()), (2, None));
        player.begin(100);
        assert_eq!(next(&mut player, 99), None, "a clock that ran back");
        assert_eq!(next(&mut player, 100), Some(100));
        assert_eq!(next(&mut player, 599), None);
        assert_eq!(player.due_us(), Some(600));
        assert_eq!(next(&mut player, 700), Some(600));
        assert_eq!((player.remaining(), next(&mut player, 9_999)), (1, None));
        player.begin(10_000);
        assert!(next(&mut player, 10_000).is_some());
        assert_eq!((player.remaining(), player.due_us()), (0, None));
    }

    #[test]
    fn it_needs_a_speed_to_play_at() {
        assert!(Player::new(vec![vec![event(0)]], 0.0).is_err());
    }
}
