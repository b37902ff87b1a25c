//! The memory that a pass takes apart from weights, counted before an oracle is opened.

use super::activations::Activations;
use super::graphs;
use super::staging::LogitStaging;
use super::weights::Weights;
use super::{LayerOracle, WidthClass, max_width};
use crate::kv::PagedKv;
use crate::ledger::Owner;
use crate::model::{ModelLayout, ModelShape};
use crate::river::{Shard, catalogue};
use crate::units::Bytes;

/// Most rows of the output matrix in one shard.
pub(super) fn largest_block(shards: &[Shard]) -> usize {
    shards.iter().map(|s| s.rows.len()).max().unwrap_or(0)
}

/// A device's kernels take this much for themselves while they compute, in addition to scratch
/// memory: quantised activations of the widest product, and partial sums.
fn kernel_bytes(widest: usize, tokens: usize) -> usize {
    2 * widest * tokens + (64 << 20)
}

impl LayerOracle {
    /// Bytes of a token's keys and values in one layer.
    pub(super) fn kv_row_bytes(shape: &ModelShape) -> usize {
        2 * shape.kv_width() * 2
    }

    /// Memory that is not for streamed or pinned shards, by owner.
    pub fn other_bytes(
        layout: &ModelLayout,
        ctx_tokens: usize,
        max_nodes: usize,
    ) -> [(Owner, Bytes); 4] {
        let shape = &layout.shape;
        let row = Self::kv_row_bytes(shape);
        let width = max_width(max_nodes);
        let activations =
            Activations::bytes(shape, ctx_tokens, width) + graphs::scratch_bytes(shape, width);
        // Those of a block of the head are held twice, padding included, until they are put into
        // their rows.
        let padded = max_nodes.max(WidthClass::BATCH.min);
        let logits = max_nodes * shape.n_vocab + padded * largest_block(&catalogue(layout));
        [
            (
                Owner::KvCache,
                PagedKv::max_bytes(shape.n_layer, ctx_tokens, row),
            ),
            (Owner::Activations, Bytes(activations as u64)),
            (Owner::Logits, Bytes((logits * 4) as u64)),
            (Owner::Norms, Bytes(Weights::small_bytes(layout) as u64)),
        ]
    }

    /// Memory of the host that is not for weights where a device computes, by owner.
    pub fn host_bytes(
        layout: &ModelLayout,
        ctx_tokens: usize,
        max_nodes: usize,
    ) -> [(Owner, Bytes); 2] {
        let shape = &layout.shape;
        let width = max_width(max_nodes);
        let staging = Activations::bytes(shape, ctx_tokens, width)
            + LogitStaging::bytes(largest_block(&catalogue(layout)), width);
        let logits = max_nodes * shape.n_vocab * 4;
        [
            (Owner::Staging, Bytes(staging as u64)),
            (Owner::Logits, Bytes(logits as u64)),
        ]
    }

    /// Memory of a device that is not for weights that come or stay, by owner.
    pub fn device_bytes(
        layout: &ModelLayout,
        ctx_tokens: usize,
        max_nodes: usize,
    ) -> [(Owner, Bytes); 4] {
        let shape = &layout.shape;
        let width = max_width(max_nodes);
        let widest = shape.n_ff.max(shape.n_head * shape.head_dim);
        let scratch = graphs::scratch_bytes(shape, width)
            + width * largest_block(&catalogue(layout)) * 4
            + kernel_bytes(widest, width);
        let row = Self::kv_row_bytes(shape);
        [
            (
                Owner::KvCache,
                PagedKv::max_bytes(shape.n_layer, ctx_tokens, row),
            ),
            (
                Owner::Activations,
                Bytes(Activations::bytes(shape, ctx_tokens, width) as u64),
            ),
            (Owner::Scratch, Bytes(scratch as u64)),
            (Owner::Norms, Bytes(Weights::small_bytes(layout) as u64)),
        ]
    }
}
