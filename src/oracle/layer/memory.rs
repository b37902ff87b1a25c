//! What a pass takes besides weights: counted before an oracle is opened, and set aside before a
//! pass on a device.

use super::activations::Activations;
use super::device;
use super::graphs::{self, Graphs};
use super::staging::LogitStaging;
use super::weights::Weights;
use super::{LayerOracle, OracleError, WidthClass, max_width};
use crate::ggml::Graph;
use crate::kv::PagedKv;
use crate::model::{ModelLayout, ModelShape};
use crate::river::{Shard, catalogue};
use crate::telemetry::ShardPart;
use crate::units::Bytes;

/// Most rows of the output matrix in one shard.
pub(super) fn largest_block(shards: &[Shard]) -> usize {
    shards.iter().map(|s| s.rows.len()).max().unwrap_or(0)
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
    ) -> [(&'static str, Bytes); 4] {
        let shape = &layout.shape;
        let row = Self::kv_row_bytes(shape);
        let width = max_width(max_nodes);
        let activations =
            Activations::bytes(shape, ctx_tokens, width) + graphs::scratch_bytes(shape, width);
        // Those of a block of the head are there once more, padding counted in, until they are
        // put into their rows.
        let padded = max_nodes.max(WidthClass::BATCH.min);
        let logits = max_nodes * shape.n_vocab + padded * largest_block(&catalogue(layout));
        [
            (
                "KV cache",
                PagedKv::max_bytes(shape.n_layer, ctx_tokens, row),
            ),
            ("activations", Bytes(activations as u64)),
            ("logits", Bytes((logits * 4) as u64)),
            (
                "norms and biases",
                Bytes(Weights::small_bytes(layout) as u64),
            ),
        ]
    }

    /// Memory of the host that is not for weights where a device computes, by owner.
    pub fn host_bytes(
        layout: &ModelLayout,
        ctx_tokens: usize,
        max_nodes: usize,
    ) -> [(&'static str, Bytes); 2] {
        let shape = &layout.shape;
        let width = max_width(max_nodes);
        let staging = Activations::bytes(shape, ctx_tokens, width)
            + LogitStaging::bytes(largest_block(&catalogue(layout)), width);
        let logits = max_nodes * shape.n_vocab * 4;
        [
            ("staging for the GPU", Bytes(staging as u64)),
            ("logits", Bytes(logits as u64)),
        ]
    }

    /// Memory of a device that is not for weights that come or stay, by owner.
    pub fn device_bytes(
        layout: &ModelLayout,
        ctx_tokens: usize,
        max_nodes: usize,
    ) -> [(&'static str, Bytes); 4] {
        let shape = &layout.shape;
        let width = max_width(max_nodes);
        let widest = shape.n_ff.max(shape.n_head * shape.head_dim);
        let scratch = graphs::scratch_bytes(shape, width)
            + width * largest_block(&catalogue(layout)) * 4
            + device::kernel_bytes(widest, width);
        let row = Self::kv_row_bytes(shape);
        [
            (
                "KV cache",
                PagedKv::max_bytes(shape.n_layer, ctx_tokens, row),
            ),
            (
                "activations",
                Bytes(Activations::bytes(shape, ctx_tokens, width) as u64),
            ),
            ("scratch", Bytes(scratch as u64)),
            (
                "norms and biases",
                Bytes(Weights::small_bytes(layout) as u64),
            ),
        ]
    }

    pub(super) fn layer_graph(&self, g: &Graphs, layer: usize, part: ShardPart) -> Graph {
        let weights = self.weights.layer(layer);
        match part {
            ShardPart::Attention => g.attention(
                &self.activations,
                weights,
                self.weights.rope_factors.as_ref(),
                &self.kv_tensors[layer],
            ),
            ShardPart::FeedForwardUp => g.feed_forward_up(&self.activations, weights),
            ShardPart::FeedForwardDown => g.feed_forward_down(&self.activations, weights),
            ShardPart::Head | ShardPart::Whole => unreachable!("no step of a layer of ours"),
        }
    }

    /// Makes sure that no step of a pass of this shape moves scratch memory while others are
    /// under way.
    pub(super) fn reserve(
        &mut self,
        graphs: &Graphs,
        shape: (usize, usize, usize),
    ) -> Result<(), OracleError> {
        let reserved = self.reserved;
        if self.side.is_none()
            || (shape.0 <= reserved.0 && shape.1 <= reserved.1 && shape.2 <= reserved.2)
        {
            return Ok(());
        }
        let parts = [
            ShardPart::Attention,
            ShardPart::FeedForwardUp,
            ShardPart::FeedForwardDown,
        ];
        for part in parts {
            let graph = self.layer_graph(graphs, 0, part);
            self.compute.reserve(&graph)?;
        }
        let blocks = self.shards_where(|part| part == ShardPart::Head);
        if let Some(&block) = blocks.first().filter(|_| shape.2 > 0) {
            let (weights, norm) = (self.weights.head_block(block), &self.weights.output_norm);
            let (graph, _) = graphs.head(&self.activations, weights, norm, shape.2);
            self.compute.reserve(&graph)?;
        }
        self.reserved = (
            shape.0.max(reserved.0),
            shape.1.max(reserved.1),
            shape.2.max(reserved.2),
        );
        Ok(())
    }
}
