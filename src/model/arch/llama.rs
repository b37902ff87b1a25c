//! Llama 2 and 3, Mistral, SmolLM2: no biases as a rule, and factors of rotation in Llama 3;
//! neighbours rotate together (their files hold q and k in that order).

use super::Axis::RotatedPairs;
use super::tensors::{
    ATTENTION, EMBEDDING, FEED_FORWARD_DOWN, FEED_FORWARD_UP, OUTPUT, OUTPUT_NORM,
};
use super::{Arch, Slot, TensorSpec, keys};
use crate::ggml::RopeKind;

pub(super) const LLAMA: Arch = Arch {
    name: "llama",
    edges: &[
        EMBEDDING,
        OUTPUT_NORM,
        OUTPUT,
        TensorSpec::factors(Slot::RopeFactors, RotatedPairs).if_there(),
    ],
    steps: &[ATTENTION, FEED_FORWARD_UP, FEED_FORWARD_DOWN],
    keys: &[keys::SHAPE, keys::ROTATION, keys::IDLE, keys::OLD],
    rope: RopeKind::Norm,
    rope_freq_base: 10_000.0,
    heads_fill_width: false,
};
