//! What of a device's memory keeps weights, what lets them pass, and where a shard's tensors lie
//! in it.
//!
//! ```text
//!  shard in RAM:      [ gap | q ][ k ][ v ] gap [ o ]         as in the file
//!  on the device:     [ q |0][ k |0][ v |0][ o |0]            aligned, zeros after each
//! ```

use crate::ggml::{DeviceBuffer, MOST_PADDING};
use crate::river::shard::{Placed, Shard};
use crate::units::Bytes;

/// More slots than this hide nothing more: one in use, one ready, one on its way, and one for
/// steps that differ in length.
const MOST_SLOTS: usize = 4;

/// Fewest slots in which copies and computing overlap.
const FEWEST_SLOTS: usize = 2;

/// Which shards are in the device's memory for good, and what the others pass through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowPlan {
    /// By [`ShardIdx`](crate::river::ShardIdx).
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
        let mut unused = given - slots * slot_bytes;
        let mut stays = vec![false; shards.len()];
        crate::river::plan::spread(&sizes, &mut stays, &mut unused);
        Ok(Self {
            staying_bytes: given - slots * slot_bytes - unused,
            stays,
            slots,
            slot_bytes,
        })
    }

    /// Whether it has as many slots as are of use, or needs none.
    pub fn is_roomy(&self) -> bool {
        self.slots == 0 || self.slots == MOST_SLOTS
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
    /// Bytes after it that must be zero.
    pub padding: usize,
}

impl Part {
    /// Where the tensors of `shard` lie in host memory, which is where they are computed with.
    pub(in crate::river) fn in_place(shard: &Shard) -> Vec<Self> {
        let part = |&Placed { at, bytes, .. }: &Placed| Self {
            from: at,
            to: at,
            bytes,
            padding: 0,
        };
        shard.tensors.iter().map(part).collect()
    }
}

/// Where the tensors of `shard` lie on the device, given the padding after each.
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

/// Memory that a shard of this layout takes on a device.
pub(super) fn size(parts: &[Part]) -> usize {
    let end = |part: &Part| aligned(part.to + part.bytes + part.padding);
    parts.last().map_or(0, end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::river::Placed;
    use crate::vocabulary::ShardPart;
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
