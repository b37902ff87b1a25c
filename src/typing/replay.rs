//! Plays a trace's events back, one at a time, at its own pace or a multiple of it.
//!
//! [`Replay`] is a pure schedule: it works with any clock and knows nothing of the trace's
//! header, so that whoever listens cannot read ahead. [`drive`] and [`ReplayThread`] run it
//! in real time, waiting on a channel that also carries the wish to stop.
//!
//! ```text
//!  events t_us:   0   120000   300000           due at speed 2:   0   60000   150000
//! ```

use super::{Clock, MonotonicClock, TypingEvent};
use crate::units::Micros;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::thread::JoinHandle;
use std::time::Duration;

/// A speed that nothing can be played at.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("the speed {0} makes no sense: give a number above 0, up to {MAX_SPEED}")]
pub struct SpeedError(f64);

const MAX_SPEED: f64 = 1e6;

/// The events still to come, and when.
#[derive(Debug)]
pub struct Replay {
    events: std::iter::Peekable<std::vec::IntoIter<TypingEvent>>,
    speed: f64,
}

impl Replay {
    /// Plays `events`, `speed` times as fast as they happened.
    pub fn new(events: Vec<TypingEvent>, speed: f64) -> Result<Self, SpeedError> {
        if !(speed > 0.0 && speed <= MAX_SPEED) {
            return Err(SpeedError(speed));
        }
        Ok(Self {
            events: events.into_iter().peekable(),
            speed,
        })
    }

    /// When the next event is due, from the start of the replay; `None` at the end.
    pub fn next_due_us(&mut self) -> Option<Micros> {
        let t_us = self.events.peek()?.t_us;
        Some(due_us(t_us, self.speed))
    }

    /// The next event if it is due at `now_us`, with the time at which it was due as its own:
    /// a listener sees one time scale, that of its clock.
    pub fn pop_due(&mut self, now_us: Micros) -> Option<TypingEvent> {
        let speed = self.speed;
        let event = self.events.next_if(|e| due_us(e.t_us, speed) <= now_us)?;
        Some(TypingEvent {
            t_us: due_us(event.t_us, speed),
            edit: event.edit,
        })
    }
}

fn due_us(t_us: Micros, speed: f64) -> Micros {
    // At the trace's own speed, times are exact; f64 holds microseconds exactly for 285 years.
    (t_us as f64 / speed).round() as Micros
}

/// How a replay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayEnd {
    /// Every event was given out.
    Finished,
    /// It was stopped, or nobody holds the other end of `stop` any more.
    Stopped,
    /// The listener wanted no more.
    SinkClosed,
}

/// Plays `replay` in real time from now, blocking. `sink` gets each event when it is due and
/// says whether it wants more; a message on `stop`, or its other end dropped, ends it at once.
pub fn drive(
    mut replay: Replay,
    mut sink: impl FnMut(TypingEvent) -> bool,
    stop: &Receiver<()>,
) -> ReplayEnd {
    let clock = MonotonicClock::new();
    while let Some(due_us) = replay.next_due_us() {
        let wait = Duration::from_micros(due_us.saturating_sub(clock.now_us()));
        match stop.recv_timeout(wait) {
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return ReplayEnd::Stopped,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if let Some(event) = replay.pop_due(clock.now_us())
            && !sink(event)
        {
            return ReplayEnd::SinkClosed;
        }
    }
    ReplayEnd::Finished
}

/// A replay that runs on a thread of its own. Dropping it stops the replay.
#[derive(Debug)]
pub struct ReplayThread {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<ReplayEnd>>,
}

impl ReplayThread {
    /// Starts now; `sink` is called on the new thread.
    pub fn spawn(
        replay: Replay,
        sink: impl FnMut(TypingEvent) -> bool + Send + 'static,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = bounded(1);
        let thread = std::thread::Builder::new()
            .name("replay".into())
            .spawn(move || drive(replay, sink, &stopped))?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Whether the replay has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the end; a replay whose sink panicked counts as closed.
    pub fn join(mut self) -> ReplayEnd {
        let end = self.thread.take().map(JoinHandle::join);
        end.and_then(Result::ok).unwrap_or(ReplayEnd::SinkClosed)
    }

    /// Stops now and waits for the thread.
    pub fn stop(mut self) -> ReplayEnd {
        self.stop = None;
        self.join()
    }
}

impl Drop for ReplayThread {
    fn drop(&mut self) {
        // Closing the channel is the signal. The thread is not waited for: its sink may be
        // blocked on a channel that only the dropping thread empties.
        self.stop = None;
    }
}
