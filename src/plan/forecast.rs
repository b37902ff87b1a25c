//! How long a session's passes will take, before its models are loaded.
//!
//! ```text
//!  Placement            -> which shards stay, which stream, the shapes of passes
//!  LayerOracle::probe   -> seconds of every step, at each shape of a pass     (measured)
//!  disk meanwhile       -> bytes a second                                     (measured)
//!          \-> Pipeline: the ring, step by step -> seconds of a pass          (predicted)
//! ```
//!
//! Where weights stream, disk and kernels are measured at the same time: both move memory, and each
//! is a few percent slower while the other runs than alone.
//!
//! Kernels are measured for models that we have graphs for, whatever form they are run in. What
//! llama.cpp's own graph takes for any other is not known before it runs.

use super::pipeline::{Pipeline, Step};
use super::{OracleFile, Placement};
use crate::ggml::ThreadsUsed;
use crate::model::Blueprint;
use crate::oracle::{LayerOracle, PassShape, ProbeOptions, StepTimes, WidthClass};
use crate::river::{Plan, ReadSizes, Shard};
use crate::system::measure::disk;
use crate::units::Bytes;
use serde::Serialize;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Trees that are predicted, in nodes, and the largest where that is larger. The last is a full
/// pass over a prompt.
const NODES: [usize; 5] = [1, 8, 16, 32, WidthClass::BATCH.max];

/// How long kernels are measured, unless a few rounds of them take longer.
const PROBE_TIME: Duration = Duration::from_millis(1500);

/// What passes will cost.
#[derive(Clone, Debug)]
pub struct Forecasts {
    /// Of the disk while kernels ran, in decimal gigabytes a second; `None` where nothing
    /// streams.
    pub disk_gb_s: Option<f64>,
    /// One for each shape of a pass.
    pub passes: Vec<Forecast>,
}

/// That kernels were measured while other programs had some of the cores, if they were.
pub fn cores_in_use(passes: &[Forecast]) -> Option<String> {
    let threads = passes.iter().map(|pass| pass.threads);
    let threads = threads.fold(ThreadsUsed::default(), ThreadsUsed::and);
    (threads.least < threads.most).then(|| {
        format!(
            "the cores are in use: measured with {} of {} threads, as answers would be now; when \
             they are free again, all of them compute",
            threads.least, threads.most
        )
    })
}

/// What a pass of one shape will cost.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Forecast {
    pub nodes: usize,
    /// Fewest and most threads that the kernels were measured with.
    pub threads: ThreadsUsed,
    /// Tokens that are computed: nodes and padding.
    pub width: usize,
    pub predicted_compute_s: f64,
    /// Zero where nothing streams.
    pub predicted_disk_s: f64,
    pub predicted_pass_s: f64,
    /// At one token a pass; accepted guesses add to it.
    pub predicted_tokens_per_s: f64,
    pub limit: Limit,
}

/// What a pass waits for most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Limit {
    Disk,
    Compute,
}

impl Limit {
    pub fn name(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Compute => "compute",
        }
    }
}

impl Forecasts {
    /// Measures the kernels, and the disk if weights stream, and predicts passes of every
    /// shape. `None` for a model that we have no graphs for, and where a GPU computes: its
    /// kernels and its link are not measured before a session.
    ///
    /// # Errors
    /// Files that cannot be read.
    pub fn measure(oracle: &OracleFile, placement: &Placement) -> anyhow::Result<Option<Self>> {
        let (Blueprint::Layers(layout), None) = (&oracle.blueprint, &placement.device) else {
            return Ok(None);
        };
        let plan = placement.form.plan();
        let in_memory = |plan: &Plan| Bytes((plan.pinned_bytes + plan.ring_bytes) as u64);
        let options = ProbeOptions {
            threads: placement.threads,
            weight_bytes: plan.map_or_else(|| oracle.shard_bytes(), in_memory),
            read_sizes: placement.read_sizes,
        };
        let shapes = placement.shapes();
        let probe = || LayerOracle::probe(&oracle.index, layout, options, &shapes, PROBE_TIME);
        let (times, disk_gb_s) = if placement.form.streamed_bytes() > 0 {
            let (times, gb_s) = while_reading(oracle.index.path(), options.read_sizes, probe)?;
            (times?, Some(gb_s))
        } else {
            (probe()?, None)
        };
        let gb_s = disk_gb_s.unwrap_or(f64::INFINITY);
        let forecast = |times: &StepTimes| forecast(&oracle.shards, plan, times, gb_s);
        Ok(Some(Self {
            disk_gb_s,
            passes: times.iter().map(forecast).collect(),
        }))
    }
}

impl Placement {
    /// The shapes of a session's passes that are predicted.
    pub(super) fn shapes(&self) -> Vec<PassShape> {
        let answers = self.answer_class();
        let class = |nodes| {
            if nodes <= answers.max {
                answers
            } else {
                WidthClass::BATCH
            }
        };
        let shape = |nodes| PassShape {
            nodes,
            class: class(nodes),
        };
        let widest = Some(self.max_nodes).filter(|&n| n > WidthClass::BATCH.max);
        let widest = widest.map(|nodes| PassShape {
            nodes,
            class: match answers {
                WidthClass::PLAIN => answers,
                _ => WidthClass::WIDE,
            },
        });
        NODES.into_iter().map(shape).chain(widest).collect()
    }
}

/// Runs `work` while `file` is read over and over; says how fast that was in the median, in
/// decimal gigabytes a second.
fn while_reading<T>(
    file: &Path,
    sizes: ReadSizes,
    work: impl FnOnce() -> T,
) -> std::io::Result<(T, f64)> {
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let mut speeds = Vec::new();
            for part in 0.. {
                speeds.push(disk::measure(file, sizes.depth, sizes.bytes, part)?.gb_s());
                if ended.load(Ordering::Relaxed) {
                    break;
                }
            }
            speeds.sort_by(f64::total_cmp);
            Ok(speeds[speeds.len() / 2])
        });
        let result = work();
        ended.store(true, Ordering::Relaxed);
        let speed = reading
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        speed.map(|gb_s| (result, gb_s))
    })
}

/// Predicts one pass. Without a plan nothing streams.
fn forecast(shards: &[Shard], plan: Option<&Plan>, times: &StepTimes, gb_s: f64) -> Forecast {
    let step = |(i, shard): (usize, &Shard)| Step {
        bytes: shard.bytes,
        streams: plan.is_some_and(|plan| !plan.pinned[i]),
        compute_s: times.steps_s[i],
    };
    let steps: Vec<_> = shards.iter().enumerate().map(step).collect();
    let pipeline = Pipeline {
        steps: &steps,
        ring_bytes: plan.map_or(0, |plan| plan.ring_bytes),
        bytes_per_s: gb_s * 1e9,
        begin_s: times.begin_s,
    };
    let (compute_s, disk_s) = (pipeline.compute_s(), pipeline.read_s());
    let pass_s = pipeline.pass_s();
    Forecast {
        nodes: times.shape.nodes,
        threads: times.threads,
        width: times.shape.width(),
        predicted_compute_s: compute_s,
        predicted_disk_s: disk_s,
        predicted_pass_s: pass_s,
        predicted_tokens_per_s: pass_s.recip(),
        limit: if disk_s > compute_s {
            Limit::Disk
        } else {
            Limit::Compute
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Bytes, LayerIdx};
    use crate::vocabulary::ShardPart;
    use proptest::prelude::*;

    /// Layers of three shards and a head, in units of a mebibyte.
    fn shards(layers: u32, head: usize) -> Vec<Shard> {
        let shard = |layer, part, mib: usize| Shard {
            layer,
            part,
            rows: 0..0,
            extents: Vec::new(),
            tensors: Vec::new(),
            bytes: mib << 20,
        };
        let layer = |i| {
            [
                shard(Some(LayerIdx(i)), ShardPart::Attention, 3),
                shard(Some(LayerIdx(i)), ShardPart::FeedForwardUp, 15),
                shard(Some(LayerIdx(i)), ShardPart::FeedForwardDown, 9),
            ]
        };
        let head = (0..head).map(|_| shard(None, ShardPart::Head, 12));
        (0..layers).flat_map(layer).chain(head).collect()
    }

    /// Every byte takes equally long.
    fn times(shards: &[Shard], gb_s: f64) -> StepTimes {
        StepTimes {
            threads: ThreadsUsed::default(),
            shape: PassShape {
                nodes: 1,
                class: WidthClass::BATCH,
            },
            steps_s: shards.iter().map(|s| s.bytes as f64 / gb_s / 1e9).collect(),
            begin_s: 0.001,
        }
    }

    #[test]
    fn without_a_plan_a_pass_is_what_computing_takes() {
        let shards = shards(4, 2);
        let times = times(&shards, 2.0);
        let found = forecast(&shards, None, &times, 1.0);
        assert!((found.predicted_pass_s - times.total_s()).abs() < 1e-12);
        assert_eq!((found.predicted_disk_s, found.width), (0.0, 8));
        assert_eq!(found.limit, Limit::Compute);
        assert!((found.predicted_tokens_per_s * found.predicted_pass_s - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_slow_disk_is_the_limit_and_takes_its_time() {
        let shards = shards(8, 4);
        let plan = Plan::new(&shards, Bytes::mib(100)).unwrap();
        let found = forecast(&shards, Some(&plan), &times(&shards, 10.0), 1.0);
        let read_s = plan.streamed_bytes as f64 / 1e9;
        assert!((found.predicted_disk_s - read_s).abs() < 1e-9);
        assert!((found.predicted_pass_s / read_s - 1.0).abs() < 0.01);
        assert_eq!(found.limit, Limit::Disk);
    }

    proptest! {
        /// More memory streams less. Where in the pass it does so changes as well, which may
        /// cost a wait for one shard.
        #[test]
        fn more_memory_is_never_slower(
            layers in 4u32..20,
            head in 0usize..10,
            ram_mib in 50u64..500,
            more_mib in 0u64..200,
            gb_s in 0.5..8.0_f64,
        ) {
            let shards = shards(layers, head);
            let times = times(&shards, 2.0);
            let at = |mib| {
                let plan = Plan::new(&shards, Bytes::mib(mib)).unwrap();
                forecast(&shards, Some(&plan), &times, gb_s).predicted_pass_s
            };
            let largest = (15 << 20) as f64 / gb_s / 1e9;
            let (less, more) = (at(ram_mib), at(ram_mib + more_mib));
            prop_assert!(more <= less + largest, "{more} with more, {less} with less");
        }
    }
}
