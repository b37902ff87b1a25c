//! The order in which shards come to a device, and the slot that each gets: no device needed.

use super::WindowPlan;
use crate::river::ShardIdx;
use crate::river::order::Order;

/// The order in which shards come, and which slot each gets.
#[derive(Clone, Debug)]
pub(super) struct SlotOrder {
    order: Order,
    stays: Vec<bool>,
    slots: u64,
    /// Slots given out and given back so far.
    issued: u64,
    freed: u64,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Home(ShardIdx),
    Slot(ShardIdx, usize),
    /// No slot is free, or nothing passes.
    Nothing,
}

impl SlotOrder {
    pub(super) fn new(plan: &WindowPlan) -> Self {
        Self {
            order: Order::new(plan.stays.iter().map(|stays| !stays)),
            stays: plan.stays.clone(),
            slots: plan.slots as u64,
            issued: 0,
            freed: 0,
        }
    }

    fn slot(&self, nth: u64) -> usize {
        usize::try_from(nth % self.slots.max(1)).unwrap_or(0)
    }

    /// The oldest slot in use.
    pub(super) fn front(&self) -> Option<usize> {
        (self.issued > self.freed).then(|| self.slot(self.freed))
    }

    pub(super) fn peek(&self) -> Next {
        match self.order.peek() {
            Some(shard) if self.stays[shard.0] => Next::Home(shard),
            Some(shard) if self.issued - self.freed < self.slots => {
                Next::Slot(shard, self.slot(self.issued))
            }
            _ => Next::Nothing,
        }
    }

    pub(super) fn advance(&mut self) {
        let passes = self.order.peek().is_some_and(|shard| !self.stays[shard.0]);
        self.issued += u64::from(passes);
        self.order.advance();
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
            let mut order = SlotOrder::new(&plan);
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
