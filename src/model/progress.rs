//! How a long transfer or check shows its progress: a bar on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::units::Bytes;

/// Told by whoever moves bytes. One step at a time: `begin`, any number of `at`, `end`.
pub trait Progress: Sync {
    /// A step begins with `done` of `total` bytes already there.
    fn begin(&self, what: &str, done: u64, total: u64);
    /// `done` bytes of the step are there. May go back, when a piece has to be taken again.
    fn at(&self, done: u64);
    fn end(&self);
    /// Something that gets a line of its own.
    fn note(&self, text: &str);
}

/// A bar where standard error is a terminal, lines otherwise.
pub fn for_stderr() -> Box<dyn Progress> {
    if std::io::stderr().is_terminal() {
        Box::new(Bar::default())
    } else {
        Box::new(Lines::new(std::io::stderr()))
    }
}

/// A bar with size, rate and time left, on standard error.
#[derive(Default)]
pub struct Bar(Mutex<Option<ProgressBar>>);

impl Bar {
    fn with(&self, act: impl FnOnce(&mut Option<ProgressBar>)) {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Progress for Bar {
    fn begin(&self, what: &str, done: u64, total: u64) {
        let style = ProgressStyle::with_template(
            "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta} left",
        )
        .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(total)
            .with_style(style)
            .with_message(what.to_owned());
        bar.set_position(done);
        bar.reset_eta();
        self.with(|slot| *slot = Some(bar));
    }

    fn at(&self, done: u64) {
        self.with(|slot| {
            if let Some(bar) = slot {
                bar.set_position(done);
            }
        });
    }

    fn end(&self) {
        self.with(|slot| {
            if let Some(bar) = slot.take() {
                bar.finish_and_clear();
            }
        });
    }

    fn note(&self, text: &str) {
        self.with(|slot| match slot {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        });
    }
}

/// A line a step and one each tenth of it, with the rate since the step began.
pub struct Lines<W>(Mutex<LinesState<W>>);

struct LinesState<W> {
    out: W,
    what: String,
    began: Instant,
    first: u64,
    total: u64,
    last: u64,
    tenths: u64,
}

impl<W: Write + Send> Lines<W> {
    pub fn new(out: W) -> Self {
        Self(Mutex::new(LinesState {
            out,
            what: String::new(),
            began: Instant::now(),
            first: 0,
            total: 0,
            last: 0,
            tenths: 0,
        }))
    }

    fn with(&self, act: impl FnOnce(&mut LinesState<W>)) {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl<W: Write> LinesState<W> {
    /// Progress is no reason to fail: where it cannot be written, it is not seen.
    fn line(&mut self, text: &str) {
        let _ = writeln!(self.out, "{text}");
    }

    fn tenths_of(&self, done: u64) -> u64 {
        (u128::from(done) * 10 / u128::from(self.total.max(1))).min(10) as u64
    }

    fn rate(&self, now: Duration) -> Bytes {
        let moved = self.last.saturating_sub(self.first) as f64;
        Bytes((moved / now.as_secs_f64().max(1e-3)) as u64)
    }
}

impl<W: Write + Send> Progress for Lines<W> {
    fn begin(&self, what: &str, done: u64, total: u64) {
        self.with(|state| {
            what.clone_into(&mut state.what);
            state.began = Instant::now();
            (state.first, state.last, state.total) = (done, done, total);
            state.tenths = state.tenths_of(done);
            let already = match done {
                0 => String::new(),
                n => format!(", {} already here", Bytes(n)),
            };
            state.line(&format!("{what}: {}{already}", Bytes(total)));
        });
    }

    fn at(&self, done: u64) {
        self.with(|state| {
            state.last = done;
            let tenths = state.tenths_of(done);
            if tenths > state.tenths {
                state.tenths = tenths;
                let rate = state.rate(state.began.elapsed());
                let line = format!("{}: {}% at {rate}/s", state.what, tenths * 10);
                state.line(&line);
            }
        });
    }

    fn end(&self) {}

    fn note(&self, text: &str) {
        self.with(|state| state.line(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_once_a_tenth() {
        let mut out = Vec::new();
        let lines = Lines::new(&mut out);
        lines.begin("model", 250, 1000);
        for done in [260, 299, 300, 310, 999, 1000] {
            lines.at(done);
        }
        lines.end();
        lines.note("done");
        drop(lines);
        let text = String::from_utf8(out).unwrap();
        let steps: Vec<_> = text
            .lines()
            .map(|line| line.split(" at ").next().unwrap())
            .collect();
        assert_eq!(
            steps,
            [
                "model: 1000 B, 250 B already here",
                "model: 30%",
                "model: 90%",
                "model: 100%",
                "done"
            ]
        );
    }
}
