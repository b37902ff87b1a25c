//! The River for a caller that copies shards elsewhere, several at a time.

use crate::io::Region;
use crate::river::setup::Setup;
use crate::river::{River, RiverError, ShardIdx};
use crate::telemetry::Residency;
use std::time::Instant;

/// See the module's text.
///
/// Invariant: all shards are lent, in order of use; memory returned by [`Lender::lend`] keeps its
/// contents until [`Lender::settle`] has been called for it, the oldest first.
pub(super) struct Lender {
    river: River,
    /// Streamed shards that are lent.
    lent: usize,
}

impl Lender {
    pub(super) fn start(setup: Setup) -> Result<Self, RiverError> {
        Ok(Self {
            river: River::start(setup)?,
            lent: 0,
        })
    }

    pub(super) fn river(&self) -> &River {
        &self.river
    }

    pub(super) fn river_mut(&mut self) -> &mut River {
        &mut self.river
    }

    /// Whether `shard`, the next in order, can be lent without waiting.
    pub(super) fn has_arrived(&self, shard: ShardIdx) -> bool {
        let ring = &self.river.ring;
        if self.river.homes[shard.0].is_some() {
            ring.is_ready(shard, true)
        } else {
            ring.ready_count() > self.lent
        }
    }

    /// The memory of `shard`, waited for, to copy it elsewhere; and whether it is to be given
    /// back with [`Lender::settle`].
    ///
    /// # Errors
    /// The read that failed, after a second try. The next pass may ask again.
    ///
    /// # Panics
    /// If it is not the next in order.
    pub(super) fn lend(&mut self, shard: ShardIdx) -> Result<(Region, bool), RiverError> {
        let hit = self.has_arrived(shard);
        let (asked, river) = (Instant::now(), &mut self.river);
        let home = river.homes[shard.0].clone();
        let passes = home.is_none();
        let region = if let Some(region) = home {
            river.ring.wait_pinned(shard)?;
            region
        } else {
            let arrived = river.ring.wait_streamed(self.lent)?;
            assert_eq!(arrived.shard, shard, "shards are lent in order");
            self.lent += 1;
            arrived.region
        };
        river.handed_out(shard, hit, asked);
        let residency = if river.plan.leaves[shard.0] {
            Residency::Vram
        } else if passes {
            Residency::Disk
        } else {
            Residency::Ram
        };
        river.board.left(shard, residency);
        Ok((region, passes))
    }

    /// Gives the oldest shard that passes and is lent back to the reader.
    pub(super) fn settle(&mut self) {
        if self.lent > 0 {
            self.lent -= 1;
            self.river.ring.release();
        }
    }
}
