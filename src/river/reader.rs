//! The thread that reads shards in order of use, several blocks at a time.
//!
//! ```text
//!  order --fill--> reads waiting --submit--> in flight --finish--> shard whole --> ring
//!                  (shards that there is memory for)               (in order)
//! ```
//!
//! A read that fails twice ([`crate::io::Queue`]) makes the pass that needs it fail, with file and
//! offset; the reader tries again when the next pass asks ([`super::ring::Ring::retry`]). While
//! somebody reads on demand ([`super::River::demand`]) it begins nothing new.

use super::board::Board;
use super::counters::{Rate, ReadCounters, Reading};
use super::order::Order;
use super::ring::Ring;
use super::shard::{Extent, Shard, ShardIdx};
use crate::io::{BlockFile, Direction, Failed, Queue, ReadRequest, Region, TransferFailure};
use crate::telemetry::Residency;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// What is read, and to where.
pub(super) struct Source {
    pub files: Vec<Arc<BlockFile>>,
    pub shards: Arc<Vec<Shard>>,
    /// A place for each pinned shard.
    pub homes: Arc<Vec<Option<Region>>>,
    /// Bytes of one read.
    pub read_bytes: usize,
}

/// See the module's text.
pub(super) struct Reader {
    source: Source,
    queue: Queue<ReadRequest>,
    ring: Arc<Ring>,
    counters: Arc<ReadCounters>,
    board: Board,
    order: Order,
    /// Shards that are not whole yet, or come after one that is not; in order.
    loading: VecDeque<Loading>,
    /// Number of the first of these since the start. Requests are tagged with numbers.
    first_seq: u64,
    rate: Rate,
    /// Since when reads have been under way without a gap, or the last of them ended.
    since: Instant,
    /// While any are.
    reading: Option<Reading>,
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
    /// Of all shards, `passing` those that are read round and round.
    pub(super) fn new(
        source: Source,
        queue: Queue<ReadRequest>,
        passing: impl ExactSizeIterator<Item = bool>,
        ring: &Arc<Ring>,
        counters: &Arc<ReadCounters>,
        board: Board,
    ) -> Self {
        Self {
            source,
            queue,
            ring: Arc::clone(ring),
            counters: Arc::clone(counters),
            board,
            order: Order::new(passing),
            loading: VecDeque::new(),
            first_seq: 0,
            rate: Rate::default(),
            since: Instant::now(),
            reading: None,
        }
    }

    /// Reads until the ring is stopped.
    pub(super) fn run(mut self) {
        let _said = SayEnd(Arc::clone(&self.ring), Arc::clone(&self.source.files[0]));
        while !self.ring.stopped() {
            let held = self.ring.is_held();
            let went = if held { Ok(()) } else { self.begin() };
            let went = went.and_then(|()| {
                if self.queue.in_flight() > 0 {
                    return self.finish();
                }
                match self.order.peek() {
                    _ if held => self.ring.wait_resumed(),
                    Some(shard) => self.ring.wait_for_space(self.source.shards[shard.0].bytes),
                    None => self.ring.wait_stop(),
                }
                Ok(())
            });
            if let Err(failed) = went
                && !self.report(failed)
            {
                return;
            }
            self.hand_over();
        }
    }

    /// Begins as many reads as may be in flight.
    fn begin(&mut self) -> Result<(), Failed<ReadRequest>> {
        if self.ring.take_rewind() {
            self.order.rewind();
        }
        self.fill();
        if self.queue.in_flight() == 0 {
            self.since = Instant::now();
        }
        let submitted = self.queue.submit();
        self.note_reading();
        submitted
    }

    /// Counts the time while reads are in flight.
    fn note_reading(&mut self) {
        if self.queue.in_flight() == 0 {
            self.reading = None;
        } else if self.reading.is_none() {
            self.reading = Some(self.counters.reading_since(self.since));
        }
    }

    /// Chooses shards for as long as there is memory and the queue is not full.
    fn fill(&mut self) {
        while self.queue.has_free() {
            let Some(shard) = self.order.peek() else {
                return;
            };
            let Shard { bytes, extents, .. } = &self.source.shards[shard.0];
            let place = match &self.source.homes[shard.0] {
                Some(home) => Some((home.clone(), None)),
                None => self.ring.reserve(*bytes).map(|(r, end)| (r, Some(end))),
            };
            let Some((region, ring_end)) = place else {
                return;
            };
            self.order.advance();
            let seq = self.first_seq + self.loading.len() as u64;
            let reads = extents
                .iter()
                .flat_map(|extent| self.source.reads(*extent, &region, seq));
            let mut left = 0;
            for read in reads {
                self.queue.push(read);
                left += 1;
            }
            self.loading.push_back(Loading {
                shard,
                region,
                ring_end,
                left,
            });
            self.board.residency(shard, Residency::Loading);
        }
    }

    /// Waits for one read to end.
    fn finish(&mut self) -> Result<(), Failed<ReadRequest>> {
        let finished = self.queue.finish();
        // Not the wait alone: a read that ended while this thread was kept from running
        // took its time as well.
        let ended = Instant::now();
        let busy = ended - self.since;
        self.since = ended;
        let bytes = finished.as_ref().map_or(0, |progress| progress.bytes);
        self.counters.add(bytes, busy);
        self.rate.add(bytes, busy);
        self.note_reading();
        if let Some(seq) = finished?.whole {
            let index = usize::try_from(seq - self.first_seq).unwrap_or(usize::MAX);
            if let Some(item) = self.loading.get_mut(index) {
                item.left -= 1;
            }
        }
        Ok(())
    }

    /// Hands over the shards that are whole, as far as all before them are.
    fn hand_over(&mut self) {
        while self.loading.front().is_some_and(|item| item.left == 0) {
            let Some(item) = self.loading.pop_front() else {
                return;
            };
            self.first_seq += 1;
            match item.ring_end {
                Some(end) => self.ring.arrived(item.shard, item.region, end),
                None => self.ring.pinned_arrived(item.shard),
            }
            self.counters.publish(&self.rate);
            let (bytes, gb_s) = (self.counters.bytes(), self.rate.gb_s());
            self.board.arrived(item.shard, bytes, gb_s);
        }
    }

    /// Reports what failed for good. True: it is to be tried again.
    fn report(&mut self, failed: Failed<ReadRequest>) -> bool {
        match failed {
            Failed::Request(request, failure) => {
                let again = self.ring.fail(failure);
                if again {
                    self.queue.again(request);
                }
                again
            }
            // Nothing says which read it was: the first file is named for all.
            Failed::Wait(error) => {
                let why = format!("waiting for reads failed: {error}");
                let path = self.source.files[0].path();
                self.ring.fail(of_all(path, &why))
            }
        }
    }
}

impl Source {
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
            tag: seq,
        })
    }
}

/// A failure that concerns no read alone.
fn of_all(path: &Path, why: &str) -> TransferFailure {
    TransferFailure {
        direction: Direction::Read,
        path: path.to_owned(),
        offset: 0,
        bytes: 0,
        why: Arc::new(std::io::Error::other(why)),
    }
}

/// Tells the pass when the reader is gone, which without a stop means that it panicked: a pass
/// would wait for it for ever.
struct SayEnd(Arc<Ring>, Arc<BlockFile>);

impl Drop for SayEnd {
    fn drop(&mut self) {
        let why = "the reading thread has ended; start nmos again";
        self.0.reader_ended(of_all(self.1.path(), why));
    }
}
