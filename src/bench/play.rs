//! One prompt played into a session, and what came of it.
//!
//! ```text
//!  edits ... Enter | Submitted -> Text* -> Done
//!    errors noted  |  an error ends the run
//! ```
//! Events of an answer that are heard before this run's Enter belong to an earlier run that
//! failed, and are passed over.

use super::{Chosen, Pace, Watcher};
use crate::session::{EngineHandle, Event, Intent};
use crate::telemetry::{AnswerEnd, AnswerStats};
use crate::typing::{Edit, Replay, SpeedError, TypingEvent, sha256_hex};
use crate::units::Micros;
use crossbeam_channel::{Receiver, never, select};
use std::time::Instant;

/// How a prompt comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Edit by edit at its time, with work before Enter.
    Typed,
    /// As one paste with Enter at once: all work starts there.
    Cold,
}

/// What came of one prompt.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Of the text that the session submitted; `None` where it never did.
    pub prompt_sha256: Option<String>,
    /// `None` where the answer failed.
    pub stats: Option<AnswerStats>,
    /// Enter sent to the first text received, on this side of the channel: a check from
    /// outside on the session's own `ttft_ms`, which it slightly exceeds.
    pub ttft_outside_ms: Option<f64>,
    /// What the session said went wrong.
    pub errors: Vec<String>,
}

/// Why no further prompt can be played.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Halt {
    /// The user has had enough.
    Interrupted,
    /// The session cannot go on; its own words.
    Engine(String),
}

/// Plays prompts into a session and listens to it.
pub(super) struct Player<'a> {
    pub engine: &'a EngineHandle,
    pub pace: &'a dyn Pace,
    pub speed: f64,
    pub interrupts: Receiver<()>,
    pub watcher: &'a mut dyn Watcher,
}

/// A run as it goes on.
#[derive(Default)]
struct Hearing {
    run: Run,
    ready: bool,
    entered_us: Option<Micros>,
    failed: bool,
}

impl Hearing {
    fn over(&self) -> bool {
        self.failed || self.run.stats.is_some()
    }
}

impl Player<'_> {
    /// Waits until the models are loaded.
    pub fn wait_until_ready(&mut self) -> Result<(), Halt> {
        let mut hearing = Hearing::default();
        self.listen(&never(), &mut hearing, |h| h.ready)
    }

    /// Plays one prompt as the first of a new conversation.
    pub fn play(&mut self, chosen: &Chosen, mode: Mode) -> Result<Run, Halt> {
        let mut hearing = Hearing::default();
        self.send(Intent::NewConversation);
        self.send(Intent::Anticipate(mode == Mode::Typed));
        match mode {
            Mode::Typed => self.play_typed(chosen, &mut hearing)?,
            Mode::Cold => self.paste(&chosen.text, &mut hearing),
        }
        self.listen(&never(), &mut hearing, Hearing::over)?;
        Ok(hearing.run)
    }

    fn play_typed(&mut self, chosen: &Chosen, hearing: &mut Hearing) -> Result<(), Halt> {
        let events = chosen.trace.events().to_vec();
        let mut replay = Replay::new(events, self.speed)
            .map_err(|e: SpeedError| Halt::Engine(e.to_string()))?;
        let began_us = self.pace.now_us();
        while let Some(due_us) = replay.next_due_us() {
            let now_us = self.pace.now_us() - began_us;
            if due_us > now_us {
                let timer = self.pace.after(due_us - now_us);
                self.listen(&timer, hearing, |_| false)?;
            }
            if let Some(event) = replay.pop_due(self.pace.now_us() - began_us) {
                self.type_in(event, hearing);
            }
        }
        Ok(())
    }

    fn paste(&mut self, text: &str, hearing: &mut Hearing) {
        let insert = Edit::Insert {
            text: text.to_owned(),
            paste: true,
        };
        for edit in [insert, Edit::Enter] {
            self.type_in(TypingEvent { t_us: 0, edit }, hearing);
        }
    }

    fn type_in(&mut self, event: TypingEvent, hearing: &mut Hearing) {
        if event.edit == Edit::Enter {
            hearing.entered_us = Some(self.pace.now_us());
        }
        self.send(Intent::Typing(event));
    }

    fn send(&self, intent: Intent) {
        // A session that no longer listens says why by an event, or by closing their channel.
        let _ = self.engine.intents.send(intent);
    }

    /// Takes events until the timer goes off or `done` is satisfied.
    fn listen(
        &mut self,
        timer: &Receiver<Instant>,
        hearing: &mut Hearing,
        done: impl Fn(&Hearing) -> bool,
    ) -> Result<(), Halt> {
        let engine = self.engine;
        let ticks = self.watcher.ticks();
        let mut interrupts = self.interrupts.clone();
        while !done(hearing) {
            select! {
                recv(timer) -> _ => return Ok(()),
                recv(engine.events) -> event => match event {
                    Ok(event) => self.hear(event, hearing)?,
                    Err(_) => return Err(Halt::Engine(
                        "the engine ended by itself: the log file may say why".into(),
                    )),
                },
                recv(interrupts) -> message => match message {
                    Ok(()) => {
                        self.send(Intent::Stop);
                        return Err(Halt::Interrupted);
                    }
                    // Nobody is left who could interrupt.
                    Err(_) => {
                        interrupts = never();
                        self.interrupts = never();
                    }
                },
                recv(ticks) -> _ => self.watcher.tick(&engine.hub.snapshot()),
            }
        }
        Ok(())
    }

    fn hear(&mut self, event: Event, hearing: &mut Hearing) -> Result<(), Halt> {
        let run = &mut hearing.run;
        let submitted = run.prompt_sha256.is_some();
        match event {
            Event::Ready => hearing.ready = true,
            Event::Submitted { prompt } => {
                if hearing.entered_us.is_some() && !submitted {
                    run.prompt_sha256 = Some(sha256_hex(&prompt));
                }
            }
            Event::Text(_) => {
                if let Some(entered_us) = hearing.entered_us
                    && submitted
                    && run.ttft_outside_ms.is_none()
                {
                    let waited_us = self.pace.now_us().saturating_sub(entered_us);
                    run.ttft_outside_ms = Some(waited_us as f64 / 1e3);
                }
            }
            Event::Done(stats) => {
                if submitted {
                    if stats.end == AnswerEnd::Failed {
                        run.errors
                            .push("the answer broke off: the log file may say why".into());
                    }
                    run.stats = Some(*stats);
                }
            }
            Event::Notice(notice) => self.watcher.note(&notice),
            Event::Error(error) => {
                run.errors.push(error);
                // Before Enter it was a pass ahead of time that failed: the answer may still come.
                hearing.failed = hearing.entered_us.is_some();
            }
            Event::Fatal(error) => return Err(Halt::Engine(error)),
        }
        Ok(())
    }
}
