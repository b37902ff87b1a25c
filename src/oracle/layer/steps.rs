//! The steps of a pass: each places the memory of a shard under its tensors and computes its graph.
//!
//! ```text
//!  supply: shard's memory --> weights: tensors lie in it --> graph --> compute
//!          release        <------------------------------------'  (queued, on a device)
//! ```

use super::activations::Activations;
use super::graphs::Graphs;
use super::weights::Weights;
use super::{GiveUp, Logits, OracleError};
use crate::ggml::{Compute, Graph, Stream, Tensor};
use crate::river::{Shard, ShardIdx, WeightSupply};
use crate::vocabulary::ShardPart;
use std::ops::Range;

/// The extent of a pass: its scratch memory grows with each of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PassExtent {
    pub tokens: usize,
    pub cells: usize,
    /// Rows of logits.
    pub wanted: usize,
}

/// See the module's text.
pub(super) struct Steps {
    pub supply: Box<dyn WeightSupply>,
    pub compute: Compute,
    pub weights: Weights,
    pub activations: Activations,
    /// Keys and values, by layer.
    pub kv: Vec<Tensor>,
    pub give_up: Option<GiveUp>,
    /// By layer, what its feed-forward was given: kept while this is there.
    pub feed_forward_inputs: Option<Vec<Vec<f32>>>,
    /// The extent that the present scratch memory is enough for.
    pub reserved: PassExtent,
}

impl PassExtent {
    fn within(self, other: Self) -> bool {
        self.tokens <= other.tokens && self.cells <= other.cells && self.wanted <= other.wanted
    }

    fn or_more(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.max(other.tokens),
            cells: self.cells.max(other.cells),
            wanted: self.wanted.max(other.wanted),
        }
    }
}

impl Steps {
    /// Whether the CPU computes, whose kernels are known.
    pub(super) fn on_cpu(&self) -> bool {
        self.compute.stream().device().is_cpu()
    }

    pub(super) fn shards(&self) -> &[Shard] {
        self.supply.river().shards()
    }

    pub(super) fn shards_where(&self, is_wanted: impl Fn(ShardPart) -> bool) -> Vec<ShardIdx> {
        let shards = self.shards();
        (0..shards.len())
            .filter(|&i| is_wanted(shards[i].part))
            .map(ShardIdx)
            .collect()
    }

    /// Runs `step` with the memory of `shard` under its tensors.
    fn with_shard(
        &mut self,
        shard: ShardIdx,
        step: impl FnOnce(&mut Self) -> Result<(), OracleError>,
    ) -> Result<(), OracleError> {
        let place = self.supply.supply(shard, self.compute.stream())?;
        self.weights.place(shard, self.supply.layout(shard), &place);
        let result = step(self);
        self.supply.release(shard, self.compute.stream());
        result
    }

    /// The step of a shard of a layer.
    pub(super) fn layer(&mut self, shard: ShardIdx, graphs: &Graphs) -> Result<(), OracleError> {
        let Shard { layer, part, .. } = self.shards()[shard.0];
        let layer = layer.map_or(0, |l| l.0 as usize);
        if part == ShardPart::FeedForwardUp {
            self.keep_feed_forward_input(graphs.n);
        }
        self.with_shard(shard, |steps| {
            let graph = steps.layer_graph(graphs, layer, part);
            Ok(steps.compute.start(&graph)?)
        })
    }

    /// Keeps the hidden state of `n` tokens, if it is wanted here.
    fn keep_feed_forward_input(&mut self, n: usize) {
        if let Some(inputs) = &mut self.feed_forward_inputs {
            self.compute.stream().synchronize();
            inputs.push(self.activations.read_x(n));
        }
    }

    fn layer_graph(&self, g: &Graphs, layer: usize, part: ShardPart) -> Graph {
        let weights = self.weights.layer(layer);
        match part {
            ShardPart::Attention => g.attention(
                &self.activations,
                weights,
                self.weights.rope_factors.as_ref(),
                &self.kv[layer],
            ),
            ShardPart::FeedForwardUp => g.feed_forward_up(&self.activations, weights),
            ShardPart::FeedForwardDown => g.feed_forward_down(&self.activations, weights),
            ShardPart::Head | ShardPart::Whole => unreachable!("no step of a layer of ours"),
        }
    }

    /// The steps of all layers.
    pub(super) fn layers(&mut self, graphs: &Graphs) -> Result<(), OracleError> {
        for shard in self.shards_where(|part| part != ShardPart::Head) {
            self.check_use(shard)?;
            self.layer(shard, graphs)?;
        }
        Ok(())
    }

    /// Names the tokens whose logits are wanted; says how many rows are computed for them.
    pub(super) fn begin_head(&mut self, graphs: &Graphs, logits: &Logits) -> usize {
        // The head is a batch of its own, with kernels picked by its own width.
        let rows = logits.nodes().len().max(graphs.width.min);
        self.activations.set_wanted(logits.nodes(), rows);
        rows
    }

    /// Starts to compute a shard of the head, and hands the result to `take`: the logits of these
    /// rows of the output matrix.
    pub(super) fn head_block(
        &mut self,
        shard: ShardIdx,
        graphs: &Graphs,
        rows: usize,
        take: impl FnOnce(&Stream, &Tensor, Range<usize>),
    ) -> Result<(), OracleError> {
        let range = self.shards()[shard.0].rows.clone();
        self.with_shard(shard, |steps| {
            let weights = steps.weights.head_block(shard);
            let norm = &steps.weights.output_norm;
            let (graph, out) = graphs.head(&steps.activations, weights, norm, rows);
            steps.compute.start(&graph)?;
            take(steps.compute.stream(), &out, range);
            Ok(())
        })
    }

    /// Ends a pass whose result is of no use any more; `next` is the shard that would come next.
    /// Steps that are queued on a device are not interrupted.
    pub(super) fn check_use(&self, next: ShardIdx) -> Result<(), OracleError> {
        let outdated = self.give_up.as_ref();
        let Some(outdated) = outdated.filter(|_| !self.supply.runs_ahead()) else {
            return Ok(());
        };
        let done = next.0 as f64 / self.shards().len() as f64;
        if !outdated(done) {
            return Ok(());
        }
        self.supply.river().rewind();
        Err(OracleError::GivenUp)
    }

    /// Makes sure that no step of a pass of this extent moves scratch memory while others are
    /// under way.
    pub(super) fn reserve(
        &mut self,
        graphs: &Graphs,
        extent: PassExtent,
    ) -> Result<(), OracleError> {
        if !self.supply.runs_ahead() || extent.within(self.reserved) {
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
        if let Some(&block) = blocks.first().filter(|_| extent.wanted > 0) {
            let (weights, norm) = (self.weights.head_block(block), &self.weights.output_norm);
            let (graph, _) = graphs.head(&self.activations, weights, norm, extent.wanted);
            self.compute.reserve(&graph)?;
        }
        self.reserved = self.reserved.or_more(extent);
        Ok(())
    }
}
