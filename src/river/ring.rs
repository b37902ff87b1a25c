//! The hand-over of shards between the thread that reads them and the thread that computes.
//!
//! The order of shards never changes: a first lap loads every shard (pinned ones to their
//! place, the others through the ring), and every later lap only those that stream. The
//! reader runs ahead as far as the ring's bytes allow and does not stop at the end of a pass.
//!
//! ```text
//!  ring:  [ in use | ready | ready | arriving ...... |   free   ]
//!           ^freed                                   ^written          (both only grow)
//!  compute: acquire() waits for the next in order, release() frees the oldest
//!  reader:  waits for space, never touches bytes between freed and written again
//! ```
//!
//! Invariants: `written - freed <= capacity`; a shard's bytes are written by the reader alone
//! before it is `ready`, and read by compute alone after; nothing is allocated per shard but
//! queue entries.

use super::shard::ShardIdx;
use super::sync::{Condvar, Mutex, MutexGuard};
use crate::io::{Region, TransferFailure};
use std::collections::VecDeque;
use std::sync::PoisonError;

/// A shard in memory.
#[derive(Clone, Debug)]
pub(super) struct Arrived {
    pub shard: ShardIdx,
    pub region: Region,
    /// The value that `freed` takes when it is released.
    end: u64,
}

/// State shared by the two threads; see the module's text.
#[derive(Debug)]
pub(super) struct Ring {
    state: Mutex<State>,
    changed: Condvar,
    memory: Option<Region>,
}

#[derive(Debug)]
struct State {
    pinned_ready: Vec<bool>,
    ready: VecDeque<Arrived>,
    written: u64,
    freed: u64,
    failure: Option<TransferFailure>,
    stop: bool,
    /// The order is to begin again; see [`Ring::rewind`].
    rewind: bool,
    /// Nothing new is to be read for now.
    held: bool,
    /// The reader waits for space.
    full: bool,
    /// The reader is gone.
    ended: bool,
}

impl Ring {
    /// A ring over `memory` (none where nothing streams) for a model of `shards` shards.
    pub(super) fn new(shards: usize, memory: Option<Region>) -> Self {
        Self {
            state: Mutex::new(State {
                pinned_ready: vec![false; shards],
                ready: VecDeque::new(),
                written: 0,
                freed: 0,
                failure: None,
                stop: false,
                rewind: false,
                held: false,
                full: false,
                ended: false,
            }),
            changed: Condvar::new(),
            memory,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Both sides leave the state consistent at every point where they could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while<T>(&self, mut poll: impl FnMut(&mut State) -> Option<T>) -> T {
        let mut state = self.lock();
        loop {
            if let Some(value) = poll(&mut state) {
                return value;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    // ---- the side that computes

    /// Whether `shard` can be taken without waiting.
    pub(super) fn is_ready(&self, shard: ShardIdx, pinned: bool) -> bool {
        let state = self.lock();
        if pinned {
            state.pinned_ready[shard.0]
        } else {
            // Shards that a pass left out may come before it.
            state.ready.iter().any(|a| a.shard == shard)
        }
    }

    /// Waits until a pinned shard has been loaded.
    pub(super) fn wait_pinned(&self, shard: ShardIdx) -> Result<(), TransferFailure> {
        self.wait_while(|s| match (&s.failure, s.pinned_ready[shard.0]) {
            (_, true) => Some(Ok(())),
            (Some(failure), false) => Some(Err(failure.clone())),
            (None, false) => None,
        })
    }

    /// The same while no pass is under way, which alone makes space: false where the reader waits for
    /// some before it comes to that shard.
    pub(super) fn wait_pinned_or_full(&self, shard: ShardIdx) -> Result<bool, TransferFailure> {
        self.wait_while(|s| match (&s.failure, s.pinned_ready[shard.0]) {
            (_, true) => Some(Ok(true)),
            (Some(failure), false) => Some(Err(failure.clone())),
            (None, false) => s.full.then_some(Ok(false)),
        })
    }

    /// Waits for the next streamed shard in order, the first after `in_use` that are in use.
    pub(super) fn wait_streamed(&self, in_use: usize) -> Result<Arrived, TransferFailure> {
        self.wait_while(|s| match (&s.failure, s.ready.get(in_use)) {
            (_, Some(arrived)) => Some(Ok(arrived.clone())),
            (Some(failure), None) => Some(Err(failure.clone())),
            (None, None) => None,
        })
    }

    /// Gives the oldest streamed shard's memory back to the reader.
    pub(super) fn release(&self) -> Option<ShardIdx> {
        let mut state = self.lock();
        let arrived = state.ready.pop_front()?;
        state.freed = arrived.end;
        drop(state);
        self.changed.notify_all();
        Some(arrived.shard)
    }

    /// Lets the reader try again what failed.
    pub(super) fn retry(&self) {
        let mut state = self.lock();
        if !state.ended {
            state.failure = None;
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Lets the reader go on with the first shard that streams. What it has begun arrives first.
    pub(super) fn rewind(&self) {
        self.lock().rewind = true;
    }

    /// Lets the reader begin nothing new until what this returns is dropped: somebody waits for
    /// other reads.
    pub(super) fn hold(&self) -> Held<'_> {
        self.lock().held = true;
        Held(self)
    }

    /// Tells the reader to end.
    pub(super) fn stop(&self) {
        self.lock().stop = true;
        self.changed.notify_all();
    }

    /// Shards that are ready to be computed with.
    pub(super) fn ready_count(&self) -> usize {
        self.lock().ready.len()
    }

    // ---- the side that reads

    /// Whether the reader should end.
    pub(super) fn stopped(&self) -> bool {
        self.lock().stop
    }

    /// Whether the order is to begin again; no longer afterwards.
    pub(super) fn take_rewind(&self) -> bool {
        std::mem::take(&mut self.lock().rewind)
    }

    /// Whether nothing new is to be read.
    pub(super) fn is_held(&self) -> bool {
        self.lock().held
    }

    /// Waits until something new is to be read, or an end is asked for.
    pub(super) fn wait_resumed(&self) {
        self.wait_while(|s| (s.stop || !s.held).then_some(()));
    }

    /// Memory for the next streamed shard, if it fits now.
    pub(super) fn reserve(&self, bytes: usize) -> Option<(Region, u64)> {
        reserve(&mut self.lock(), self.memory.as_ref()?, bytes)
    }

    /// Waits until `bytes` fit, or an end is asked for.
    pub(super) fn wait_for_space(&self, bytes: usize) {
        let Some(memory) = &self.memory else { return };
        self.wait_while(|s| {
            let fits = placement(s, memory.len(), bytes).is_some();
            if s.full == fits {
                s.full = !fits;
                self.changed.notify_all();
            }
            (s.stop || fits).then_some(())
        });
    }

    /// Waits until an end is asked for (when all is loaded and nothing streams).
    pub(super) fn wait_stop(&self) {
        self.wait_while(|s| s.stop.then_some(()));
    }

    /// Hands a streamed shard over. Shards are handed over in the order they were reserved.
    pub(super) fn arrived(&self, shard: ShardIdx, region: Region, end: u64) {
        self.lock().ready.push_back(Arrived { shard, region, end });
        self.changed.notify_all();
    }

    /// Hands a pinned shard over.
    pub(super) fn pinned_arrived(&self, shard: ShardIdx) {
        self.lock().pinned_ready[shard.0] = true;
        self.changed.notify_all();
    }

    /// Says that nobody reads any more: every wait for a shard that is not there fails.
    pub(super) fn reader_ended(&self, failure: TransferFailure) {
        let mut state = self.lock();
        state.ended = true;
        state.failure = Some(failure);
        drop(state);
        self.changed.notify_all();
    }

    /// Reports a read that failed for good, and waits until it is to be tried again
    /// (true) or the reader should end (false).
    pub(super) fn fail(&self, failure: TransferFailure) -> bool {
        self.lock().failure = Some(failure);
        self.changed.notify_all();
        self.wait_while(|s| match (s.stop, &s.failure) {
            (true, _) => Some(false),
            (false, None) => Some(true),
            (false, Some(_)) => None,
        })
    }
}

/// The reader begins nothing new while this lives.
pub(super) struct Held<'a>(&'a Ring);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.lock().held = false;
        self.0.changed.notify_all();
    }
}

/// Where a shard of `bytes` would begin, counted in bytes ever written. A shard is never
/// split over the ring's end: what is left there is skipped.
fn placement(state: &State, capacity: usize, bytes: usize) -> Option<u64> {
    let capacity_u64 = capacity as u64;
    let at = state.written % capacity_u64;
    let skip = if at + bytes as u64 > capacity_u64 {
        capacity_u64 - at
    } else {
        0
    };
    let start = state.written + skip;
    // With nothing in flight or in use, skipped bytes hold nobody up.
    let freed = if state.freed == state.written {
        start
    } else {
        state.freed
    };
    (start + bytes as u64 - freed <= capacity_u64).then_some(start)
}

fn reserve(state: &mut State, memory: &Region, bytes: usize) -> Option<(Region, u64)> {
    let start = placement(state, memory.len(), bytes)?;
    if state.freed == state.written {
        state.freed = start;
    }
    state.written = start + bytes as u64;
    let at = usize::try_from(start % memory.len() as u64).unwrap_or(usize::MAX);
    Some((memory.part(at, bytes), state.written))
}
