//! How the memory for weights is divided in a mixture of experts.
//!
//! ```text
//!  | layers: pinned ... | ring |  experts that one pass can choose in a layer  | more experts |
//!    used by every token          else the pass is computed in pieces            hits
//! ```
//!
//! Every token uses the layers' other weights, and a few of the experts: a byte of the former is
//! used more often. But first comes what lets a prompt be read in wide passes, since one over 512
//! tokens reads hardly more than one over 63, and that hardly more than one over 16.

use crate::experts::{ExpertPlan, Mixture};
use crate::river::{Plan, Shard, total_bytes};
use crate::units::Bytes;

/// Divides `memory` for passes of at most `most` tokens; `None` where it is too little for one.
pub(super) fn divide(
    mixture: &Mixture,
    shards: &[Shard],
    memory: Bytes,
    most: usize,
) -> Option<(Plan, ExpertPlan)> {
    let layers = total_bytes(shards);
    // More tokens than these choose no more experts than there are.
    let enough = mixture.tokens_for_all().min(most);
    let (layers, width) = (1..=enough).rev().find_map(|width| {
        let left = memory.0.checked_sub(mixture.least_memory(width).0)?;
        let plan = Plan::new(shards, Bytes(left).min(layers)).ok()?;
        Some((plan, width))
    })?;
    let widest = if width == enough { most } else { width };
    let taken = Bytes((layers.pinned_bytes + layers.ring_bytes) as u64);
    let experts = mixture.plan(memory.saturating_sub(taken), widest);
    Some((layers, experts))
}

/// The least memory that [`divide`] can divide.
pub(super) fn least(mixture: &Mixture, shards: &[Shard]) -> Bytes {
    let layers = Plan::least(shards).min(total_bytes(shards));
    Bytes(layers.0 + mixture.least_memory(1).0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experts::ExpertGroup;
    use crate::ggml::GgmlType;
    use crate::model::TensorInfo;
    use crate::river::catalogue_by_layer;
    use proptest::prelude::*;

    const MOST: usize = 63;

    /// A table, or a matrix where it has one expert.
    fn tensor(layer: usize, name: &str, experts: u64, bytes: u64, at: &mut u64) -> TensorInfo {
        *at += experts * bytes;
        TensorInfo {
            name: format!("blk.{layer}.{name}.weight"),
            ty: GgmlType::F32,
            dims: [64, 16, experts, 1],
            n_dims: if experts > 1 { 3 } else { 2 },
            file: 0,
            offset: *at - experts * bytes,
            bytes: experts * bytes,
        }
    }

    proptest! {
        #[test]
        fn memory_is_enough_from_the_least_on_and_never_passed(
            layers in 1usize..8, experts in 2u64..40, used in 1usize..5,
            expert_kib in 1u64..300, layer_kib in 1u64..3000, more in 0u64..(200 << 20),
        ) {
            let (mut matrices, mut tables, mut at) = (Vec::new(), Vec::new(), 100);
            for layer in 0..layers {
                matrices.push(tensor(layer, "attn_q", 1, layer_kib << 10, &mut at));
                tables.push(tensor(layer, "ffn_up_exps", experts, expert_kib << 10, &mut at));
            }
            let mixture = Mixture { groups: ExpertGroup::all(&tables), used };
            let shards = catalogue_by_layer(&matrices);
            let least = least(&mixture, &shards);
            prop_assert!(divide(&mixture, &shards, Bytes(least.0 - 1), MOST).is_none());
            let memory = Bytes(least.0 + more);
            let (plan, found) = divide(&mixture, &shards, memory, MOST).unwrap();
            let taken = plan.pinned_bytes as u64 + plan.ring_bytes as u64 + found.memory().0;
            prop_assert!(taken <= memory.0, "{taken} of {memory:?}");
            prop_assert!(found.memory() >= mixture.least_memory(found.widest) || found.bytes == found.all);
            // Experts have more than they must only where the layers need no more.
            let spare = found.memory().0.saturating_sub(mixture.least_memory(found.widest).0);
            prop_assert!(found.widest == MOST || spare <= 3 * (layer_kib << 10) + (512 << 10) + mixture.least_memory(1).0);
            if memory.0 >= total_bytes(&shards).0 + mixture.bytes().0 * 513 / 512 + 8192 {
                prop_assert_eq!((found.bytes, plan.streamed_bytes), (found.all, 0));
            }
        }
    }
}
