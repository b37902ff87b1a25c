//! The hand-over of shards between reader and compute, under every order in which the two
//! threads can run: the ring's own source, with the model checker's locks in place of the
//! system's.
//!
//! The memory that is handed over is modelled by relaxed atomics, one for each block: if the
//! ring did not order the two sides, or handed out bytes in use, some order of execution
//! would read a stale or foreign value.
//!
//! A program of its own: it compiles the ring's source, which finds `io`, `shard` and `sync` where
//! the library has them.

#![allow(clippy::unwrap_used, reason = "a test may panic; its helpers too")]
#![allow(dead_code, unused_imports, reason = "the ring is used in part")]

mod io {
    pub use nmos::io::{Arena, Region, TransferFailure};
}
mod shard {
    pub use nmos::river::ShardIdx;
}
mod sync {
    pub use loom::sync::{Condvar, Mutex, MutexGuard};
}
#[path = "../src/river/ring.rs"]
mod ring;

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use nmos::io::{Arena, BLOCK, Direction, Region, TransferFailure};
use nmos::river::ShardIdx;
use ring::Ring;
use std::sync::Arc;

/// Blocks of the ring.
const BLOCKS: usize = 3;

/// Shards that stream, round and round, of these many blocks: three do not fit at once, and
/// the larger one makes the ring skip its end.
const SIZES: [usize; 3] = [1, 2, 1];

/// What the blocks hold.
struct Memory([AtomicUsize; BLOCKS]);

impl Memory {
    fn new() -> Self {
        Self(std::array::from_fn(|_| AtomicUsize::new(0)))
    }

    fn blocks(&self, region: &Region) -> &[AtomicUsize] {
        let first = region.offset() / BLOCK;
        &self.0[first..first + region.len() / BLOCK]
    }

    fn fill(&self, region: &Region, value: usize) {
        for block in self.blocks(region) {
            block.store(value, Ordering::Relaxed);
        }
    }

    fn holds(&self, region: &Region, value: usize) {
        for block in self.blocks(region) {
            assert_eq!(block.load(Ordering::Relaxed), value);
        }
    }
}

fn ring_over(arena: &Arc<Arena>) -> Arc<Ring> {
    Arc::new(Ring::new(
        SIZES.len(),
        Some(arena.region(0, BLOCKS * BLOCK)),
    ))
}

/// Reads shard after shard until it is stopped.
fn read_shards(ring: &Ring, memory: &Memory, shards: usize) {
    for n in 0..shards {
        let bytes = SIZES[n % SIZES.len()] * BLOCK;
        ring.wait_for_space(bytes);
        if ring.stopped() {
            return;
        }
        let (region, end) = ring.reserve(bytes).unwrap();
        memory.fill(&region, n + 1);
        ring.arrived(ShardIdx(n % SIZES.len()), region, end);
    }
}

/// Runs `f` under every order with at most two switches of threads where neither waits. Each
/// more multiplies the time by hundreds.
fn every_order(f: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(f);
}

#[test]
fn compute_sees_the_bytes_of_the_shard_that_it_takes() {
    const SHARDS: usize = 4;
    let arena = Arena::new(BLOCKS * BLOCK).unwrap();
    every_order(move || {
        let ring = ring_over(&arena);
        let memory = Arc::new(Memory::new());
        let reader = {
            let (ring, memory) = (Arc::clone(&ring), Arc::clone(&memory));
            thread::spawn(move || read_shards(&ring, &memory, SHARDS))
        };
        for n in 0..SHARDS {
            let arrived = ring.wait_streamed(0).unwrap();
            assert_eq!(arrived.shard, ShardIdx(n % SIZES.len()));
            memory.holds(&arrived.region, n + 1);
            assert_eq!(ring.release(), Some(arrived.shard));
        }
        reader.join().unwrap();
    });
}

#[test]
fn a_failure_reaches_the_pass_and_a_retry_reaches_the_reader() {
    let arena = Arena::new(BLOCKS * BLOCK).unwrap();
    every_order(move || {
        let ring = ring_over(&arena);
        let memory = Arc::new(Memory::new());
        let reader = {
            let (ring, memory) = (Arc::clone(&ring), Arc::clone(&memory));
            thread::spawn(move || {
                let failure = TransferFailure {
                    direction: Direction::Read,
                    path: "model".into(),
                    offset: 0,
                    bytes: BLOCK,
                    why: Arc::new(std::io::Error::other("broken")),
                };
                assert!(ring.fail(failure), "asked to try again");
                read_shards(&ring, &memory, 1);
            })
        };
        assert!(ring.wait_streamed(0).is_err());
        ring.retry();
        let arrived = ring.wait_streamed(0).unwrap();
        memory.holds(&arrived.region, 1);
        ring.release();
        reader.join().unwrap();
    });
}

#[test]
fn a_reader_that_waits_for_space_can_be_stopped() {
    let arena = Arena::new(BLOCKS * BLOCK).unwrap();
    every_order(move || {
        let ring = ring_over(&arena);
        let memory = Arc::new(Memory::new());
        let reader = {
            let (ring, memory) = (Arc::clone(&ring), Arc::clone(&memory));
            // More than fits: nobody ever frees space.
            thread::spawn(move || read_shards(&ring, &memory, 3))
        };
        ring.stop();
        reader.join().unwrap();
    });
}

#[test]
fn a_reader_that_is_held_back_goes_on_when_it_is_resumed() {
    let arena = Arena::new(BLOCKS * BLOCK).unwrap();
    every_order(move || {
        let ring = ring_over(&arena);
        let memory = Arc::new(Memory::new());
        let held = ring.hold();
        let reader = {
            let (ring, memory) = (Arc::clone(&ring), Arc::clone(&memory));
            thread::spawn(move || {
                while ring.is_held() {
                    ring.wait_resumed();
                }
                read_shards(&ring, &memory, 1);
            })
        };
        drop(held);
        let arrived = ring.wait_streamed(0).unwrap();
        memory.holds(&arrived.region, 1);
        reader.join().unwrap();
    });
}

#[test]
fn a_reader_that_is_held_back_can_be_stopped() {
    let arena = Arena::new(BLOCKS * BLOCK).unwrap();
    every_order(move || {
        let ring = ring_over(&arena);
        let _held = ring.hold();
        let reader = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || ring.wait_resumed())
        };
        ring.stop();
        reader.join().unwrap();
    });
}
