//! Llama 2 and 3, Mistral, SmolLM2: no biases as a rule, and factors of rotation in Llama 3;
//! neighbours rotate together (their files hold q and k in that order).

use super::Axis::{Embedding, KeyValueHeads, QueryHeads, RotatedPairs};
use super::tensors::{EMBEDDING, FEED_FORWARD_DOWN, FEED_FORWARD_UP, OUTPUT, OUTPUT_NORM};
use super::{Arch, Slot, Step, TensorSpec, keys};
use crate::ggml::RopeKind;
use crate::vocabulary::ShardPart;

pub(super) const LLAMA: Arch = Arch {
    name: "llama",
    edges: &[
        EMBEDDING,
        OUTPUT_NORM,
        OUTPUT,
        TensorSpec::factors(Slot::RopeFactors, RotatedPairs).if_there(),
    ],
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
    rope: RopeKind::Norm,
    rope_freq_base: 10_000.0,
    heads_fill_width: false,
};
