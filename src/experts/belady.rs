//! The best that any eviction could do: the expert leaves whose next use is furthest away.
//!
//! That is the optimum where all experts are as large (L. A. Belady, "A study of replacement
//! algorithms for a virtual-storage computer", 1966), and it has to know the future: it is what
//! others are measured against. Units: uses.

use super::eviction::{Eviction, ExpertId, Use};

/// Never used again.
const NEVER: usize = usize::MAX;

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Belady {
    /// Number of the first expert of each group, in one count over all.
    starts: Vec<usize>,
    /// Of each use in turn, the next one of the same expert.
    next: Vec<usize>,
    /// Uses so far.
    at: usize,
    /// Of each expert that is in memory, by number.
    here: Vec<Option<Here>>,
}

#[derive(Clone, Copy, Debug)]
struct Here {
    id: ExpertId,
    /// Its next use.
    next: usize,
}

impl Belady {
    /// For groups of so many `experts`, of which `uses` will be told of, in this order.
    pub fn new(experts: &[usize], uses: impl IntoIterator<Item = ExpertId>) -> Self {
        let mut all = 0;
        let starts = experts.iter().map(|n| {
            all += n;
            all - n
        });
        let starts: Vec<usize> = starts.collect();
        let mut last = vec![NEVER; all];
        let mut next = Vec::new();
        for (at, id) in uses.into_iter().enumerate() {
            let last = &mut last[starts[id.group] + id.expert];
            if *last != NEVER {
                next[*last] = at;
            }
            *last = at;
            next.push(NEVER);
        }
        Self {
            starts,
            next,
            at: 0,
            here: vec![None; all],
        }
    }
}

impl Eviction for Belady {
    fn used(&mut self, _group: usize, uses: &[Use]) {
        for &Use { id, .. } in uses {
            let next = self.next.get(self.at).copied().unwrap_or(NEVER);
            self.here[self.starts[id.group] + id.expert] = Some(Here { id, next });
            self.at += 1;
        }
    }

    fn came(&mut self, id: ExpertId) {
        // Of the uses that are to come none is known to be its first.
        let next = NEVER;
        self.here[self.starts[id.group] + id.expert] = Some(Here { id, next });
    }

    fn left(&mut self, expert: ExpertId) {
        self.here[self.starts[expert.group] + expert.expert] = None;
    }

    fn victim(&self, may_go: &dyn Fn(ExpertId) -> bool) -> Option<ExpertId> {
        let here = self.here.iter().flatten().filter(|here| may_go(here.id));
        here.max_by_key(|here| here.next).map(|here| here.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// The least misses of a cache of `capacity`, found by trying all victims.
    fn fewest(uses: &[usize], here: &BTreeSet<usize>, capacity: usize) -> usize {
        let Some((&next, rest)) = uses.split_first() else {
            return 0;
        };
        let mut with = here.clone();
        if !with.insert(next) {
            return fewest(rest, here, capacity);
        }
        if with.len() <= capacity {
            return 1 + fewest(rest, &with, capacity);
        }
        let ways = here.iter().map(|gone| {
            let mut left = with.clone();
            left.remove(gone);
            fewest(rest, &left, capacity)
        });
        1 + ways.min().unwrap_or(0)
    }

    proptest! {
        #[test]
        fn no_other_choice_misses_less(
            uses in prop::collection::vec(0usize..5, 1..12), capacity in 1usize..4,
        ) {
            let id = |expert| ExpertId { group: 0, expert };
            let mut belady = Belady::new(&[5], uses.iter().copied().map(id));
            let mut here = BTreeSet::new();
            let mut misses = 0;
            for &used in &uses {
                let uses = [Use {
                    id: id(used),
                    its: 1,
                }];
                belady.used(0, &uses);
                if here.insert(used) {
                    misses += 1;
                    if here.len() > capacity {
                        let victim = belady.victim(&|other| other.expert != used).unwrap();
                        prop_assert!(here.remove(&victim.expert));
                        belady.left(victim);
                    }
                }
            }
            prop_assert_eq!(misses, fewest(&uses, &BTreeSet::new(), capacity));
        }
    }
}
