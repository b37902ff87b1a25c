//! Llama 2 and 3, Mistral, SmolLM2: no biases as a rule; neighbours rotate together (their
//! files hold q and k in that order).

use super::{ArchTraits, RopeKind};

pub(super) const NAME: &str = "llama";

pub(super) const TRAITS: ArchTraits = ArchTraits {
    rope: RopeKind::Norm,
    qkv_bias: None,
    rope_freq_base: 10_000.0,
};
