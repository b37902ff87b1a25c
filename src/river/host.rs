//! Weights that are computed with in the memory that they are read into.

use super::demand::Demand;
use super::setup::Setup;
use super::shard::ShardIdx;
use super::supply::WeightSupply;
use super::window::{Part, Watcher};
use super::{River, RiverError};
use crate::ggml::{Place, Stream};
use crate::io::Region;
use crate::telemetry::Residency;
use std::time::Instant;

/// The River for a caller that computes on shards one at a time: the host form of
/// [`WeightSupply`].
///
/// Invariant: memory returned by [`HostSupply::take`] keeps its contents until
/// [`HostSupply::give`].
pub struct HostSupply {
    river: River,
    layouts: Vec<Vec<Part>>,
    taken: Option<Taken>,
}

struct Taken {
    shard: ShardIdx,
    since: Instant,
}

impl HostSupply {
    /// See [`River::fetch`].
    ///
    /// # Errors
    /// As [`River::fetch`].
    pub fn fetch(&mut self, demands: &[Demand<'_>]) -> Result<(), RiverError> {
        self.river.fetch(demands)
    }

    /// Opens the model's files, sets up memory as the plan says, and starts to read.
    ///
    /// # Errors
    /// A file that cannot be opened, or no address space.
    pub fn start(setup: Setup) -> Result<Self, RiverError> {
        let river = River::start(setup)?;
        let layouts = river.shards().iter();
        Ok(Self {
            layouts: layouts.map(Part::in_place).collect(),
            river,
            taken: None,
        })
    }

    /// The memory of `shard`, waited for; see [`WeightSupply::supply`].
    ///
    /// # Errors
    /// As [`WeightSupply::supply`].
    ///
    /// # Panics
    /// If the shard before was not given back.
    pub fn take(&mut self, shard: ShardIdx) -> Result<Region, RiverError> {
        assert!(self.taken.is_none(), "a shard is still taken");
        let (asked, river) = (Instant::now(), &mut self.river);
        let home = river.homes[shard.0].clone();
        let hit = river.ring.is_ready(shard, home.is_some());
        let region = if let Some(region) = home {
            river.ring.wait_pinned(shard)?;
            region
        } else {
            // A pass that ended early, or did without the head, left shards there.
            loop {
                let arrived = river.ring.wait_streamed(0)?;
                if arrived.shard == shard {
                    break arrived.region;
                }
                river.ring.release();
                river.board.left(arrived.shard, Residency::Disk);
            }
        };
        river.handed_out(shard, hit, asked);
        self.taken = Some(Taken {
            shard,
            since: Instant::now(),
        });
        Ok(region)
    }

    /// Ends the use of `shard`.
    ///
    /// # Panics
    /// If it was not taken.
    pub fn give(&mut self, shard: ShardIdx) {
        let taken = self.taken.take().filter(|taken| taken.shard == shard);
        let Some(Taken { since, .. }) = taken else {
            panic!("shard {} is not taken", shard.0);
        };
        let river = &mut self.river;
        let residency = if river.homes[shard.0].is_none() {
            river.ring.release();
            Residency::Disk
        } else {
            Residency::Ram
        };
        river.forecast.held(shard, since.elapsed());
        river.board.left(shard, residency);
    }
}

impl WeightSupply for HostSupply {
    fn river(&self) -> &River {
        &self.river
    }

    fn layout(&self, shard: ShardIdx) -> &[Part] {
        &self.layouts[shard.0]
    }

    fn supply(&mut self, shard: ShardIdx, _compute: &Stream) -> Result<Place, RiverError> {
        self.take(shard).map(Place::Host)
    }

    fn release(&mut self, shard: ShardIdx, _compute: &Stream) {
        self.give(shard);
    }

    fn demand(&mut self, demands: &[Demand<'_>]) -> Result<(), RiverError> {
        self.river.demand(demands)
    }

    fn streams(&self) -> bool {
        self.river.plan().streamed_bytes > 0
    }

    fn runs_ahead(&self) -> bool {
        false
    }

    fn lap_us(&self) -> u64 {
        self.river.lap_us()
    }

    fn bytes_sent(&self) -> u64 {
        0
    }

    fn watch(&mut self, _watcher: Option<Watcher>) {}
}
