//! The window: weights that come to a device just in time, through a few slots.
//!
//! ```text
//!  RAM (pinned):   [ shard ][ shard ][ shard ] ...            ring: [ .. | .. ] <- SSD
//!                       \       \        copy stream, in order of use, round and round
//!  device:   slots [ in use | ready | arriving ]     [ shards that stay ... ]
//!                       \
//!                        compute stream: waits for the slot, computes, frees it
//! ```
//!
//! The thread that computes asks for copies too: before each step as many as there are free
//! slots, so that the link goes on while the device computes, and from the end of one pass into
//! the next. It waits for the disk only where nothing is left to compute with.
//!
//! Invariants: shards arrive and are taken in one order, that of the model, round and round
//! (without those that stay, after the first round); a slot is written to only after the last
//! graph that read it; host memory is given back only after the copy out of it.

mod lender;
mod order;
mod plan;
mod supply;

pub use plan::{Part, WindowPlan, WindowTooSmall, layout};
pub use supply::DeviceSupply;

use super::{RiverError, ShardIdx};
use crate::ggml::{ComputeError, Device, Event, MOST_PADDING, Span, Stream};
use crate::io::{Arena, Region};
use lender::Lender;
use order::{Next, SlotOrder};
use std::collections::VecDeque;
use std::sync::mpsc::Sender;
use std::time::Instant;

/// Copies, one after the other, that the link is measured with, and how often.
const COPIES: usize = 8;
const ROUNDS: usize = 3;

/// A slot, and the events between the two streams.
struct Slot {
    memory: Span,
    /// It holds its shard.
    full: Event,
    /// The last graph over it has ended.
    free: Event,
    /// The shard in it, from when its copy is asked for until it is given back.
    shard: Option<ShardIdx>,
    /// Whether its copy is made from memory that is to be given back to the river.
    lent: bool,
}

/// See the module's text.
pub struct Window {
    order: SlotOrder,
    copies: Stream,
    slots: Vec<Slot>,
    /// Where shards that stay are, and whether they are there.
    homes: Vec<Option<(Span, bool)>>,
    layouts: Vec<Vec<Part>>,
    zeros: Region,
    /// Slots whose host memory has not been given back, the oldest first.
    lent: VecDeque<usize>,
    taken: Option<ShardIdx>,
    sent: u64,
    /// Of the link, in bytes a second; zero before it was measured.
    rate: f64,
    watcher: Option<Watcher>,
}

/// Who is told, in order, what the streams are asked for.
#[derive(Debug)]
pub struct Watcher {
    pub copies: Sender<Mark>,
    pub computes: Sender<Mark>,
}

/// Work on a shard.
#[derive(Debug)]
pub struct Mark {
    pub shard: ShardIdx,
    /// Marks its end.
    pub event: Event,
}

impl Mark {
    /// Sends a mark for what `stream` was asked for last.
    fn tell(watcher: &Sender<Self>, shard: ShardIdx, stream: &Stream) {
        let event = Event::new(stream.device());
        stream.record(&event);
        // A receiver that is gone need not know.
        let _ = watcher.send(Self { shard, event });
    }
}

impl Window {
    /// Takes the device's memory for `plan`. `layouts` says where each shard's tensors lie.
    ///
    /// # Errors
    /// When the device has no such memory, or does not start.
    pub fn new(
        device: Device,
        plan: &WindowPlan,
        layouts: Vec<Vec<Part>>,
    ) -> Result<Self, ComputeError> {
        let buffer = device.buffer(plan.bytes())?;
        let mut at = 0;
        let mut next = |bytes| {
            at += bytes;
            buffer.span(at - bytes, bytes)
        };
        let slots = (0..plan.slots)
            .map(|_| Slot {
                memory: next(plan.slot_bytes),
                full: Event::new(device),
                free: Event::new(device),
                shard: None,
                lent: false,
            })
            .collect();
        let homes = layouts
            .iter()
            .zip(&plan.stays)
            .map(|(parts, stays)| stays.then(|| (next(plan::size(parts)), false)))
            .collect();
        let zeros = Arena::new(MOST_PADDING).map_err(|_| ComputeError::OutOfMemory)?;
        Ok(Self {
            order: SlotOrder::new(plan),
            copies: Stream::new(device)?,
            slots,
            homes,
            layouts,
            zeros: zeros.region(0, MOST_PADDING),
            lent: VecDeque::new(),
            taken: None,
            sent: 0,
            rate: 0.0,
            watcher: None,
        })
    }

    /// Where the tensors of `shard` lie in its memory.
    pub fn layout(&self, shard: ShardIdx) -> &[Part] {
        &self.layouts[shard.0]
    }

    /// Memory that `shard` can come to: its own, or a slot.
    pub fn memory_of(&self, shard: ShardIdx) -> Option<&Span> {
        match &self.homes[shard.0] {
            Some((home, _)) => Some(home),
            None => self.slots.first().map(|slot| &slot.memory),
        }
    }

    /// Whether weights pass through it in every pass.
    fn passes(&self) -> bool {
        !self.slots.is_empty()
    }

    /// Measures how fast the link is, with copies of `from` to a slot. To be called before the
    /// first shard is taken: what is in the slot afterwards is of no use.
    pub fn measure_link(&mut self, from: &Region) {
        let Some(slot) = self.slots.first() else {
            return;
        };
        let bytes = from.len().min(slot.memory.len());
        let part = from.part(0, bytes);
        let seconds = (0..ROUNDS).map(|_| {
            let began = Instant::now();
            for _ in 0..COPIES {
                self.copies.send(&part, &slot.memory);
            }
            self.copies.synchronize();
            began.elapsed().as_secs_f64()
        });
        let best = seconds.fold(f64::INFINITY, f64::min);
        self.rate = (bytes * COPIES) as f64 / best.max(1e-9);
    }

    /// Time to send what passes through in a pass, in microseconds, at the measured rate.
    fn lap_us(&self) -> u64 {
        if self.rate <= 0.0 {
            return 0;
        }
        let passing = self.layouts.iter().zip(&self.homes);
        let passing = passing.filter(|(_, home)| home.is_none());
        let bytes: usize = passing.flat_map(|(parts, _)| parts).map(|p| p.bytes).sum();
        (bytes as f64 / self.rate * 1e6) as u64
    }

    /// Bytes of weights sent to the device so far.
    fn bytes_sent(&self) -> u64 {
        self.sent
    }

    /// Tells `watcher`, from now on, of all copies and computing; nobody where it is `None`.
    fn watch(&mut self, watcher: Option<Watcher>) {
        self.watcher = watcher;
    }

    /// The memory of `shard`; what `compute` is asked for from now on begins when it is there.
    /// Shards are taken in order of use, one at a time, round and round; those that are left
    /// out arrive all the same, and are skipped.
    ///
    /// # Errors
    /// As [`WeightSupply::supply`](super::WeightSupply::supply).
    ///
    /// # Panics
    /// If the shard before was not given back.
    fn take(
        &mut self,
        shard: ShardIdx,
        river: &mut Lender,
        compute: &Stream,
    ) -> Result<Span, RiverError> {
        assert!(self.taken.is_none(), "a shard is still taken");
        let memory = loop {
            self.issue(river, false)?;
            if let Some(home) = &self.homes[shard.0] {
                if let (memory, true) = home {
                    break memory.clone();
                }
            } else if let Some(slot) = self.order.front().map(|i| &self.slots[i])
                && slot.shard == Some(shard)
            {
                compute.wait(&slot.full);
                break slot.memory.clone();
            }
            if self.order.front().is_some() && self.order.peek() == Next::Nothing {
                // A pass that ended early, or did without the head, left it there.
                self.free_front(compute);
            } else {
                self.issue(river, true)?;
            }
        };
        self.taken = Some(shard);
        Ok(memory)
    }

    /// Ends the use of `shard` by what `compute` has been asked for so far.
    ///
    /// # Panics
    /// If it was not taken.
    fn give(&mut self, shard: ShardIdx, compute: &Stream) {
        assert_eq!(self.taken.take(), Some(shard), "another shard is taken");
        if self.homes[shard.0].is_none() {
            self.free_front(compute);
        }
        if let Some(watcher) = &self.watcher {
            Mark::tell(&watcher.computes, shard, compute);
        }
    }

    fn free_front(&mut self, compute: &Stream) {
        let slot = self.order.free();
        let slot = &mut self.slots[slot];
        slot.shard = None;
        compute.record(&slot.free);
    }

    /// Asks for copies for as long as there are slots and shards have arrived in RAM. Where one
    /// `must` come, waits until there is one to copy.
    fn issue(&mut self, river: &mut Lender, mut must: bool) -> Result<(), RiverError> {
        loop {
            let next = self.order.peek();
            let (Next::Home(shard) | Next::Slot(shard, _)) = next else {
                return Ok(());
            };
            if !river.has_arrived(shard) {
                if !must {
                    return Ok(());
                }
                // The reader may wait for the memory that copies are made from.
                while let Some(slot) = self.lent.front().copied() {
                    self.settle(slot, river);
                }
            }
            let (region, lent) = river.lend(shard)?;
            must = false;
            match next {
                Next::Slot(_, slot) => {
                    self.settle(slot, river);
                    let Slot { memory, free, .. } = &self.slots[slot];
                    self.copies.wait(free);
                    self.send(shard, &region, &memory.clone());
                    self.copies.record(&self.slots[slot].full);
                    if let Some(watcher) = &self.watcher {
                        Mark::tell(&watcher.copies, shard, &self.copies);
                    }
                    let slot_state = &mut self.slots[slot];
                    slot_state.shard = Some(shard);
                    slot_state.lent = lent;
                    if lent {
                        self.lent.push_back(slot);
                    }
                }
                _ => {
                    while let Some(slot) = self.lent.front().copied() {
                        self.settle(slot, river);
                    }
                    if let Some((memory, _)) = self.homes[shard.0].clone() {
                        self.send(shard, &region, &memory);
                    }
                    // Once in a session.
                    self.copies.synchronize();
                    if let Some((_, is_there)) = &mut self.homes[shard.0] {
                        *is_there = true;
                    }
                    if lent {
                        river.settle();
                    }
                }
            }
            self.order.advance();
        }
    }

    fn send(&mut self, shard: ShardIdx, from: &Region, to: &Span) {
        for part in &self.layouts[shard.0] {
            let bytes = part.bytes + part.padding;
            let into = to.part(part.to, bytes);
            self.copies.send(&from.part(part.from, part.bytes), &into);
            if part.padding > 0 {
                let zeros = self.zeros.part(0, part.padding);
                self.copies
                    .send(&zeros, &into.part(part.bytes, part.padding));
            }
            self.sent += part.bytes as u64;
        }
    }

    /// Gives the river back what the copy into `slot`, and copies before it, were made from.
    fn settle(&mut self, slot: usize, river: &mut Lender) {
        // Also where nothing was lent: it keeps this thread from running a pass ahead.
        self.slots[slot].full.synchronize();
        while self.slots[slot].lent {
            let Some(oldest) = self.lent.pop_front() else {
                return;
            };
            self.slots[oldest].full.synchronize();
            self.slots[oldest].lent = false;
            river.settle();
        }
    }
}
