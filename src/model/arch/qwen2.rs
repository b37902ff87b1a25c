//! Qwen2 and Qwen2.5: biases on q, k and v as a rule; halves rotate together.

use super::Axis::{Embedding, KeyValueHeads, QueryHeads};
use super::tensors::{EMBEDDING, FEED_FORWARD_DOWN, FEED_FORWARD_UP, OUTPUT, OUTPUT_NORM};
use super::{Arch, Slot, Step, TensorSpec, keys};
use crate::ggml::RopeKind;
use crate::vocabulary::ShardPart;

pub(super) const QWEN2: Arch = Arch {
    name: "qwen2",
    edges: &[EMBEDDING, OUTPUT_NORM, OUTPUT],
    steps: &[
        Step {
            part: ShardPart::Attention,
            tensors: &[
                TensorSpec::norm(Slot::AttentionNorm, Embedding),
                TensorSpec::matrix(Slot::Query, Embedding, QueryHeads),
                TensorSpec::matrix(Slot::Key, Embedding, KeyValueHeads),
                TensorSpec::matrix(Slot::Value, Embedding, KeyValueHeads),
                TensorSpec::bias(Slot::QueryBias, QueryHeads).all_or_none(),
                TensorSpec::bias(Slot::KeyBias, KeyValueHeads).all_or_none(),
                TensorSpec::bias(Slot::ValueBias, KeyValueHeads).all_or_none(),
                TensorSpec::matrix(Slot::AttentionOutput, QueryHeads, Embedding),
            ],
        },
        FEED_FORWARD_UP,
        FEED_FORWARD_DOWN,
    ],
    keys: &[keys::SHAPE, keys::ROTATION, keys::IDLE, keys::OLD],
    rope: RopeKind::Neox,
    rope_freq_base: 10_000.0,
    heads_fill_width: true,
};
