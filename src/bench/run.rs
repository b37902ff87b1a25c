//! One prompt into the session, by hand or all at once, and what came back.

use super::{Case, Pace};
use crate::session::{Client, Event, Intent, RequestEvent, RequestId};
use crate::telemetry::{AnswerStats, see_log};
use crate::typing::{Edit, Replay, SpeedError, TypingEvent, sha256_hex};
use crossbeam_channel::{Receiver, never, select};
use std::collections::VecDeque;

/// What is asked before anything is measured.
const WARM_UP: &str = "Say hello.";

/// How a prompt is given to the session.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Play {
    /// As it was typed, this many times faster; the session may work before Enter.
    Typed { speed: f64 },
    /// One paste and Enter; the session begins to work at Enter.
    Cold,
}

/// What one prompt gave.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Of the text that the session says was submitted.
    pub prompt_sha256: Option<String>,
    pub stats: Option<AnswerStats>,
    /// Why there are no stats, or what else the session called an error.
    pub error: Option<String>,
    pub notices: Vec<String>,
}

/// How a run ended.
#[derive(Debug)]
pub enum RunEnd {
    Finished(Box<Run>),
    /// The user wants no more.
    Interrupted,
    /// The session is gone.
    Fatal(String),
}

/// Plays `case` into a session as the first turn of a new conversation. `tick` is called at
/// each message of `ticks`, to show what goes on.
///
/// # Errors
/// A speed that makes no sense.
pub(super) fn play(
    client: &Client,
    case: &Case,
    how: Play,
    pace: &dyn Pace,
    interrupts: &mut Receiver<()>,
    ticks: &Receiver<std::time::Instant>,
    tick: &mut dyn FnMut(),
) -> Result<RunEnd, SpeedError> {
    if case.text.trim().is_empty() {
        // The session would answer nothing.
        let error = Some("the trace submits no text".to_owned());
        return Ok(RunEnd::Finished(Box::new(Run {
            error,
            ..Run::default()
        })));
    }
    let keys = match how {
        Play::Typed { speed } => {
            Keys::Typed(Box::new(Replay::new(case.trace.events().to_vec(), speed)?))
        }
        Play::Cold => Keys::AtOnce(at_once(&case.text)),
    };
    Ok(give(client, keys, pace, interrupts, ticks, tick))
}

/// Has the session answer a text of no meaning here, so that weights, draft and kernels are in
/// place before anything is measured. What it answers is of no interest.
pub(super) fn warm_up(
    client: &Client,
    pace: &dyn Pace,
    interrupts: &mut Receiver<()>,
    ticks: &Receiver<std::time::Instant>,
    tick: &mut dyn FnMut(),
) -> RunEnd {
    let keys = Keys::AtOnce(at_once(WARM_UP));
    give(client, keys, pace, interrupts, ticks, tick)
}

/// Gives `keys` to a new conversation, one event at a time, and waits for the answer.
fn give(
    client: &Client,
    mut keys: Keys,
    pace: &dyn Pace,
    interrupts: &mut Receiver<()>,
    ticks: &Receiver<std::time::Instant>,
    tick: &mut dyn FnMut(),
) -> RunEnd {
    let began_us = pace.now_us();
    let mut listener = Listener::default();
    for intent in [
        Intent::NewConversation,
        Intent::Anticipate(matches!(keys, Keys::Typed(_))),
    ] {
        // A session that is gone has closed its events too, and is found out below.
        let _ = client.send(intent);
    }
    loop {
        let due = match keys.next_due_us() {
            Some(due_us) => pace.until(began_us + due_us),
            None => never(),
        };
        select! {
            recv(due) -> _ => {
                if let Some(event) = keys.pop_due(pace.now_us() - began_us) {
                    let _ = client.send(Intent::Typing(event));
                }
            }
            recv(client.events()) -> event => match event {
                Ok(Event::Fatal(error)) => return RunEnd::Fatal(error.to_string()),
                Ok(event) => {
                    if listener.hear(event) {
                        return RunEnd::Finished(Box::new(listener.run));
                    }
                }
                Err(_) => return RunEnd::Fatal(
                    format!("the engine ended before its answer{}", see_log()),
                ),
            },
            recv(interrupts) -> message => match message {
                Ok(()) => return RunEnd::Interrupted,
                // Nobody is left who could interrupt.
                Err(_) => *interrupts = never(),
            },
            recv(ticks) -> _ => tick(),
        }
    }
}

/// The edits of a cold run.
fn at_once(text: &str) -> VecDeque<TypingEvent> {
    let paste = (!text.is_empty()).then(|| Edit::Insert {
        text: text.to_owned(),
        paste: true,
    });
    paste
        .into_iter()
        .chain([Edit::Enter])
        .map(|edit| TypingEvent { t_us: 0, edit })
        .collect()
}

/// What is still to be typed.
enum Keys {
    Typed(Box<Replay>),
    AtOnce(VecDeque<TypingEvent>),
}

impl Keys {
    fn next_due_us(&mut self) -> Option<u64> {
        match self {
            Self::Typed(replay) => replay.next_due_us(),
            Self::AtOnce(events) => events.front().map(|event| event.t_us),
        }
    }

    fn pop_due(&mut self, now_us: u64) -> Option<TypingEvent> {
        match self {
            Self::Typed(replay) => replay.pop_due(now_us),
            Self::AtOnce(events) => events.pop_front(),
        }
    }
}

/// Makes a run of what the session says.
#[derive(Default)]
struct Listener {
    run: Run,
    /// The prompt's, once it was submitted.
    id: Option<RequestId>,
}

impl Listener {
    /// True when the run is over.
    fn hear(&mut self, event: Event) -> bool {
        match event {
            Event::Request(id, RequestEvent::Submitted { prompt }) => {
                self.id = Some(id);
                self.run.prompt_sha256 = Some(sha256_hex(&prompt));
            }
            Event::Request(id, RequestEvent::Done(stats)) if self.id == Some(id) => {
                self.run.stats = Some(*stats);
                return true;
            }
            Event::Request(id, RequestEvent::Failed(error)) if self.id == Some(id) => {
                self.run.error = Some(error.to_string());
                return true;
            }
            // Of a run before this one.
            Event::Request(..) => {}
            Event::Notice(notice) => self.run.notices.push(notice.to_string()),
            Event::Ready | Event::Fatal(_) => {}
        }
        false
    }
}
