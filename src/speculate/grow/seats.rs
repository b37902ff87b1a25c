//! Which guesses have a seat in a pass, while a tree grows.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The path probabilities of a tree's best guesses, as many as a pass has seats for.
pub(super) struct Seats {
    most: usize,
    taken: BinaryHeap<Reverse<LogP>>,
}

impl Seats {
    pub fn new(most: usize) -> Self {
        Self {
            most,
            taken: BinaryHeap::with_capacity(most + 1),
        }
    }

    pub fn take(&mut self, log_p: LogP) {
        self.taken.push(Reverse(log_p));
        if self.taken.len() > self.most {
            self.taken.pop();
        }
    }

    /// Whether all seats have guesses that nothing below a node this likely could replace.
    pub fn are_better_than(&self, log_p: LogP) -> bool {
        let least = self.taken.peek();
        self.taken.len() == self.most && least.is_none_or(|Reverse(least)| *least > log_p)
    }
}

/// The logarithm of a path probability: never NaN.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct LogP(pub f32);

impl Eq for LogP {}

impl PartialOrd for LogP {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for LogP {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}
