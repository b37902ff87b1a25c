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
//! (without those that stay, after the first round); a slot is written to only behind the last
//! graph that read it; host memory is given back only behind the copy out of it.

use super::shard::{Shard, ShardIdx};
use super::{River, RiverError};
use crate::ggml::{ComputeError, Device, DeviceBuffer, Event, MOST_PADDING, Span, Stream};
use crate::io::{Arena, Region};
use crate::units::Bytes;
use std::collections::VecDeque;

/// More slots than this hide nothing more: one in use, one ready, one on its way, and one for
/// steps that differ in length.
const MOST_SLOTS: usize = 4;

/// Fewest slots in which copies and computing overlap.
const FEWEST_SLOTS: usize = 2;

/// Which shards are in the device's memory for good, and what the others pass through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowPlan {
    /// By [`ShardIdx`].
    pub stays: Vec<bool>,
    pub staying_bytes: usize,
    /// Zero where all shards stay.
    pub slots: usize,
    /// What the largest shard that passes takes.
    pub slot_bytes: usize,
}

/// The device's memory is too small for a window.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the window needs at least {least} of the device's memory; there are {given}")]
pub struct WindowTooSmall {
    pub least: Bytes,
    pub given: Bytes,
}

impl WindowPlan {
    /// Most memory that `shard` takes on a device.
    pub fn bytes_of(shard: &Shard) -> usize {
        let parts = shard.tensors.iter();
        parts.map(|t| aligned(t.bytes + MOST_PADDING)).sum()
    }

    /// The least memory for a window over `shards`.
    pub fn least(shards: &[Shard]) -> Bytes {
        let largest = shards.iter().map(Self::bytes_of).max().unwrap_or(0);
        Bytes((largest * FEWEST_SLOTS) as u64)
    }

    /// Splits `budget` of the device's memory. Shards that stay are spread evenly over the pass,
    /// so that no stretch of it waits for the link.
    ///
    /// # Errors
    /// When not even two slots fit.
    pub fn new(shards: &[Shard], budget: Bytes) -> Result<Self, WindowTooSmall> {
        let sizes: Vec<_> = shards.iter().map(Self::bytes_of).collect();
        let all: usize = sizes.iter().sum();
        let given = usize::try_from(budget.0).unwrap_or(usize::MAX);
        if all <= given {
            return Ok(Self {
                stays: vec![true; shards.len()],
                staying_bytes: all,
                slots: 0,
                slot_bytes: 0,
            });
        }
        let slot_bytes = sizes.iter().copied().max().unwrap_or(0);
        let slots = (given / slot_bytes.max(1)).min(MOST_SLOTS);
        if slots < FEWEST_SLOTS {
            return Err(WindowTooSmall {
                least: Self::least(shards),
                given: budget,
            });
        }
        let mut room = given - slots * slot_bytes;
        let mut stays = vec![false; shards.len()];
        super::plan::spread(&sizes, &mut stays, &mut room);
        Ok(Self {
            staying_bytes: given - slots * slot_bytes - room,
            stays,
            slots,
            slot_bytes,
        })
    }

    /// All of the device's memory that it takes.
    pub fn bytes(&self) -> usize {
        self.staying_bytes + self.slots * self.slot_bytes
    }
}

fn aligned(bytes: usize) -> usize {
    bytes.next_multiple_of(DeviceBuffer::ALIGNMENT)
}

/// Where one tensor of a shard is in host memory, and where on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    pub from: usize,
    pub to: usize,
    pub bytes: usize,
    /// Bytes behind it that must be zero.
    pub padding: usize,
}

/// Where the tensors of `shard` lie on the device, given the padding behind each.
pub fn layout(shard: &Shard, padding: impl Fn(usize) -> usize) -> Vec<Part> {
    let mut to = 0;
    let parts = shard.tensors.iter().enumerate().map(|(i, tensor)| {
        let part = Part {
            from: tensor.at,
            to,
            bytes: tensor.bytes,
            padding: padding(i).min(MOST_PADDING),
        };
        to += aligned(tensor.bytes + part.padding);
        part
    });
    parts.collect()
}

/// The order in which shards come, and which slot each gets.
#[derive(Clone, Debug)]
struct Order {
    /// Shards of the first round that are still to come.
    first_round: std::ops::Range<usize>,
    stays: Vec<bool>,
    /// Those that do not stay.
    passing: Vec<ShardIdx>,
    /// The next of them.
    at: usize,
    slots: u64,
    /// Slots given out and given back so far.
    issued: u64,
    freed: u64,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Home(ShardIdx),
    Slot(ShardIdx, usize),
    /// No slot is free, or nothing passes.
    Nothing,
}

impl Order {
    fn new(plan: &WindowPlan) -> Self {
        let passing = (0..plan.stays.len()).filter(|&i| !plan.stays[i]);
        Self {
            first_round: 0..plan.stays.len(),
            passing: passing.map(ShardIdx).collect(),
            stays: plan.stays.clone(),
            at: 0,
            slots: plan.slots as u64,
            issued: 0,
            freed: 0,
        }
    }

    fn slot(&self, nth: u64) -> usize {
        usize::try_from(nth % self.slots.max(1)).unwrap_or(0)
    }

    fn peek(&self) -> Next {
        let shard = if self.first_round.is_empty() {
            match self.passing.get(self.at) {
                Some(&shard) => shard,
                None => return Next::Nothing,
            }
        } else {
            ShardIdx(self.first_round.start)
        };
        if self.stays[shard.0] {
            Next::Home(shard)
        } else if self.issued - self.freed < self.slots {
            Next::Slot(shard, self.slot(self.issued))
        } else {
            Next::Nothing
        }
    }

    fn advance(&mut self) {
        if self.first_round.is_empty() {
            self.at = (self.at + 1) % self.passing.len().max(1);
            self.issued += 1;
        } else if !self.stays[self.first_round.next().unwrap_or(0)] {
            self.issued += 1;
        }
    }

    /// Gives the oldest slot back.
    fn free(&mut self) -> usize {
        let slot = self.slot(self.freed);
        self.freed += 1;
        slot
    }
}

/// A slot, and the events between the two streams.
struct Slot {
    memory: Span,
    /// It holds its shard.
    full: Event,
    /// The last graph over it has ended.
    free: Event,
    /// What is in it, from when its copy is asked for until it is given back.
    shard: Option<ShardIdx>,
    /// The copy into it is out of memory that the river wants back.
    lent: bool,
}

/// See the module's text.
pub struct Window {
    order: Order,
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
        let size = |parts: &Vec<Part>| {
            let end = |p: &Part| aligned(p.to + p.bytes + p.padding);
            parts.last().map_or(0, end)
        };
        let homes = layouts
            .iter()
            .zip(&plan.stays)
            .map(|(parts, stays)| stays.then(|| (next(size(parts)), false)))
            .collect();
        let zeros = Arena::new(MOST_PADDING).map_err(|_| ComputeError::OutOfMemory)?;
        Ok(Self {
            order: Order::new(plan),
            copies: Stream::new(device)?,
            slots,
            homes,
            layouts,
            zeros: zeros.region(0, MOST_PADDING),
            lent: VecDeque::new(),
            taken: None,
            sent: 0,
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
    pub fn passes(&self) -> bool {
        !self.slots.is_empty()
    }

    /// Bytes of weights sent to the device so far.
    pub fn bytes_sent(&self) -> u64 {
        self.sent
    }

    /// The memory of `shard`; what `compute` is asked for from now on begins when it is there.
    /// Shards are taken in order of use, one at a time, round and round; those that are left
    /// out arrive all the same, and are skipped.
    ///
    /// # Errors
    /// As [`River::take`].
    ///
    /// # Panics
    /// If the shard before was not given back.
    pub fn take(
        &mut self,
        shard: ShardIdx,
        river: &mut River,
        compute: &Stream,
    ) -> Result<Span, RiverError> {
        assert!(self.taken.is_none(), "a shard is still taken");
        let memory = loop {
            self.issue(river, false)?;
            if let Some(home) = &self.homes[shard.0] {
                if let (memory, true) = home {
                    break memory.clone();
                }
            } else if let Some(slot) = self.front().map(|i| &self.slots[i])
                && slot.shard == Some(shard)
            {
                compute.wait(&slot.full);
                break slot.memory.clone();
            }
            if self.front().is_some() && self.order.peek() == Next::Nothing {
                // A pass that ended early, or did without the head, left it behind.
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
    pub fn give(&mut self, shard: ShardIdx, compute: &Stream) {
        assert_eq!(self.taken.take(), Some(shard), "another shard is taken");
        if self.homes[shard.0].is_none() {
            self.free_front(compute);
        }
    }

    /// The oldest slot in use.
    fn front(&self) -> Option<usize> {
        let order = &self.order;
        (order.issued > order.freed).then(|| order.slot(order.freed))
    }

    fn free_front(&mut self, compute: &Stream) {
        let slot = self.order.free();
        let slot = &mut self.slots[slot];
        slot.shard = None;
        compute.record(&slot.free);
    }

    /// Asks for copies for as long as there are slots and shards have arrived in RAM; for one at
    /// least, waited for, where one `must` come.
    fn issue(&mut self, river: &mut River, mut must: bool) -> Result<(), RiverError> {
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
                    let slot_state = &mut self.slots[slot];
                    self.copies.record(&slot_state.full);
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
    fn settle(&mut self, slot: usize, river: &mut River) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::river::Placed;
    use crate::telemetry::ShardPart;
    use proptest::prelude::*;

    fn shard(bytes: usize) -> Shard {
        Shard {
            layer: None,
            part: ShardPart::Attention,
            rows: 0..0,
            extents: Vec::new(),
            tensors: vec![Placed {
                name: String::new(),
                at: 32,
                bytes,
            }],
            bytes: bytes + 32,
        }
    }

    proptest! {
        #[test]
        fn the_plan_keeps_to_its_budget(
            sizes in prop::collection::vec(1usize..50_000, 1..40), budget in 0u64..1_500_000,
        ) {
            let shards: Vec<_> = sizes.iter().map(|&s| shard(s)).collect();
            match WindowPlan::new(&shards, Bytes(budget)) {
                Ok(plan) => {
                    prop_assert!(plan.bytes() as u64 <= budget);
                    let stay = |i: &usize| plan.stays[*i];
                    let staying: usize =
                        (0..shards.len()).filter(stay).map(|i| WindowPlan::bytes_of(&shards[i])).sum();
                    prop_assert_eq!(staying, plan.staying_bytes);
                    for (i, shard) in shards.iter().enumerate().filter(|(i, _)| !plan.stays[*i]) {
                        prop_assert!(WindowPlan::bytes_of(shard) <= plan.slot_bytes, "{i}");
                        prop_assert!(plan.slots >= FEWEST_SLOTS);
                    }
                }
                Err(error) => prop_assert!(error.least.0 > budget),
            }
        }

        /// Every slot holds one shard at a time; shards come in order, round and round.
        #[test]
        fn shards_come_in_order_and_never_into_a_slot_in_use(
            stays in prop::collection::vec(any::<bool>(), 1..20),
            slots in FEWEST_SLOTS..5,
            steps in prop::collection::vec(any::<bool>(), 1..300),
        ) {
            let slots = if stays.iter().all(|s| *s) { 0 } else { slots };
            let plan = WindowPlan { stays: stays.clone(), staying_bytes: 0, slots, slot_bytes: 1 };
            let mut order = Order::new(&plan);
            let mut in_use = VecDeque::new();
            let mut seen = Vec::new();
            for more in steps {
                match order.peek() {
                    Next::Slot(shard, slot) if more => {
                        prop_assert!(!in_use.contains(&slot), "slot {slot} is in use");
                        in_use.push_back(slot);
                        seen.push(shard.0);
                        order.advance();
                    }
                    Next::Home(shard) if more => {
                        seen.push(shard.0);
                        order.advance();
                    }
                    _ => if let Some(oldest) = in_use.pop_front() {
                        prop_assert_eq!(order.free(), oldest);
                    }
                }
                prop_assert!(in_use.len() <= slots);
            }
            let passing = (0..stays.len()).filter(|&i| !stays[i]);
            let expected = (0..stays.len()).chain(passing.cycle()).take(seen.len());
            prop_assert_eq!(seen, expected.collect::<Vec<_>>());
        }
    }

    #[test]
    fn tensors_lie_apart_by_their_padding() {
        let mut two = shard(1000);
        two.tensors.push(Placed {
            name: String::new(),
            at: 2000,
            bytes: 100,
        });
        let parts = layout(&two, |i| 30 * i);
        let part = |from, to, bytes, padding| Part {
            from,
            to,
            bytes,
            padding,
        };
        assert_eq!(parts, [part(32, 0, 1000, 0), part(2000, 1024, 100, 30)]);
    }
}
