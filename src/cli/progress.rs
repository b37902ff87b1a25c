//! One line on standard error that says what is going on while nothing else can be shown:
//! models loading, a long prompt being read. Only on a terminal; elsewhere only what must not be
//! missed is said.

use crate::telemetry::{Phase, Snapshot};
use crossbeam_channel::Receiver;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// How often the line is brought up to date.
const TICK: Duration = Duration::from_millis(120);

/// The line, or nothing.
pub struct Progress {
    bar: Option<ProgressBar>,
    /// The answer's text appears on the same terminal, and then the line must make way.
    shared: bool,
}

impl Progress {
    /// A line where standard error is a terminal. `text` says that an answer's text goes to
    /// standard output.
    pub fn on_terminal(text: bool) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::hidden();
        }
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
            bar.set_style(style);
        }
        Self {
            bar: Some(bar),
            shared: text && std::io::stdout().is_terminal(),
        }
    }

    /// Nothing.
    pub fn hidden() -> Self {
        Self {
            bar: None,
            shared: false,
        }
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
            bar.set_message(crate::tui::clean(&message));
            bar.tick();
        }
    }

    /// Says what the engine is doing, after `what` it is doing it for.
    pub fn show_for(&mut self, what: &str, snapshot: &Snapshot) {
        if let Some(bar) = &self.bar {
            bar.set_message(match message(snapshot) {
                Some(message) => format!("{what}: {message}"),
                None => what.to_owned(),
            });
            bar.tick();
        }
    }

    /// Says something and leaves it there: in place of the line, or in one of its own on `err`
    /// where there is none.
    pub fn say(&mut self, message: &'static str, err: &mut impl Write) {
        match self.bar.take() {
            Some(bar) => bar.abandon_with_message(message),
            None => {
                // The answer's last line may be unfinished on the same terminal.
                let begin = if self.shared { "\n" } else { "" };
                // What cannot be said is no reason to lose the answer.
                let _ = writeln!(err, "{begin}{message}");
            }
        }
    }

    /// Says something in a line of its own that stays, above the line that changes.
    pub fn note(&self, text: &str) {
        self.above(|| {
            // What cannot be said is no reason to end.
            let _ = writeln!(std::io::stderr(), "{text}");
        });
    }

    /// Says something where there is no line that would say it.
    pub fn note_without_line(&self, text: &str) {
        if self.bar.is_none() {
            self.note(text);
        }
    }

    /// Prints something to standard error above the line.
    pub fn above(&self, print: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Text of the answer comes: takes the line away for good if it is in the way.
    pub fn make_way(&mut self) {
        if self.shared {
            self.clear();
        }
    }

    /// Takes the line away for good.
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
            let answer = &snapshot.accept;
            Some(match (answer.tokens, answer.tokens_per_s) {
                (0, _) if ready < all => format!("reading the prompt: {ready} of {all} tokens"),
                (0, _) => "answering".to_owned(),
                (_, None) if answer.is_thinking => {
                    format!("thinking, {} tokens", answer.thinking_tokens)
                }
                (_, Some(rate)) if answer.is_thinking => {
                    format!(
                        "thinking, {} tokens, {rate:.1} tokens/s",
                        answer.thinking_tokens
                    )
                }
                (n, None) => format!("answering: {n} tokens"),
                (n, Some(rate)) => format!("answering: {n} tokens, {rate:.1} tokens/s"),
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
        snapshot.accept.tokens = 42;
        snapshot.accept.tokens_per_s = Some(3.12);
        assert_eq!(
            message(&snapshot).as_deref(),
            Some("answering: 42 tokens, 3.1 tokens/s")
        );
        (snapshot.accept.is_thinking, snapshot.accept.thinking_tokens) = (true, 40);
        assert_eq!(
            message(&snapshot).as_deref(),
            Some("thinking, 40 tokens, 3.1 tokens/s")
        );
        snapshot.phase = Phase::Idle;
        assert_eq!(message(&snapshot), None);
    }
}
