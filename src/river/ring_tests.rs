//! The ring's arithmetic. In a file of its own, since `tests/ring_loom.rs` compiles the ring's
//! source with other locks.

use super::ring::Ring;
use super::shard::ShardIdx;
use crate::io::Arena;
use proptest::prelude::*;
use std::collections::VecDeque;

proptest! {
    /// Whatever is reserved and released, no two live shards share a byte, every shard
    /// lies within the ring, and any shard up to its size fits into an empty ring.
    #[test]
    fn live_shards_never_overlap(
        capacity in 1usize..40,
        steps in prop::collection::vec((any::<bool>(), 1usize..20), 1..200),
    ) {
        let arena = Arena::new(1 << 20).expect("memory");
        let capacity = capacity * 4096;
        let ring = Ring::new(1, Some(arena.region(0, capacity)));
        let mut live: VecDeque<(usize, usize)> = VecDeque::new();
        for (take, blocks) in steps {
            let bytes = blocks * 4096;
            if take {
                match ring.reserve(bytes) {
                    Some((region, end)) => {
                        let span = (region.offset(), region.offset() + region.len());
                        prop_assert!(span.1 <= capacity && region.len() == bytes);
                        for other in &live {
                            prop_assert!(span.1 <= other.0 || other.1 <= span.0);
                        }
                        live.push_back(span);
                        ring.arrived(ShardIdx(0), region, end);
                    }
                    None => prop_assert!(!live.is_empty() || bytes > capacity),
                }
            } else {
                prop_assert_eq!(ring.release().is_some(), live.pop_front().is_some());
            }
        }
    }
}

#[test]
fn who_waits_between_passes_is_told_that_there_is_no_space() {
    let arena = Arena::new(1 << 20).expect("memory");
    let ring = Ring::new(2, Some(arena.region(0, 4096)));
    let (region, end) = ring.reserve(4096).expect("an empty ring");
    ring.arrived(ShardIdx(0), region, end);
    std::thread::scope(|scope| {
        scope.spawn(|| ring.wait_for_space(4096));
        // The reader comes to the second shard, which stays, only after space is made.
        assert!(!ring.wait_pinned_or_full(ShardIdx(1)).expect("no failure"));
        ring.release();
    });
    ring.pinned_arrived(ShardIdx(1));
    assert!(ring.wait_pinned_or_full(ShardIdx(1)).expect("no failure"));
}
