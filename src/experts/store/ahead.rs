//! Experts that are read before they are named, while those of the layer before are computed with.
//!
//! So many tokens choose nearly all experts of a layer that which of them is known without their
//! router. What comes has memory, and may not leave; it is here when it has been waited for, before
//! experts of any other layer are held. Plain LRU has nothing read ahead:
//!
//! ```text
//!  hold(layer 3) --> begin_ahead(layer 4) --> layer 3 is computed --> settle_ahead --> hold(layer 4)
//!                        reads go on meanwhile ................... -->
//! ```

use super::{Demand, ExpertId, ExpertIdx, ExpertStore, RiverError};

/// Tokens that choose each expert so often, on the average, choose nearly all of them.
const CHOICES_AN_EXPERT: usize = 4;

/// Experts that are being read.
pub(super) struct Coming {
    pub group: usize,
    /// The one whose experts are computed with meanwhile.
    during: usize,
    experts: Vec<ExpertIdx>,
    bytes: u64,
}

impl ExpertStore {
    /// After `choices` in `group`: begins to read the experts of the next one, where nearly all will
    /// be used, in the order of the file and as many as others can make place for.
    pub fn begin_ahead(&mut self, group: usize, choices: usize, begin: impl FnOnce(&[Demand<'_>])) {
        let next = group + 1;
        let Some(experts) = self.groups.get(next).map(|group| group.states.len()) else {
            return;
        };
        let known = choices >= CHOICES_AN_EXPERT * experts;
        if self.coming.is_some() || !known || !self.eviction.foresees() {
            return;
        }
        let mut coming = Vec::new();
        for expert in self.groups[next].tables[0].table.all() {
            if self.groups[next].states[expert.number()].is_here {
                continue;
            }
            if !self.make_place(next, expert, Some(next)) {
                break;
            }
            self.groups[next].states[expert.number()].ahead = self.pass;
            self.eviction.came(ExpertId {
                group: next,
                expert: expert.number(),
            });
            coming.push(expert);
        }
        if coming.is_empty() {
            return;
        }
        let tables = self.groups[next].tables.iter();
        let demands: Vec<_> = tables.flat_map(|table| table.demands(&coming)).collect();
        let bytes: usize = demands.iter().map(|demand| demand.into.len()).sum();
        begin(&demands);
        self.coming = Some(Coming {
            group: next,
            during: group,
            experts: coming,
            bytes: bytes as u64,
        });
    }

    /// Whether what is on its way has to be waited for before experts of `group` are held.
    pub fn must_settle(&self, group: usize) -> bool {
        self.coming
            .as_ref()
            .is_some_and(|coming| coming.during != group)
    }

    /// Has `stop` end what is on its way: none of it is here.
    pub fn abandon_ahead(&mut self, stop: impl FnOnce()) {
        if let Some(coming) = self.coming.take() {
            stop();
            self.give_up(coming.group, &coming.experts);
        }
    }

    /// Has `wait` wait for what is on its way. What could not be read is not here: who needs it asks
    /// for it again, and is told.
    pub fn settle_ahead(&mut self, wait: impl FnOnce() -> Result<(), RiverError>) {
        let Some(coming) = self.coming.take() else {
            return;
        };
        match wait() {
            Ok(()) => self.counts.bytes += coming.bytes,
            Err(error) => {
                tracing::warn!(%error, "experts that were read ahead did not come");
                self.give_up(coming.group, &coming.experts);
            }
        }
    }
}
