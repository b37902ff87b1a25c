//! A pass as a pipeline of two servers: the disk fills the ring, the processor empties it.
//!
//! ```text
//!  disk     |-- 3 --|-- 4 --|-- 6 --|........|-- 7 --|     reads in order, waits for space
//!  compute  | 0 | 1 | 2 |...| 3 | 4 | 5 |  6  |            waits for what has not arrived
//! ```
//!
//! The recurrence follows the rules of `river::ring`: a shard is read when the one before it has
//! been read and the ring has space; it lies in one piece, so that what is left at the ring's end
//! is skipped; its space is free again when its step ends. All times are in seconds.

use std::collections::VecDeque;

/// Passes that are averaged: where in the ring a pass begins differs from one to the next.
/// The first one begins with an empty ring, which is one short wait in so many.
const PASSES: usize = 64;

/// A shard's part in a pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    pub bytes: usize,
    /// Read again in every pass.
    pub streams: bool,
    pub compute_s: f64,
}

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Pipeline<'a> {
    /// In order of use.
    pub steps: &'a [Step],
    pub ring_bytes: usize,
    /// Of the disk.
    pub bytes_per_s: f64,
    /// What a pass does before its first step.
    pub begin_s: f64,
}

impl Pipeline<'_> {
    /// Mean time of a pass when passes follow one another.
    pub fn pass_s(&self) -> f64 {
        let mut ring = Ring::new(self.ring_bytes);
        let (mut now, mut read_until) = (0.0_f64, 0.0_f64);
        for _ in 0..PASSES {
            now += self.begin_s;
            for step in self.steps {
                if step.streams {
                    let (end, free_at) = ring.reserve(step.bytes);
                    read_until = read_until.max(free_at) + step.bytes as f64 / self.bytes_per_s;
                    now = now.max(read_until) + step.compute_s;
                    ring.used.push_back(Used { end, until: now });
                } else {
                    now += step.compute_s;
                }
            }
        }
        now / PASSES as f64
    }

    /// What computing alone takes.
    pub fn compute_s(&self) -> f64 {
        self.begin_s + self.steps.iter().map(|s| s.compute_s).sum::<f64>()
    }

    /// What reading alone takes.
    pub fn read_s(&self) -> f64 {
        let streamed = self.steps.iter().filter(|s| s.streams);
        streamed.map(|s| s.bytes).sum::<usize>() as f64 / self.bytes_per_s
    }
}

/// The ring's space over time.
struct Ring {
    capacity: u64,
    /// Where the last shard ends, in bytes ever written, including what was skipped.
    written: u64,
    /// Shards that later ones may have to wait for, the oldest first.
    used: VecDeque<Used>,
}

/// A shard that was computed with.
struct Used {
    /// Where it ends, in bytes ever written.
    end: u64,
    /// When its space is free.
    until: f64,
}

impl Ring {
    fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity as u64,
            written: 0,
            used: VecDeque::new(),
        }
    }

    /// Where the next shard ends, and when there is space for it.
    fn reserve(&mut self, bytes: usize) -> (u64, f64) {
        let (capacity, bytes) = (self.capacity.max(1), bytes as u64);
        let at = self.written % capacity;
        let skipped = if at + bytes > capacity {
            capacity - at
        } else {
            0
        };
        self.written += skipped + bytes;
        // Bytes before this one must be free, but once all are it does not matter what was
        // skipped: the last one that is used is always enough.
        let needed = self.written.saturating_sub(capacity);
        let mut free_at = 0.0;
        while let Some(oldest) = self.used.front() {
            free_at = oldest.until;
            if oldest.end >= needed || self.used.len() == 1 {
                break;
            }
            self.used.pop_front();
        }
        let waits = needed > 0;
        (self.written, if waits { free_at } else { 0.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A byte is read in a second.
    fn pass_s(steps: &[(usize, bool, f64)], ring_bytes: usize) -> f64 {
        let steps: Vec<_> = steps
            .iter()
            .map(|&(bytes, streams, compute_s)| Step {
                bytes,
                streams,
                compute_s,
            })
            .collect();
        let pipeline = Pipeline {
            steps: &steps,
            ring_bytes,
            bytes_per_s: 1.0,
            begin_s: 0.0,
        };
        pipeline.pass_s()
    }

    /// The first pass waits for its first shard, which is a little of the mean.
    fn near(found: f64, steady: f64, first_wait: f64) {
        let expected = steady + first_wait / PASSES as f64;
        assert!((found - expected).abs() < 1e-9, "{found}, not {expected}");
    }

    #[test]
    fn what_stays_is_only_computed() {
        near(pass_s(&[(5, false, 2.0), (7, false, 3.0)], 0), 5.0, 0.0);
        let steps = [Step {
            bytes: 5,
            streams: false,
            compute_s: 2.0,
        }];
        let pipeline = Pipeline {
            steps: &steps,
            ring_bytes: 0,
            bytes_per_s: 1.0,
            begin_s: 0.5,
        };
        near(pipeline.pass_s(), 2.5, 0.0);
        assert_eq!((pipeline.compute_s(), pipeline.read_s()), (2.5, 0.0));
        // Not the minus zero that an empty sum of floating-point numbers is.
        assert!(pipeline.read_s().is_sign_positive());
    }

    #[test]
    fn the_slower_of_disk_and_processor_sets_the_pace() {
        // Disk: 4 reads of 10 s. The last step's second is seen once, at the very end.
        near(pass_s(&[(10, true, 1.0); 4], 20), 40.0, 1.0);
        // Processor: 4 steps of 30 s. The first read of 10 s is seen once.
        near(pass_s(&[(10, true, 30.0); 4], 20), 120.0, 10.0);
    }

    #[test]
    fn what_stays_is_computed_while_the_rest_arrives() {
        // 40 s of reading and 40 s of computing, evenly spread: no wait but the first.
        let (stays, streams) = ((9, false, 9.0), (10, true, 1.0));
        let spread = [
            stays, streams, stays, streams, stays, streams, stays, streams,
        ];
        near(pass_s(&spread, 20), 40.0, 1.0);
        // The resident ones first take 36 s, and the ring is full after 20. The third read
        // begins when the first streamed step ends, at 37, and ends at 47; the fourth at 57,
        // and its step at 58.
        let first = [
            stays, stays, stays, stays, streams, streams, streams, streams,
        ];
        near(pass_s(&first, 20), 58.0, 0.0);
    }

    #[test]
    fn a_third_slot_takes_up_what_is_uneven() {
        // Computing takes 0 and 2 reads' time in turn: one read's on average.
        let steps = [(10, true, 0.0), (10, true, 20.0)];
        // Two slots. B is computed with from 20 to 40. A has long arrived then, but while it
        // lies in the other slot nothing is read: the next B arrives from 40 to 50 and is
        // computed with until 70, and so on.
        near(pass_s(&steps, 20), 30.0, 10.0);
        // Three slots: the next B arrives while this one is computed with.
        near(pass_s(&steps, 30), 20.0, 20.0);
    }

    #[test]
    fn what_is_left_at_the_rings_end_is_skipped() {
        // A ring of 25 holds two shards of 10, as a ring of 20 does.
        let steps = [(10, true, 0.0), (10, true, 20.0)];
        assert_eq!(pass_s(&steps, 25), pass_s(&steps, 20));
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = (1usize..20, any::<bool>(), 0.0..20.0_f64);
        let step = step.prop_map(|(bytes, streams, compute_s)| Step {
            bytes,
            streams,
            compute_s,
        });
        prop::collection::vec(step, 1..40)
    }

    proptest! {
        #[test]
        fn between_the_longer_and_the_sum(steps in steps(), ring_bytes in 40usize..100) {
            let pipeline = Pipeline { steps: &steps, ring_bytes, bytes_per_s: 1.5, begin_s: 0.1 };
            let (pass, compute, read) = (pipeline.pass_s(), pipeline.compute_s(), pipeline.read_s());
            prop_assert!(pass >= compute.max(read) - 1e-9, "{pass} < {compute} or {read}");
            prop_assert!(pass <= compute + read + 1e-9, "{pass} > {compute} + {read}");
        }

        #[test]
        fn a_faster_disk_is_never_slower(
            steps in steps(),
            ring_bytes in 40usize..100,
            speed in 0.1..10.0_f64,
            more in 1.0..3.0_f64,
        ) {
            let at = |bytes_per_s| {
                Pipeline { steps: &steps, ring_bytes, bytes_per_s, begin_s: 0.0 }.pass_s()
            };
            prop_assert!(at(speed * more) <= at(speed) + 1e-9);
        }
    }
}
