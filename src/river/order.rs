//! The order in which shards come, which never changes: all of them once, then those that
//! pass through, round and round.
//!
//! ```text
//!  shards:  0s  1p  2s  3p  4p          s stays, p passes through
//!  order:   0 1 2 3 4   1 3 4   1 3 4   ...
//!           first lap   laps of what passes
//! ```
//!
//! The reader follows it through the ring, and the window through its slots: what arrives first
//! is used first, at every stage.

use super::shard::ShardIdx;

/// See the module's text.
#[derive(Clone, Debug)]
pub(super) struct Order {
    /// What of the first lap is still to come.
    first_lap: std::ops::Range<usize>,
    passing: Vec<ShardIdx>,
    /// The next of them.
    next: usize,
}

impl Order {
    /// One entry of `passes` a shard: whether it passes through.
    pub(super) fn new(passes: impl ExactSizeIterator<Item = bool>) -> Self {
        let first_lap = 0..passes.len();
        let passing = passes.enumerate().filter(|(_, passes)| *passes);
        Self {
            first_lap,
            passing: passing.map(|(shard, _)| ShardIdx(shard)).collect(),
            next: 0,
        }
    }

    /// The next shard; none once all have come and none passes.
    pub(super) fn peek(&self) -> Option<ShardIdx> {
        if self.first_lap.is_empty() {
            self.passing.get(self.next).copied()
        } else {
            Some(ShardIdx(self.first_lap.start))
        }
    }

    /// Goes on to the shard after [`Order::peek`]'s.
    pub(super) fn advance(&mut self) {
        if self.first_lap.next().is_none() {
            self.next = (self.next + 1) % self.passing.len().max(1);
        }
    }

    /// Goes on with the first shard that passes, once all have come.
    pub(super) fn rewind(&mut self) {
        if self.first_lap.is_empty() {
            self.next = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn take(order: &mut Order, n: usize) -> Vec<usize> {
        let next = |_| {
            let shard = order.peek()?;
            order.advance();
            Some(shard.0)
        };
        (0..n).map_while(next).collect()
    }

    proptest! {
        #[test]
        fn all_come_once_and_then_those_that_pass_for_ever(
            passes in prop::collection::vec(any::<bool>(), 0..20), n in 0usize..100,
        ) {
            let mut order = Order::new(passes.iter().copied());
            let passing = (0..passes.len()).filter(|&i| passes[i]);
            let expected: Vec<_> = (0..passes.len()).chain(passing.cycle()).take(n).collect();
            prop_assert_eq!(take(&mut order, n), expected);
        }
    }

    #[test]
    fn rewinding_waits_for_the_first_lap() {
        let mut order = Order::new([true, false, true].into_iter());
        assert_eq!(take(&mut order, 2), [0, 1]);
        order.rewind();
        assert_eq!(take(&mut order, 2), [2, 0]);
        order.rewind();
        assert_eq!(take(&mut order, 3), [0, 2, 0]);
        assert_eq!(take(&mut Order::new([false].into_iter()), 3), [0]);
    }
}
