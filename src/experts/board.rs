//! What the experts' store shows of itself: once when it has been set up, and after each pass.

use super::mixture::ExpertPlan;
use super::store::{ExpertCounts, ExpertStore};
use crate::telemetry::{ExpertTally, ExpertsView, Hub};
use std::sync::Arc;

/// See the module's text.
pub struct ExpertBoard {
    hub: Arc<Hub>,
    /// What has been shown.
    shown: ExpertCounts,
}

impl ExpertBoard {
    /// Shows `store`, with nothing in memory, and what is expected of it.
    pub fn new(hub: Arc<Hub>, store: &ExpertStore, plan: &ExpertPlan) -> Self {
        let rows = store.rows().into();
        hub.update(|s| {
            s.experts = ExpertsView {
                rows,
                budget: plan.bytes,
                all: plan.all,
                predicted_hit_rate: plan.predicted_hit_rate,
                predicted_token_bytes: plan.predicted_token_bytes,
                ..ExpertsView::default()
            }
        });
        Self {
            hub,
            shown: store.counts(),
        }
    }

    /// To be called after each pass, which computed `tokens` tokens.
    pub fn pass_ended(&mut self, store: &ExpertStore, tokens: usize) {
        let (now, before) = (store.counts(), self.shown);
        let pass = now.since(&before, tokens as u64);
        let (rows, held) = (store.rows().into(), store.bytes());
        self.hub.update(|s| s.experts.pass_ended(pass, rows, held));
        self.shown = now;
    }
}

impl ExpertCounts {
    /// What has been asked for since `before`, for `tokens` tokens.
    pub fn since(&self, before: &Self, tokens: u64) -> ExpertTally {
        ExpertTally {
            tokens,
            hits: self.hits - before.hits,
            misses: self.misses - before.misses,
            bytes: self.bytes - before.bytes,
            simulated_lru_hits: self.lru_hits - before.lru_hits,
        }
    }
}
