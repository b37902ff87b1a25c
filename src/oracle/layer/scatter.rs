//! Threads that put blocks of logits into the rows of their nodes.
//!
//! ```text
//!  block:  node 0's | node 1's | node 2's ...     as the device computed it
//!  rows:   node 0  . . x x x . .                  by the caller's thread,
//!          node 1  . . x x x . .                  or node 0 by one, node 1 by another
//! ```
//!
//! A pass over hundreds of nodes has hundreds of megabytes of logits: a single thread would be
//! slower than the link that brings the weights, and the device would wait for it.

use super::super::Logits;
use crate::io::Region;
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, Scope};

/// Most threads that put blocks into their rows.
const MOST_THREADS: usize = 8;

/// Bytes of a block for which starting another thread pays.
const BYTES_A_THREAD: usize = 512 << 10;

/// How many threads should put blocks of `bytes` into their rows, where `most` may compute.
pub(super) fn threads_for(bytes: usize, most: usize) -> usize {
    (bytes / BYTES_A_THREAD).clamp(1, most.clamp(1, MOST_THREADS))
}

/// A block that the device has written: the logits of some rows of the output matrix, for all
/// nodes of a pass.
#[derive(Clone)]
pub(super) struct Block {
    pub memory: Region,
    pub rows: Range<usize>,
}

/// The logits of one node, and which row of a block they come from.
struct Row<'a> {
    into: &'a mut [f32],
    place: usize,
}

/// The threads that put blocks into their rows, the caller's among them: each has rows of its own.
pub(super) struct RowScatter<'a> {
    own: Vec<Row<'a>>,
    others: Vec<Helper<'a>>,
    /// Blocks that some thread has not put into its rows yet.
    scattering: usize,
}

struct Helper<'a> {
    rows: Sender<Vec<Row<'a>>>,
    blocks: Sender<Block>,
    done: Receiver<()>,
}

impl<'a> RowScatter<'a> {
    /// `threads` of them for the rows of `logits`, or fewer where not as many can be started.
    pub(super) fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        logits: &'a mut Logits,
        threads: usize,
    ) -> Self
    where
        'a: 'scope,
    {
        let others: Vec<_> = (1..threads).map_while(|_| Helper::start(scope)).collect();
        let mut shares: Vec<_> = (0..=others.len()).map(|_| Vec::new()).collect();
        let of = shares.len();
        for (place, into) in logits.rows_mut().enumerate() {
            shares[place % of].push(Row { into, place });
        }
        for (other, share) in others.iter().zip(shares.drain(1..)) {
            // A helper that has ended is noticed at its first block.
            let _ = other.rows.send(share);
        }
        Self {
            own: shares.pop().unwrap_or_default(),
            others,
            scattering: 0,
        }
    }

    /// Has `block` put into the rows; its memory may be read until [`RowScatter::wait`] returns.
    pub(super) fn put(&mut self, block: &Block) {
        for other in &self.others {
            let _ = other.blocks.send(block.clone());
        }
        block.scatter(&mut self.own);
        self.scattering += 1;
    }

    /// Waits until at most so many blocks are still to be read.
    pub(super) fn wait(&mut self, blocks: usize) {
        while self.scattering > blocks {
            for other in &self.others {
                // A helper's panic is raised by the scope that it runs in.
                let _ = other.done.recv();
            }
            self.scattering -= 1;
        }
    }
}

impl<'a> Helper<'a> {
    /// `None` where no thread can be started.
    fn start<'scope>(scope: &'scope Scope<'scope, '_>) -> Option<Self>
    where
        'a: 'scope,
    {
        let (rows, share) = channel::<Vec<Row<'a>>>();
        let (blocks, arriving) = channel::<Block>();
        let (said, done) = channel();
        let scatter = move || {
            let mut rows = share.recv().unwrap_or_default();
            for block in arriving {
                block.scatter(&mut rows);
                if said.send(()).is_err() {
                    return;
                }
            }
        };
        let name = Builder::new().name("logits".into());
        name.spawn_scoped(scope, scatter).ok()?;
        Some(Self { rows, blocks, done })
    }
}

impl Block {
    fn scatter(&self, rows: &mut [Row<'_>]) {
        let bytes = self.rows.len() * 4;
        for Row { into, place } in rows {
            let into = bytemuck::cast_slice_mut(&mut into[self.rows.clone()]);
            self.memory.part(*place * bytes, bytes).read(into);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::TokenTree;
    use super::super::super::logits::LogitPool;
    use super::*;
    use crate::io::Arena;
    use crate::units::TokenId;

    #[test]
    fn every_block_comes_into_the_rows_of_all_nodes() {
        const NODES: usize = 5;
        let value = |node: usize, token: usize| (100 * node + token) as f32;
        for threads in [1, 2, 3, 8] {
            let tree = TokenTree::chain(&[TokenId(0); NODES], 0);
            let mut logits = Logits::for_tree(&tree, 10, &LogitPool::default());
            std::thread::scope(|scope| {
                let mut scatter = RowScatter::start(scope, &mut logits, threads);
                for (blocks, rows) in [0..4, 4..9, 9..10].into_iter().enumerate() {
                    let memory = Arena::new(4096).expect("memory").region(0, 4096);
                    let in_block = |node| rows.clone().map(move |token| value(node, token));
                    let values: Vec<_> = (0..NODES).flat_map(in_block).collect();
                    memory.write(bytemuck::cast_slice(&values));
                    scatter.put(&Block { memory, rows });
                    scatter.wait(1);
                    assert!(scatter.scattering <= 1, "block {blocks}");
                }
                scatter.wait(0);
            });
            for node in 0..NODES {
                let expected: Vec<_> = (0..10).map(|token| value(node, token)).collect();
                assert_eq!(logits.of(node), Some(&expected[..]), "{threads} threads");
            }
        }
    }
}
