//! One line on standard error that says what is going on while nothing else can be shown:
//! models loading, a long prompt being read. Only on a terminal; elsewhere it does nothing.

use crate::telemetry::{Phase, Snapshot};
use crossbeam_channel::Receiver;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;

/// How often the line is brought up to date.
const TICK: Duration = Duration::from_millis(120);

/// The line, or nothing.
pub struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    /// A line where standard error is a terminal.
    pub fn on_terminal() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::hidden();
        }
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
            bar.set_style(style);
        }
        Self { bar: Some(bar) }
    }

    /// Nothing.
    pub fn hidden() -> Self {
        Self { bar: None }
    }

    /// When to call [`Progress::show`].
    pub fn ticks(&self) -> Receiver<std::time::Instant> {
        match self.bar {
            Some(_) => crossbeam_channel::tick(TICK),
            None => crossbeam_channel::never(),
        }
    }

    /// Says what the engine is doing.
    pub fn show(&mut self, snapshot: &Snapshot) {
        if let (Some(bar), Some(message)) = (&self.bar, message(snapshot)) {
            bar.set_message(message);
            bar.tick();
        }
    }

    /// Says something and leaves it there.
    pub fn say(&mut self, message: &'static str) {
        if let Some(bar) = self.bar.take() {
            bar.abandon_with_message(message);
        }
    }

    /// Takes the line away for good: the answer has begun.
    pub fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// In words; `None` where there is nothing to say.
fn message(snapshot: &Snapshot) -> Option<String> {
    match &snapshot.phase {
        Phase::Loading(what) => Some(format!("loading {what}")),
        Phase::Anticipating | Phase::Answering => {
            let (ready, all) = (
                snapshot.prefill.ready_tokens,
                snapshot.prefill.prompt_tokens,
            );
            Some(if ready < all {
                format!("reading the prompt: {ready} of {all} tokens")
            } else {
                "answering".to_owned()
            })
        }
        Phase::Idle | Phase::Composing | Phase::Failed(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_the_engine_does() {
        let mut snapshot = Snapshot {
            phase: Phase::Loading("the oracle".into()),
            ..Snapshot::default()
        };
        assert_eq!(message(&snapshot).as_deref(), Some("loading the oracle"));
        snapshot.phase = Phase::Answering;
        snapshot.prefill.prompt_tokens = 340;
        snapshot.prefill.ready_tokens = 120;
        assert_eq!(
            message(&snapshot).as_deref(),
            Some("reading the prompt: 120 of 340 tokens")
        );
        snapshot.phase = Phase::Idle;
        assert_eq!(message(&snapshot), None);
    }
}
