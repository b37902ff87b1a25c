//! The order in which shards come to a device, and the slot that each gets: no device needed.

use super::WindowPlan;
use crate::river::ShardIdx;

/// The order in which shards come, and which slot each gets.
#[derive(Clone, Debug)]
pub(super) struct Order {
    /// Shards of the first round that are still to come.
    first_round: std::ops::Range<usize>,
    stays: Vec<bool>,
    /// Those that do not stay.
    passing: Vec<ShardIdx>,
    /// The next of them.
    at: usize,
    slots: u64,
    /// Slots given out and given back so far.
    pub(super) issued: u64,
    pub(super) freed: u64,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Home(ShardIdx),
    Slot(ShardIdx, usize),
    /// No slot is free, or nothing passes.
    Nothing,
}

impl Order {
    pub(super) fn new(plan: &WindowPlan) -> Self {
        let passing = (0..plan.stays.len()).filter(|&i| !plan.stays[i]);
        Self {
            first_round: 0..plan.stays.len(),
            passing: passing.map(ShardIdx).collect(),
            stays: plan.stays.clone(),
            at: 0,
            slots: plan.slots as u64,
            issued: 0,
            freed: 0,
        }
    }

    pub(super) fn slot(&self, nth: u64) -> usize {
        usize::try_from(nth % self.slots.max(1)).unwrap_or(0)
    }

    pub(super) fn peek(&self) -> Next {
        let shard = if self.first_round.is_empty() {
            match self.passing.get(self.at) {
                Some(&shard) => shard,
                None => return Next::Nothing,
            }
        } else {
            ShardIdx(self.first_round.start)
        };
        if self.stays[shard.0] {
            Next::Home(shard)
        } else if self.issued - self.freed < self.slots {
            Next::Slot(shard, self.slot(self.issued))
        } else {
            Next::Nothing
        }
    }

    pub(super) fn advance(&mut self) {
        if self.first_round.is_empty() {
            self.at = (self.at + 1) % self.passing.len().max(1);
            self.issued += 1;
        } else if !self.stays[self.first_round.next().unwrap_or(0)] {
            self.issued += 1;
        }
    }

    /// Gives the oldest slot back.
    pub(super) fn free(&mut self) -> usize {
        let slot = self.slot(self.freed);
        self.freed += 1;
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    proptest! {
        /// Every slot holds one shard at a time; shards come in order, round and round.
        #[test]
        fn shards_come_in_order_and_never_into_a_slot_in_use(
            stays in prop::collection::vec(any::<bool>(), 1..20),
            slots in 2usize..5,
            steps in prop::collection::vec(any::<bool>(), 1..300),
        ) {
            let slots = if stays.iter().all(|s| *s) { 0 } else { slots };
            let plan = WindowPlan { stays: stays.clone(), staying_bytes: 0, slots, slot_bytes: 1 };
            let mut order = Order::new(&plan);
            let mut in_use = VecDeque::new();
            let mut seen = Vec::new();
            for more in steps {
                match order.peek() {
                    Next::Slot(shard, slot) if more => {
                        prop_assert!(!in_use.contains(&slot), "slot {slot} is in use");
                        in_use.push_back(slot);
                        seen.push(shard.0);
                        order.advance();
                    }
                    Next::Home(shard) if more => {
                        seen.push(shard.0);
                        order.advance();
                    }
                    _ => if let Some(oldest) = in_use.pop_front() {
                        prop_assert_eq!(order.free(), oldest);
                    }
                }
                prop_assert!(in_use.len() <= slots);
            }
            let passing = (0..stays.len()).filter(|&i| !stays[i]);
            let expected = (0..stays.len()).chain(passing.cycle()).take(seen.len());
            prop_assert_eq!(seen, expected.collect::<Vec<_>>());
        }
    }
}
