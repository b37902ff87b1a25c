//! Where logits arrive from a device, and how they come into their rows.
//!
//! A block of the head holds a few of the vocabulary's tokens for all nodes of a pass:
//!
//! ```text
//!  device:   block 0   block 1   block 2 ...        each computed, then fetched
//!  landing:  [ place 0 | place 1 | place 2 | place 3 ]   used in turn
//!  rows:     node 0  0 0 0 1 1 1 2 2 2 ...          put there by the caller's thread,
//!            node 1  0 0 0 1 1 1 2 2 2 ...          or node 0 by one, node 1 by another
//! ```
//!
//! A pass over hundreds of nodes has hundreds of megabytes of them: one thread is slower than
//! the link that brings the weights, and the device would wait for it.

use super::super::Logits;
use crate::ggml::{Device, Event, Stream, Tensor};
use crate::io::Region;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, Scope};

/// Blocks that may be on their way to the host: while one is put into its rows, others are
/// computed.
const LANDINGS: usize = 4;

/// Most threads that put blocks into their rows.
const SORTERS: usize = 8;

/// Bytes of a block for which another thread is worth starting.
const SORTED_ALONE: usize = 512 << 10;

/// See the module's text.
pub(super) struct Landing {
    places: Vec<(Region, Event)>,
    /// Places that the device writes to, the oldest first: what rows of the output matrix each
    /// will hold.
    on_the_way: VecDeque<(usize, Range<usize>)>,
    next: usize,
    /// Rows of the output matrix in the largest block.
    rows: usize,
    threads: usize,
}

impl Landing {
    /// Host memory that it takes for blocks of at most `rows` rows of the output matrix, of
    /// `wanted` tokens.
    pub(super) fn bytes(rows: usize, wanted: usize) -> usize {
        (LANDINGS * Self::block(rows, wanted)).next_multiple_of(2 << 20)
    }

    fn block(rows: usize, wanted: usize) -> usize {
        (rows * wanted * 4).next_multiple_of(256)
    }

    /// As for [`Landing::bytes`]; `threads` is how many may compute.
    pub(super) fn new(
        device: Device,
        rows: usize,
        wanted: usize,
        threads: usize,
    ) -> std::io::Result<Self> {
        let block = Self::block(rows, wanted);
        let arena = device.pinned(LANDINGS * block)?;
        let place = |i| (arena.region(i * block, block), Event::new(device));
        Ok(Self {
            places: (0..LANDINGS).map(place).collect(),
            on_the_way: VecDeque::new(),
            next: 0,
            rows,
            threads: threads.clamp(1, SORTERS),
        })
    }

    /// Memory that the device copies from, while nothing lands in it.
    pub(super) fn room(&self) -> &Region {
        &self.places[0].0
    }

    /// How many threads should put the logits of so many nodes into their rows.
    pub(super) fn threads(&self, nodes: usize) -> usize {
        (Self::block(self.rows, nodes) / SORTED_ALONE).clamp(1, self.threads)
    }

    /// Forgets what a pass that failed left behind.
    pub(super) fn clear(&mut self, stream: &Stream) {
        if !self.on_the_way.is_empty() {
            stream.synchronize();
            self.on_the_way.clear();
        }
    }

    /// Sends `block`, the logits of `rows` of the output matrix, on its way; first makes room by
    /// having the oldest put into its rows.
    pub(super) fn fetch(
        &mut self,
        stream: &Stream,
        block: &Tensor,
        rows: Range<usize>,
        sorters: &mut Sorters<'_>,
    ) {
        if self.on_the_way.len() == LANDINGS - 1 {
            self.land(sorters);
        }
        // The one before it may still be read.
        sorters.wait(LANDINGS - 1 - self.on_the_way.len());
        let (region, event) = &self.places[self.next];
        stream.fetch(block, region);
        stream.record(event);
        self.on_the_way.push_back((self.next, rows));
        self.next = (self.next + 1) % LANDINGS;
    }

    /// Has all that is on its way put into its rows.
    pub(super) fn finish(&mut self, sorters: &mut Sorters<'_>) {
        while !self.on_the_way.is_empty() {
            self.land(sorters);
        }
        sorters.wait(0);
    }

    fn land(&mut self, sorters: &mut Sorters<'_>) {
        if let Some((place, rows)) = self.on_the_way.pop_front() {
            let (region, event) = &self.places[place];
            event.synchronize();
            sorters.sort(&Landed {
                block: region.clone(),
                rows,
            });
        }
    }
}

/// A block that the device has written.
#[derive(Clone)]
struct Landed {
    block: Region,
    rows: Range<usize>,
}

/// The logits of one node, and which row of a block they come from.
struct Row<'a> {
    into: &'a mut [f32],
    place: usize,
}

/// The threads that put blocks into their rows, the caller's among them: each has rows of its own.
pub(super) struct Sorters<'a> {
    own: Vec<Row<'a>>,
    others: Vec<Sorter<'a>>,
    /// Blocks that not all have put into their rows yet.
    sorting: usize,
}

struct Sorter<'a> {
    rows: Sender<Vec<Row<'a>>>,
    blocks: Sender<Landed>,
    done: Receiver<()>,
}

impl<'a> Sorters<'a> {
    /// `threads` of them for the rows of `logits`, or fewer where not as many can be started.
    pub(super) fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        logits: &'a mut Logits,
        threads: usize,
    ) -> Self
    where
        'a: 'scope,
    {
        let others: Vec<_> = (1..threads).map_while(|_| Sorter::start(scope)).collect();
        let mut shares: Vec<_> = (0..=others.len()).map(|_| Vec::new()).collect();
        let of = shares.len();
        for (place, into) in logits.rows_mut().enumerate() {
            shares[place % of].push(Row { into, place });
        }
        for (other, share) in others.iter().zip(shares.drain(1..)) {
            // One that has ended is noticed at its first block.
            let _ = other.rows.send(share);
        }
        Self {
            own: shares.pop().unwrap_or_default(),
            others,
            sorting: 0,
        }
    }

    fn sort(&mut self, landed: &Landed) {
        for other in &self.others {
            let _ = other.blocks.send(landed.clone());
        }
        landed.put(&mut self.own);
        self.sorting += 1;
    }

    /// Waits until at most so many blocks are still to be read.
    fn wait(&mut self, blocks: usize) {
        while self.sorting > blocks {
            for other in &self.others {
                // One that has panicked ends the scope that it is in.
                let _ = other.done.recv();
            }
            self.sorting -= 1;
        }
    }
}

impl<'a> Sorter<'a> {
    /// `None` where no thread can be started.
    fn start<'scope>(scope: &'scope Scope<'scope, '_>) -> Option<Self>
    where
        'a: 'scope,
    {
        let (rows, share) = channel::<Vec<Row<'a>>>();
        let (blocks, landed) = channel::<Landed>();
        let (said, done) = channel();
        let sort = move || {
            let mut rows = share.recv().unwrap_or_default();
            for block in landed {
                block.put(&mut rows);
                if said.send(()).is_err() {
                    return;
                }
            }
        };
        let name = Builder::new().name("logits".into());
        name.spawn_scoped(scope, sort).ok()?;
        Some(Self { rows, blocks, done })
    }
}

impl Landed {
    fn put(&self, rows: &mut [Row<'_>]) {
        let bytes = self.rows.len() * 4;
        for Row { into, place } in rows {
            let into = bytemuck::cast_slice_mut(&mut into[self.rows.clone()]);
            self.block.part(*place * bytes, bytes).read(into);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::TokenTree;
    use super::super::super::logits::Shelf;
    use super::*;
    use crate::io::Arena;
    use crate::units::TokenId;

    #[test]
    fn every_block_comes_into_the_rows_of_all_nodes() {
        const NODES: usize = 5;
        let value = |node: usize, token: usize| (100 * node + token) as f32;
        for threads in [1, 2, 3, 8] {
            let tree = TokenTree::chain(&[TokenId(0); NODES], 0);
            let mut logits = Logits::for_tree(&tree, 10, &Shelf::default());
            std::thread::scope(|scope| {
                let mut sorters = Sorters::start(scope, &mut logits, threads);
                for (blocks, rows) in [0..4, 4..9, 9..10].into_iter().enumerate() {
                    let block = Arena::new(4096).expect("memory").region(0, 4096);
                    let in_block = |node| rows.clone().map(move |token| value(node, token));
                    let values: Vec<_> = (0..NODES).flat_map(in_block).collect();
                    block.write(bytemuck::cast_slice(&values));
                    sorters.sort(&Landed { block, rows });
                    sorters.wait(1);
                    assert!(sorters.sorting <= 1, "block {blocks}");
                }
                sorters.wait(0);
            });
            for node in 0..NODES {
                let expected: Vec<_> = (0..10).map(|token| value(node, token)).collect();
                assert_eq!(logits.of(node), Some(&expected[..]), "{threads} threads");
            }
        }
    }
}
