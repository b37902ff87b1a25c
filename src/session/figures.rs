//! The figures of one answer, from its prompt's first key to its last token.

use super::cache::Cache;
use crate::experts::ExpertCounts;
use crate::oracle::Oracle;
use crate::telemetry::ExpertTally;

/// Counters as they were when the prompt began, and what has become known since.
#[derive(Debug, Default)]
pub(super) struct Figures {
    start: Option<Start>,
    /// Experts when the answer's first tokens were known, and how many these were.
    decoding: Option<(ExpertCounts, u64)>,
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

/// What the oracle has read since a prompt began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    pub bytes: u64,
    /// Time in which it read.
    pub reading_us: u64,
    /// Shards that were there when they were needed, and those that were not.
    pub hits: u64,
    pub misses: u64,
}

/// Experts that an answer's tokens asked for, those left out that were known with the prompt's
/// last pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct ExpertUse {
    pub tally: ExpertTally,
}

/// What was asked of experts for an answer's first tokens, those left out that were known with the
/// prompt's last pass. Unlike [`ExpertUse`], also before Enter.
#[derive(Debug, Default)]
pub(super) struct FirstExperts(ExpertTally);

impl FirstExperts {
    const TOKENS: usize = 16;

    /// A pass went on with an answer of `known` tokens; counts were so `before` it and `after`.
    pub(super) fn count_pass(
        &mut self,
        known: usize,
        before: Option<ExpertCounts>,
        after: Option<ExpertCounts>,
    ) {
        if let (1..Self::TOKENS, Some(before), Some(after)) = (known, before, after) {
            self.0.add(&after.since(&before, 0));
        }
    }

    /// The part that was in memory when it was asked for; `None` for a model without experts, and
    /// while the answer has fewer `tokens`.
    pub(super) fn hit_rate(&self, tokens: usize) -> Option<f64> {
        self.0.hit_rate().filter(|_| tokens >= Self::TOKENS)
    }
}

/// When an answer's text was shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    first_us: u64,
    /// Tokens shown at once then: those decoded before Enter among them.
    first_tokens: u64,
    last_us: u64,
    /// Time since then in which the draft loaded: it does not count as answering.
    loading_us: u64,
}

impl Times {
    /// `tokens` are shown at `now`; `before` are the times so far.
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
    /// Begins to count, with the prompt's first event, if that has not been done.
    pub(super) fn start(&mut self, cache: &mut Cache) {
        if self.start.is_none() {
            self.start = Some(Start::of(cache.oracle()));
            cache.start_prompt();
        }
    }

    /// The answer has `tokens` tokens: begins to count what those after them ask for, if that has
    /// not been done.
    pub(super) fn decodes(&mut self, oracle: &dyn Oracle, tokens: u64) {
        if self.decoding.is_none() && tokens > 0 {
            self.decoding = oracle.experts().map(|counts| (counts, tokens));
        }
    }

    /// What the answer, which has `tokens` tokens now, has asked for since; `None` for a model
    /// without experts.
    pub(super) fn experts(&self, oracle: &dyn Oracle, tokens: u64) -> Option<ExpertUse> {
        let ((before, first), now) = (self.decoding?, oracle.experts()?);
        Some(ExpertUse {
            tally: now.since(&before, tokens.saturating_sub(first)),
        })
    }

    /// What has been counted since.
    pub(super) fn counted(&self, oracle: &dyn Oracle) -> Counted {
        let now = Start::of(oracle);
        let start = self.start.unwrap_or(now);
        Counted {
            bytes: now.bytes - start.bytes,
            reading_us: now.reading_us - start.reading_us,
            hits: now.hits - start.hits,
            misses: now.misses - start.misses,
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

    #[test]
    fn experts_of_the_first_tokens_are_those_that_passes_after_the_prompts_ask_for() {
        let counts = |hits, misses| {
            Some(ExpertCounts {
                hits,
                misses,
                ..ExpertCounts::default()
            })
        };
        let mut first = FirstExperts::default();
        first.count_pass(0, counts(0, 0), counts(0, 100));
        first.count_pass(1, counts(0, 100), counts(1, 103));
        // Another prompt was read meanwhile.
        first.count_pass(9, counts(50, 200), counts(52, 202));
        assert_eq!(first.hit_rate(15), None);
        first.count_pass(16, counts(52, 202), counts(152, 202));
        assert_eq!(first.hit_rate(17), Some(3.0 / 8.0));

        let mut without = FirstExperts::default();
        without.count_pass(1, None, None);
        assert_eq!(without.hit_rate(20), None);
    }
}
