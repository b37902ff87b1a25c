//! What a River is made of.

use super::plan::Plan;
use super::shard::Shard;
use crate::ggml::Device;
use crate::io::{Arena, BlockReader, open_reader};
use crate::telemetry::Hub;
use std::path::PathBuf;
use std::sync::Arc;

/// How many reads are in flight at once, and how large each is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ReadSizes {
    pub depth: usize,
    /// Whole blocks.
    pub bytes: usize,
}

impl Default for ReadSizes {
    /// Enough for every disk seen so far; `nmos doctor` measures what this one needs.
    fn default() -> Self {
        Self {
            depth: 8,
            bytes: 4 << 20,
        }
    }
}

/// Who reads shards, and in reads of how many bytes.
pub struct Reads {
    pub io: Box<BlockReader>,
    /// Whole blocks.
    pub bytes: usize,
}

impl From<ReadSizes> for Reads {
    /// The best reader that this system grants.
    fn from(sizes: ReadSizes) -> Self {
        Self {
            io: open_reader(sizes.depth),
            bytes: sizes.bytes,
        }
    }
}

/// What kind of host memory holds weights.
#[derive(Clone, Copy, Debug)]
pub enum WeightMemory {
    /// The process's own, to be computed with.
    Host,
    /// Pinned, so that this device copies from it at full speed.
    PinnedFor(Device),
}

impl WeightMemory {
    pub(super) fn allocate(self, bytes: usize) -> std::io::Result<Arc<Arena>> {
        match self {
            Self::Host => Arena::new(bytes),
            Self::PinnedFor(device) => device.pinned(bytes),
        }
    }
}

/// All that [`HostSupply`](super::HostSupply) and [`DeviceSupply`](super::DeviceSupply) start with.
pub struct Setup {
    /// Of the model, in the order that extents count them.
    pub files: Vec<PathBuf>,
    pub shards: Vec<Shard>,
    pub plan: Plan,
    pub reads: Reads,
    pub memory: WeightMemory,
    pub hub: Arc<Hub>,
}
