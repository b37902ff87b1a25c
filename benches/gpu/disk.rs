//! The disk's own speed: what the reader gets of it alone, into the memory that a device copies
//! from.

use super::Model;
use nmos::ggml::Device;
use nmos::river::{
    HostSupply, Plan, ReadSizes, Reads, Setup, ShardIdx, WeightMemory, WeightSupply,
};
use nmos::telemetry::Hub;
use std::path::PathBuf;
use std::time::Instant;

/// Bytes that are read, after as many as the ring holds.
const READ: u64 = 8 << 30;

/// Decimal gigabytes a second over the shards that stream by `plan`, in order of use, through a
/// ring of its size.
pub fn gb_s(model: &Model, device: Device, plan: &Plan, sizes: ReadSizes) -> anyhow::Result<f64> {
    let streams = |i: &usize| !plan.pinned[*i] && !plan.leaves[*i];
    let shards: Vec<_> = (0..model.shards.len())
        .filter(streams)
        .map(|i| model.shards[i].clone())
        .collect();
    let alone = Plan {
        pinned: vec![false; shards.len()],
        leaves: vec![false; shards.len()],
        ring_bytes: plan.ring_bytes,
        pinned_bytes: 0,
        streamed_bytes: plan.streamed_bytes,
    };
    let files: Vec<PathBuf> = model.gguf.files.iter().map(|f| f.path.clone()).collect();
    let count = shards.len();
    let mut supply = HostSupply::start(Setup {
        files,
        shards,
        plan: alone,
        reads: Reads::from(sizes),
        memory: WeightMemory::PinnedFor(device),
        hub: Hub::new(),
    })?;
    let bytes = |supply: &HostSupply| supply.river().counters().bytes();
    let mut began = None;
    for shard in (0..count).cycle().map(ShardIdx) {
        supply.take(shard)?;
        supply.give(shard);
        // The first fill of the ring sets up memory.
        if began.is_none() && bytes(&supply) > 2 * plan.ring_bytes as u64 {
            began = Some((Instant::now(), bytes(&supply)));
        }
        if let Some((began, before)) = began
            && bytes(&supply) - before >= READ
        {
            let read = bytes(&supply) - before;
            return Ok(read as f64 / began.elapsed().as_secs_f64() / 1e9);
        }
    }
    anyhow::bail!("nothing streams from the disk")
}
