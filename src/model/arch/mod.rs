//! Architectures: what a model file must hold, and the shape that it describes.
//!
//! One file an architecture, and all of it is data: which tensors a model has, what their
//! dimensions count, which step of a layer computes with them, which metadata keys are
//! honoured. Everyone else goes through that table:
//!
//! ```text
//!                      layout   every tensor is there, of the right shape and type
//!  qwen2.rs: Arch -->  names    the file holds no others,
//!    keys              keys     and no other metadata
//!    edges             river    the matrices of a step make a shard
//!    steps             oracle   each slot's tensor, in memory or in its shard
//!      tensors         forge    which dimensions grow, and which matrices end a branch
//! ```
//!
//! Code is only the graph of a step, in the oracle, which asks for tensors by [`Slot`]. It is
//! one for all architectures here: the common transformer block (pre-norm, rotary attention
//! with grouped heads, gated feed-forward), with what a layer need not have in brackets:
//!
//! ```text
//!  x -> norm -> q,k,v (+bias) -> (norm of q,k) -> rope -> attention -> o -> +x
//!    -> norm -> swiglu -> down -> +
//! ```
//!
//! One more takes a file like `qwen3.rs` and a place in [`Arch::ALL`]; what its layers have that
//! no other's do, a [`Slot`] and its use in the graph. `tests/engine/tiny_parity.rs` compares it
//! with llama.cpp once its likeness is listed there.
//!
//! Mixtures of experts have tables as well ([`Arch::MIXTURES`]), for those who change files; their
//! graphs are left to llama.cpp.
//!
//! Every tensor's shape is checked here, since ggml aborts the process on a wrong one.
//!
//! A layout is one that our graphs compute *as llama.cpp does*. What they honour is listed, by
//! metadata key ([`keys`]) and by tensor ([`names`]): a file with anything else, known to
//! llama.cpp or to nobody, is left to llama.cpp's graph, which alone can say what it means.

mod error;
mod keys;
mod layout;
mod llama;
mod names;
mod qwen2;
mod qwen3;
mod qwen3moe;
mod shape;
mod tensors;

pub use error::ArchError;
pub use layout::{LayerTensor, LayerTensors, ModelLayout};
pub use shape::{Experts, ModelShape};
pub use tensors::{Axis, Kind, Step, TensorSpec};

use crate::ggml::RopeKind;
use keys::Key;
use std::fmt;

/// An architecture, as its file has it.
pub struct Arch {
    /// In `general.architecture`, and before each of its keys.
    name: &'static str,
    /// Tensors that belong to no layer.
    edges: &'static [TensorSpec],
    /// What a layer does, in this order.
    steps: &'static [Step],
    /// Metadata that its graphs honour.
    keys: &'static [&'static [Key]],
    rope: RopeKind,
    /// Where the file does not say.
    rope_freq_base: f32,
    /// All heads together are as wide as the model.
    heads_fill_width: bool,
    /// In a mixture of experts.
    experts: Option<ExpertWidth>,
    /// The same with a mixture of experts for its feed-forward, where the weights of a token's
    /// experts sum to one.
    mixture: Option<&'static Arch>,
}

/// Which key says how wide an expert is within.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ExpertWidth {
    /// That of a dense feed-forward.
    FeedForward,
    /// One of its own. Without it, the experts that a token uses are together as wide as the dense
    /// one says.
    Own,
}

/// What a tensor is to the graphs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    Embedding,
    OutputNorm,
    /// The head; where a model has none, its embedding is that too.
    Output,
    RopeFactors,
    AttentionNorm,
    Query,
    Key,
    Value,
    QueryBias,
    KeyBias,
    ValueBias,
    /// Of each query head, before it rotates.
    QueryNorm,
    /// Of each key head, before it rotates.
    KeyNorm,
    AttentionOutput,
    FeedForwardNorm,
    Gate,
    Up,
    Down,
    /// Says how well each expert suits a token.
    Router,
    GateExperts,
    UpExperts,
    DownExperts,
}

impl Slot {
    /// The tensor's name in a file; in a layer what follows `blk.N.`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Embedding => "token_embd.weight",
            Self::OutputNorm => "output_norm.weight",
            Self::Output => "output.weight",
            Self::RopeFactors => "rope_freqs.weight",
            Self::AttentionNorm => "attn_norm.weight",
            Self::Query => "attn_q.weight",
            Self::Key => "attn_k.weight",
            Self::Value => "attn_v.weight",
            Self::QueryBias => "attn_q.bias",
            Self::KeyBias => "attn_k.bias",
            Self::ValueBias => "attn_v.bias",
            Self::QueryNorm => "attn_q_norm.weight",
            Self::KeyNorm => "attn_k_norm.weight",
            Self::AttentionOutput => "attn_output.weight",
            Self::FeedForwardNorm => "ffn_norm.weight",
            Self::Gate => "ffn_gate.weight",
            Self::Up => "ffn_up.weight",
            Self::Down => "ffn_down.weight",
            Self::Router => "ffn_gate_inp.weight",
            Self::GateExperts => "ffn_gate_exps.weight",
            Self::UpExperts => "ffn_up_exps.weight",
            Self::DownExperts => "ffn_down_exps.weight",
        }
    }

    /// What a matrix of a dense feed-forward is in a mixture: one for each expert.
    pub const fn for_experts(self) -> Option<Self> {
        match self {
            Self::Gate => Some(Self::GateExperts),
            Self::Up => Some(Self::UpExperts),
            Self::Down => Some(Self::DownExperts),
            _ => None,
        }
    }
}

impl Arch {
    /// Those that our graphs compute.
    pub const ALL: [&'static Self; 3] = [&qwen2::QWEN2, &llama::LLAMA, &qwen3::QWEN3];

    /// Mixtures of experts, which llama.cpp's graphs compute. One may have the name of a model
    /// without experts.
    pub const MIXTURES: [&'static Self; 2] = [&llama::LLAMA_MIXTURE, &qwen3moe::QWEN3MOE];

    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The names of all that our graphs compute, for messages.
    pub fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }

    /// The same with a mixture of experts for its feed-forward, where copies of that make the same
    /// model: the weights of a token's experts sum to one.
    pub fn mixture(&self) -> Option<&'static Self> {
        self.mixture
    }

    /// The keys, without the architecture's name, that say how wide a feed-forward is, or each of
    /// the experts: with their values for a width of `ff`.
    pub fn feed_forward_keys(
        &self,
        ff: usize,
        experts: Option<Experts>,
    ) -> Vec<(&'static str, usize)> {
        match (self.experts, experts) {
            (Some(ExpertWidth::Own), Some(experts)) => vec![
                (shape::EXPERT_FF, ff),
                (shape::FF, ff.saturating_mul(experts.used)),
            ],
            _ => vec![(shape::FF, ff)],
        }
    }

    /// What a layer does, in this order.
    pub fn steps(&self) -> &'static [Step] {
        self.steps
    }

    /// What the tensor `name` is, and the layer that it belongs to; `None` for one that models
    /// of this architecture do not have.
    pub fn tensor(&self, name: &str) -> Option<(Option<usize>, &'static TensorSpec)> {
        let Some(in_layer) = name.strip_prefix("blk.") else {
            let spec = self.edges.iter().find(|spec| spec.slot.name() == name)?;
            return Some((None, spec));
        };
        let (number, name) = in_layer.split_once('.')?;
        // Written as we ask for it: without a sign or leading zeros.
        let layer: usize = number.parse().ok()?;
        let mut specs = self.steps.iter().flat_map(|step| step.tensors);
        let spec = specs.find(|spec| spec.slot.name() == name)?;
        (layer.to_string() == number).then_some((Some(layer), spec))
    }

    /// Whether every layer has a tensor for `slot`.
    pub const fn always_has(&self, slot: Slot) -> bool {
        let mut step = 0;
        while step < self.steps.len() {
            let tensors = self.steps[step].tensors;
            let mut i = 0;
            while i < tensors.len() {
                if tensors[i].slot as usize == slot as usize {
                    return tensors[i].is_required();
                }
                i += 1;
            }
            step += 1;
        }
        false
    }
}

impl fmt::Debug for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_is_found_by_the_name_that_it_has_in_a_file() {
        let arch = &qwen2::QWEN2;
        let found = |name| arch.tensor(name).map(|(layer, spec)| (layer, spec.slot));
        assert_eq!(found("output.weight"), Some((None, Slot::Output)));
        assert_eq!(found("blk.11.ffn_up.weight"), Some((Some(11), Slot::Up)));
        for stranger in [
            "blk.output.weight",
            "blk.0.output.weight",
            "ffn_up.weight",
            "blk.00.ffn_up.weight",
            "blk.+1.ffn_up.weight",
            "blk.1.ffn_up.bias",
            "rope_freqs.weight",
        ] {
            assert_eq!(found(stranger), None, "{stranger}");
        }
    }

    #[test]
    fn no_table_names_a_slot_twice() {
        for arch in Arch::ALL.into_iter().chain(Arch::MIXTURES) {
            let of_layers = arch.steps.iter().flat_map(|step| step.tensors);
            let slots: Vec<_> = arch.edges.iter().chain(of_layers).map(|t| t.slot).collect();
            let mut apart = slots.clone();
            apart.sort_unstable();
            apart.dedup();
            assert_eq!(apart.len(), slots.len(), "{arch:?}: {slots:?}");
        }
    }
}
