//! The thread that reads shards in order of use, several blocks at a time.
//!
//! Short reads continue where they stopped. A read that fails is tried once more at once; if
//! it fails again, the pass that needs it gets an error that names file and offset, and the
//! reader tries anew when the next pass asks ([`super::Ring::retry`]).

use super::ring::Ring;
use super::shard::{Extent, Shard, ShardIdx};
use crate::io::{BLOCK, BlockFile, BlockReader, ReadRequest, Region};
use crate::telemetry::{Hub, Residency};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// How many reads are in flight at once, and how large each is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ReadSizes {
    pub depth: usize,
    /// Whole blocks.
    pub bytes: usize,
}

impl Default for ReadSizes {
    /// Enough for every disk seen so far; `nmos doctor` measures what this one needs.
    fn default() -> Self {
        Self {
            depth: 8,
            bytes: 4 << 20,
        }
    }
}

/// A read that failed twice.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}: reading {bytes} bytes at offset {offset} failed: {why}", path.display())]
pub struct ReadFailure {
    pub path: PathBuf,
    pub offset: u64,
    pub bytes: usize,
    pub why: String,
}

/// What has been read so far.
#[derive(Debug, Default)]
pub struct ReadCounters {
    bytes: AtomicU64,
    busy_ns: AtomicU64,
    cpu_ns: AtomicU64,
    /// Bytes a second over the last quarter of a second of reading.
    bytes_per_s: AtomicU64,
}

impl ReadCounters {
    /// Bytes that arrived from the files.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Time in which at least one read was in flight, in nanoseconds.
    pub fn busy_ns(&self) -> u64 {
        self.busy_ns.load(Ordering::Relaxed)
    }

    /// Decimal gigabytes a second over the last quarter of a second of reading; zero before
    /// the first read has ended.
    pub fn gb_s(&self) -> f64 {
        self.bytes_per_s.load(Ordering::Relaxed) as f64 / 1e9
    }

    /// Processor time of the reading thread, in nanoseconds.
    pub fn cpu_ns(&self) -> u64 {
        self.cpu_ns.load(Ordering::Relaxed)
    }
}

/// Everything that the thread works with.
pub(super) struct Reader {
    pub io: Box<dyn BlockReader>,
    /// Set by [`super::River::rewind`].
    pub rewind: Arc<AtomicBool>,
    /// Bytes of one read.
    pub read_bytes: usize,
    pub files: Vec<Arc<BlockFile>>,
    pub shards: Arc<Vec<Shard>>,
    /// A place for each pinned shard.
    pub pinned: Arc<Vec<Option<Region>>>,
    /// Shards that are read once.
    pub once: Vec<bool>,
    pub ring: Arc<Ring>,
    pub counters: Arc<ReadCounters>,
    pub hub: Arc<Hub>,
}

/// A shard on its way.
struct Loading {
    shard: ShardIdx,
    region: Region,
    /// `None` for a pinned shard.
    ring_end: Option<u64>,
    /// Reads not yet ended, and not yet begun.
    left: usize,
}

impl Reader {
    /// Reads until the ring is stopped.
    pub(super) fn run(mut self) {
        let _said = SayEnd(Arc::clone(&self.ring), self.files[0].path().to_owned());
        let mut order = Order::new(&self.pinned, &self.once);
        let mut loading: VecDeque<Loading> = VecDeque::new();
        let mut first_seq = 0_u64;
        let mut todo: VecDeque<ReadRequest> = VecDeque::new();
        let mut rate = Rate::default();
        // Since when reads have been under way without a gap, or the last of them ended.
        let mut since = Instant::now();
        while !self.ring.stopped() {
            if self.rewind.swap(false, Ordering::Relaxed) {
                order.rewind();
            }
            // Start shards for as long as there is room and the queue is not full.
            while self.io.in_flight() + todo.len() < self.io.depth() {
                let Some(shard) = order.peek() else { break };
                let bytes = self.shards[shard.0].bytes;
                let place = match &self.pinned[shard.0] {
                    Some(region) => Some((region.clone(), None)),
                    None => self.ring.reserve(bytes).map(|(r, end)| (r, Some(end))),
                };
                let Some((region, ring_end)) = place else {
                    break;
                };
                order.advance();
                let seq = first_seq + loading.len() as u64;
                let before = todo.len();
                for extent in &self.shards[shard.0].extents {
                    todo.extend(self.reads(*extent, &region, seq));
                }
                loading.push_back(Loading {
                    shard,
                    region,
                    ring_end,
                    left: todo.len() - before,
                });
                self.hub
                    .update(|s| set_residency(s, shard, Residency::Loading));
            }
            if self.io.in_flight() == 0 {
                since = Instant::now();
            }
            while self.io.in_flight() < self.io.depth() {
                let Some(request) = todo.pop_front() else {
                    break;
                };
                let kept = request.clone();
                if let Err(error) = self.io.submit(request)
                    && !self.give_up(&mut todo, kept, &error)
                {
                    return;
                }
            }
            if self.io.in_flight() == 0 {
                match order.peek() {
                    Some(shard) => self.ring.wait_room(self.shards[shard.0].bytes),
                    None => self.ring.wait_stop(),
                }
                continue;
            }
            let done = match self.io.complete() {
                Ok(done) => done,
                Err(error) => {
                    // Nothing says which read it was: the first file stands for all.
                    let failure = ReadFailure {
                        path: self.files[0].path().to_owned(),
                        offset: 0,
                        bytes: 0,
                        why: format!("waiting for reads failed: {error}"),
                    };
                    if self.ring.fail(failure) {
                        continue;
                    }
                    return;
                }
            };
            // Not the wait alone: a read that ended while this thread was kept from running
            // took its time as well.
            let ended = Instant::now();
            let busy_ns = u64::try_from((ended - since).as_nanos()).unwrap_or(u64::MAX);
            since = ended;
            self.counters.busy_ns.fetch_add(busy_ns, Ordering::Relaxed);
            let seq = done.request.tag >> 1;
            match self.progress(done.request, done.result) {
                Progress::Whole(bytes) => {
                    self.counters
                        .bytes
                        .fetch_add(bytes as u64, Ordering::Relaxed);
                    rate.add(bytes as u64, busy_ns);
                    let index = usize::try_from(seq - first_seq).unwrap_or(usize::MAX);
                    if let Some(item) = loading.get_mut(index) {
                        item.left -= 1;
                    }
                }
                Progress::Rest(bytes, rest) => {
                    self.counters
                        .bytes
                        .fetch_add(bytes as u64, Ordering::Relaxed);
                    todo.push_front(rest);
                }
                Progress::Failed(request, why) => {
                    if request.tag & 1 == 0 {
                        tracing::warn!(offset = request.offset, why, "a read failed; trying again");
                        todo.push_front(ReadRequest {
                            tag: request.tag | 1,
                            ..request
                        });
                    } else if !self.give_up(&mut todo, request, &std::io::Error::other(why)) {
                        return;
                    }
                }
            }
            while loading.front().is_some_and(|l| l.left == 0) {
                let Some(item) = loading.pop_front() else {
                    break;
                };
                first_seq += 1;
                match item.ring_end {
                    Some(end) => self.ring.arrived(item.shard, item.region, end),
                    None => self.ring.pinned_arrived(item.shard),
                }
                self.counters
                    .cpu_ns
                    .store(crate::system::thread_cpu_ns(), Ordering::Relaxed);
                self.counters
                    .bytes_per_s
                    .store((rate.gb_s() * 1e9) as u64, Ordering::Relaxed);
                let (bytes, gb_s) = (self.counters.bytes(), rate.gb_s());
                self.hub.update(|s| {
                    set_residency(s, item.shard, Residency::Ram);
                    s.queue.bytes_read = bytes;
                    s.queue.read_gb_s = gb_s;
                });
            }
        }
    }

    /// The reads of one extent.
    fn reads(
        &self,
        extent: Extent,
        region: &Region,
        seq: u64,
    ) -> impl Iterator<Item = ReadRequest> {
        let file = Arc::clone(&self.files[extent.file]);
        let region = region.clone();
        let most = self.read_bytes;
        (0..extent.len).step_by(most).map(move |at| ReadRequest {
            file: Arc::clone(&file),
            offset: extent.offset + at as u64,
            into: region.part(extent.at + at, most.min(extent.len - at)),
            tag: seq << 1,
        })
    }

    fn progress(&self, request: ReadRequest, result: std::io::Result<usize>) -> Progress {
        let bytes = match result {
            Ok(bytes) => bytes,
            Err(error) => return Progress::Failed(request, error.to_string()),
        };
        let wanted = request.into.len();
        if bytes >= wanted || request.offset + bytes as u64 == request.file.len() {
            return Progress::Whole(bytes);
        }
        let whole_blocks = bytes / BLOCK * BLOCK;
        if whole_blocks == 0 {
            let why = format!(
                "the file ends after {bytes} of these bytes; it was {} long",
                request.file.len()
            );
            return Progress::Failed(request, why);
        }
        let rest = ReadRequest {
            offset: request.offset + whole_blocks as u64,
            into: request.into.part(whole_blocks, wanted - whole_blocks),
            ..request
        };
        Progress::Rest(whole_blocks, rest)
    }

    /// Reports a read that failed for good. True: it is queued to be tried again.
    fn give_up(
        &mut self,
        todo: &mut VecDeque<ReadRequest>,
        request: ReadRequest,
        error: &std::io::Error,
    ) -> bool {
        let again = self.ring.fail(ReadFailure {
            path: request.file.path().to_owned(),
            offset: request.offset,
            bytes: request.into.len(),
            why: error.to_string(),
        });
        if again {
            todo.push_front(ReadRequest {
                tag: request.tag & !1,
                ..request
            });
        }
        again
    }
}

/// Tells the pass when the reader is gone, which without a stop means that it panicked: a pass
/// would wait for it for ever.
struct SayEnd(Arc<Ring>, PathBuf);

impl Drop for SayEnd {
    fn drop(&mut self) {
        self.0.reader_ended(ReadFailure {
            path: std::mem::take(&mut self.1),
            offset: 0,
            bytes: 0,
            why: "the reading thread has ended; start nmos again".to_owned(),
        });
    }
}

enum Progress {
    Whole(usize),
    Rest(usize, ReadRequest),
    Failed(ReadRequest, String),
}

fn set_residency(s: &mut crate::telemetry::Snapshot, shard: ShardIdx, residency: Residency) {
    if let Some(view) = s.shards.get_mut(shard.0) {
        view.residency = residency;
    }
}

/// The endless order of shards: all of them once, then those that stream for ever, round and round.
struct Order {
    first_lap: std::ops::Range<usize>,
    streamed: Vec<ShardIdx>,
    next: usize,
}

impl Order {
    fn new(pinned: &[Option<Region>], once: &[bool]) -> Self {
        let streamed = (0..pinned.len())
            .filter(|&i| pinned[i].is_none() && !once[i])
            .map(ShardIdx)
            .collect();
        Self {
            first_lap: 0..pinned.len(),
            streamed,
            next: 0,
        }
    }

    fn peek(&self) -> Option<ShardIdx> {
        if self.first_lap.is_empty() {
            self.streamed.get(self.next).copied()
        } else {
            Some(ShardIdx(self.first_lap.start))
        }
    }

    /// Goes on with the first shard that streams, once those that stay have been read.
    fn rewind(&mut self) {
        if self.first_lap.is_empty() {
            self.next = 0;
        }
    }

    fn advance(&mut self) {
        if self.first_lap.next().is_none() {
            self.next = (self.next + 1) % self.streamed.len().max(1);
        }
    }
}

/// Bytes a second over the last quarter of a second of reading.
#[derive(Default)]
struct Rate {
    bytes: u64,
    busy_ns: u64,
    last: f64,
    /// A whole window has been measured; until then its part is the best there is.
    settled: bool,
}

impl Rate {
    fn add(&mut self, bytes: u64, busy_ns: u64) {
        self.bytes += bytes;
        self.busy_ns += busy_ns;
        // A byte a nanosecond is a gigabyte a second.
        if self.busy_ns > 250_000_000 || !self.settled {
            self.last = self.bytes as f64 / self.busy_ns.max(1) as f64;
        }
        if self.busy_ns > 250_000_000 {
            (self.bytes, self.busy_ns) = (0, 0);
            self.settled = true;
        }
    }

    fn gb_s(&self) -> f64 {
        self.last
    }
}
