//! Qwen2 and Qwen2.5: biases on q, k and v as a rule; halves rotate together.

use super::{ArchTraits, RopeKind};

pub(super) const NAME: &str = "qwen2";

pub(super) const TRAITS: ArchTraits = ArchTraits {
    rope: RopeKind::Neox,
    rope_factors: false,
    heads_fill_width: true,
    rope_freq_base: 10_000.0,
};
