//! Llama 2 and 3, Mistral, SmolLM2: no biases as a rule, and factors of rotation in Llama 3;
//! neighbours rotate together (their files hold q and k in that order).

use super::Axis::RotatedPairs;
use super::tensors::{
    ATTENTION, EMBEDDING, EXPERTS_DOWN, EXPERTS_UP, FEED_FORWARD_DOWN, FEED_FORWARD_UP, OUTPUT,
    OUTPUT_NORM,
};
use super::{Arch, ExpertWidth, Slot, TensorSpec, keys};
use crate::ggml::RopeKind;

pub(super) const LLAMA: Arch = Arch {
    name: "llama",
    edges: EDGES,
    steps: &[ATTENTION, FEED_FORWARD_UP, FEED_FORWARD_DOWN],
    keys: &[
        keys::SHAPE,
        keys::ROTATION,
        keys::IDLE,
        keys::DENSE,
        keys::OLD,
    ],
    rope: RopeKind::Norm,
    rope_freq_base: 10_000.0,
    heads_fill_width: false,
    experts: None,
    mixture: Some(&LLAMA_MIXTURE),
};

/// Mixtral: the same name in a file, where only the number of experts tells them apart. The
/// weights of a token's experts sum to one.
pub(super) const LLAMA_MIXTURE: Arch = Arch {
    name: "llama",
    edges: EDGES,
    steps: &[ATTENTION, EXPERTS_UP, EXPERTS_DOWN],
    keys: &[
        keys::SHAPE,
        keys::ROTATION,
        keys::IDLE,
        keys::EXPERTS,
        keys::OLD,
    ],
    rope: RopeKind::Norm,
    rope_freq_base: 10_000.0,
    heads_fill_width: false,
    experts: Some(ExpertWidth::FeedForward),
    mixture: None,
};

const EDGES: &[TensorSpec] = &[
    EMBEDDING,
    OUTPUT_NORM,
    OUTPUT,
    TensorSpec::factors(Slot::RopeFactors, RotatedPairs).if_there(),
];
