//! Eviction by age: the expert whose last use is the longest ago leaves.

use super::eviction::{Eviction, ExpertId, Use};

/// No expert.
const NONE: usize = usize::MAX;

/// A list of the experts in memory, each with its neighbours in age; every change takes constant
/// time.
#[derive(Clone, Debug)]
pub struct Lru {
    /// Number of the first expert of each group, in one count over all.
    starts: Vec<usize>,
    /// By that count.
    links: Vec<Link>,
    oldest: usize,
    newest: usize,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    is_here: bool,
    older: usize,
    newer: usize,
}

impl Lru {
    /// With nothing in memory; `experts` is how many each group has.
    pub fn new(experts: impl IntoIterator<Item = usize>) -> Self {
        let mut all = 0;
        let starts = experts.into_iter().map(|n| {
            all += n;
            all - n
        });
        let starts = starts.collect();
        let absent = Link {
            is_here: false,
            older: NONE,
            newer: NONE,
        };
        Self {
            starts,
            links: vec![absent; all],
            oldest: NONE,
            newest: NONE,
        }
    }

    fn number(&self, id: ExpertId) -> usize {
        self.starts[id.group] + id.expert
    }

    fn id(&self, number: usize) -> ExpertId {
        let group = self.starts.partition_point(|&start| start <= number) - 1;
        ExpertId {
            group,
            expert: number - self.starts[group],
        }
    }

    fn touch(&mut self, expert: ExpertId) {
        let number = self.number(expert);
        if self.links[number].is_here {
            self.unlink(number);
        }
        self.links[number] = Link {
            is_here: true,
            older: self.newest,
            newer: NONE,
        };
        match self.links.get_mut(self.newest) {
            Some(link) => link.newer = number,
            None => self.oldest = number,
        }
        self.newest = number;
    }

    /// Puts one that is not here before the oldest.
    fn touch_least(&mut self, expert: ExpertId) {
        let number = self.number(expert);
        self.links[number] = Link {
            is_here: true,
            older: NONE,
            newer: self.oldest,
        };
        match self.links.get_mut(self.oldest) {
            Some(link) => link.older = number,
            None => self.newest = number,
        }
        self.oldest = number;
    }

    fn unlink(&mut self, number: usize) {
        let Link { older, newer, .. } = self.links[number];
        match self.links.get_mut(older) {
            Some(link) => link.newer = newer,
            None => self.oldest = newer,
        }
        match self.links.get_mut(newer) {
            Some(link) => link.older = older,
            None => self.newest = older,
        }
        self.links[number].is_here = false;
    }
}

impl Eviction for Lru {
    fn came(&mut self, expert: ExpertId) {
        self.touch_least(expert);
    }

    fn used(&mut self, _group: usize, uses: &[Use]) {
        for of in uses {
            self.touch(of.id);
        }
    }

    fn left(&mut self, expert: ExpertId) {
        let number = self.number(expert);
        if self.links[number].is_here {
            self.unlink(number);
        }
    }

    fn victim(&self, may_go: &dyn Fn(ExpertId) -> bool) -> Option<ExpertId> {
        let newer = |&number: &usize| self.links.get(number).map(|link| link.newer);
        let by_age = std::iter::successors(Some(self.oldest), newer);
        let mut by_age = by_age.filter(|&number| number != NONE);
        by_age
            .find(|&number| may_go(self.id(number)))
            .map(|number| self.id(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a list that is searched from its start.
        #[test]
        fn the_one_that_was_not_used_for_longest_leaves(
            experts in prop::collection::vec(1usize..5, 1..5),
            acts in prop::collection::vec((any::<prop::sample::Index>(), 0u8..4, any::<u64>()), 1..200),
        ) {
            let ids: Vec<_> = experts
                .iter()
                .enumerate()
                .flat_map(|(group, &n)| (0..n).map(move |expert| ExpertId { group, expert }))
                .collect();
            let mut lru = Lru::new(experts);
            let mut model: Vec<ExpertId> = Vec::new();
            for (which, act, kept) in acts {
                let id = ids[which.index(ids.len())];
                if act < 3 {
                    lru.used(id.group, &[Use { id, its: 1 }]);
                    model.retain(|&other| other != id);
                    model.push(id);
                } else {
                    lru.left(id);
                    model.retain(|&other| other != id);
                }
                let stays = |id: ExpertId| kept >> ((id.group * 4 + id.expert) % 64) & 1 == 1;
                let expected = model.iter().copied().find(|&id| !stays(id));
                prop_assert_eq!(lru.victim(&|id| !stays(id)), expected);
                prop_assert_eq!(lru.victim(&|_| true), model.first().copied());
            }
        }
    }
}
