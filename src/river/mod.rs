//! The River: moves weights from disk to where they are computed with, just in time.
//!
//! Owns the residency of every shard and the thread that reads. A pass takes the shards in
//! order of use; each is there for good (pinned) or passes through the ring.
//!
//! ```text
//!  GGUF --catalogue--> shards --Plan::new--> pinned | streamed
//!                                              |        |
//!  HostSupply:   take, give      <---------  arena:  [ pinned ... | ring ]
//!  DeviceSupply: lend, settle    <--'                   ^
//!    (window: copies to a device)       reader thread --+  (O_DIRECT, in order, wraps around)
//!
//!  demand: experts by id, read at once by whoever asks, while the reader begins nothing new
//! ```
//!
//! Two handles, since there are two ways to use what arrives: one shard at a time where it is
//! ([`HostSupply`]), or several at a time to copy them elsewhere ([`DeviceSupply`]). Whoever
//! computes sees neither, but a [`WeightSupply`].
//!
//! Invariant: the arena is exactly as large as the plan says and nothing else holds shards.

mod board;
mod counters;
mod demand;
mod host;
mod order;
mod plan;
mod reader;
mod ring;
#[cfg(test)]
mod ring_tests;
mod setup;
mod shard;
mod supply;
mod window;

/// What [`ring`] synchronises with; `tests/ring_loom.rs` puts its model checker's in its place.
mod sync {
    pub use std::sync::{Condvar, Mutex, MutexGuard};
}

pub use counters::ReadCounters;
pub use demand::{Demand, ExpertIdx, ExpertTable, NoSuchExpert, Slice};
pub use host::HostSupply;
pub use plan::{Pinning, Plan, PlanError};
pub use setup::{ReadSizes, Reads, Setup, WeightMemory};
pub use shard::{Extent, Placed, Shard, ShardIdx, catalogue, catalogue_by_layer, total_bytes};
pub use supply::WeightSupply;
pub use window::{DeviceSupply, Mark, Part, Watcher, Window, WindowPlan, WindowTooSmall, layout};

use crate::io::{BlockFile, FileChange, Queue, Region, TransferFailure};
use crate::units::Bytes;
use board::{Board, Forecast, Waits};
use demand::DemandReader;
use reader::{Reader, Source};
use ring::Ring;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

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
    Read(#[from] TransferFailure),
    #[error(transparent)]
    Expert(#[from] NoSuchExpert),
    #[error(
        "{} {change}: its weights are not computed with any more; start nmos again when the \
         file is as it should be",
        path.display()
    )]
    Changed { path: PathBuf, change: FileChange },
}

/// See the module's text. Shards are reached through a [`HostSupply`] or a [`DeviceSupply`].
pub struct River {
    files: Vec<Arc<BlockFile>>,
    shards: Arc<Vec<Shard>>,
    /// A place for each pinned shard.
    homes: Arc<Vec<Option<Region>>>,
    plan: Plan,
    ring: Arc<Ring>,
    thread: Option<std::thread::JoinHandle<()>>,
    counters: Arc<ReadCounters>,
    waits: Waits,
    board: Board,
    forecast: Forecast,
    /// How it reads, in words.
    reader: String,
    /// Reads on demand; opened by the first.
    demands: Option<DemandReader>,
}

impl River {
    /// Opens the model's files, sets up memory as the plan says, and starts to read.
    fn start(setup: Setup) -> Result<Self, RiverError> {
        let Setup {
            files,
            shards,
            plan,
            reads,
            memory,
            hub,
        } = setup;
        let files = files.iter().map(|path| open(path));
        let files = files.collect::<Result<Vec<_>, _>>()?;
        let bytes = plan.pinned_bytes + plan.ring_bytes;
        let no_memory = |source| RiverError::Memory {
            bytes: Bytes(bytes as u64),
            source,
        };
        let arena = memory.allocate(bytes).map_err(no_memory)?;
        let mut at = 0;
        let mut homes = Vec::with_capacity(shards.len());
        for (shard, stays) in shards.iter().zip(&plan.pinned) {
            homes.push(stays.then(|| arena.region(at, shard.bytes)));
            at += if *stays { shard.bytes } else { 0 };
        }
        let memory = (plan.ring_bytes > 0).then(|| arena.region(at, plan.ring_bytes));
        let mut queue = Queue::new(reads.io);
        queue.register(&files, memory.as_ref());
        let way = match files.iter().all(|f| f.is_direct()) {
            true => "O_DIRECT",
            false => "page cache",
        };
        let reader = format!("{}, {way}", queue.name());
        let board = Board::new(hub, &shards, &plan, &reader);
        let ring = Arc::new(Ring::new(shards.len(), memory));
        let (shards, homes) = (Arc::new(shards), Arc::new(homes));
        let counters = Arc::new(ReadCounters::default());
        let source = Source {
            files: files.clone(),
            shards: Arc::clone(&shards),
            homes: Arc::clone(&homes),
            read_bytes: reads.bytes,
        };
        let passing = plan.pinned.iter().zip(&plan.leaves);
        let passing = passing.map(|(pinned, leaves)| !pinned && !leaves);
        let worker = Reader::new(source, queue, passing, &ring, &counters, board.clone());
        let thread = std::thread::Builder::new()
            .name("river".into())
            .spawn(move || worker.run())
            .map_err(|source| RiverError::Memory {
                bytes: Bytes(0),
                source,
            })?;
        Ok(Self {
            files,
            forecast: Forecast::new(&shards, &plan),
            shards,
            homes,
            plan,
            ring,
            thread: Some(thread),
            counters,
            waits: Waits::default(),
            board,
            reader,
            demands: None,
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
        self.waits.stall
    }

    /// The part of it that went by with reads on demand.
    pub fn demand_stall(&self) -> Duration {
        self.waits.demands
    }

    /// Time to read what streams in a pass, in microseconds, at the rate of all reading so far.
    pub fn lap_us(&self) -> u64 {
        let (bytes, busy_us) = (self.counters.bytes(), self.counters.busy_ns() / 1000);
        let lap = self.plan.streamed_bytes as u128 * u128::from(busy_us);
        u64::try_from(lap / u128::from(bytes.max(1))).unwrap_or(u64::MAX)
    }

    /// Shards that were there when they were taken, and those that were waited for.
    pub fn hits_and_misses(&self) -> (u64, u64) {
        (self.waits.hits, self.waits.misses)
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
        self.ring.rewind();
    }

    /// Ends a pass, whose result counts only if this succeeds.
    ///
    /// # Errors
    /// A file that has changed meanwhile.
    pub fn end_pass(&self) -> Result<(), RiverError> {
        self.board.pass_ended();
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

    /// Has `demands` read, all at once, and waits for them. Reading ahead begins nothing new
    /// meanwhile. The caller sees to it that a pass is under way.
    ///
    /// # Errors
    /// The first read that failed, after a second try, when none is in flight any more. The
    /// others have been made, or are not begun.
    ///
    /// # Panics
    /// If a destination does not fit its slice.
    pub fn demand(&mut self, demands: &[Demand<'_>]) -> Result<(), RiverError> {
        let began = Instant::now();
        let read = self.fetch(demands);
        let waited = began.elapsed();
        self.waits.stall += waited;
        self.waits.demands += waited;
        read
    }

    /// Waits for the first shard that is to stay and has not been read yet; false where there is
    /// none, or a pass has to make space before it can be read.
    ///
    /// # Errors
    /// A read that failed.
    pub fn wait_for_one_that_stays(&self) -> Result<bool, RiverError> {
        let stays = (0..).map(ShardIdx).zip(&self.plan.pinned);
        let mut stays = stays.filter(|(_, pinned)| **pinned).map(|(shard, _)| shard);
        let Some(shard) = stays.find(|&shard| !self.ring.is_ready(shard, true)) else {
            return Ok(false);
        };
        Ok(self.ring.wait_pinned_or_full(shard)?)
    }

    /// The same between passes, for what no pass waits for yet.
    ///
    /// # Errors
    /// As [`River::demand`].
    ///
    /// # Panics
    /// As [`River::demand`].
    pub fn fetch(&mut self, demands: &[Demand<'_>]) -> Result<(), RiverError> {
        let _held = self.ring.hold();
        let files = &self.files;
        let reader = self
            .demands
            .get_or_insert_with(|| DemandReader::open(files));
        let reading = self.counters.reading_since(Instant::now());
        let read = reader.read(files, demands);
        drop(reading);
        if read.is_err() {
            // Dropping the queue waits for what may still be in flight.
            self.demands = None;
        }
        self.counters.add_demanded(read?);
        Ok(())
    }

    /// Counts a shard that was asked for at `asked` and is in use now, and puts it on show.
    fn handed_out(&mut self, shard: ShardIdx, hit: bool, asked: Instant) {
        if hit {
            self.waits.hits += 1;
        } else {
            self.waits.misses += 1;
            self.waits.stall += asked.elapsed();
        }
        let ready = self.ring.ready_count();
        let next = self.forecast.next(shard, ready, self.counters.gb_s());
        self.board.in_use(shard, &self.waits, next);
    }
}

fn open(path: &Path) -> Result<Arc<BlockFile>, RiverError> {
    let file = BlockFile::open(path).map_err(|source| RiverError::Open {
        path: path.to_owned(),
        source,
    })?;
    Ok(Arc::new(file))
}

impl Drop for River {
    fn drop(&mut self) {
        self.ring.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
