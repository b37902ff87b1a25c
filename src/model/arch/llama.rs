//! Llama 2 and 3, Mistral, SmolLM2: no biases as a rule, and factors of rotation in Llama 3; neighbours rotate together (their
//! files hold q and k in that order).

use super::{ArchTraits, RopeKind};

pub(super) const NAME: &str = "llama";

pub(super) const TRAITS: ArchTraits = ArchTraits {
    rope: RopeKind::Norm,
    rope_factors: true,
    heads_fill_width: false,
    rope_freq_base: 10_000.0,
};
