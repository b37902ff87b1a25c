//! The figures of one answer, from its prompt's first key to its last token.

use super::answer::Answer;
use super::cache::Cache;
use crate::oracle::{Oracle, Trees, WidthClass};
use crate::system;
use crate::telemetry::{AnswerEnd, AnswerStats};
use crate::vocabulary::Label;

/// Counters as they stood when the prompt began, and what is known since.
#[derive(Debug, Default)]
pub(super) struct Figures {
    start: Option<Start>,
    pub prompt_tokens: usize,
    pub ready_tokens: usize,
}

#[derive(Clone, Copy, Debug)]
struct Start {
    bytes: u64,
    reading_us: u64,
    hits: u64,
    misses: u64,
}

/// When an answer's text was shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    first_us: u64,
    /// Tokens shown at once then: those decoded before Enter among them.
    first_tokens: u64,
    last_us: u64,
    /// Time since then in which the draft loaded: no part of how fast answers come.
    loading_us: u64,
}

impl Times {
    /// `tokens` stand on the screen at `now`; `before` are the times of what was there.
    pub(super) fn at(before: Option<Self>, now: u64, tokens: u64) -> Self {
        Self {
            last_us: now,
            ..before.unwrap_or(Self {
                first_us: now,
                first_tokens: tokens,
                last_us: now,
                loading_us: 0,
            })
        }
    }

    /// The same where a draft has loaded for so long since.
    pub(super) fn after_loading(self, us: u64) -> Self {
        Self {
            loading_us: self.loading_us + us,
            ..self
        }
    }

    pub(super) fn ttft_ms(&self, submitted_us: u64) -> f64 {
        self.first_us.saturating_sub(submitted_us) as f64 / 1e3
    }
}

impl Figures {
    /// Begins with the prompt's first event.
    pub(super) fn start(oracle: &dyn Oracle) -> Self {
        Self {
            start: Some(Start::of(oracle)),
            ..Self::default()
        }
    }

    pub(super) fn is_unstarted(&self) -> bool {
        self.start.is_none()
    }

    /// The answer's figures.
    #[allow(
        clippy::too_many_arguments,
        reason = "each is a source of figures of its own"
    )]
    pub(super) fn stats(
        &self,
        cache: &Cache,
        answer: &Answer,
        submitted_us: u64,
        times: Option<Times>,
        scout: Option<(Label, f32)>,
        text: String,
    ) -> AnswerStats {
        // An answer that ended with its prompt was read with it.
        let width = answer.width().unwrap_or(WidthClass::BATCH);
        let now = Start::of(cache.oracle());
        let start = self.start.unwrap_or(now);
        let (bytes, reading_us) = (now.bytes - start.bytes, now.reading_us - start.reading_us);
        let (hits, misses) = (now.hits - start.hits, now.misses - start.misses);
        let tokens = answer.tokens().len() as u64;
        let ratio = |a: u64, b: u64| (b > 0).then(|| a as f64 / b as f64);
        AnswerStats {
            ttft_ms: times.map(|t| t.ttft_ms(submitted_us)),
            cold_ttft_ms: None,
            hidden_fraction: None,
            tokens,
            tokens_per_s: rate(tokens, times),
            passes: cache.passes(),
            accepted_per_pass: ratio(tokens, answer.passes),
            accept_rate: ratio(answer.accepted, answer.drafted),
            tree_nodes_mean: ratio(answer.nodes, answer.trees),
            bytes_read: bytes,
            bytes_wasted: cache.wasted_bytes(),
            // Bytes over microseconds are megabytes a second.
            read_gb_s: ratio(bytes, reading_us)
                .filter(|_| bytes > 0)
                .map(|mb_s| mb_s / 1e3),
            stall_ms: cache.stall_ms(),
            prefetch_hit_rate: ratio(hits, hits + misses).filter(|_| cache.oracle().streams()),
            rss_peak_bytes: system::rss_peak().map(|b| b.0),
            threads_least: Some(cache.threads().least).filter(|&n| n > 0),
            threads_most: Some(cache.threads().most).filter(|&n| n > 0),
            scout_label: scout.map(|(label, _)| label),
            scout_confidence: scout.map(|(_, p)| p),
            text,
            end: answer.end().unwrap_or(AnswerEnd::Stopped),
            width_class: (width.min, width.max),
            rounded: cache.oracle().trees() == Trees::Rounded,
            prompt_tokens: self.prompt_tokens as u64,
            prompt_tokens_ready: self.ready_tokens as u64,
        }
    }
}

impl Start {
    fn of(oracle: &dyn Oracle) -> Self {
        let (hits, misses) = oracle.hits_and_misses();
        Self {
            bytes: oracle.bytes_read(),
            reading_us: oracle.reading_us(),
            hits,
            misses,
        }
    }
}

/// Tokens shown after the first ones over the time since then, that of loading a draft left out;
/// `None` where none were.
pub(super) fn rate(tokens: u64, times: Option<Times>) -> Option<f64> {
    let times = times?;
    let us = times.last_us.saturating_sub(times.first_us);
    let seconds = us.saturating_sub(times.loading_us) as f64 / 1e6;
    let later = tokens.saturating_sub(times.first_tokens);
    (later > 0 && seconds > 0.0).then(|| later as f64 / seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_were_ready_at_enter_make_no_answer_look_fast() {
        let ready = Times::at(None, 1_000_000, 31);
        assert_eq!(rate(31, Some(ready)), None);
        let later = Times::at(Some(ready), 1_500_000, 32);
        assert_eq!(rate(32, Some(later)), Some(2.0));
        assert!((later.ttft_ms(400_000) - 600.0).abs() < 1e-9);
        assert_eq!(rate(0, None), None);
        let loaded = Times::at(Some(ready.after_loading(300_000)), 1_800_000, 32);
        assert_eq!(rate(32, Some(loaded)), Some(2.0));
    }
}
