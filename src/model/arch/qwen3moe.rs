//! Qwen3 with experts: attention as in Qwen3, and in each layer a router that chooses a few of
//! many small feed-forwards. The weights of a token's experts sum to one.

use super::qwen3::QK_NORM_ATTENTION;
use super::tensors::{EMBEDDING, EXPERTS_DOWN, EXPERTS_UP, OUTPUT, OUTPUT_NORM};
use super::{Arch, ExpertWidth, keys};
use crate::ggml::RopeKind;

pub(super) const QWEN3MOE: Arch = Arch {
    name: "qwen3moe",
    edges: &[EMBEDDING, OUTPUT_NORM, OUTPUT],
    steps: &[QK_NORM_ATTENTION, EXPERTS_UP, EXPERTS_DOWN],
    keys: &[
        keys::SHAPE,
        keys::ROTATION,
        keys::IDLE,
        keys::EXPERTS,
        keys::EXPERT_WIDTH,
    ],
    rope: RopeKind::Neox,
    rope_freq_base: 10_000.0,
    heads_fill_width: false,
    experts: Some(ExpertWidth::Own),
    mixture: None,
};
