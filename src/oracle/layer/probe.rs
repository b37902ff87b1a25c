//! How long each step of a pass computes on this machine, measured without loading the model.
//!
//! A model has few *kinds* of steps: attention, the two halves of the feed-forward and a block
//! of the head, each over one or two mixes of quantisations. Some shards of every kind are
//! loaded and computed with over and over, with the code that a pass runs:
//!
//! ```text
//!  catalogue:  A U D   A U D'  A' U D'  A U D  ...  H H H h        (letters are kinds)
//!  loaded:     A U D       D'  A'       A U D  ...  H     h        some of each,
//!                                                                 more than the caches hold
//! ```
//!
//! What is loaded is larger than the processor's caches, and each shard is used again only
//! after all the others: weights come from memory, as they do in a pass. The median over the
//! rounds is taken for all steps of its kind.

use super::super::{Logits, OracleError, TokenTree, WidthClass};
use super::{Graphs, LayerOracle, LayerOracleOptions};
use crate::ggml::ThreadsUsed;
use crate::model::{GgmlType, Gguf, ModelLayout};
use crate::river::{Plan, ReadSizes, Shard, ShardIdx, catalogue, total_bytes};
use crate::system;
use crate::telemetry::Hub;
use crate::units::{Bytes, TokenId};
use crate::vocabulary::ShardPart;
use std::time::{Duration, Instant};

/// Weights that are loaded: twice the largest cache, and at least this, but no more than a session
/// has memory for.
const LEAST_LOADED: Bytes = Bytes::mib(64);

/// Every shape of a pass is computed at least this often, and more often while there is time.
const LEAST_ROUNDS: usize = 3;

/// A small model is measured well enough after so many, long before the time is up.
const MOST_ROUNDS: usize = 32;

/// Of these are a tree's cells; attention runs over the fewest that it can.
const CELLS: usize = super::KV_STEP;

/// A pass over a tree of `nodes`, all of whose logits are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PassShape {
    pub nodes: usize,
    pub class: WidthClass,
}

impl PassShape {
    /// A chain of this shape; which tokens it is made of does not matter.
    pub fn tree(self, n_vocab: usize) -> TokenTree {
        let token = |i: usize| TokenId(i32::try_from((i * 97) % n_vocab).unwrap_or(0));
        let tokens: Vec<_> = (0..self.nodes).map(token).collect();
        TokenTree::chain(&tokens, 0)
    }

    /// Tokens that are computed: nodes and padding.
    pub fn width(self) -> usize {
        self.nodes.max(self.class.min)
    }
}

/// What a probe takes over from the session that it measures for.
#[derive(Clone, Copy, Debug)]
pub struct ProbeOptions {
    pub threads: usize,
    /// Most memory for the weights that are loaded.
    pub weight_bytes: Bytes,
    pub read_sizes: ReadSizes,
}

/// How long a pass of one shape computes, step by step, in seconds.
#[derive(Clone, Debug)]
pub struct StepTimes {
    pub shape: PassShape,
    /// By [`ShardIdx`] of the whole catalogue.
    pub steps_s: Vec<f64>,
    /// Of what a pass does before its first step.
    pub begin_s: f64,
    /// Threads that it was measured with: fewer than asked for where other programs used the cores.
    pub threads: ThreadsUsed,
}

impl StepTimes {
    /// All of it.
    pub fn total_s(&self) -> f64 {
        self.begin_s + self.steps_s.iter().sum::<f64>()
    }
}

/// What the cost of a step depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kind {
    part: ShardPart,
    /// Of the head's block.
    rows: usize,
    types: Vec<GgmlType>,
}

impl Kind {
    fn of(shard: &Shard, layout: &ModelLayout) -> Self {
        let types = match shard.layer.map(|l| &layout.layers[l.0 as usize]) {
            None => vec![layout.output.ty],
            Some(layer) => layer.matrices(shard.part).map(|t| t.ty).collect(),
        };
        Self {
            part: shard.part,
            rows: shard.rows.len(),
            types,
        }
    }
}

/// The shards of each kind.
fn by_kind(shards: &[Shard], layout: &ModelLayout) -> Vec<Vec<usize>> {
    let mut kinds: Vec<(Kind, Vec<usize>)> = Vec::new();
    for (i, shard) in shards.iter().enumerate() {
        let kind = Kind::of(shard, layout);
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, members)) => members.push(i),
            None => kinds.push((kind, vec![i])),
        }
    }
    kinds.into_iter().map(|(_, members)| members).collect()
}

/// One shard of each kind, then another of each, until they have `least` bytes; in order of use.
fn choose(kinds: &[Vec<usize>], bytes: impl Fn(usize) -> usize, least: usize) -> Vec<usize> {
    let most = kinds.iter().map(Vec::len).max().unwrap_or(0);
    let (mut chosen, mut loaded) = (Vec::new(), 0);
    for nth in 0..most {
        if nth > 0 && loaded >= least {
            break;
        }
        for &shard in kinds.iter().filter_map(|members| members.get(nth)) {
            chosen.push(shard);
            loaded += bytes(shard);
        }
    }
    chosen.sort_unstable();
    chosen
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or(0.0)
}

impl LayerOracle {
    /// Measures passes of these `shapes` for about `time`, with the threads of a session and some
    /// of its weights.
    ///
    /// # Errors
    /// Files that cannot be read, or no memory.
    pub fn probe(
        gguf: &Gguf,
        layout: &ModelLayout,
        options: ProbeOptions,
        shapes: &[PassShape],
        time: Duration,
    ) -> anyhow::Result<Vec<StepTimes>> {
        let all = catalogue(layout);
        let kinds = by_kind(&all, layout);
        let least = system::cpu_cache().map_or(LEAST_LOADED, |c| LEAST_LOADED.max(Bytes(2 * c.0)));
        let least = usize::try_from(least.min(options.weight_bytes).0).unwrap_or(usize::MAX);
        let chosen = choose(&kinds, |shard| all[shard].bytes, least);
        let shards: Vec<_> = chosen.iter().map(|&i| all[i].clone()).collect();
        let widest = shapes.iter().map(|shape| shape.nodes).max().unwrap_or(1);
        let options = LayerOracleOptions {
            ctx_tokens: widest.next_multiple_of(CELLS),
            max_nodes: widest,
            threads: options.threads,
            // All that are chosen stay.
            plan: Plan::new(&shards, total_bytes(&shards))?,
            read_sizes: options.read_sizes,
            device: None,
        };
        let mut oracle = Self::over(gguf, layout, shards, options, &Hub::new())?;
        // Reading them is no part of what is measured.
        for shard in 0..chosen.len() {
            let stream = oracle.steps.compute.stream();
            oracle.steps.supply.supply(ShardIdx(shard), stream)?;
            oracle.steps.supply.release(ShardIdx(shard), stream);
        }
        let mut times: Vec<_> = shapes.iter().map(|_| Samples::new(chosen.len())).collect();
        let (start, mut rounds) = (Instant::now(), 0);
        while rounds < LEAST_ROUNDS || (rounds < MOST_ROUNDS && start.elapsed() < time) {
            for (shape, samples) in shapes.iter().zip(&mut times) {
                oracle.sample(*shape, samples)?;
            }
            rounds += 1;
        }
        let threads = oracle.steps.compute.take_threads_used();
        let steps = |samples: Samples, shape: &PassShape| {
            let mut steps_s = vec![0.0; all.len()];
            for members in &kinds {
                let of_kind = chosen.iter().zip(&samples.steps);
                let of_kind = of_kind.filter(|(shard, _)| members.contains(shard));
                let typical = median(of_kind.flat_map(|(_, s)| s.iter().copied()).collect());
                for &shard in members {
                    steps_s[shard] = typical;
                }
            }
            StepTimes {
                shape: *shape,
                steps_s,
                begin_s: median(samples.begin),
                threads,
            }
        };
        Ok(times
            .into_iter()
            .zip(shapes)
            .map(|(t, s)| steps(t, s))
            .collect())
    }

    /// Computes all steps that there are once.
    fn sample(&mut self, shape: PassShape, samples: &mut Samples) -> Result<(), OracleError> {
        let tree = shape.tree(self.shape.n_vocab);
        let mut step = Instant::now();
        let mut lap = || {
            let took = step.elapsed().as_secs_f64();
            step = Instant::now();
            took
        };
        let n = shape.width();
        self.steps.compute.set_kernels(shape.class.kernels());
        let n_kv = self.load_tree(&tree, n)?;
        let graphs = Graphs::new(&self.shape, n, n_kv, shape.class, self.steps.on_cpu());
        let mut logits = Logits::for_tree(&tree, self.shape.n_vocab, &self.logit_pool);
        samples.begin.push(lap());
        for shard in self.steps.shards_where(|part| part != ShardPart::Head) {
            self.steps.layer(shard, &graphs)?;
            samples.steps[shard.0].push(lap());
        }
        let rows = self.steps.begin_head(&graphs, &logits);
        let mut block = Vec::new();
        for shard in self.steps.shards_where(|part| part == ShardPart::Head) {
            self.steps
                .head_step(shard, &graphs, rows, &mut block, &mut logits)?;
            samples.steps[shard.0].push(lap());
        }
        Ok(())
    }
}

/// Seconds that were measured for one shape.
struct Samples {
    begin: Vec<f64>,
    /// By index of what was loaded.
    steps: Vec<Vec<f64>>,
}

impl Samples {
    fn new(shards: usize) -> Self {
        Self {
            begin: Vec::new(),
            steps: vec![Vec::new(); shards],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_chosen_and_more_until_the_caches_are_full() {
        let kinds = [vec![0, 3, 6], vec![1], vec![2, 4, 5]];
        assert_eq!(choose(&kinds, |_| 10, 0), [0, 1, 2]);
        assert_eq!(choose(&kinds, |_| 10, 31), [0, 1, 2, 3, 4]);
        assert_eq!(choose(&kinds, |_| 10, 1000), [0, 1, 2, 3, 4, 5, 6]);
        assert!(choose(&[], |_| 10, 1000).is_empty());
    }

    #[test]
    fn one_slow_round_does_not_count() {
        assert_eq!(median(vec![3.0, 1.0, 900.0, 2.0, 1.5]), 2.0);
    }
}
