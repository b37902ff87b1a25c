//! The rhythm of the typing: gaps between keys, corrections, pastes, and pauses.
//!
//! A **gap** is the time between two keys that change the text by hand. Moves of the cursor
//! and pastes end a pause but make no gap. What arrives as [`PASTE_CHARS`] or more characters
//! at most [`PASTE_GAP_US`] apart was pasted, whether its event says so or not: terminals
//! without bracketed paste send it key by key.
//!
//! ```text
//!  key   key key      key                    now
//!  |-gap-|gap|--gap---|------- pause ---------|
//! ```
//! The rhythm outlives a prompt (it is the typist's); the counts do not.

use super::submit::{TYPICAL_GAP_MS, TextEnd, submit_probability};
use super::{Composer, Edit};
use crate::telemetry::{CadenceView, HISTORY};
use crate::units::Micros;
use std::collections::VecDeque;

/// Fewest characters of a paste.
const PASTE_CHARS: usize = 6;
/// Most time between two characters of a paste.
const PASTE_GAP_US: Micros = 8_000;
/// Gaps that a typist's own median is trusted from.
const ENOUGH_GAPS: usize = 8;

/// Most pauses end before this.
const LONG_PAUSE_MS: f64 = 10_000.0;

/// Pauses shorter than this never start a pass, however fast the typist.
const SHORTEST_PAUSE_MS: f64 = 150.0;
/// Nor need a slow typist pause longer than this.
const LONGEST_PAUSE_MS: f64 = 1_500.0;

/// What is known of the typist's rhythm.
#[derive(Clone, Debug)]
pub struct Cadence {
    gaps_ms: VecDeque<f32>,
    median_gap_ms: Option<f64>,
    /// When anything was last done to the present prompt.
    last_us: Option<Micros>,
    /// Whether `last_us` was a key that the next gap may start from.
    last_was_key: bool,
    burst: Burst,
    keys: u64,
    backspaces: u64,
    pastes: u64,
    end: TextEnd,
    chars: usize,
}

/// Characters that arrived too fast to have been typed.
#[derive(Clone, Copy, Debug, Default)]
struct Burst {
    chars: usize,
    /// Gaps before and inside it that were taken for a typist's.
    gaps: usize,
    keys: u64,
}

impl Default for Cadence {
    fn default() -> Self {
        Self {
            gaps_ms: VecDeque::with_capacity(HISTORY),
            median_gap_ms: None,
            last_us: None,
            last_was_key: false,
            burst: Burst::default(),
            keys: 0,
            backspaces: 0,
            pastes: 0,
            end: TextEnd::WordBoundary,
            chars: 0,
        }
    }
}

impl Cadence {
    /// Nothing known yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in an edit that came at `now_us`; `composer` is as it left the text.
    /// `Edit::Enter` begins the next prompt.
    pub fn observe(&mut self, edit: &Edit, now_us: Micros, composer: &Composer) {
        match edit {
            Edit::Insert { text, paste: true } if !text.is_empty() => {
                self.pastes += 1;
                self.burst = Burst::default();
                self.last_was_key = false;
            }
            Edit::Insert { text, .. } => self.typed(text.chars().count(), now_us),
            Edit::Backspace => {
                self.burst = Burst::default();
                self.key(now_us);
                self.backspaces += 1;
            }
            Edit::Delete { .. } => {
                self.burst = Burst::default();
                self.key(now_us);
            }
            Edit::Cursor { .. } => {
                self.burst = Burst::default();
                self.last_was_key = false;
            }
            Edit::Enter => return self.start_prompt(),
        }
        self.last_us = Some(now_us);
        self.chars = composer.chars();
        self.end = match edit {
            Edit::Backspace | Edit::Delete { .. } => TextEnd::Correction,
            _ => TextEnd::of(composer.before_cursor()),
        };
    }

    /// Moves what was observed back in time: the times of keys were found to be ahead of the clock.
    pub fn shift_back(&mut self, us: Micros) {
        self.last_us = self.last_us.map(|last| last.saturating_sub(us));
    }

    /// Forgets the prompt's counts and keeps the rhythm.
    pub fn start_prompt(&mut self) {
        *self = Self {
            gaps_ms: std::mem::take(&mut self.gaps_ms),
            median_gap_ms: self.median_gap_ms,
            ..Self::default()
        };
    }

    fn typed(&mut self, chars: usize, now_us: Micros) {
        let close = self
            .last_us
            .is_some_and(|last| now_us.saturating_sub(last) <= PASTE_GAP_US);
        if !close {
            self.burst = Burst::default();
        }
        let was_paste = self.burst.chars >= PASTE_CHARS;
        self.burst.chars += chars;
        if was_paste {
            return;
        }
        if self.burst.chars >= PASTE_CHARS {
            // What looked like keys so far was the paste's start: take it back.
            for _ in 0..self.burst.gaps {
                self.gaps_ms.pop_back();
            }
            self.keys -= self.burst.keys;
            self.pastes += 1;
            self.last_was_key = false;
            self.find_median();
            return;
        }
        let gap = self.key(now_us);
        self.burst.gaps += usize::from(gap);
        self.burst.keys += 1;
    }

    /// Counts a key; whether there was a gap before it.
    fn key(&mut self, now_us: Micros) -> bool {
        self.keys += 1;
        let from_key = std::mem::replace(&mut self.last_was_key, true);
        let Some(last) = self.last_us.filter(|_| from_key) else {
            return false;
        };
        if self.gaps_ms.len() == HISTORY {
            self.gaps_ms.pop_front();
        }
        let gap_ms = now_us.saturating_sub(last) as f64 / 1e3;
        self.gaps_ms.push_back(gap_ms as f32);
        self.find_median();
        true
    }

    fn find_median(&mut self) {
        let mut gaps: Vec<f32> = self.gaps_ms.iter().copied().collect();
        self.median_gap_ms = if gaps.is_empty() {
            None
        } else {
            let middle = gaps.len() / 2;
            let (_, median, _) = gaps.select_nth_unstable_by(middle, f32::total_cmp);
            Some(f64::from(*median))
        };
    }

    /// Time since the last thing done to this prompt, in milliseconds.
    pub fn pause_ms(&self, now_us: Micros) -> Option<f64> {
        let last = self.last_us?;
        Some(now_us.saturating_sub(last) as f64 / 1e3)
    }

    /// Whether the typist has paused long enough that the text will probably stay as it is for
    /// as long again, so that a pass on it pays.
    pub fn is_pause(&self, now_us: Micros) -> bool {
        self.pause_ms(now_us)
            .is_some_and(|ms| ms >= self.pause_after_ms())
    }

    /// How long after the last key [`Cadence::is_pause`] becomes true, in milliseconds.
    ///
    /// In multiples of the typist's own median gap, chosen where about three pauses in ten
    /// go on for another second (CoAuthor: 31% after 2 medians at a sentence's end, 29%
    /// after 4 at a word's start, 28% after 6 inside a word, 27% after 6 on a correction).
    pub fn pause_after_ms(&self) -> f64 {
        let medians = match self.end {
            TextEnd::Sentence => 2.0,
            TextEnd::WordBoundary => 4.0,
            TextEnd::Word | TextEnd::Correction => 6.0,
        };
        (medians * self.own_gap_ms()).clamp(SHORTEST_PAUSE_MS, LONGEST_PAUSE_MS)
    }

    /// Whether the typist has left: nothing changes soon.
    pub fn is_long_pause(&self, now_us: Micros) -> bool {
        self.pause_ms(now_us).is_none_or(|ms| ms > LONG_PAUSE_MS)
    }

    /// Probability that Enter comes within the next second; `None` where there is no text.
    pub fn submit_within_a_second(&self, now_us: Micros) -> Option<f64> {
        let pause_ms = self.pause_ms(now_us).filter(|_| self.chars > 0)?;
        let gap_ms = self.own_gap_ms();
        Some(submit_probability(pause_ms, gap_ms, self.end, self.chars))
    }

    /// The typist's median gap, or everybody's until theirs is known.
    fn own_gap_ms(&self) -> f64 {
        self.median_gap_ms
            .filter(|_| self.gaps_ms.len() >= ENOUGH_GAPS)
            .unwrap_or(TYPICAL_GAP_MS)
    }

    /// All of it, for the panes.
    pub fn view(&self, now_us: Micros) -> CadenceView {
        CadenceView {
            gaps_ms: self.gaps_ms.clone(),
            median_gap_ms: self.median_gap_ms,
            keys: self.keys,
            backspaces: self.backspaces,
            pastes: self.pastes,
            pause_ms: self.pause_ms(now_us),
            predicted_submit: self.submit_within_a_second(now_us),
        }
    }
}
