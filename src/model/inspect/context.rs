//! How many tokens a model was made for, and how positions beyond are reached.

use super::scalar;
use crate::model::gguf::Gguf;
use serde::Serialize;

/// See the module's text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Context {
    pub tokens: Option<u64>,
    /// Tokens that some or all layers look back at most.
    pub sliding_window_tokens: Option<u64>,
    pub rope_base: Option<f32>,
    /// Null where positions are as they are.
    pub rope_scaling: Option<RopeScaling>,
}

/// How positions are stretched.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RopeScaling {
    /// As in `yarn`.
    pub kind: String,
    pub factor: Option<f32>,
    /// Tokens without it.
    pub original_tokens: Option<u64>,
}

impl Context {
    pub(super) fn read(gguf: &Gguf, arch: &str) -> Self {
        let key = |name: &str| format!("{arch}.{name}");
        let number = |name: &str| scalar(gguf.u64(&key(name))).filter(|n| *n > 0);
        let real = |name: &str| scalar(gguf.f32(&key(name)));
        let kind = gguf.str(&key("rope.scaling.type")).ok().flatten();
        let factor = real("rope.scaling.factor").or_else(|| real("rope.scale_linear"));
        // Some models bring the factor of each pair instead.
        let factors = ["rope_freqs.weight", "rope_factors_long.weight"];
        let has_factors = factors.iter().any(|name| gguf.tensor(name).is_some());
        let kind = match kind {
            Some("none") => None,
            Some(kind) => Some(kind.to_owned()),
            None if has_factors => Some("factors of its own".to_owned()),
            None => factor.filter(|x| *x > 0.0).map(|_| "linear".to_owned()),
        };
        Self {
            tokens: number("context_length"),
            sliding_window_tokens: number("attention.sliding_window"),
            rope_base: real("rope.freq_base"),
            rope_scaling: kind.map(|kind| RopeScaling {
                kind,
                factor,
                original_tokens: number("rope.scaling.original_context_length"),
            }),
        }
    }
}
