//! Routed experts that come and go, as a pane shows them.
//!
//! ```text
//!  rows   layer 0  [ absent | here | hit | missed | ... ]   a state an expert, a byte each
//!         layer 1  [ ...                                ]
//!  recent [ pass | pass | ... ]   answer   total             counts, of shorter and longer times
//! ```

use super::HISTORY;
use crate::units::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;

/// The experts of a mixture that are read when tokens choose them.
#[derive(Clone, Debug, Default)]
pub struct ExpertsView {
    /// In the order of layers; empty where the model has no such experts. Replaced after each
    /// pass, so that a copy of the snapshot costs nothing.
    pub rows: Arc<[ExpertRow]>,
    /// The most memory that they may take, what they take, and what all of them would.
    pub budget: Bytes,
    pub held: Bytes,
    pub all: Bytes,
    /// Of the last passes that asked for experts, oldest first.
    pub recent: VecDeque<ExpertTally>,
    /// Of the tokens of the present or last answer, those left out that its prompt's last pass
    /// computed: the figures that `run --json` prints.
    pub answer: Option<ExpertTally>,
    /// Of all passes so far.
    pub total: ExpertTally,
    /// What is expected of an answer in this memory.
    pub predicted_hit_rate: f64,
    pub predicted_token_bytes: Bytes,
}

/// Experts among which the tokens of a layer choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpertRow {
    pub layer: u32,
    pub experts: Box<[ExpertState]>,
}

/// What is known of an expert after a pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum ExpertState {
    /// Not in memory, and the pass did not ask for it.
    #[default]
    Absent,
    /// In memory, and the pass did not ask for it.
    Here,
    /// Was in memory when the pass asked for it.
    Hit,
    /// Was not. It may have left again since, as one that was hit may.
    Missed,
}

/// What was asked for. An expert counts once a pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExpertTally {
    pub tokens: u64,
    pub hits: u64,
    pub misses: u64,
    /// Read from the disk.
    pub bytes: u64,
    /// What would have been in memory if the least recently used had always left.
    pub simulated_lru_hits: u64,
}

impl ExpertTally {
    /// Experts that were there; `None` where none was asked for.
    pub fn hit_rate(&self) -> Option<f64> {
        ratio(self.hits, self.hits + self.misses)
    }

    /// What plain LRU would have had of them.
    pub fn simulated_lru_hit_rate(&self) -> Option<f64> {
        ratio(self.simulated_lru_hits, self.hits + self.misses)
    }

    /// `None` where there was no token.
    pub fn bytes_per_token(&self) -> Option<f64> {
        ratio(self.bytes, self.tokens)
    }

    pub fn add(&mut self, more: &Self) {
        self.tokens += more.tokens;
        self.hits += more.hits;
        self.misses += more.misses;
        self.bytes += more.bytes;
        self.simulated_lru_hits += more.simulated_lru_hits;
    }
}

impl ExpertsView {
    /// A pass has ended, which asked for so much; `rows` are as it left them.
    pub fn pass_ended(&mut self, pass: ExpertTally, rows: Arc<[ExpertRow]>, held: Bytes) {
        self.rows = rows;
        self.held = held;
        self.total.add(&pass);
        if pass.hits + pass.misses > 0 {
            if self.recent.len() == HISTORY {
                self.recent.pop_front();
            }
            self.recent.push_back(pass);
        }
    }
}

fn ratio(part: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| part as f64 / all as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_passes_are_kept_and_all_are_counted() {
        let mut view = ExpertsView::default();
        let pass = |hits| ExpertTally {
            tokens: 1,
            hits,
            misses: 4,
            bytes: 100,
            simulated_lru_hits: 2,
        };
        for hits in 0..HISTORY as u64 + 3 {
            view.pass_ended(pass(hits), Arc::default(), Bytes(7));
        }
        // A pass that was given up before it asked for anything is none.
        view.pass_ended(ExpertTally::default(), Arc::default(), Bytes(7));
        assert_eq!(view.recent.len(), HISTORY);
        assert_eq!(view.recent.front().map(|pass| pass.hits), Some(3));
        assert_eq!((view.total.tokens, view.total.misses), (67, 268));
        assert_eq!(view.total.bytes_per_token(), Some(100.0));
        assert_eq!(pass(4).hit_rate(), Some(0.5));
        assert_eq!(pass(4).simulated_lru_hit_rate(), Some(0.25));
        assert_eq!(ExpertTally::default().hit_rate(), None);
    }
}
