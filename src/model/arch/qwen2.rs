//! Qwen2 and Qwen2.5: biases on q, k and v as a rule; halves rotate together.

use super::tensors::{
    ATTENTION, EMBEDDING, FEED_FORWARD_DOWN, FEED_FORWARD_UP, OUTPUT, OUTPUT_NORM,
};
use super::{Arch, keys};
use crate::ggml::RopeKind;

pub(super) const QWEN2: Arch = Arch {
    name: "qwen2",
    edges: &[EMBEDDING, OUTPUT_NORM, OUTPUT],
    steps: &[ATTENTION, FEED_FORWARD_UP, FEED_FORWARD_DOWN],
    keys: &[
        keys::SHAPE,
        keys::ROTATION,
        keys::IDLE,
        keys::DENSE,
        keys::OLD,
    ],
    rope: RopeKind::Neox,
    rope_freq_base: 10_000.0,
    heads_fill_width: true,
    experts: None,
    // In llama.cpp's `qwen2moe` the weights of a token's experts do not sum to one.
    mixture: None,
};
