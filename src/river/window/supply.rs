//! Weights that come to a device through a window of its memory.

use super::lender::Lender;
use super::{Part, Watcher, Window};
use crate::ggml::{Place, Stream};
use crate::river::demand::Demand;
use crate::river::setup::Setup;
use crate::river::supply::WeightSupply;
use crate::river::{River, RiverError, ShardIdx};

/// The device form of [`WeightSupply`]: the River fills RAM, and the window copies out of it.
pub struct DeviceSupply {
    // Declared, and so dropped, before the memory that its copies are made from.
    window: Window,
    lender: Lender,
}

impl DeviceSupply {
    /// Opens the model's files, sets up memory as the plan says, and starts to read.
    ///
    /// # Errors
    /// A file that cannot be opened, or no address space.
    pub fn start(setup: Setup, window: Window) -> Result<Self, RiverError> {
        Ok(Self {
            window,
            lender: Lender::start(setup)?,
        })
    }
}

impl WeightSupply for DeviceSupply {
    fn river(&self) -> &River {
        self.lender.river()
    }

    fn layout(&self, shard: ShardIdx) -> &[Part] {
        self.window.layout(shard)
    }

    fn supply(&mut self, shard: ShardIdx, compute: &Stream) -> Result<Place, RiverError> {
        let span = self.window.take(shard, &mut self.lender, compute)?;
        Ok(Place::Device(span))
    }

    fn release(&mut self, shard: ShardIdx, compute: &Stream) {
        self.window.give(shard, compute);
    }

    fn demand(&mut self, demands: &[Demand<'_>]) -> Result<(), RiverError> {
        self.lender.river_mut().demand(demands)
    }

    fn streams(&self) -> bool {
        self.river().plan().streamed_bytes > 0 || self.window.passes()
    }

    fn runs_ahead(&self) -> bool {
        true
    }

    fn lap_us(&self) -> u64 {
        self.river().lap_us().max(self.window.lap_us())
    }

    fn bytes_sent(&self) -> u64 {
        self.window.bytes_sent()
    }

    fn watch(&mut self, watcher: Option<Watcher>) {
        self.window.watch(watcher);
    }
}
