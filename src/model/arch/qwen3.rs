//! Qwen3 without experts: each head of q and k is normalised before it rotates, and there are
//! no biases; heads need not fill the width, and halves rotate together.

use super::Axis::{Embedding, Head, KeyValueHeads, QueryHeads};
use super::tensors::{EMBEDDING, FEED_FORWARD_DOWN, FEED_FORWARD_UP, OUTPUT, OUTPUT_NORM};
use super::{Arch, Slot, Step, TensorSpec, keys, qwen3moe};
use crate::ggml::RopeKind;
use crate::vocabulary::ShardPart;

pub(super) const QWEN3: Arch = Arch {
    name: "qwen3",
    edges: &[EMBEDDING, OUTPUT_NORM, OUTPUT],
    steps: &[QK_NORM_ATTENTION, FEED_FORWARD_UP, FEED_FORWARD_DOWN],
    keys: &[keys::SHAPE, keys::ROTATION, keys::IDLE, keys::DENSE],
    rope: RopeKind::Neox,
    rope_freq_base: 10_000.0,
    heads_fill_width: false,
    experts: None,
    mixture: Some(&qwen3moe::QWEN3MOE),
};

/// Attention that normalises its heads.
pub(super) const QK_NORM_ATTENTION: Step = Step {
    part: ShardPart::Attention,
    tensors: &[
        TensorSpec::norm(Slot::AttentionNorm, Embedding),
        TensorSpec::matrix(Slot::Query, Embedding, QueryHeads),
        TensorSpec::matrix(Slot::Key, Embedding, KeyValueHeads),
        TensorSpec::matrix(Slot::Value, Embedding, KeyValueHeads),
        TensorSpec::norm(Slot::QueryNorm, Head),
        TensorSpec::norm(Slot::KeyNorm, Head),
        TensorSpec::matrix(Slot::AttentionOutput, QueryHeads, Embedding),
    ],
};
