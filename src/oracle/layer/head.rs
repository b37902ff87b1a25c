//! The end of a pass: the output matrix, a block of its rows at a time, and logits in their rows.

use super::super::{Logits, OracleError};
use super::LayerOracle;
use super::graphs::Graphs;
use super::scatter::RowScatter;
use super::staging::LogitStaging;
use super::steps::Steps;
use crate::ggml::Stream;
use crate::river::ShardIdx;
use crate::vocabulary::ShardPart;

/// How logits get from where they are computed into their rows.
pub(super) enum LogitPath {
    /// Each block is copied when it has been computed.
    Direct,
    /// Blocks are copied while a device computes further ones.
    Staged(LogitStaging),
}

impl LogitPath {
    /// Forgets what remains of a failed pass.
    pub(super) fn clear(&mut self, stream: &Stream) {
        match self {
            Self::Direct => {}
            Self::Staged(staging) => staging.clear(stream),
        }
    }
}

impl LayerOracle {
    /// Computes `logits`.
    pub(super) fn head(&mut self, graphs: &Graphs, logits: &mut Logits) -> Result<(), OracleError> {
        let steps = &mut self.steps;
        let rows = steps.begin_head(graphs, logits);
        let blocks = steps.shards_where(|part| part == ShardPart::Head);
        match &mut self.logit_path {
            LogitPath::Direct => {
                let mut scratch = Vec::new();
                blocks.into_iter().try_for_each(|block| {
                    steps.check_use(block)?;
                    steps.head_step(block, graphs, rows, &mut scratch, logits)
                })
            }
            LogitPath::Staged(staging) => {
                let threads = staging.threads(logits.nodes().len());
                std::thread::scope(|scope| {
                    let mut scatter = RowScatter::start(scope, logits, threads);
                    for block in blocks {
                        steps.head_block(block, graphs, rows, |stream, out, rows| {
                            staging.fetch(stream, out, rows, &mut scatter);
                        })?;
                    }
                    staging.finish(&mut scatter);
                    Ok(())
                })
            }
        }
    }
}

impl Steps {
    /// The step of a shard of the head on the CPU. `scratch` is for what it computes.
    pub(super) fn head_step(
        &mut self,
        shard: ShardIdx,
        graphs: &Graphs,
        rows: usize,
        scratch: &mut Vec<f32>,
        logits: &mut Logits,
    ) -> Result<(), OracleError> {
        self.head_block(shard, graphs, rows, |_, out, range| {
            scratch.resize(range.len() * rows, 0.0);
            out.read_f32(scratch);
            for (into, from) in logits.rows_mut().zip(scratch.chunks_exact(range.len())) {
                into[range.clone()].copy_from_slice(from);
            }
        })
    }
}
