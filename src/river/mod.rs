//! The River: moves weights from disk to where they are computed with, just in time.
//!
//! Owns the residency of every shard and the thread that reads. A pass takes the shards in
//! order of use; each is there for good (pinned) or passes through the ring.
//!
//! ```text
//!  GGUF --catalogue--> shards --Plan::new--> pinned | streamed
//!                                              |        |
//!  compute:  take(shard) -> memory  <-----  arena:  [ pinned ... | ring ]
//!            give(shard)                                ^
//!                                       reader thread --+  (O_DIRECT, in order, wraps around)
//! ```
//!
//! Invariants: the arena is exactly as large as the plan says and nothing else holds weights;
//! memory returned by [`River::take`] keeps its contents until [`River::give`].

mod plan;
mod reader;
mod ring;
#[cfg(test)]
mod ring_tests;
mod shard;
mod window;

/// What [`ring`] synchronises with; `tests/ring_loom.rs` puts its model checker's in its place.
mod sync {
    pub use std::sync::{Condvar, Mutex, MutexGuard};
}

pub use plan::{Pinning, Plan, PlanError};
pub use reader::{ReadCounters, ReadFailure, ReadSizes};
pub use shard::{Extent, Placed, Shard, ShardIdx, catalogue, catalogue_by_layer, total_bytes};
pub use window::{Mark, Part, Watcher, Window, WindowPlan, WindowTooSmall, layout};

use crate::io::{Arena, BlockFile, BlockReader, FileChange, Region, open_reader};
use crate::telemetry::{Hub, QueueItem, Residency, ShardView};
use crate::units::Bytes;
use reader::Reader;
use ring::Ring;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Streamed shards that the queue pane looks ahead.
const LOOK_AHEAD: usize = 12;

/// Why weights cannot be moved.
#[derive(Debug, thiserror::Error)]
pub enum RiverError {
    #[error("cannot open {path}: {source}")]
    Open {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("no memory for {bytes} of weights: {source}")]
    Memory {
        bytes: Bytes,
        source: std::io::Error,
    },
    #[error(transparent)]
    Read(#[from] ReadFailure),
    #[error(
        "{} {change}: its weights are not computed with any more; start nmos again when the \
         file is as it should be",
        path.display()
    )]
    Changed { path: PathBuf, change: FileChange },
}

/// See the module's text.
pub struct River {
    files: Vec<Arc<BlockFile>>,
    shards: Arc<Vec<Shard>>,
    pinned: Arc<Vec<Option<Region>>>,
    plan: Plan,
    ring: Arc<Ring>,
    thread: Option<std::thread::JoinHandle<()>>,
    counters: Arc<ReadCounters>,
    /// The reader is to begin with the first shard again.
    rewind: Arc<AtomicBool>,
    hub: Arc<Hub>,
    taken: Option<Region>,
    /// Streamed shards that are lent.
    lent: usize,
    stall: Duration,
    hits: u64,
    misses: u64,
    /// Smoothed time that compute holds each shard, for the predicted need of later ones.
    held_ms: Vec<f64>,
    took_at: Instant,
    reader: String,
}

impl River {
    /// Opens the model's `files`, sets up memory as `plan` says, and starts to read.
    ///
    /// # Errors
    /// A file that cannot be opened, or no address space.
    pub fn start(
        files: &[PathBuf],
        shards: Vec<Shard>,
        plan: Plan,
        sizes: ReadSizes,
        hub: Arc<Hub>,
    ) -> Result<Self, RiverError> {
        Self::start_in(Arena::new, files, shards, plan, sizes, hub)
    }

    /// The same with weights in memory that `allocate` gives: what a device copies from.
    ///
    /// # Errors
    /// As [`River::start`].
    pub fn start_in(
        allocate: impl FnOnce(usize) -> std::io::Result<Arc<Arena>>,
        files: &[PathBuf],
        shards: Vec<Shard>,
        plan: Plan,
        sizes: ReadSizes,
        hub: Arc<Hub>,
    ) -> Result<Self, RiverError> {
        let io = open_reader(sizes.depth);
        Self::begin(allocate, io, files, shards, plan, sizes.bytes, hub)
    }

    /// The same with a reader of the caller's choice, in reads of `read_bytes`.
    ///
    /// # Errors
    /// As [`River::start`].
    pub fn start_with(
        io: Box<dyn BlockReader>,
        files: &[PathBuf],
        shards: Vec<Shard>,
        plan: Plan,
        read_bytes: usize,
        hub: Arc<Hub>,
    ) -> Result<Self, RiverError> {
        Self::begin(Arena::new, io, files, shards, plan, read_bytes, hub)
    }

    fn begin(
        allocate: impl FnOnce(usize) -> std::io::Result<Arc<Arena>>,
        mut io: Box<dyn BlockReader>,
        files: &[PathBuf],
        shards: Vec<Shard>,
        plan: Plan,
        read_bytes: usize,
        hub: Arc<Hub>,
    ) -> Result<Self, RiverError> {
        let files = files
            .iter()
            .map(|path| {
                BlockFile::open(path)
                    .map(Arc::new)
                    .map_err(|source| RiverError::Open {
                        path: path.clone(),
                        source,
                    })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let bytes = plan.pinned_bytes + plan.ring_bytes;
        let arena = allocate(bytes).map_err(|source| RiverError::Memory {
            bytes: Bytes(bytes as u64),
            source,
        })?;
        let mut at = 0;
        let mut pinned = Vec::with_capacity(shards.len());
        for (shard, stays) in shards.iter().zip(&plan.pinned) {
            pinned.push(stays.then(|| arena.region(at, shard.bytes)));
            at += if *stays { shard.bytes } else { 0 };
        }
        let memory = (plan.ring_bytes > 0).then(|| arena.region(at, plan.ring_bytes));
        io.register(&files, memory.as_ref());
        let direct = files.iter().all(|f| f.is_direct());
        let reader = format!(
            "{}, {}",
            io.name(),
            if direct { "O_DIRECT" } else { "page cache" }
        );
        hub.update(|s| {
            s.engine.reader.clone_from(&reader);
            s.shards = shards
                .iter()
                .zip(&plan.pinned)
                .map(|(shard, &pinned)| ShardView {
                    layer: shard.layer.map(|l| l.0),
                    part: shard.part,
                    bytes: Bytes(shard.bytes as u64),
                    residency: Residency::Disk,
                    pinned,
                    in_use: false,
                })
                .collect();
        });
        let ring = Arc::new(Ring::new(shards.len(), memory));
        let (shards, pinned) = (Arc::new(shards), Arc::new(pinned));
        let counters = Arc::new(ReadCounters::default());
        let rewind = Arc::new(AtomicBool::new(false));
        let worker = Reader {
            io,
            rewind: Arc::clone(&rewind),
            read_bytes,
            files: files.clone(),
            shards: Arc::clone(&shards),
            pinned: Arc::clone(&pinned),
            once: plan.leaves.clone(),
            ring: Arc::clone(&ring),
            counters: Arc::clone(&counters),
            hub: Arc::clone(&hub),
        };
        let thread = std::thread::Builder::new()
            .name("river".into())
            .spawn(move || worker.run())
            .map_err(|source| RiverError::Memory {
                bytes: Bytes(0),
                source,
            })?;
        Ok(Self {
            held_ms: vec![0.0; shards.len()],
            files,
            shards,
            pinned,
            plan,
            ring,
            thread: Some(thread),
            counters,
            rewind,
            hub,
            taken: None,
            lent: 0,
            stall: Duration::ZERO,
            hits: 0,
            misses: 0,
            took_at: Instant::now(),
            reader,
        })
    }

    pub fn shards(&self) -> &Arc<Vec<Shard>> {
        &self.shards
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub fn counters(&self) -> &Arc<ReadCounters> {
        &self.counters
    }

    /// How it reads, in words.
    pub fn reader(&self) -> &str {
        &self.reader
    }

    /// Time that passes have waited for weights.
    pub fn stall(&self) -> Duration {
        self.stall
    }

    /// Time to read what streams in a pass, in microseconds, at the rate of all reading so far.
    pub fn lap_us(&self) -> u64 {
        let (bytes, busy_us) = (self.counters.bytes(), self.counters.busy_ns() / 1000);
        let lap = self.plan.streamed_bytes as u128 * u128::from(busy_us);
        u64::try_from(lap / u128::from(bytes.max(1))).unwrap_or(u64::MAX)
    }

    /// Shards that were there when they were taken, and those that were waited for.
    pub fn hits_and_misses(&self) -> (u64, u64) {
        (self.hits, self.misses)
    }

    /// Begins a pass: what failed in an earlier one is tried again.
    ///
    /// # Errors
    /// A file that is no longer what was opened.
    pub fn begin_pass(&self) -> Result<(), RiverError> {
        self.check_files()?;
        self.ring.retry();
        Ok(())
    }

    /// Lets reading begin with the first shard again, after a pass that was given up: the next one
    /// need not wait for what that one had before it. What is under way arrives and is skipped.
    pub fn rewind(&self) {
        self.rewind.store(true, Ordering::Relaxed);
    }

    /// Ends a pass, whose result counts only if this succeeds.
    ///
    /// # Errors
    /// A file that has changed meanwhile.
    pub fn end_pass(&self) -> Result<(), RiverError> {
        // With no pass under way, nothing has a time at which it is needed.
        self.hub.update(|s| {
            for item in &mut s.queue.next {
                item.predicted_need_ms = None;
            }
        });
        self.check_files()
    }

    fn check_files(&self) -> Result<(), RiverError> {
        self.files.iter().try_for_each(|file| {
            file.check().map_err(|change| RiverError::Changed {
                path: file.path().to_owned(),
                change,
            })
        })
    }

    /// The memory of `shard`, waited for. Shards are taken in order of use, one at a time,
    /// round and round; streamed ones that are left out are read all the same, and skipped.
    ///
    /// # Errors
    /// The read that failed, after a second try. The next pass may ask again.
    ///
    /// # Panics
    /// If the shard before was not given back.
    pub fn take(&mut self, shard: ShardIdx) -> Result<Region, RiverError> {
        assert!(self.taken.is_none(), "a shard is still taken");
        let home = self.pinned[shard.0].clone();
        let hit = self.ring.is_ready(shard, home.is_some());
        let began = Instant::now();
        let region = if let Some(region) = home {
            self.ring.wait_pinned(shard)?;
            region
        } else {
            // A pass that ended early, or did without the head, left shards behind.
            loop {
                let arrived = self.ring.wait_streamed(0)?;
                if arrived.shard == shard {
                    break arrived.region;
                }
                self.ring.release();
                self.show_residency(arrived.shard, Residency::Disk);
            }
        };
        if hit {
            self.hits += 1;
        } else {
            self.misses += 1;
            self.stall += began.elapsed();
        }
        self.taken = Some(region.clone());
        self.took_at = Instant::now();
        self.show(shard);
        Ok(region)
    }

    /// Ends the use of `shard`.
    ///
    /// # Panics
    /// If it was not taken.
    pub fn give(&mut self, shard: ShardIdx) {
        assert!(self.taken.take().is_some(), "no shard is taken");
        let streamed = self.pinned[shard.0].is_none();
        if streamed {
            self.ring.release();
        }
        let held = self.took_at.elapsed().as_secs_f64() * 1e3;
        let smooth = &mut self.held_ms[shard.0];
        *smooth = if *smooth == 0.0 {
            held
        } else {
            0.8 * *smooth + 0.2 * held
        };
        let residency = if streamed {
            Residency::Disk
        } else {
            Residency::Ram
        };
        self.show_residency(shard, residency);
    }

    /// Whether `shard`, the next in order, can be lent without waiting.
    pub fn has_arrived(&self, shard: ShardIdx) -> bool {
        if self.pinned[shard.0].is_some() {
            self.ring.is_ready(shard, true)
        } else {
            self.ring.ready_count() > self.lent
        }
    }

    /// The memory of `shard`, waited for, to copy it elsewhere; and whether it is to be given
    /// back with [`River::settle`]. All shards are lent, in order of use, several at a time:
    /// not for callers that take.
    ///
    /// # Errors
    /// As [`River::take`].
    ///
    /// # Panics
    /// If it is not the next in order.
    pub fn lend(&mut self, shard: ShardIdx) -> Result<(Region, bool), RiverError> {
        let hit = self.has_arrived(shard);
        let began = Instant::now();
        let home = self.pinned[shard.0].clone();
        let passes = home.is_none();
        let region = if let Some(region) = home {
            self.ring.wait_pinned(shard)?;
            region
        } else {
            let arrived = self.ring.wait_streamed(self.lent)?;
            assert_eq!(arrived.shard, shard, "shards are lent in order");
            self.lent += 1;
            arrived.region
        };
        if hit {
            self.hits += 1;
        } else {
            self.misses += 1;
            self.stall += began.elapsed();
        }
        self.show(shard);
        let residency = if self.plan.leaves[shard.0] {
            Residency::Vram
        } else if passes {
            Residency::Disk
        } else {
            Residency::Ram
        };
        self.show_residency(shard, residency);
        Ok((region, passes))
    }

    /// Gives the oldest shard that passes and is lent back to the reader.
    pub fn settle(&mut self) {
        if self.lent > 0 {
            self.lent -= 1;
            self.ring.release();
        }
    }

    fn show_residency(&self, shard: ShardIdx, residency: Residency) {
        self.hub.update(|s| {
            if let Some(view) = s.shards.get_mut(shard.0) {
                view.in_use = false;
                view.residency = residency;
            }
        });
    }

    /// Puts the state at the start of `shard`'s use on show.
    fn show(&self, shard: ShardIdx) {
        let ready = self.ring.ready_count();
        let (hits, misses, stall) = (self.hits, self.misses, self.stall);
        let next = self.look_ahead(shard, ready, self.counters.gb_s());
        self.hub.update(|s| {
            if let Some(view) = s.shards.get_mut(shard.0) {
                view.in_use = true;
            }
            s.queue.hits = hits;
            s.queue.misses = misses;
            s.queue.stall_ms = stall.as_secs_f64() * 1e3;
            s.queue.next = next;
        });
    }

    /// The next shards that stream: when they are needed by what earlier passes took, and when
    /// they arrive at the present rate of reading.
    fn look_ahead(&self, from: ShardIdx, ready: usize, gb_s: f64) -> Vec<QueueItem> {
        let mut items = Vec::with_capacity(LOOK_AHEAD);
        // The shard in use is the ring's oldest, if it streams.
        let mut ready_left = ready.saturating_sub(usize::from(self.pinned[from.0].is_none()));
        let (mut need_ms, mut bytes_before) = (self.held_ms[from.0], 0.0);
        for shard in (from.0 + 1..self.shards.len()).chain(0..=from.0) {
            if items.len() == LOOK_AHEAD {
                break;
            }
            if self.pinned[shard].is_none() {
                let predicted_arrival_ms = if ready_left > 0 {
                    ready_left -= 1;
                    0.0
                } else {
                    bytes_before += self.shards[shard].bytes as f64;
                    bytes_before / (gb_s.max(1e-3) * 1e6)
                };
                items.push(QueueItem {
                    shard,
                    // Before a first pass nothing is known of what shards take.
                    predicted_need_ms: (need_ms > 0.0).then_some(need_ms),
                    predicted_arrival_ms,
                });
            }
            need_ms += self.held_ms[shard];
        }
        items
    }
}

impl Drop for River {
    fn drop(&mut self) {
        self.ring.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
