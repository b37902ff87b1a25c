//! The end of a pass: the output matrix, a block of its rows at a time, and logits in their rows.

use super::super::{Logits, OracleError};
use super::LayerOracle;
use super::graphs::Graphs;
use super::scatter::RowScatter;
use crate::ggml::Tensor;
use crate::river::ShardIdx;
use crate::telemetry::ShardPart;
use std::ops::Range;

impl LayerOracle {
    /// Computes `logits`.
    pub(super) fn head(&mut self, graphs: &Graphs, logits: &mut Logits) -> Result<(), OracleError> {
        let rows = self.begin_head(graphs, logits);
        let blocks = self.shards_where(|part| part == ShardPart::Head);
        let Some(side) = &self.side else {
            let mut room = Vec::new();
            return blocks.into_iter().try_for_each(|block| {
                self.check_use(block)?;
                self.head_step(block, graphs, rows, &mut room, logits)
            });
        };
        let threads = side.staging.threads(logits.nodes().len());
        std::thread::scope(|scope| {
            let mut scatter = RowScatter::start(scope, logits, threads);
            for block in blocks {
                self.head_block(block, graphs, rows, |o, out, rows| {
                    if let Some(side) = &mut o.side {
                        let stream = o.compute.stream();
                        side.staging.fetch(stream, out, rows, &mut scatter);
                    }
                })?;
            }
            if let Some(side) = &mut self.side {
                side.staging.finish(&mut scatter);
            }
            Ok(())
        })
    }

    /// Names the tokens whose logits are wanted; says how many rows are computed for them.
    pub(super) fn begin_head(&mut self, graphs: &Graphs, logits: &Logits) -> usize {
        // The head is a batch of its own, with kernels picked by its own width.
        let rows = logits.nodes().len().max(graphs.width.min);
        self.activations.set_wanted(logits.nodes(), rows);
        rows
    }

    /// The step of a shard of the head on the CPU. `room` is for what it computes.
    pub(super) fn head_step(
        &mut self,
        shard: ShardIdx,
        graphs: &Graphs,
        rows: usize,
        room: &mut Vec<f32>,
        logits: &mut Logits,
    ) -> Result<(), OracleError> {
        self.head_block(shard, graphs, rows, |_, out, range| {
            room.resize(range.len() * rows, 0.0);
            out.read_f32(room);
            for (into, from) in logits.rows_mut().zip(room.chunks_exact(range.len())) {
                into[range.clone()].copy_from_slice(from);
            }
        })
    }

    /// Starts the computing of a shard of the head, and lets `take` have what it makes: the
    /// logits of these rows of the output matrix.
    fn head_block(
        &mut self,
        shard: ShardIdx,
        graphs: &Graphs,
        rows: usize,
        take: impl FnOnce(&mut Self, &Tensor, Range<usize>),
    ) -> Result<(), OracleError> {
        let range = self.river.shards()[shard.0].rows.clone();
        self.with_shard(shard, graphs, |o, g| {
            let weights = o.weights.head_block(shard);
            let (graph, out) = g.head(&o.activations, weights, &o.weights.output_norm, rows);
            o.compute.start(&graph)?;
            take(o, &out, range);
            Ok(())
        })
    }
}
