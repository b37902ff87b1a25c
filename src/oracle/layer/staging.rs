//! Where logits arrive from a device, on their way to their rows.
//!
//! A block of the head holds a few of the vocabulary's tokens for all nodes of a pass:
//!
//! ```text
//!  device:   block 0   block 1   block 2 ...        each computed, then fetched
//!  staging:  [ place 0 | place 1 | place 2 | place 3 ]   used in turn
//!  rows:     node 0  0 0 0 1 1 1 2 2 2 ...          put there by a RowScatter
//!            node 1  0 0 0 1 1 1 2 2 2 ...
//! ```

use super::scatter::{Block, RowScatter, threads_for};
use crate::ggml::{Device, Event, Stream, Tensor};
use crate::io::Region;
use std::collections::VecDeque;
use std::ops::Range;

/// Blocks that may be on their way to the host: while one is put into its rows, others are
/// computed.
const PLACES: usize = 4;

/// See the module's text.
pub(super) struct LogitStaging {
    places: Vec<(Region, Event)>,
    /// Places that the device writes to, the oldest first, and the rows of the output matrix that
    /// each will hold.
    on_the_way: VecDeque<(usize, Range<usize>)>,
    next: usize,
    /// Rows of the output matrix in the largest block.
    rows: usize,
    threads: usize,
}

impl LogitStaging {
    /// Host memory that it takes for blocks of at most `rows` rows of the output matrix, of
    /// `wanted` tokens.
    pub(super) fn bytes(rows: usize, wanted: usize) -> usize {
        (PLACES * Self::block(rows, wanted)).next_multiple_of(2 << 20)
    }

    fn block(rows: usize, wanted: usize) -> usize {
        (rows * wanted * 4).next_multiple_of(256)
    }

    /// As for [`LogitStaging::bytes`]; `threads` is how many may compute.
    pub(super) fn new(
        device: Device,
        rows: usize,
        wanted: usize,
        threads: usize,
    ) -> std::io::Result<Self> {
        let block = Self::block(rows, wanted);
        let arena = device.pinned(PLACES * block)?;
        let place = |i| (arena.region(i * block, block), Event::new(device));
        Ok(Self {
            places: (0..PLACES).map(place).collect(),
            on_the_way: VecDeque::new(),
            next: 0,
            rows,
            threads,
        })
    }

    /// A region that the device can copy from while no logits are on their way.
    pub(super) fn idle_region(&self) -> &Region {
        &self.places[0].0
    }

    /// How many threads should put the logits of so many nodes into their rows.
    pub(super) fn threads(&self, nodes: usize) -> usize {
        threads_for(Self::block(self.rows, nodes), self.threads)
    }

    /// Forgets what remains of a failed pass.
    pub(super) fn clear(&mut self, stream: &Stream) {
        if !self.on_the_way.is_empty() {
            stream.synchronize();
            self.on_the_way.clear();
        }
    }

    /// Sends `block`, the logits of `rows` of the output matrix, on its way. If all places are in
    /// use, the oldest block is put into its rows first.
    pub(super) fn fetch(
        &mut self,
        stream: &Stream,
        block: &Tensor,
        rows: Range<usize>,
        scatter: &mut RowScatter<'_>,
    ) {
        if self.on_the_way.len() == PLACES - 1 {
            self.land(scatter);
        }
        // The place that is used next may still be read.
        scatter.wait(PLACES - 1 - self.on_the_way.len());
        let (region, event) = &self.places[self.next];
        stream.fetch(block, region);
        stream.record(event);
        self.on_the_way.push_back((self.next, rows));
        self.next = (self.next + 1) % PLACES;
    }

    /// Has all that is on its way put into its rows.
    pub(super) fn finish(&mut self, scatter: &mut RowScatter<'_>) {
        while !self.on_the_way.is_empty() {
            self.land(scatter);
        }
        scatter.wait(0);
    }

    fn land(&mut self, scatter: &mut RowScatter<'_>) {
        if let Some((place, rows)) = self.on_the_way.pop_front() {
            let (region, event) = &self.places[place];
            event.synchronize();
            scatter.put(&Block {
                memory: region.clone(),
                rows,
            });
        }
    }
}
