//! What the River shows of itself: every shard's residency, and what comes next when.

use super::plan::Plan;
use super::shard::{Shard, ShardIdx};
use crate::telemetry::{Hub, QueueItem, Residency, ShardView};
use crate::units::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// Streamed shards that the queue pane looks ahead.
const LOOK_AHEAD: usize = 12;

/// Weight of the last use in the smoothed time that a shard is held.
const NEWEST: f64 = 0.2;

/// How passes have waited for weights so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Waits {
    /// Shards that were there when they were asked for, and those that were not.
    pub hits: u64,
    pub misses: u64,
    /// For these, and for what was read on demand.
    pub stall: Duration,
    /// The latter alone.
    pub demands: Duration,
}

/// Where the River's threads show what they do.
#[derive(Clone)]
pub(super) struct Board(Arc<Hub>);

impl Board {
    /// Shows `shards`, none of which is there yet, and how they are read.
    pub(super) fn new(hub: Arc<Hub>, shards: &[Shard], plan: &Plan, reader: &str) -> Self {
        let view = |(shard, &pinned): (&Shard, &bool)| ShardView {
            layer: shard.layer.map(|l| l.0),
            part: shard.part,
            bytes: Bytes(shard.bytes as u64),
            residency: Residency::Disk,
            pinned,
            in_use: false,
        };
        hub.update(|s| {
            reader.clone_into(&mut s.engine.reader);
            s.shards = shards.iter().zip(&plan.pinned).map(view).collect();
        });
        Self(hub)
    }

    fn shard(&self, shard: ShardIdx, change: impl FnOnce(&mut ShardView)) {
        self.0.update(|s| {
            s.shards.get_mut(shard.0).map(change);
        });
    }

    pub(super) fn residency(&self, shard: ShardIdx, residency: Residency) {
        self.shard(shard, |view| view.residency = residency);
    }

    /// Its use has ended, and it is there now.
    pub(super) fn left(&self, shard: ShardIdx, residency: Residency) {
        self.shard(shard, |view| {
            view.in_use = false;
            view.residency = residency;
        });
    }

    /// `shard` is in RAM: the reader has read so many bytes, at such a rate.
    pub(super) fn arrived(&self, shard: ShardIdx, bytes_read: u64, gb_s: f64) {
        self.0.update(|s| {
            if let Some(view) = s.shards.get_mut(shard.0) {
                view.residency = Residency::Ram;
            }
            s.queue.bytes_read = bytes_read;
            s.queue.read_gb_s = gb_s;
        });
    }

    /// `shard` is in use, and `next` comes after it.
    pub(super) fn in_use(&self, shard: ShardIdx, waits: &Waits, next: Vec<QueueItem>) {
        self.0.update(|s| {
            if let Some(view) = s.shards.get_mut(shard.0) {
                view.in_use = true;
            }
            s.queue.hits = waits.hits;
            s.queue.misses = waits.misses;
            s.queue.stall_ms = waits.stall.as_secs_f64() * 1e3;
            s.queue.next = next;
        });
    }

    /// With no pass under way, nothing has a time at which it is needed.
    pub(super) fn pass_ended(&self) {
        self.0.update(|s| {
            for item in &mut s.queue.next {
                item.predicted_need_ms = None;
            }
        });
    }
}

/// Predicts when shards are needed, by how long compute held them before, and when they arrive.
pub(super) struct Forecast {
    /// By shard.
    shards: Vec<Expected>,
}

#[derive(Clone, Copy, Debug)]
struct Expected {
    bytes: usize,
    streams: bool,
    /// Smoothed time that compute holds it; zero before a first time.
    held_ms: f64,
}

impl Forecast {
    pub(super) fn new(shards: &[Shard], plan: &Plan) -> Self {
        let expected = |(shard, pinned): (&Shard, &bool)| Expected {
            bytes: shard.bytes,
            streams: !pinned,
            held_ms: 0.0,
        };
        Self {
            shards: shards.iter().zip(&plan.pinned).map(expected).collect(),
        }
    }

    /// Learns that compute held `shard` for so long.
    pub(super) fn held(&mut self, shard: ShardIdx, took: Duration) {
        let took_ms = took.as_secs_f64() * 1e3;
        let smooth = &mut self.shards[shard.0].held_ms;
        *smooth = if *smooth == 0.0 {
            took_ms
        } else {
            (1.0 - NEWEST) * *smooth + NEWEST * took_ms
        };
    }

    /// The next shards that stream while `from` is in use: when they are needed by what earlier
    /// passes took, and when they arrive at the present rate of reading. `ready` streamed shards
    /// have arrived, the one in use among them.
    pub(super) fn next(&self, from: ShardIdx, ready: usize, gb_s: f64) -> Vec<QueueItem> {
        let mut items = Vec::with_capacity(LOOK_AHEAD);
        let now = self.shards[from.0];
        // The shard in use is the ring's oldest, if it streams.
        let mut ready_left = ready.saturating_sub(usize::from(now.streams));
        let (mut need_ms, mut bytes_before) = (now.held_ms, 0.0);
        for shard in (from.0 + 1..self.shards.len()).chain(0..=from.0) {
            if items.len() == LOOK_AHEAD {
                break;
            }
            let expected = self.shards[shard];
            if expected.streams {
                let predicted_arrival_ms = if ready_left > 0 {
                    ready_left -= 1;
                    0.0
                } else {
                    bytes_before += expected.bytes as f64;
                    bytes_before / (gb_s.max(1e-3) * 1e6)
                };
                items.push(QueueItem {
                    shard,
                    // Before a first pass nothing is known of what shards take.
                    predicted_need_ms: (need_ms > 0.0).then_some(need_ms),
                    predicted_arrival_ms,
                });
            }
            need_ms += expected.held_ms;
        }
        items
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shards of a megabyte, of which those with an odd number stream.
    fn forecast(n: usize) -> Forecast {
        let expected = |i: usize| Expected {
            bytes: 1_000_000,
            streams: i % 2 == 1,
            held_ms: 0.0,
        };
        Forecast {
            shards: (0..n).map(expected).collect(),
        }
    }

    fn items(forecast: &Forecast, from: usize, ready: usize) -> Vec<(usize, Option<f64>, f64)> {
        let next = forecast.next(ShardIdx(from), ready, 1.0);
        let item = |i: QueueItem| (i.shard, i.predicted_need_ms, i.predicted_arrival_ms);
        next.into_iter().map(item).collect()
    }

    #[test]
    fn what_comes_next_is_needed_after_what_is_held_before_it() {
        let mut forecast = forecast(6);
        // Nothing is known yet but what has arrived: the one in use and another.
        let unknown = [(3, None, 0.0), (5, None, 1.0), (1, None, 2.0)];
        assert_eq!(items(&forecast, 1, 2), unknown);
        for shard in 0..6 {
            forecast.held(ShardIdx(shard), Duration::from_millis(10));
        }
        let known = [
            (3, Some(20.0), 1.0),
            (5, Some(40.0), 2.0),
            (1, Some(60.0), 3.0),
        ];
        assert_eq!(items(&forecast, 1, 1), known);
        // A slow use counts for a fifth.
        forecast.held(ShardIdx(2), Duration::from_millis(20));
        assert_eq!(items(&forecast, 1, 1)[0], (3, Some(22.0), 1.0));
    }

    #[test]
    fn it_looks_ahead_only_so_far() {
        assert_eq!(items(&forecast(100), 0, 0).len(), LOOK_AHEAD);
    }
}
