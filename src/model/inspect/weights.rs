//! Where a model's bytes are: by type, by what they are for, by tensor.

use super::scalar;
use crate::model::gguf::{Gguf, TensorInfo};
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// See the module's text. Lists have the most bytes first.
#[derive(Clone, Debug, Serialize)]
pub struct Weights {
    pub parameters: u64,
    /// Of which one token uses so many; null where all tokens use all.
    pub active_parameters: Option<u64>,
    pub experts: Option<Experts>,
    pub bytes: u64,
    pub bits_per_weight: f64,
    pub types: Vec<TypeBytes>,
    pub groups: Vec<GroupBytes>,
    pub tensors: Vec<TensorLine>,
}

/// The experts of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Experts {
    pub count: u64,
    /// By one token.
    pub used: u64,
}

/// What an element type takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TypeBytes {
    #[serde(rename = "type")]
    pub ty: &'static str,
    pub tensors: usize,
    pub bytes: u64,
}

/// What tensors are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    Embedding,
    Attention,
    /// What layers have instead of attention, or besides: state-space models.
    Recurrence,
    FeedForward,
    /// Those of which a token uses some.
    Experts,
    Output,
    /// Norms between the parts, and what has no other place.
    Other,
}

/// What a group takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupBytes {
    pub group: Group,
    pub tensors: usize,
    pub parameters: u64,
    pub bytes: u64,
}

/// A tensor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TensorLine {
    pub name: String,
    #[serde(rename = "type")]
    pub ty: &'static str,
    /// The first varies fastest.
    pub dims: Vec<u64>,
    pub bytes: u64,
}

impl Group {
    /// What the tensor `name` is for.
    pub fn of(name: &str) -> Self {
        let Some(part) = name
            .strip_prefix("blk.")
            .and_then(|rest| rest.split_once('.'))
            .map(|(_, part)| part)
        else {
            return match name.split('.').next().unwrap_or(name) {
                "token_embd"
                | "token_embd_norm"
                | "position_embd"
                | "token_types"
                | "per_layer_token_embd" => Self::Embedding,
                "output" | "output_norm" | "cls" | "cls_out" => Self::Output,
                _ => Self::Other,
            };
        };
        if part.contains("_exps") {
            Self::Experts
        } else if ["ffn", "post_ffw", "exp_probs"]
            .iter()
            .any(|start| part.starts_with(start))
        {
            Self::FeedForward
        } else if ["attn", "post_attention", "indexer"]
            .iter()
            .any(|start| part.starts_with(start))
        {
            Self::Attention
        } else if ["ssm", "time_mix", "channel_mix", "shortconv"]
            .iter()
            .any(|start| part.starts_with(start))
        {
            Self::Recurrence
        } else {
            Self::Other
        }
    }

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedding => "embedding",
            Self::Attention => "attention",
            Self::Recurrence => "recurrence",
            Self::FeedForward => "feed-forward",
            Self::Experts => "experts",
            Self::Output => "output",
            Self::Other => "other",
        }
    }
}

fn elements(tensor: &TensorInfo) -> u64 {
    tensor.dims.iter().product()
}

impl Weights {
    pub(super) fn read(gguf: &Gguf, arch: &str) -> Self {
        let mut types: BTreeMap<&'static str, TypeBytes> = BTreeMap::new();
        let mut groups: BTreeMap<Group, GroupBytes> = BTreeMap::new();
        let (mut parameters, mut bytes) = (0_u64, 0);
        for tensor in gguf.tensors() {
            let (ty, group, n) = (tensor.ty.name(), Group::of(&tensor.name), elements(tensor));
            let of_type = types.entry(ty).or_insert(TypeBytes {
                ty,
                tensors: 0,
                bytes: 0,
            });
            of_type.tensors += 1;
            of_type.bytes += tensor.bytes;
            let of_group = groups.entry(group).or_insert(GroupBytes {
                group,
                tensors: 0,
                parameters: 0,
                bytes: 0,
            });
            of_group.tensors += 1;
            // Sparse files may have any size: a sum is a figure, not an address.
            of_group.parameters = of_group.parameters.saturating_add(n);
            of_group.bytes += tensor.bytes;
            parameters = parameters.saturating_add(n);
            bytes += tensor.bytes;
        }
        let experts = experts(gguf, arch);
        let of_experts = groups.get(&Group::Experts).map_or(0, |g| g.parameters);
        let mut types: Vec<_> = types.into_values().collect();
        types.sort_by_key(|of| Reverse(of.bytes));
        let mut groups: Vec<_> = groups.into_values().collect();
        groups.sort_by_key(|of| Reverse(of.bytes));
        let mut tensors: Vec<_> = gguf.tensors().map(TensorLine::of).collect();
        tensors.sort_by_key(|tensor| Reverse(tensor.bytes));
        Self {
            active_parameters: experts
                .filter(|_| of_experts > 0)
                .map(|experts| parameters - of_experts + experts.share(of_experts)),
            experts,
            parameters,
            bits_per_weight: bytes as f64 * 8.0 / (parameters as f64).max(1.0),
            bytes,
            types,
            groups,
            tensors,
        }
    }
}

impl Experts {
    /// What one token uses of `parameters` that all experts have together.
    fn share(self, parameters: u64) -> u64 {
        let used = u128::from(parameters) * u128::from(self.used) / u128::from(self.count);
        u64::try_from(used).unwrap_or(parameters)
    }
}

fn experts(gguf: &Gguf, arch: &str) -> Option<Experts> {
    let count = scalar(gguf.u64(&format!("{arch}.expert_count")))?;
    let used = scalar(gguf.u64(&format!("{arch}.expert_used_count")))?;
    (1..=count)
        .contains(&used)
        .then_some(Experts { count, used })
}

impl TensorLine {
    fn of(tensor: &TensorInfo) -> Self {
        Self {
            name: tensor.name.clone(),
            ty: tensor.ty.name(),
            dims: tensor.dims[..tensor.n_dims as usize].to_vec(),
            bytes: tensor.bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_are_grouped_by_what_they_are_for() {
        for (name, group) in [
            ("token_embd.weight", Group::Embedding),
            ("output.weight", Group::Output),
            ("output_norm.weight", Group::Output),
            ("blk.0.attn_q.bias", Group::Attention),
            ("blk.11.attn_norm.weight", Group::Attention),
            ("blk.3.ffn_gate_exps.weight", Group::Experts),
            ("blk.3.ffn_gate_inp.weight", Group::FeedForward),
            ("blk.3.ffn_up_shexp.weight", Group::FeedForward),
            ("blk.3.ffn_down.weight", Group::FeedForward),
            ("blk.3.ssm_in.weight", Group::Recurrence),
            ("blk.3.post_attention_norm.weight", Group::Attention),
            ("blk.3.layer_out_norm.weight", Group::Other),
            ("rope_freqs.weight", Group::Other),
            ("anything", Group::Other),
        ] {
            assert_eq!(Group::of(name), group, "{name}");
        }
    }

    #[test]
    fn a_token_uses_its_share_of_experts() {
        let experts = Experts {
            count: 128,
            used: 8,
        };
        assert_eq!(experts.share(1280), 80);
    }
}
