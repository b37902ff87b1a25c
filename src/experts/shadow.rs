//! What would be in memory if the least recently used expert always left: a simulation, for
//! comparison.
//!
//! It sees every request that the store sees, has the same budget, and counts pages as the store
//! does; it holds no bytes and reads none. So its hits are those of a store that evicts by [`Lru`],
//! to the last one, as long as no read fails.
//!
//! Cost: for each expert that it lacks, what the store's bookkeeping costs.

use super::eviction::{Eviction, ExpertId, Use};
use super::lru::Lru;
use super::pages::{ExpertGroup, own_pages};
use crate::river::ExpertIdx;

/// See the module's text.
pub(super) struct ShadowLru {
    groups: Vec<ExpertGroup>,
    /// Of each group, of each expert.
    is_here: Vec<Vec<bool>>,
    lru: Lru,
    budget_pages: usize,
    used_pages: usize,
}

/// An expert that tokens need.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub expert: ExpertIdx,
    /// For the first time in its pass: then it counts.
    pub is_first: bool,
}

impl ShadowLru {
    /// With nothing in memory.
    pub(super) fn new(groups: Vec<ExpertGroup>, budget_pages: usize) -> Self {
        let experts = || groups.iter().map(ExpertGroup::experts);
        Self {
            is_here: experts().map(|experts| vec![false; experts]).collect(),
            lru: Lru::new(experts()),
            groups,
            budget_pages,
            used_pages: 0,
        }
    }

    /// Tokens need `asked` of `group`, in the order of the file, and at the same time all that
    /// `is_held`. Returns how many of those that count would have been here.
    pub(super) fn hold(
        &mut self,
        group: usize,
        asked: &[Asked],
        is_held: &dyn Fn(ExpertId) -> bool,
    ) -> u64 {
        let (mut uses, mut missing) = (Vec::new(), Vec::new());
        let mut hits = 0;
        for of in asked {
            let id = ExpertId {
                group,
                expert: of.expert.number(),
            };
            let is_here = self.is_here[group][id.expert];
            if !is_here {
                missing.push(of.expert);
            } else if of.is_first {
                hits += 1;
            }
            if of.is_first || !is_here {
                uses.push(Use { id, its: 1 });
            }
        }
        self.lru.used(group, &uses);
        for expert in missing {
            self.bring(group, expert, is_held);
        }
        hits
    }

    /// Free memory has been filled with `expert`; here too, where it is free here.
    pub(super) fn came(&mut self, group: usize, expert: ExpertIdx) {
        let own = self.own_pages(group, expert);
        let is_here = &mut self.is_here[group][expert.number()];
        if !*is_here && self.used_pages + own <= self.budget_pages {
            *is_here = true;
            self.used_pages += own;
            self.lru.came(ExpertId {
                group,
                expert: expert.number(),
            });
        }
    }

    fn bring(&mut self, group: usize, expert: ExpertIdx, is_held: &dyn Fn(ExpertId) -> bool) {
        loop {
            let own = self.own_pages(group, expert);
            if self.used_pages + own <= self.budget_pages {
                self.used_pages += own;
                self.is_here[group][expert.number()] = true;
                return;
            }
            let is_here = &self.is_here;
            let may_go = |id: ExpertId| is_here[id.group][id.expert] && !is_held(id);
            let Some(victim) = self.lru.victim(&may_go) else {
                // More than the budget holds is an error of the store's.
                return self.lru.left(ExpertId {
                    group,
                    expert: expert.number(),
                });
            };
            self.let_go(victim);
        }
    }

    fn let_go(&mut self, id: ExpertId) {
        self.is_here[id.group][id.expert] = false;
        let tables = self.groups[id.group].tables.first();
        if let Some(expert) = tables.and_then(|table| table.all().nth(id.expert)) {
            self.used_pages -= self.own_pages(id.group, expert);
        }
        self.lru.left(id);
    }

    /// Pages that only `expert` touches, of those that are here.
    fn own_pages(&self, group: usize, expert: ExpertIdx) -> usize {
        let is_here = |other: ExpertIdx| self.is_here[group][other.number()];
        let tables = self.groups[group].tables.iter();
        tables
            .map(|table| own_pages(table, expert, is_here).len())
            .sum()
    }
}
