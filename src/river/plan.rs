//! Which shards stay in memory and which stream: a static split.
//!
//! Access to the weights is cyclic, so a cache that evicts the least recently used evicts
//! exactly what is needed next and reads everything every pass. A fixed resident part reads
//! only what does not fit. The streamed shards are spread evenly over the pass, so that the
//! disk and the compute threads both always have work.

use super::shard::Shard;
use crate::units::Bytes;

/// The ring holds this many of the largest streamed shard: one in use, one or two arriving.
const RING_SHARDS: usize = 3;

/// It holds up to this many where they are a small part of the memory: steps differ in what
/// they read and compute, and a longer ring evens that out (5% of a pass of a model of 9 GB in
/// 2 GiB). Out of little memory, what it takes from the shards that stay costs more.
const RING_SHARDS_MAX: usize = 8;
const RING_SHARE: usize = 16;

/// Fewest of them that keep a pass going: one in use while the next arrives.
const RING_SHARDS_MIN: usize = 2;

/// Which shards stay where not all can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pinning {
    /// At even distances, so that disk and compute threads work at the same time.
    #[default]
    Even,
    /// The first of a pass: nothing to wait for at first, everything later. `make bench-river`
    /// compares it with the even one; nothing else uses it.
    First,
}

/// Where every shard lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// By [`super::ShardIdx`].
    pub pinned: Vec<bool>,
    /// Those that leave memory for good when they have been taken once: a device keeps them.
    /// They come through the ring.
    pub leaves: Vec<bool>,
    /// Zero where nothing streams.
    pub ring_bytes: usize,
    pub pinned_bytes: usize,
    /// Read in every pass.
    pub streamed_bytes: usize,
}

/// The memory given to weights is too small to stream through.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("streaming needs at least {least} for weights in flight; there are {given}")]
pub struct PlanError {
    pub least: Bytes,
    pub given: Bytes,
}

impl Plan {
    /// The least memory that shards can stream through.
    pub fn least(shards: &[Shard]) -> Bytes {
        let largest = shards.iter().map(|s| s.bytes).max().unwrap_or(0);
        Bytes((largest * RING_SHARDS_MIN) as u64)
    }

    /// Splits `shards` so that pinned shards and ring together take at most `budget`.
    ///
    /// The head counts like any other: pinned as a whole it would be a stretch at the end of
    /// every pass in which the disk is idle as soon as the ring is full.
    ///
    /// # Errors
    /// When not even two of the largest shard fit.
    pub fn new(shards: &[Shard], budget: Bytes) -> Result<Self, PlanError> {
        Self::pinned_by(shards, budget, Pinning::Even)
    }

    /// The same with the shards that stay where `pinning` says.
    ///
    /// # Errors
    /// When not even two of the largest shard fit.
    pub fn pinned_by(shards: &[Shard], budget: Bytes, pinning: Pinning) -> Result<Self, PlanError> {
        let all: usize = shards.iter().map(|s| s.bytes).sum();
        let budget_len = usize::try_from(budget.0).unwrap_or(usize::MAX);
        if all <= budget_len {
            return Ok(Self {
                pinned: vec![true; shards.len()],
                leaves: vec![false; shards.len()],
                ring_bytes: 0,
                pinned_bytes: all,
                streamed_bytes: 0,
            });
        }
        let largest = shards.iter().map(|s| s.bytes).max().unwrap_or(0);
        let least = Self::least(shards);
        if budget < least {
            return Err(PlanError {
                least,
                given: budget,
            });
        }
        let affordable = (budget_len / RING_SHARE) / largest.max(1);
        let ring_shards = affordable.clamp(RING_SHARDS, RING_SHARDS_MAX);
        let ring_bytes = (largest * ring_shards).min(budget_len);
        let mut unused = budget_len - ring_bytes;
        let mut pinned = vec![false; shards.len()];
        let sizes: Vec<_> = shards.iter().map(|s| s.bytes).collect();
        match pinning {
            Pinning::Even => spread(&sizes, &mut pinned, &mut unused),
            Pinning::First => fill(&sizes, &mut pinned, &mut unused),
        }
        let pinned_bytes = budget_len - ring_bytes - unused;
        Ok(Self {
            leaves: vec![false; shards.len()],
            pinned,
            ring_bytes,
            pinned_bytes,
            streamed_bytes: all - pinned_bytes,
        })
    }

    /// The same where a device keeps the shards that `leave` memory, and the others pass on to
    /// it.
    ///
    /// # Errors
    /// When not even two of the largest shard fit.
    pub fn before_device(
        shards: &[Shard],
        leave: &[bool],
        budget: Bytes,
    ) -> Result<Self, PlanError> {
        if !leave.contains(&true) {
            return Self::new(shards, budget);
        }
        let others = shards.iter().zip(leave).filter(|(_, leaves)| !**leaves);
        let remaining: usize = others.map(|(s, _)| s.bytes).sum();
        let least = Self::least(shards);
        let ring_bytes = usize::try_from(least.0).unwrap_or(usize::MAX);
        if Bytes((remaining + ring_bytes) as u64) <= budget {
            return Ok(Self {
                pinned: leave.iter().map(|l| !l).collect(),
                leaves: leave.to_vec(),
                ring_bytes,
                pinned_bytes: remaining,
                streamed_bytes: 0,
            });
        }
        let budget_len = usize::try_from(budget.0).unwrap_or(usize::MAX);
        let given = budget_len.checked_sub(ring_bytes).ok_or(PlanError {
            least,
            given: budget,
        })?;
        let sizes: Vec<_> = shards.iter().map(|s| s.bytes).collect();
        // What leaves counts as chosen, so that it takes no memory.
        let (mut pinned, mut unused) = (leave.to_vec(), given);
        spread(&sizes, &mut pinned, &mut unused);
        for (pinned, leaves) in pinned.iter_mut().zip(leave) {
            *pinned &= !leaves;
        }
        let pinned_bytes = given - unused;
        Ok(Self {
            pinned,
            leaves: leave.to_vec(),
            ring_bytes,
            pinned_bytes,
            streamed_bytes: remaining - pinned_bytes,
        })
    }
}

/// Chooses parts of these `sizes` at even distances, as Bresenham draws a line: whenever the
/// share that ought to be chosen so far is ahead of what is. Then fills what is left.
/// What is chosen already stays so.
pub(super) fn spread(sizes: &[usize], chosen: &mut [bool], unused: &mut usize) {
    let open: usize = sizes
        .iter()
        .zip(&*chosen)
        .filter(|(_, c)| !**c)
        .map(|(s, _)| s)
        .sum();
    let share = *unused as f64 / open.max(1) as f64;
    let mut due = 0.0;
    for (slot, &bytes) in chosen.iter_mut().zip(sizes).filter(|(c, _)| !**c) {
        due += bytes as f64 * share;
        if due >= bytes as f64 / 2.0 && bytes <= *unused {
            *slot = true;
            *unused -= bytes;
            due -= bytes as f64;
        }
    }
    fill(sizes, chosen, unused);
}

/// Chooses whatever fits, from the first on.
fn fill(sizes: &[usize], chosen: &mut [bool], unused: &mut usize) {
    for (slot, &bytes) in chosen.iter_mut().zip(sizes).filter(|(c, _)| !**c) {
        if bytes <= *unused {
            *slot = true;
            *unused -= bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::ShardPart;
    use proptest::prelude::*;

    fn shards(sizes: &[usize], head: usize) -> Vec<Shard> {
        let make = |bytes, part| Shard {
            layer: None,
            part,
            rows: 0..0,
            extents: Vec::new(),
            tensors: Vec::new(),
            bytes,
        };
        sizes
            .iter()
            .map(|&b| make(b, ShardPart::Attention))
            .chain((0..head).map(|_| make(1000, ShardPart::Head)))
            .collect()
    }

    proptest! {
        #[test]
        fn never_past_the_budget_and_nothing_counted_twice(
            sizes in prop::collection::vec(1usize..5000, 1..60),
            head in 0usize..8,
            budget in 0u64..200_000,
        ) {
            let shards = shards(&sizes, head);
            let all: usize = shards.iter().map(|s| s.bytes).sum();
            match Plan::new(&shards, Bytes(budget)) {
                Ok(plan) => {
                    prop_assert!((plan.pinned_bytes + plan.ring_bytes) as u64 <= budget);
                    let pinned: usize = shards.iter().zip(&plan.pinned).filter(|(_, p)| **p).map(|(s, _)| s.bytes).sum();
                    prop_assert_eq!(pinned, plan.pinned_bytes);
                    prop_assert_eq!(pinned + plan.streamed_bytes, all);
                    let streams = plan.pinned.iter().any(|p| !p);
                    prop_assert_eq!(streams, plan.ring_bytes > 0);
                    // What is left over is too small for any shard that streams.
                    let left = budget as usize - plan.pinned_bytes - plan.ring_bytes;
                    prop_assert!(shards.iter().zip(&plan.pinned).all(|(s, p)| *p || s.bytes > left));
                }
                Err(error) => {
                    let largest = shards.iter().map(|s| s.bytes).max().unwrap_or(0);
                    prop_assert!(error.least.0 > budget && error.least.0 == 2 * largest as u64);
                }
            }
        }
    }

    #[test]
    fn streamed_shards_are_spread_over_the_pass() {
        let shards = shards(&[1000; 40], 0);
        let plan = Plan::new(&shards, Bytes(3000 + 20_000)).expect("fits");
        assert_eq!(plan.pinned.iter().filter(|p| **p).count(), 20);
        let longest_run = plan.pinned.chunk_by(|a, b| a == b).map(<[bool]>::len).max();
        assert_eq!(longest_run, Some(1), "{:?}", plan.pinned);
        let first = Plan::pinned_by(&shards, Bytes(3000 + 20_000), Pinning::First).expect("fits");
        assert!(first.pinned[..20].iter().all(|p| *p) && !first.pinned[20..].contains(&true));
        assert_eq!(first.pinned_bytes, plan.pinned_bytes);
    }
}
